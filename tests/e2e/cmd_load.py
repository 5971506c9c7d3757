"""A load that counts what became of each request."""
import threading
import time

from cmd_support import Client, SLOW

THREADS = 12
QUIET_S = 0.3  # the server closes a connection that was quiet for half a second


class Load:
    """Clients that ask until the server is gone, and count what became of each request."""

    def __init__(self, server, keep_alive, body, threads=THREADS):
        self.server, self.keep_alive, self.body = server, keep_alive, body
        self.answered = self.refused = 0
        self.lost = []
        self.lock = threading.Lock()
        self.halt = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def count(self, lost=None):
        with self.lock:
            if lost:
                self.lost.append(lost)
            else:
                self.answered += 1

    def run(self):
        while not self.halt.is_set():
            try:
                client = Client(self.server)
            except OSError:
                self.refused += 1
                return  # nobody accepted it
            if not self.talk(client):
                return
            client.close()

    def talk(self, client):
        """Requests on one connection. False: the server is gone."""
        number, since = 0, time.monotonic()
        while not self.halt.is_set():
            gap = time.monotonic() - since
            try:
                client.ask("/data")
                status, head, body = client.response()
            except (OSError, EOFError) as error:
                # An idle connection may be closed at any time, also while a request comes.
                if number == 0 or (gap < QUIET_S and time.monotonic() - since < QUIET_S):
                    self.count(f"request {number} of its connection: {error!r}, "
                               f"{gap * 1000:.0f} ms behind the last answer, "
                               f"{len(client.input)} bytes came")
                return True
            if status != 200 or body != self.body:
                self.count(f"status {status}, {len(body)} bytes")
            self.count()
            number, since = number + 1, time.monotonic()
            if not self.keep_alive or "\r\nConnection: close" in head:
                return True
        return True

    def end(self):
        for thread in self.threads:
            thread.join(60 * SLOW)
            assert not thread.is_alive(), "a client hangs"
