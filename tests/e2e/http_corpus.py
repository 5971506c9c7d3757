#!/usr/bin/env python3
"""Sends tests/corpus/http1 to a server over real sockets: whole, in two pieces, byte by byte."""
import os
import selectors
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../corpus/http1")]
import corpus
from http_client import Answer, Broken, Server, backends, check

BATCH = 250           # connections at once
SMALL, TINY = 90, 45  # bytes: cut at every one; byte by byte
QUIET_S = 0.1         # after which nothing more is taken to come
PROBE = b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Talk:
    """One connection: pieces to send, one a round, and all that came back."""

    def __init__(self, case, pieces):
        self.case, self.pieces = case, list(pieces)
        if case.fate == "keep":
            self.pieces.append(PROBE)
        self.got, self.ended, self.error = b"", False, None

    def open(self, port, selector):
        self.socket = socket.socket()
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        selector.register(self.socket, selectors.EVENT_READ, self)

    def step(self):
        """Sends the next piece; a server that has closed already need not take it."""
        if not self.pieces or self.ended:
            return False
        try:
            sent = self.socket.send(self.pieces[0])
        except (BrokenPipeError, ConnectionResetError):
            self.pieces = []
            return False
        except BlockingIOError:
            return True
        if sent == len(self.pieces[0]):
            self.pieces.pop(0)
        else:
            self.pieces[0] = self.pieces[0][sent:]
        return bool(self.pieces)

    def read(self, selector):
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionResetError as error:
            data, self.error = b"", error
        self.got += data
        if data == b"":
            self.ended = True
            selector.unregister(self.socket)

    def verdict(self):
        if self.error is not None:
            raise Broken("reset after %r" % self.got)
        statuses = statuses_of(self.got)
        expected = list(self.case.statuses)
        if self.case.fate == "keep":
            expected.append({200})
        check(len(statuses) == len(expected) and
              all(status in ones for status, ones in zip(statuses, expected)),
              "statuses", statuses, expected, self.got)
        if self.case.fate != "any":
            check(self.ended == (self.case.fate != "wait"), "ended:", self.ended, self.got)


def statuses_of(data):
    """The statuses of whole answers; those to HEAD are known by having no body behind them."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        answer = Answer(head)
        if answer.status < 200:
            continue
        found.append(answer.status)
        coding, length = answer.framing
        check(coding is None, "a transfer coding", head)
        if length is not None and not data.startswith(b"HTTP/1.1 ") and data:
            check(len(data) >= int(length), "the body is cut", data)
            data = data[int(length):]
    return found


def run_batch(port, talks):
    selector = selectors.DefaultSelector()
    for talk in talks:
        talk.open(port, selector)
    going, last = True, time.monotonic()
    while any(not talk.ended for talk in talks):
        if going:
            going = any([talk.step() for talk in talks])
            last = time.monotonic()
        for key, _ in selector.select(0 if going else QUIET_S / 4):
            key.data.read(selector)
            last = time.monotonic()
        waiting = [talk for talk in talks if not talk.ended and talk.case.fate in ("keep", "close")]
        if not going and time.monotonic() - last > (10 if waiting else QUIET_S):
            break
    for talk in talks:
        talk.socket.close()
    selector.close()


def cuts_of(case, thorough):
    data = case.data
    yield [data]
    if not data:
        return
    if thorough and len(data) <= SMALL:
        for at in range(1, len(data)):
            yield [data[:at], data[at:]]
    else:
        yield [data[:len(data) // 2], data[len(data) // 2:]]
        yield [data[:-1], data[-1:]]
    if len(data) <= TINY:
        yield [data[i:i + 1] for i in range(len(data))]


def replay(backend, cases, thorough):
    failures, named = 0, set()
    with Server(backend, idle=20000) as server:
        talks = [Talk(case, cut) for case in cases for cut in cuts_of(case, thorough)]
        for begin in range(0, len(talks), BATCH):
            batch = talks[begin:begin + BATCH]
            run_batch(server.port, batch)
            for talk in batch:
                try:
                    talk.verdict()
                except Broken as error:
                    failures += 1
                    if talk.case.name not in named:
                        print("%s %s: %.200s" % (backend, talk.case.name, error))
                    named.add(talk.case.name)
    return len(talks), failures


def main():
    cases = list(corpus.cases())
    check(len(cases) > 600, "the corpus is not there")
    failures = 0
    for backend in backends():
        began = time.monotonic()
        try:
            count, failed = replay(backend, cases, backend in ("uring", "epoll"))
        except Broken as error:
            count, failed = 0, 1
            print(backend, error)
        failures += failed
        print("%s: %d connections, %d failures, %.1f s" % (backend, count, failed,
                                                           time.monotonic() - began), flush=True)
    return failures != 0


if __name__ == "__main__":
    sys.exit(main())
