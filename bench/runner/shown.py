"""What is often said of server models, each shown by a measurement of a second or two:
./dev bench models NAME. A function prints what it saw and its verdict, and returns 0; 1 if it saw
something else than docs/models.md tells, 77 if it cannot be seen here."""
import select
import socket
import statistics
import threading
import time
import zlib

from . import shown_ends, shown_net
from .shown_base import HOST, Child, listener, tell


# ---- the herd ----

def _accept_blocking(one):
    while True:
        one.accept()[0].close()


def _accept_epoll(one, flags):
    one.setblocking(False)
    epoll = select.epoll()
    epoll.register(one, select.EPOLLIN | flags)
    while True:
        epoll.poll()
        try:
            one.accept()[0].close()
        except BlockingIOError:
            pass  # somebody else was faster


def _wakeups(start, workers=16, clients=100):
    """Voluntary switches of all workers together for each client."""
    port, children = start(workers)
    time.sleep(0.3)
    before = sum(child.switches() for child in children)
    for _ in range(clients):
        with socket.create_connection((HOST, port), 5) as client:
            client.recv(1)  # until it was accepted and closed
        time.sleep(0.004)   # until everybody sleeps again
    woken = sum(child.switches() for child in children) - before
    for child in children:
        child.end()
    return woken / clients


def herd():
    """16 processes wait for clients; how many wake up for each?"""
    def shared(function, *arguments):
        def start(workers):
            one = listener()
            return one.getsockname()[1], [Child(function, one, *arguments) for _ in range(workers)]
        return start

    def own(workers):
        ones = [listener(reuseport=True)]
        port = ones[0].getsockname()[1]
        ones += [listener(reuseport=True, port=port) for _ in range(workers - 1)]
        return port, [Child(_accept_epoll, one, 0) for one in ones]

    exclusive = getattr(select, "EPOLLEXCLUSIVE", 1 << 28)
    woken = {"accept on one listener": _wakeups(shared(_accept_blocking)),
             "epoll, one listener": _wakeups(shared(_accept_epoll, 0)),
             "epoll, one listener, EPOLLEXCLUSIVE": _wakeups(shared(_accept_epoll, exclusive)),
             "epoll, a listener each (SO_REUSEPORT)": _wakeups(own)}
    few = [value for name, value in woken.items() if name != "epoll, one listener"]
    return tell([f"{name}: {value:.1f} wake-ups a client" for name, value in woken.items()],
                "accept itself has no herd; epoll sets that share a listener have, and "
                "EPOLLEXCLUSIVE or a listener each ends it",
                max(few) < 4 < woken["epoll, one listener"])


# ---- level and edge ----

def _edge_reader(sock, until_empty):
    """How much of what was sent at once a loop reads that is told of edges."""
    epoll, got = select.epoll(), 0
    sock.setblocking(False)
    epoll.register(sock, select.EPOLLIN | select.EPOLLET)
    while epoll.poll(0.3):
        while True:
            try:
                got += len(sock.recv(16384))
            except BlockingIOError:
                break
            if not until_empty:
                break
    return got


def wrong_edge():
    """An edge-triggered loop that reads once for each event, and 200 000 bytes sent at once."""
    got = {}
    for until_empty in (False, True):
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs.setblocking(False)
        sent = theirs.send(bytes(200000))
        got[until_empty] = _edge_reader(ours, until_empty)
        ours.close()
        theirs.close()
    return tell([f"reads once: {got[False]} of {sent} bytes, and is never told of the rest",
                 f"reads until EAGAIN: {got[True]} of {sent}"],
                "who stops before EAGAIN waits for an edge that does not come",
                got[False] < sent == got[True])


WORK = 8  # passes over what was read: more than it costs to send it


def _serve_two(flooded, asked, rounds):
    """Reads what there is, at most so many times (0: until EAGAIN), with some work for each."""
    epoll, socks = select.epoll(), {sock.fileno(): sock for sock in (flooded, asked)}
    for sock in socks.values():
        sock.setblocking(False)
        epoll.register(sock, select.EPOLLIN | select.EPOLLET)
    while True:
        for fd, _ in epoll.poll():
            turn = 0
            try:
                while rounds == 0 or turn < rounds:
                    data = socks[fd].recv(65536)
                    for _ in range(WORK):
                        zlib.crc32(data)
                    if fd == asked.fileno():
                        asked.send(data)
                    turn += 1
                epoll.modify(fd, select.EPOLLIN | select.EPOLLET)  # tell us of the rest again
            except BlockingIOError:
                pass


def _flood(sock):
    while True:
        sock.sendall(bytes(65536))


def starved():
    """One client floods, another asks for an answer: an edge-triggered loop that always goes on until
    EAGAIN, and one that gives each 16 reads."""
    waits = {}
    for rounds in (0, 16):
        pairs = [socket.socketpair() for _ in range(2)]
        for end in pairs[0]:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        children = [Child(_serve_two, pairs[0][0], pairs[1][0], rounds),
                    *(Child(_flood, pairs[0][1]) for _ in range(3))]
        time.sleep(0.1)
        began = time.monotonic()
        pairs[1][1].settimeout(1.5)
        try:
            pairs[1][1].send(b"x")
            pairs[1][1].recv(1)
        except TimeoutError:
            pass
        waits[rounds] = (time.monotonic() - began) * 1000
        for child in children:
            child.end()
    return tell([f"until EAGAIN: {waits[0]:.0f} ms" + (", given up" if waits[0] > 1400 else ""),
                 f"16 reads each: {waits[16]:.1f} ms"],
                "until EAGAIN needs a limit, and what is left must be asked for again",
                waits[0] > 3 * waits[16])


# ---- streams and small messages ----

def sticky():
    """100 messages of 10 bytes by 100 sends, and one of 1 MB by one: how many receives?"""
    one = listener()
    client = socket.create_connection(one.getsockname())
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = one.accept()[0]
    server.settimeout(5)
    for _ in range(100):
        client.send(bytes(10))
    time.sleep(0.05)
    small, got = 0, 0
    while got < 1000:
        got += len(server.recv(65536))
        small += 1
    thread = threading.Thread(target=client.sendall, args=(bytes(1000000),))
    thread.start()
    large, got = 0, 0
    while got < 1000000:
        got += len(server.recv(1 << 20))
        large += 1
    thread.join()
    return tell([f"100 sends of 10 bytes, TCP_NODELAY: {small} receive" + "s" * (small > 1),
                 f"one send of 1 000 000 bytes: {large} receives"],
                "TCP keeps the order of bytes, not the edges of sends, whatever Nagle's algorithm "
                "does: a protocol needs its own framing", small < 100 and large > 1)


def _question(sock, parts, more):
    for number, part in enumerate(parts):
        sock.send(part, socket.MSG_MORE if more and number + 1 < len(parts) else 0)
    sock.recv(1)


def _answer_whole(one, size):
    server = one.accept()[0]
    while True:
        got = 0
        while got < size:
            data = server.recv(size - got)
            if not data:
                return
            got += len(data)
        server.send(b"y")


def nagle():
    """A question by two small writes, its answer only to the whole of it: milliseconds a question."""
    times = {}
    for name, parts, nodelay, more in (("two writes, as it comes", [b"head", b"body"], 0, False),
                                       ("two writes, TCP_NODELAY", [b"head", b"body"], 1, False),
                                       ("two writes, MSG_MORE", [b"head", b"body"], 0, True),
                                       ("one write", [b"headbody"], 0, False)):
        one = listener()
        thread = threading.Thread(target=_answer_whole, args=(one, 8), daemon=True)
        thread.start()
        with socket.create_connection(one.getsockname()) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
            took = []
            for _ in range(24):
                began = time.monotonic()
                _question(client, parts, more)
                took.append((time.monotonic() - began) * 1000)
        thread.join(5)
        one.close()
        times[name] = statistics.median(took[-8:])  # the first ones are acknowledged at once
    slow = times.pop("two writes, as it comes")
    return tell([f"two writes, as it comes: {slow:.2f} ms"]
                + [f"{name}: {value:.2f} ms" for name, value in times.items()],
                "Nagle's algorithm holds the second write until the first is acknowledged, and the "
                "other side delays that by 40 ms; one write, MSG_MORE or TCP_NODELAY ends it",
                slow > 20 > max(times.values()))


SHOWN = {
    "herd": herd, "wrong-edge": wrong_edge, "starved": starved, "sticky": sticky, "nagle": nagle,
    "half-close": shown_ends.half_close, "time-wait": shown_ends.time_wait,
    "unix-burst": shown_ends.unix_burst, "backlog": shown_net.backlog,
    "stalled": shown_net.stalled, "tw-reuse": shown_net.tw_reuse,
}
