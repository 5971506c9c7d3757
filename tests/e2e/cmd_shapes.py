"""How the shapes spread connections over loops, also when these live for very different times."""
import random

from cmd_support import *

LOOPS = 4


def start(*arguments):
    return Server("--shape", "acceptor", "--loops", str(LOOPS), "--idle", "10m", *arguments)


def opened(server):
    client = Client(server)
    assert client.get("/missing")[0] == 404
    return client


def per_loop(server, clients):
    """How many of these clients each serving loop has."""
    ports = {f"tcp://127.0.0.1:{client.socket.getsockname()[1]}" for client in clients}
    count = {}
    rows = server.ctl("connections", "--limit", "10000")["connections"]
    for row in rows:
        if row["peer"] in ports:
            count[row["loop"]] = count.get(row["loop"], 0) + 1
    assert sum(count.values()) == len(clients), (count, len(clients))
    return sorted(count.values()) + [0] * (LOOPS - len(count))


def unequal_lifetimes(server, rounds=60):
    """Every LOOPS-th connection stays, the others leave soon: round robin puts all that stay on one
    loop."""
    staying, leaving = [], []
    for _ in range(rounds):
        for number in range(LOOPS):
            client = opened(server)
            (staying if number == 0 else leaving).append(client)
        for client in leaving:
            client.close()
        leaving = []
        wait_until(lambda: server.stat("conns") <= len(staying) + 1, what="the end of the short ones")
    return staying


@test
def least_connections_with_unequal_lifetimes():
    server = start("--spread", "least-conns")
    count = per_loop(server, unequal_lifetimes(server))
    print(f"  least connections: {count}")
    assert min(count) > 0 and max(count) / min(count) <= 1.2, count
    server.stop()


@test
def least_connections_by_chance():
    """Lifetimes of all lengths; at each moment the loops have the same number, or nearly."""
    draw = random.Random(5)
    server = start("--spread", "least-conns")
    clients = [opened(server) for _ in range(200)]
    for step in range(300):
        at = min(draw.randrange(len(clients)), draw.randrange(len(clients)))
        clients.pop(at).close()
        if step % 20 == 19:
            wait_until(lambda: server.stat("conns") <= len(clients) + 1, what="their end")
        clients.append(opened(server))
    wait_until(lambda: server.stat("conns") <= len(clients) + 1, what="their end")
    count = per_loop(server, clients)
    print(f"  least connections: {count}")
    assert min(count) > 0 and max(count) / min(count) <= 1.2, count
    server.stop()


@test
def round_robin():
    server = start()
    clients = [opened(server) for _ in range(40)]
    assert per_loop(server, clients) == [10] * LOOPS
    for client in clients:
        client.close()
    server.stop()
    server = start()
    count = per_loop(server, unequal_lifetimes(server, 10))
    # This is what the other one is for; the connections of `weir ctl` take turns, too.
    assert max(count) > 3, count
    server.stop()


@test
def a_host_stays_with_its_loop():
    server = start("--spread", "source-hash")
    seen = set()
    for host in range(2, 18):
        clients = [Client(server, source=(f"127.0.0.{host}", 0)) for _ in range(5)]
        for client in clients:
            client.get("/missing")
        rows = server.ctl("connections")["connections"]
        loops = {row["loop"] for row in rows if row["peer"].startswith(f"tcp://127.0.0.{host}:")}
        assert len(loops) == 1, (host, loops)
        seen |= loops
        for client in clients:
            client.close()
    assert len(seen) > 1, "all hosts are on one loop"
    server.stop()


main()
