"""Clients that mean harm, or behave as if they did: slow ones, ones that reset or never read, floods,
and more of them than there are descriptors."""
import os
import re
import resource
import select
import socket
import struct
import subprocess
import threading

from cmd_support import *

MANY = 300 if BACKEND == "select" else 1000  # select takes no descriptor above 1023
SMALL = b"small file\n"


def www():
    path = folder("hostile", small_txt=SMALL)
    big = os.path.join(path, "big")
    if not os.path.exists(big):
        with open(big, "wb") as file:
            file.truncate(1 << 30)  # sparse: nobody reads it all
    return path


def resident(server):
    with open(f"/proc/{server.pid}/status") as file:
        return int(re.search(r"^VmRSS:\s+(\d+) kB", file.read(), re.M)[1]) * 1024


def cpu_ticks(server):
    with open(f"/proc/{server.pid}/stat") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def descriptors(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def reset(client):
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def serves(server, seconds=5):
    """Answers a newcomer, in time."""
    began = time.monotonic()
    client = Client(server)
    assert client.get("/small.txt")[2] == SMALL
    client.close()
    took = time.monotonic() - began
    assert took < seconds * SLOW, f"it took {took:.1f} s"


def alone(server):
    """All others have left it."""
    wait_until(lambda: server.stat("conns") == 1, 20, "the end of the connections")


@test
def slow_loris():
    server = Server("--header-timeout", "3s", www())
    serves(server)
    began = time.monotonic()
    clients = [Client(server) for _ in range(MANY)]
    head = b"GET / HTTP/1.1\r\nHost: t\r\nX-Slow: " + b"x" * 100
    step, cut = 0, set()
    while len(cut) < len(clients) and time.monotonic() - began < 20 * SLOW:
        for number, client in enumerate(clients):
            if number in cut:
                continue
            try:
                client.send(head[step:step + 1])
            except (BrokenPipeError, ConnectionResetError):
                cut.add(number)
        step += 1
        serves(server)
        time.sleep(0.7)
        ready = select.poll()
        files = {}
        for number, client in enumerate(clients):
            if number not in cut:
                ready.register(client.socket, select.POLLIN)
                files[client.socket.fileno()] = number
        for file, _ in ready.poll(0):
            cut.add(files[file])
    took = time.monotonic() - began
    assert len(cut) == len(clients), f"{len(clients) - len(cut)} are still there after {took:.0f} s"
    assert took > 2.5, "cut too early"
    answered = 0
    for client in clients:
        try:
            answered += client.response()[0] == 408
        except (OSError, EOFError):
            pass  # it was sending when it was cut
        client.close()
    assert answered > len(clients) / 2, f"only {answered} were told why"
    assert server.stat("deadline_header") >= len(clients)
    alone(server)
    server.stop()


@test
def resets_in_the_middle_of_an_answer():
    server = Server(www())
    serves(server)
    alone(server)
    before = descriptors(server)
    for _ in range(10):
        clients = [Client(server) for _ in range(20)]
        for client in clients:
            client.ask("/big")
        for client in clients:
            client.more()
            reset(client)
    serves(server)
    alone(server)
    assert descriptors(server) <= before + 4, f"{descriptors(server)} descriptors, {before} before"
    stats = server.ctl("stats")["sum"]
    assert stats["memory_bytes"] == 0 and stats["http_exchanges"] == 0, stats
    server.stop()


@test
def resets_with_a_request_in_their_throat():
    server = Server(www())
    for number in range(300):
        client = Client(server)
        client.send(b"GET /big HTTP/1.1\r\nHost: t\r\n\r\n"[:10 + number % 30])
        reset(client)
    serves(server)
    alone(server)
    server.stop()


@test
def never_reads_a_large_file():
    server = Server(www())
    serves(server)
    before = resident(server)
    clients = [Client(server) for _ in range(50)]
    for client in clients:
        client.ask("/big")
    time.sleep(1)
    for _ in range(10):
        serves(server)
    grown = resident(server) - before
    assert grown < 24 << 20, f"grown by {grown >> 20} MiB"
    stats = server.ctl("stats")["sum"]
    assert stats["memory_bytes"] < 8 << 20, stats["memory_bytes"]
    for client in clients:
        client.close()
    alone(server)
    server.stop()


@test
def who_never_reads_is_reset():
    """After --write-timeout; not who takes an answer slowly, and not who has all of it."""
    server = Server(www(), "--write-timeout", "600ms")
    idle, slow, never = Client(server), Client(server), [Client(server) for _ in range(20)]
    assert idle.get("/small.txt")[2] == SMALL
    slow.ask("/big")
    for client in never:
        client.ask("/big")
    began = time.monotonic()
    taken = 0
    while time.monotonic() - began < 2:
        taken += len(slow.socket.recv(1 << 20))
        time.sleep(0.05)
    wait_until(lambda: server.stat("conns") == 3, 10, "the end of those that never read")
    stats = server.ctl("stats")["sum"]
    assert stats["deadline_write"] == 20, stats
    assert len(slow.socket.recv(4096)) > 0 and taken > 1 << 20
    assert idle.get("/small.txt")[2] == SMALL
    for client in never: # what is in the kernels' buffers may be read still, then it is torn
        try:
            while client.socket.recv(1 << 20):
                pass
            raise AssertionError("a part ended as if it were the whole")
        except ConnectionResetError:
            client.close()
    slow.close()
    idle.close()
    server.stop()
    server = Server(www(), "--write-timeout", "never")
    limits = server.ctl("limits")["services"]
    assert any(s["limits"]["write_ms"] is None for s in limits), limits
    server.stop()


@test
def asks_for_ever_and_never_reads():
    """Requests without end, and no answer is read: reading stops, memory is bounded. Then all answers
    are read: none is missing."""
    server = Server(www())
    serves(server)
    before = resident(server)
    clients = [Client(server) for _ in range(4)]
    request = b"GET /small.txt HTTP/1.1\r\nHost: t\r\n\r\n"
    flood = request * 2000
    for client in clients:
        client.socket.settimeout(1)
        client.sent = 0
        try:
            while client.sent < 256 << 20:
                client.sent += client.socket.send(flood[client.sent % len(request):])
        except TimeoutError:
            pass
        assert client.sent < 64 << 20, f"it took {client.sent >> 20} MiB of requests"
    serves(server)
    grown = resident(server) - before
    assert grown < 32 << 20, f"grown by {grown >> 20} MiB"
    for client in clients[1:]:
        client.close()
    client = clients[0]
    client.socket.settimeout(20 * SLOW)
    wanted, got, answers = client.sent // len(request), b"", 0
    while answers < wanted:
        got += client.socket.recv(1 << 20)
        whole = got.split(SMALL)
        got = whole.pop()
        for head in whole:
            assert head.startswith(b"HTTP/1.1 200 OK\r\n") and head.endswith(b"\r\n\r\n"), head
        answers += len(whole)
    assert answers == wanted and got == b"", (answers, wanted, got)
    client.close()
    alone(server)
    server.stop()


@test
def a_flood_does_not_starve_the_others():
    server = Server("--loops", "1", www())
    halt = threading.Event()

    def flood():
        client = Client(server)
        block = b"GET /small.txt HTTP/1.1\r\nHost: t\r\n\r\n" * 200
        client.socket.settimeout(0.2)
        while not halt.is_set():
            try:
                client.socket.sendall(block)
                client.socket.recv(1 << 20)
            except (OSError, EOFError):
                client = Client(server)
                client.socket.settimeout(0.2)

    thread = threading.Thread(target=flood)
    thread.start()
    for _ in range(50):
        serves(server, 2)
    halt.set()
    thread.join()
    server.stop()


@test
def room_is_kept_for_files():
    """With few descriptors fewer connections are let in than there are descriptors."""
    server = Server("--loops", "1", www(), limits=lambda: resource.setrlimit(
        resource.RLIMIT_NOFILE, (80, 80)))
    assert "50 connections (ulimit -n)" in server.text(), server.text()
    inside = []
    for _ in range(50):
        inside.append(Client(server))
        inside[-1].get("/small.txt")
    time.sleep(1.5)  # what is cached is no longer trusted
    for client in inside:
        assert client.get("/small.txt")[2] == SMALL
    server.stop()


@test
def too_few_descriptors():
    """EMFILE: who is connected goes on, the others wait or are refused; few lines in the log, and no
    spinning."""
    began = time.monotonic()
    server = Server("--loops", "1", limits=lambda: resource.setrlimit(
        resource.RLIMIT_NOFILE, (80, 80)))
    inside = []
    for _ in range(30):
        inside.append(Client(server))
        assert inside[-1].get()[0] == 200
    outside = [Client(server) for _ in range(200)]  # the kernel's queue takes them
    for client in outside:
        client.ask()
    wait_until(lambda: "Too many open files" in server.text(), what="the line in the log")
    ticks = cpu_ticks(server)
    for _ in range(20):
        for client in inside:
            assert client.get()[0] == 200, "an established connection"
        time.sleep(0.05)
    ticks = cpu_ticks(server) - ticks
    assert ticks < os.sysconf("SC_CLK_TCK"), f"it spins: {ticks} ticks"
    most = 8 + (time.monotonic() - began)  # one a second at most, however slow the machine is
    assert server.text().count("Too many open files") < most, server.text()
    # Room comes back, and those who waited are answered.
    for client in inside:
        client.close()
    statuses = []
    for number, client in enumerate(outside):
        try:
            statuses.append(client.response()[0])
        except (EOFError, OSError) as error:
            raise AssertionError(f"client {number} behind {statuses}: {error!r}") from error
        client.close()
    assert set(statuses) <= {200, 503} and statuses.count(200) > 10, statuses
    alone(server)
    assert Client(server).get()[0] == 200
    server.stop()


@test
def lines_that_end_in_lf_alone():
    """What nc sends without -C: refused, with the fix in the body."""
    server = Server(www())
    client = Client(server)
    client.send(b"GET / HTTP/1.1\nHost: t\n\n")
    status, _, body = client.response()
    assert status == 400 and b"with nc use -C" in body, body
    assert client.closed()
    if shutil.which("nc"):
        done = subprocess.run(["nc", "-q1", "-C", "127.0.0.1", str(server.port)], timeout=20,
                              input=b"GET /small.txt HTTP/1.0\nHost: t\n\n", capture_output=True)
        if b"invalid option" not in done.stderr:
            assert done.stdout.endswith(SMALL), done
    server.stop()


@test
def garbage():
    """Noise of all kinds: always an answer or a close, never a hang, and the server goes on."""
    server = Server("--header-timeout", "1s", www())
    for number in range(200):
        client = Client(server)
        noise = os.urandom(1 + number * 37 % 4000)
        if number % 4 == 0:
            noise = b"GET / HTTP/1.1\r\nHost: t\r\n" + noise
        try:
            client.send(noise)
            while client.socket.recv(1 << 16):
                pass
        except OSError:
            pass
        client.close()
    serves(server)
    alone(server)
    assert server.process.poll() is None
    server.stop()


main()
