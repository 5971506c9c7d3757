"""Servers that the tests of weir bench measure: what they answer, and when, is known."""
import functools
import socket
import socketserver
import threading
import time


def patient(function):
    """Time is what this is about, and others use the CPUs too: the best of four tries counts."""
    @functools.wraps(function)
    def tries():
        for _ in range(3):
            try:
                return function()
            except AssertionError as failure:
                print(f"once more: {failure}"[:300])
        return function()
    return tries


class Tiny:
    """An HTTP server of one thread a connection. `answer(request, number)` gives the bytes to send
    back, or None: the connection is closed; a tuple (bytes, None): sent, then closed."""

    def __init__(self, answer, family=socket.AF_INET, address=("127.0.0.1", 0)):
        self.answer = answer
        self.requests = []
        self.connections = 0
        self.peers = set()
        self.lock = threading.Lock()
        self.listener = socket.socket(family)
        self.listener.bind(address)
        self.listener.listen(1024)
        self.port = self.listener.getsockname()[1] if family == socket.AF_INET else 0
        self.url = f"http://127.0.0.1:{self.port}/"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, peer = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.peers.add(peer[0] if peer else "")
            if client.family == socket.AF_INET:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        data = b""
        try:
            with client:
                while True:
                    while b"\r\n\r\n" not in data:
                        more = client.recv(65536)
                        if not more:
                            return
                        data += more
                    head, data = data.split(b"\r\n\r\n", 1)
                    size = 0
                    for line in head.split(b"\r\n"):
                        if line.lower().startswith(b"content-length:"):
                            size = int(line.split(b":")[1])
                    while len(data) < size:
                        data += client.recv(65536)
                    body, data = data[:size], data[size:]
                    with self.lock:
                        self.requests.append((head, body))
                        number = len(self.requests)
                    answer = self.answer(head, number)
                    if answer is None:
                        return
                    last = isinstance(answer, tuple)
                    client.sendall(answer[0] if last else answer)
                    if last:
                        return
        except OSError:
            pass

    def close(self):
        self.listener.close()


def text(body=b"hello", status=b"200 OK", more=b""):
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, more, len(body), body)


class Stalling:
    """Answers at once, but for one time at which it stops for a while: everybody waits then."""

    def __init__(self, begin_s, stall_s):
        self.gate = threading.Event()
        self.gate.set()
        self.begin_s, self.stall_s = begin_s, stall_s
        self.started = threading.Event()
        self.answered = []
        self.server = Tiny(self.answer)
        self.url = self.server.url
        threading.Thread(target=self.stall, daemon=True).start()

    def stall(self):
        self.started.wait()
        time.sleep(self.begin_s)
        began = time.monotonic()
        self.gate.clear()
        time.sleep(self.stall_s)
        self.gate.set()
        self.stall_s = time.monotonic() - began  # on a busy machine it is longer

    def answer(self, head, number):
        self.started.set()
        self.gate.wait()
        self.answered.append(time.monotonic())
        return text()

    def expected(self, rate):
        """wrk2's method by the server's own clock: request number n was due n / rate after the
        first one, and what it took is counted from there. Sorted."""
        first = self.answered[0]
        return sorted(at - first - number / rate for number, at in enumerate(self.answered))


class Echo:
    """Sends back what comes, on TCP or on a unix socket."""

    def __init__(self, path=None):
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    while data := self.request.recv(65536):
                        self.request.sendall(data)
                except ConnectionError:
                    pass

        kind = socketserver.ThreadingUnixStreamServer if path else socketserver.ThreadingTCPServer
        kind.request_queue_size = 256
        kind.daemon_threads = True
        self.server = kind(path or ("127.0.0.1", 0), Handler)
        self.port = None if path else self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
