"""What the tests of the command share: a running weir serve, a client, and a list of tests."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

WEIR = os.path.abspath(sys.argv[1])
ONLY = sys.argv[2:]
BACKEND = os.environ.get("WEIR_BACKEND", "auto")
SLOW = 4 if os.environ.get("WEIR_SANITIZE") else 1  # a sanitizer's server takes its time
SCRATCH = tempfile.mkdtemp(prefix="weir-cmd-")
RUNTIME = os.path.join(SCRATCH, "run")
os.mkdir(RUNTIME, 0o700)
os.environ["XDG_RUNTIME_DIR"] = RUNTIME
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Skipped(Exception):
    pass


def wait_until(condition, seconds=10, what="it"):
    end = time.monotonic() + seconds * SLOW
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(f"{what} did not happen within {seconds * SLOW} s")


def weir(*arguments, code=0, env=None):
    """Runs the command to its end: standard output, standard error."""
    done = subprocess.run([WEIR, *arguments], capture_output=True, text=True, timeout=60 * SLOW,
                          env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL)
    assert code is None or done.returncode == code, \
        f"weir {' '.join(arguments)}: exit code {done.returncode}, not {code}: {done.stderr}"
    return done.stdout, done.stderr


class Server:
    """weir serve with these arguments, once it has said that it is up."""
    living = []

    def __init__(self, *arguments, listen="http://127.0.0.1:0", limits=None, stdout=None, env=None,
                 banner=True):
        command = [WEIR, "serve", *(["--listen", listen] if listen else []), *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout or subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, preexec_fn=limits, env={**os.environ, **(env or {})})
        self.pid = self.process.pid
        self.said = []
        self.urls = []
        Server.living.append(self)
        up = threading.Event()
        self.reader = threading.Thread(target=self.read, args=(up,), daemon=True)
        self.reader.start()
        if banner:
            up.wait(20 * SLOW)
            assert self.urls, f"{command} did not start: {''.join(self.said)}"
            tcp = [url for url in self.urls if url.startswith("http://")]
            if tcp:
                self.port = int(re.search(r":(\d+)$", tcp[0])[1])
            # The line about the control socket comes behind the first one.
            wait_until(lambda: any("  limits " in line for line in self.said), what="the banner")

    def read(self, up):
        for line in self.process.stderr:
            self.said.append(line)
            found = re.match(r"weir \S+ serves .* on (\S+(?: \S+)*)$", line)
            if found:
                self.urls = found[1].split()
                up.set()
        up.set()

    def text(self):
        return "".join(self.said)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=20):
        code = self.process.wait(seconds * SLOW)
        self.reader.join(5)
        Server.living.remove(self)
        return code

    def stop(self, code=0):
        self.signal(signal.SIGINT)
        got = self.wait()
        assert got == code, f"exit code {got}: {self.text()}"

    def status(self, field):
        with open(f"/proc/{self.pid}/status") as file:
            return int(re.search(rf"^{field}:\s+(\d+)", file.read(), re.M)[1])

    def ctl(self, *words):
        """The answer of its control socket; there is one server, or the socket is named."""
        out, _ = weir("ctl", "--json", "--socket", f"127.0.0.1:{self.port}", *words)
        return json.loads(out)

    def stat(self, name):
        return self.ctl("stats")["sum"][name]

    def connect(self, timeout=20, source=None):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout * SLOW,
                                        source_address=source)


class Client:
    """One HTTP/1.1 connection."""

    def __init__(self, server, **options):
        self.socket = server.connect(**options)
        self.input = b""

    def send(self, data):
        self.socket.sendall(data)

    def ask(self, target="/", fields=()):
        head = f"GET {target} HTTP/1.1\r\nHost: t\r\n" + "".join(f"{f}\r\n" for f in fields)
        self.send(head.encode() + b"\r\n")

    def more(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError(f"closed behind {len(self.input)} bytes")
        self.input += data

    def response(self):
        """Status, header text, body; EOFError when the connection ends before it is whole."""
        while b"\r\n\r\n" not in self.input:
            self.more()
        head, self.input = self.input.split(b"\r\n\r\n", 1)
        size = int(re.search(rb"\r\nContent-Length: (\d+)", head, re.I)[1])
        while len(self.input) < size:
            self.more()
        body, self.input = self.input[:size], self.input[size:]
        return int(head.split(b" ", 2)[1]), head.decode("latin-1"), body

    def get(self, target="/", fields=()):
        self.ask(target, fields)
        return self.response()

    def closed(self):
        """Whether the server has closed it: waits for that."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.socket.close()


def folder(name="www", **files):
    path = os.path.join(SCRATCH, name)
    os.makedirs(path, exist_ok=True)
    os.chmod(path, 0o755)
    for file, data in files.items():
        with open(os.path.join(path, file.replace("_", ".")), "wb") as out:
            out.write(data)
    return path


def main():
    failed = skipped = 0
    for function in TESTS:
        if ONLY and function.__name__ not in ONLY:
            continue
        began = time.monotonic()
        try:
            function()
            print(f"ok {function.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
        except Skipped as reason:
            skipped += 1
            print(f"skipped {function.__name__}: {reason}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {function.__name__} on {BACKEND}", flush=True)
            traceback.print_exc(file=sys.stdout)
            for server in Server.living:
                print("the server said: " + server.text())
        for server in list(Server.living):
            server.process.kill()
            server.process.wait()
            Server.living.remove(server)
    shutil.rmtree(SCRATCH, ignore_errors=True)
    sys.exit(1 if failed else 0)
