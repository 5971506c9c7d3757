#!/usr/bin/env python3
"""Clients without manners: random requests, good and bad, cut anywhere, abandoned at any moment, all at
once. The server has to live, to answer the others, and to have given everything back in the end.

    WEIR_CHAOS_SEED=7 WEIR_CHAOS_S=60 http_chaos.py      the same clients again, for longer
"""
import os
import random
import socket
import struct
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../corpus/http1")]
import corpus
from http_client import check, chunked, request, run, Server, until

SECONDS = float(os.environ.get("WEIR_CHAOS_S", "3"))
SEED = int(os.environ.get("WEIR_CHAOS_SEED", "0")) or random.randrange(1, 1 << 30)
GETS = ["/", "/plain", "/bytes/%d", "/static/%d", "/own/%d", "/hello/%d", "/stream/3/%d", "/trailers",
        "/stream-length/2/%d", "/stream-short", "/stream-long", "/begin-only", "/ticks/3/5", "/file",
        "/file-short", "/pull/%d", "/pull-length/%d", "/pull-wait/30/5", "/pull-fail/%d",
        "/pull-short/%d", "/later/5", "/sleep/5", "/none", "/twice", "/closes", "/aborts", "/query?q=%d",
        "/fields/50", "/own-refused", "/none-such", "/hello/%%zz", "/request-late", "/text/%d"]
POSTS = ["/count", "/count-plain", "/count-later", "/count-slow/2", "/echo", "/read-some/10",
         "/read-deadline", "/ignore", "/ignore-plain", "/ignore-slow/5", "/misuse", "/none-such"]


def one_request(rng, bad):
    kind = rng.random()
    fields = {}
    if rng.random() < 0.05:
        fields["Connection"] = rng.choice(["close", "keep-alive"])
    version = "1.0" if rng.random() < 0.05 else "1.1"
    if kind < 0.05:
        return rng.choice(bad)
    if kind < 0.65:
        path = rng.choice(GETS)
        if "%d" in path:
            path = path % rng.choice((0, 1, 100, 5000, 70000, 400000))
        method = rng.choice(["GET"] * 8 + ["HEAD", "OPTIONS"])
        return request(method, path, version=version, **fields)
    size = rng.choice((0, 1, 100, 5000, 70000, 200000))
    if rng.random() < 0.1:
        fields["Expect"] = "100-continue"
    if rng.random() < 0.5:
        return request("POST", rng.choice(POSTS), b"b" * size, version=version, **fields)
    pieces = [b"c" * min(size, rng.randrange(1, 40000)) for _ in range(rng.randrange(0, 4)) if size]
    data = request("POST", rng.choice(POSTS),
                   chunked(*pieces, trailers=rng.choice((b"", b"X: y\r\n", b"Host: x\r\n"))),
                   Transfer_Encoding="chunked", **fields)
    if rng.random() < 0.1: # a byte is not what it was
        at = rng.randrange(len(data))
        data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1:]
    return data


class Client:
    def __init__(self, port, rng, bad):
        self.rng = rng
        self.socket = socket.socket()
        if rng.random() < 0.3:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.data = b"".join(one_request(rng, bad) for _ in range(rng.choice((1, 1, 2, 5, 30))))
        self.reads = rng.random() < 0.9

    def step(self):
        """Something; False when it is over."""
        action = self.rng.random()
        try:
            if action < 0.45 and self.data:
                size = self.rng.choice((1, 3, 50, 1000, 100000, 1000000))
                self.data = self.data[self.socket.send(self.data[:size]):]
            elif action < 0.95:
                return not self.reads or self.socket.recv(1 << self.rng.randrange(6, 19)) != b""
            elif action < 0.97:
                self.socket.shutdown(socket.SHUT_WR)
                self.data = b""
            elif action < 0.98:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            elif action < 0.985:
                return False
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


def rude(backend):
    rng = random.Random("%d %s" % (SEED, backend))
    bad = [case.data for case in corpus.cases() if len(case.data) < 5000]
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"f" * 300000)
        file.flush()
        options = {"file": file.name, "header": 300, "body": 300, "idle": 1000, "linger": 200,
                   "write": 1000, "conns": 100}
        if rng.random() < 0.5:
            options["handlers"] = 20
        with Server(backend, **options) as server:
            server.get("/")
            descriptors = server.descriptors()
            clients = []
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                if len(clients) < 60:
                    clients.append(Client(server.port, rng, bad))
                client = rng.choice(clients)
                for _ in range(rng.choice((1, 5, 20))):
                    if not client.step():
                        client.socket.close()
                        clients.remove(client)
                        break
            for client in clients:
                client.socket.close()
            until(lambda: server.descriptors() <= descriptors, "descriptors go back", 20)
            check(server.get("/hello/you").text == "Hello, you!\n", "it lives")
            until(lambda: server.figures()["pulls"] == server.figures()["pulls_over"], "sources", 20)
            until(lambda: server.figures()["lent"] == server.figures()["released"], "lent memory", 20)


if __name__ == "__main__":
    print("seed", SEED)
    sys.exit(run([rude]))
