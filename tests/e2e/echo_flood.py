"""examples/echo, ten lines, before peers that send for ever and never read: memory stays bounded,
others are served, and when they read at last nothing is lost."""
import random
import socket
import subprocess

from cmd_support import *

ECHO = os.path.join(os.path.dirname(WEIR), "examples", "echo")
BLOCK = random.Random(3).randbytes(65521)
PEERS = 8


class Echo:
    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen([ECHO, f"tcp://127.0.0.1:{self.port}"])
        Server.living.append(self)
        wait_until(self.connects, what="the echo")

    def connects(self):
        try:
            self.connect().close()
            return True
        except ConnectionRefusedError:
            return False

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=20 * SLOW)

    def resident(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(re.search(r"^VmRSS:\s+(\d+) kB", file.read(), re.M)[1]) * 1024

    def text(self):
        return ""

    def stop(self):
        self.process.terminate()
        code = self.process.wait(20 * SLOW)
        Server.living.remove(self)
        assert code == 0, f"exit code {code}"


class Flood:
    """A peer that sends until it cannot for a second; what it has sent is BLOCK over and over."""

    def __init__(self, echo):
        self.socket = echo.connect()
        self.sent = self.read = 0

    def send(self, most):
        self.socket.settimeout(1)
        try:
            while self.sent < most:
                self.sent += self.socket.send(BLOCK[self.sent % len(BLOCK):])
        except TimeoutError:
            return True
        return False

    def read_all(self):
        self.socket.settimeout(20 * SLOW)
        while self.read < self.sent:
            data = self.socket.recv(1 << 18)
            assert data, f"closed behind {self.read} of {self.sent} bytes"
            at = self.read % len(BLOCK)
            wanted = (BLOCK * (len(data) // len(BLOCK) + 2))[at:at + len(data)]
            assert data == wanted, f"other bytes behind {self.read}"
            self.read += len(data)


@test
def peers_that_never_read():
    echo = Echo()
    others = echo.connect()
    others.sendall(b"before")
    assert others.recv(100) == b"before"
    before = echo.resident()
    floods = [Flood(echo) for _ in range(PEERS)]
    for flood in floods:
        assert flood.send(512 << 20), "it took 512 MiB and gave nothing back"
        # Somebody else is served beside them.
        others.sendall(b"beside")
        assert others.recv(100) == b"beside"
    grown = echo.resident() - before
    print(f"  {sum(flood.sent for flood in floods) >> 20} MiB were taken, "
          f"{grown >> 10} KiB of memory for them", flush=True)
    if not os.environ.get("WEIR_SANITIZE"):
        # The hard cap of each, what the C library keeps of memory that was given back while the
        # queues grew, and the receive blocks.
        assert grown < (2 * PEERS + 4) << 20, f"{grown >> 20} MiB"
    for flood in floods:
        flood.read_all()
        flood.socket.close()
    echo.stop()


main()
