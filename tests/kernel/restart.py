"""kill -9 and restart of a server under load."""
import errno
import json
import os
import subprocess
import threading
import time

from cmd_support import *

BODY = os.urandom(20000)
KILLS = 4
DEADLINE_S = 5  # of each step of a client: nothing may come near it
UP_S = 2.5      # a killed server's address is tried for two seconds
PUPPET = os.path.join(os.environ.get("WEIR_BUILD", "build/release"), "tests", "kernel.puppet")


class Load:
    """Clients that ask for ever, on connections that last or not, and note how long they waited."""

    def __init__(self, server, threads=8):
        self.server = server
        self.lock = threading.Lock()
        self.halt = threading.Event()
        self.answered = self.refused = self.broken = 0
        self.longest_s, self.wrong = 0.0, []
        self.threads = [threading.Thread(target=self.run, args=(i % 2 == 0,))
                        for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def note(self, began, what, wrong=None):
        with self.lock:
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            setattr(self, what, getattr(self, what) + 1)
            if wrong:
                self.wrong.append(wrong)

    def run(self, keep_alive):
        while not self.halt.is_set():
            began = time.monotonic()
            try:
                client = Client(self.server, timeout=DEADLINE_S)
            except OSError as error:
                fine = error.errno in (errno.ECONNREFUSED, errno.ECONNRESET)
                self.note(began, "refused", None if fine else repr(error))
                time.sleep(0.005)
                continue
            while self.ask(client) and keep_alive and not self.halt.is_set():
                pass
            client.close()

    def ask(self, client):
        began = time.monotonic()
        try:
            status, _, body = client.get("/data")
        except TimeoutError as error:
            self.note(began, "broken", f"a client hung: {error!r}")
        except (OSError, EOFError):
            self.note(began, "broken")  # the server was killed
        else:
            right = status == 200 and body == BODY
            self.note(began, "answered", None if right else f"status {status}, {len(body)} bytes")
            return True
        return False

    def end(self):
        self.halt.set()
        for thread in self.threads:
            thread.join(2 * DEADLINE_S * SLOW)
            assert not thread.is_alive(), "a client hangs"


@test
def killed_and_restarted_under_load():
    www = folder("restart", data=BODY)
    server = Server("--loops", "2", www)
    port, load, slowest_s = server.port, Load(server), 0.0
    try:
        for _ in range(KILLS):
            had = load.answered
            wait_until(lambda: load.answered > had + 100, 20, "the load")
            server.process.kill()
            server.wait()
            began = time.monotonic()
            server = Server("--loops", "2", www, listen=f"http://127.0.0.1:{port}")
            slowest_s = max(slowest_s, time.monotonic() - began)
        had = load.answered
        wait_until(lambda: load.answered > had + 100, 20, "the load after the last restart")
    finally:
        load.end()
    assert not load.wrong, load.wrong[:5]
    assert load.broken >= KILLS, "no request was under way when the server was killed"
    assert load.longest_s < DEADLINE_S * SLOW, f"a client waited for {load.longest_s:.1f} s"
    assert slowest_s < UP_S * SLOW, f"a restart took {slowest_s:.1f} s"
    server.stop()
    print(f"   {KILLS} kills: {load.answered} answered, {load.broken} broken off, {load.refused} "
          f"refused; waited {load.longest_s * 1000:.0f} ms at most, up again within "
          f"{slowest_s * 1000:.0f} ms")


class Puppet:
    def __init__(self, *commands):
        self.process = subprocess.Popen([PUPPET], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1)
        self.events = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.tell(*commands)

    def read(self):
        for line in self.process.stdout:
            self.events.append(json.loads(line))

    def tell(self, *commands):
        self.process.stdin.write("".join(c + "\n" for c in commands))
        self.process.stdin.flush()

    def count(self, event, **fields):
        return sum(e["event"] == event and all(e.get(k) == v for k, v in fields.items())
                   for e in list(self.events))

    def kill(self):
        self.process.kill()
        self.process.wait()


def echo_server(url):
    server = Puppet(f"listen {url}")
    wait_until(lambda: server.count("result", verb="listen") == 1, what="the echo server")
    answer = [e for e in server.events if e["event"] == "result"][0]
    assert answer["code"] == 0, answer
    return server, [e for e in server.events if e["event"] == "listening"][0]["url"]


@test
def clients_of_a_killed_server():
    """Clients of weir's own: each is told at once, none waits for its deadline."""
    conns = 50
    server, url = echo_server("tcp://127.0.0.1:0")
    client = Puppet("set idle_ms 60000", "rounds 4096")
    try:
        for kill in range(1, KILLS + 1):
            client.tell(f"connect {conns} {url}")
            wait_until(lambda: client.count("open") == kill * conns, what="the connections")
            time.sleep(0.2)
            server.kill()
            wait_until(lambda: client.count("close") == kill * conns, 2,
                       f"the end of {conns} connections")
            began = time.monotonic()
            server, _ = echo_server(url)
            assert time.monotonic() - began < UP_S * SLOW
        ends = [e for e in client.events if e["event"] == "close"]
        whys = {e["why"] for e in ends}
        assert whys <= {"peer_reset", "peer_finished"} and not any(e["wrong"] for e in ends), ends
        # Nobody is there: refused, as soon as the ring of the killed server has let its port go.
        server.kill()

        def refused():
            had = client.count("close")
            client.tell(f"connect 1 {url}")
            wait_until(lambda: client.count("close") == had + 1, 2, "the end of a connection")
            return client.count("close", error="ECONNREFUSED") == 1
        wait_until(refused, 2, "the refusal")
    finally:
        server.kill()
        client.kill()
    print(f"   {len(ends)} connections ended as {', '.join(sorted(whys))}")


main()
