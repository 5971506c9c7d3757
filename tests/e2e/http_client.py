"""What the tests of HTTP share: a server to talk to, raw connections, and a reader of answers."""
import os
import re
import select
import signal
import socket
import struct
import subprocess
import time

BUILD = os.environ.get("WEIR_BUILD", "build")
BACKENDS = ["uring", "epoll", "poll", "select"]


class Broken(Exception):
    """Something that a test did not expect."""


def check(condition, text, *values):
    if not condition:
        raise Broken(text + "".join(" %.600r" % (value,) for value in values))


def backends():
    """Those that work here: uring may be forbidden or left out."""
    for name in os.environ.get("WEIR_BACKENDS", " ".join(BACKENDS)).split():
        try:
            Server(name).stop()
        except Broken as error:
            if name != "uring":
                raise
            print("skip: uring:", error)
            continue
        yield name


class Server:
    """The test server on a port of its own. Options are its arguments."""

    def __init__(self, backend="epoll", files=0, **options):
        arguments = ["%s=%s" % item for item in options.items()]
        environment = dict(os.environ, WEIR_BACKEND=backend)
        command = [os.path.join(BUILD, "tests/e2e.httpserver")] + arguments
        if files:
            command = ["bash", "-c", "ulimit -n %d; exec \"$@\"" % files, "-"] + command
        self.backend, self.told = backend, False
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        words = self.process.stdout.readline().split()
        if len(words) != 2 or words[0] != "port":
            raise Broken("the server did not start: " + self.process.communicate()[1])
        self.port = int(words[1])

    def connect(self, timeout=10.0, receive_buffer=0):
        return Connection(self.port, timeout, receive_buffer)

    def get(self, path, **fields):
        """One request on a connection of its own: the answer."""
        connection = self.connect()
        connection.send(request("GET", path, Connection="close", **fields))
        answer = connection.answer()
        connection.ended()
        return answer

    def figures(self):
        """The server's own counters."""
        text = self.get("/figures").text
        return dict(word.split("=") for word in text.split())

    def memory_kb(self, field="VmRSS"):
        with open("/proc/%d/status" % self.process.pid, encoding="ascii") as file:
            return int(re.search(field + r":\s+(\d+)", file.read())[1])

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.process.pid))

    def term(self):
        """Asks it to end; a second signal would abort it."""
        if not self.told and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.told = True

    def stop(self, timeout=10):
        """Ends it in order; it has to say nothing and to have given everything back."""
        self.term()
        try:
            out, errors = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, errors = self.process.communicate()
            raise Broken("the server does not end: %s %s" % (out, errors[-3000:])) from None
        check(self.process.returncode == 0, "the server ended with", self.process.returncode, out,
              errors[-3000:])
        self.errors = errors
        return errors

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None and self.process.returncode is None:
            errors = self.stop()
            check(errors == "", "the server said", errors)
        elif kind is None:
            pass
        else:
            self.process.terminate()
            try:
                errors = self.process.communicate(timeout=3)[1]
            except subprocess.TimeoutExpired:
                self.process.kill()
                errors = self.process.communicate()[1]
            if errors:
                print("    the server said:", errors[-6000:])


def request(method, path, body=None, version="1.1", **fields):
    """The bytes of a request. Underscores in the names of fields are hyphens."""
    head = "%s %s HTTP/%s\r\nHost: localhost\r\n" % (method, path, version)
    if body is not None and "Transfer_Encoding" not in fields and "Content_Length" not in fields:
        head += "Content-Length: %d\r\n" % len(body)
    for name, value in fields.items():
        head += "%s: %s\r\n" % (name.replace("_", "-"), value)
    return head.encode("latin-1") + b"\r\n" + (body or b"")


def chunked(*pieces, trailers=b""):
    """A chunked body."""
    out = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return out + b"0\r\n" + trailers + b"\r\n"


class Answer:
    """Status, fields (names in lower case, last one of a name), body, trailers."""

    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 ([1-9]\d\d) (.*)", lines[0])
        check(match is not None, "no status line:", lines[0])
        self.status, self.head = int(match[1]), head
        self.fields, self.names = {}, []
        for line in lines[1:]:
            match = re.fullmatch(r"([!#-'*+.^_`|~0-9A-Za-z-]+): ([^\r\n\0]*)", line)
            check(match is not None, "no field:", line)
            self.names.append(match[1])
            self.fields[match[1].lower()] = match[2]
        self.body, self.trailers = b"", {}

    @property
    def text(self):
        return self.body.decode("latin-1")

    @property
    def closes(self):
        return self.fields.get("connection") == "close"

    @property
    def framing(self):
        return self.fields.get("transfer-encoding"), self.fields.get("content-length")


class Connection:
    """One raw connection and what was read of it beyond the last answer."""

    def __init__(self, port, timeout=10.0, receive_buffer=0):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.timeout, self.rest = timeout, b""

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        """Reads on; False at the end of the stream."""
        try:
            data = self.socket.recv(1 << 18)
        except socket.timeout:
            raise Broken("nothing more comes after %r" % self.rest[-300:]) from None
        self.rest += data
        return data != b""

    def line(self, end=b"\r\n"):
        while end not in self.rest:
            check(self.more(), "the stream ends inside", self.rest)
        found, self.rest = self.rest.split(end, 1)
        return found

    def bytes(self, count):
        while len(self.rest) < count:
            check(self.more(), "the stream ends with bytes missing:", count - len(self.rest))
        found, self.rest = self.rest[:count], self.rest[count:]
        return found

    def answer(self, method="GET", interim=False):
        """The next answer, framing checked."""
        answer = Answer(self.line(b"\r\n\r\n"))
        if 100 <= answer.status < 200:
            check(interim, "an interim answer:", answer.head)
            return answer
        coding, length = answer.framing
        check(coding is None or length is None, "both framings", answer.head)
        if answer.status in (204, 304):
            check(length is None and coding is None, "a body announced with", answer.head)
        elif method == "HEAD":
            pass
        elif coding is not None:
            check(coding == "chunked", "transfer coding", coding)
            self.chunks(answer)
        elif length is not None:
            answer.body = self.bytes(int(length))
        else:
            check(answer.closes, "no framing", answer.head)
            while self.more():
                pass
            answer.body, self.rest = self.rest, b""
        return answer

    def chunks(self, answer):
        while True:
            size = int(self.line(), 16)
            if size == 0:
                break
            answer.body += self.bytes(size)
            check(self.bytes(2) == b"\r\n", "a chunk does not end where it should")
        while True:
            line = self.line()
            if line == b"":
                return
            name, value = line.decode("latin-1").split(": ", 1)
            answer.trailers[name] = value

    def ask(self, method, path, body=None, **fields):
        self.send(request(method, path, body, **fields))
        return self.answer(method)

    def ended(self):
        """The server has closed, in order, and nothing is left over."""
        check(self.rest == b"", "left over:", self.rest)
        try:
            check(not self.more(), "more came:", self.rest)
        except ConnectionResetError:
            raise Broken("reset") from None
        self.close()

    def reset(self):
        """Ends it abortively."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def finish(self):
        self.socket.shutdown(socket.SHUT_WR)

    def quiet(self, seconds):
        """Nothing comes for so long: neither bytes nor the end."""
        ready = select.select([self.socket], [], [], seconds)[0]
        check(not ready and self.rest == b"", "something came")

    def alive(self):
        """The connection serves another request."""
        answer = self.ask("GET", "/hello/again")
        check(answer.text == "Hello, again!\n", "not as it was:", answer.status, answer.body)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def until(condition, text, seconds=5):
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, "never:", text)
        time.sleep(0.02)


def run(tests):
    """Runs tests (functions of a back end) on each back end; gives the number of failures."""
    failures = 0
    chosen = os.environ.get("WEIR_TEST_ONLY", "")
    for backend in backends():
        for test in tests:
            if chosen and not re.search(chosen, test.__name__):
                continue
            began = time.monotonic()
            try:
                test(backend)
                failed = None
            except (Broken, OSError, ValueError, KeyError) as error:
                failed = error
            failures += failed is not None
            took = time.monotonic() - began
            if failed is not None or os.environ.get("WEIR_TEST_VERBOSE"):
                print("%-7s %s %.1f s%s" % (backend, test.__name__, took,
                                            "" if failed is None else ": %s: %s" % (type(failed).__name__, failed)), flush=True)
    print("%d failures" % failures)
    return failures != 0
