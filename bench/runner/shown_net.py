"""What takes settings of the system to show: each runs in a network namespace of its own; see
shown.py."""
import errno
import select
import socket
import time

from .shown_base import HOST, isolated, listener, sysctl, tell


def _counter(name):
    with open("/proc/net/netstat", encoding="ascii") as file:
        for keys, values in zip(file, file):
            table = dict(zip(keys.split(), values.split()))
            if name in table:
                return int(table[name])
    return 0


def _connect_many(port, count):
    """Sockets that connect without waiting, after a moment: (those connected, under way, errors)."""
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((HOST, port))
        clients.append(client)
    time.sleep(0.2)
    ready = select.select([], clients, [], 0)[1]
    states = {client: client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for client in ready}
    return clients, sum(state == 0 for state in states.values()), count - len(ready)


@isolated
def backlog():
    """12 clients connect to a server that accepts nobody, with listen(4)."""
    one, before = listener(backlog=4), _counter("ListenOverflows")
    clients, connected, waiting = _connect_many(one.getsockname()[1], 12)
    lost = _counter("ListenOverflows") - before
    for _ in range(connected):
        one.accept()
    began = time.monotonic()
    while time.monotonic() - began < 4 and len(select.select([], clients, [], 0)[1]) < 12:
        time.sleep(0.02)
        if select.select([one], [], [], 0)[0]:
            one.accept()
    took = time.monotonic() - began
    return tell([f"{connected} connected, {waiting} under way; ListenOverflows + {lost}",
                 f"after those were accepted the others came in {took:.1f} s"],
                "the queue takes one more than it is told; further clients see neither a refusal nor "
                "an error, but a second or more of silence: watch ListenOverflows",
                connected == 5 and waiting == 7 and lost >= 7 and 0.3 < took < 4)


def _stranded(port, one, count=40):
    """How many of so many clients get an answer from `one`'s loop, and those that do not."""
    clients = [socket.create_connection((HOST, port)) for _ in range(count)]
    time.sleep(0.05)
    _answer(one)
    left = [client for client in clients if not select.select([client], [], [], 0.01)[0]]
    return count - len(left), left


def _answer(one):
    """Accepts all that wait, and greets them."""
    one.setblocking(False)
    try:
        while True:
            one.accept()[0].send(b"hello")
    except BlockingIOError:
        pass


def _ends(clients):
    """What becomes of clients: greeted, reset, or nothing."""
    out = {"answered": 0, "reset": 0, "nothing": 0}
    for client in clients:
        client.settimeout(0.02)
        try:
            out["answered" if client.recv(5) else "reset"] += 1
        except ConnectionResetError:
            out["reset"] += 1
        except TimeoutError:
            out["nothing"] += 1
    return out


@isolated
def stalled():
    """Two workers, a listener each on one port (SO_REUSEPORT); one of them is stuck and accepts
    nothing. 40 clients come, and then the stuck one's listener is closed."""
    seen, ends = [], {}
    for migrate in (0, 1):
        sysctl("tcp_migrate_req", migrate)
        good = listener(reuseport=True)
        port = good.getsockname()[1]
        stuck = listener(reuseport=True, port=port)
        served, left = _stranded(port, good)
        stuck.close()
        time.sleep(0.05)
        _answer(good)
        ends[migrate] = _ends(left)
        good.close()
        seen.append(f"tcp_migrate_req={migrate}: {served} served, {len(left)} stranded while it is "
                    f"stuck; when it closed: " + ", ".join(f"{count} {name}" for name, count
                                                           in ends[migrate].items()))
    shared = listener()
    served, left = _stranded(shared.getsockname()[1], shared)
    seen.append(f"one listener for both: {served} served, {len(left)} stranded")
    return tell(seen, "the kernel shares out by a hash and does not know who is stuck; a close resets "
                "those that wait, unless tcp_migrate_req gives them to another listener; that helps "
                "when a worker dies, not while it is stuck",
                ends[0]["reset"] > 5 and ends[0]["answered"] == 0 and ends[1]["answered"] > 5
                and not left)


@isolated
def tw_reuse():
    """A client has 10 ports, and closes its connections first: how many can it make to one server?"""
    seen, made = [], {}
    for number, (reuse, pause) in enumerate(((0, 0), (0, 1.3), (1, 0), (1, 1.3))):
        sysctl("tcp_tw_reuse", reuse)
        sysctl("ip_local_port_range", f"{41000 + 100 * number} {41009 + 100 * number}")
        one = listener(port=40000 + number)
        made[reuse, pause] = _use_up(one, 10)
        time.sleep(pause)
        more = _use_up(one, 10)
        made[reuse, pause] += more
        one.close()
        seen.append(f"tcp_tw_reuse={reuse}, {pause} s after the first ten: {more} more")
    return tell(seen, "a port is taken up again for the same server after a second, if tcp_tw_reuse "
                "allows (1; the default 2: on loopback only), and never before; it is the "
                "connecting side's affair and does nothing for a server's port",
                made[0, 0] == made[0, 1.3] == made[1, 0] == 10 and made[1, 1.3] == 20)


def _use_up(one, count):
    """Connects and closes first so often, or until there is no port."""
    for made in range(count):
        try:
            client = socket.create_connection(one.getsockname())
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            return made
        server = one.accept()[0]
        client.close()
        server.recv(1)
        server.close()
    return count
