"""The server models: run by models.sh with the folder of the programs and that of their sources.

usage: models.py PROGRAMS SOURCES [MODEL...]
"""
import asyncio
import os
import random
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

# What thread sanitizer cannot follow: threads that glibc starts for itself, an order that a socket
# passes on through EPOLL_CTL_MOD, and signals that come in pselect.
NOT_THREAD = {"aio_posix", "oneshot", "select"} if os.environ.get("WEIR_SANITIZE") == "thread" else ()
UNAVAILABLE = 69      # what a model exits with where the kernel has not what it needs
PATIENCE_S = 20       # for anything; sanitizers and full machines are slow
END_S = 5             # from TERM to the end: weir's drain for a second
# Address sanitizer looks for leaks in a process that outlives the one that is killed meanwhile.
LEFT_S = 3 if "address" in os.environ.get("WEIR_SANITIZE", "") else 0
RESTARTS = ("prefork", "prefork_lock", "prefork_pass", "reactors_processes")
DATA = random.Random(1).randbytes(3 << 20)
TWICE = memoryview(DATA + DATA)


def children(pid):
    """All that descend from a process, and which of them are zombies."""
    found, zombies = [pid], []
    for one in found:
        try:
            for thread in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{thread}/children", encoding="ascii") as file:
                    found += [int(word) for word in file.read().split()]
            with open(f"/proc/{one}/stat", encoding="ascii") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    zombies.append(one)
        except OSError:
            pass  # it ended meanwhile
    return found[1:], zombies


class Unavailable(Exception):
    pass


class Model:
    """A running server: it says where it listens."""

    def __init__(self, path, *arguments):
        self.process = subprocess.Popen([path, "-p", "0", *arguments], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        line = self.process.stdout.readline().decode()
        if not line.startswith("listening on 127.0.0.1:"):
            error = self.process.communicate()[1].decode()
            if self.process.returncode == UNAVAILABLE:
                raise Unavailable(error.strip())
            raise AssertionError(f"it does not listen: {line}{error}")
        self.port = int(line.rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def client(self):
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        client.settimeout(PATIENCE_S)
        return client


def receive_all(client, into):
    try:
        while piece := client.recv(1 << 16):
            into.append(piece)
    except OSError as error:
        into.append(repr(error).encode())


def receive_count(client, into, size):
    try:
        while size > 0 and (piece := client.recv(min(size, 1 << 16))):
            into.append(piece)
            size -= len(piece)
    except OSError as error:
        into.append(repr(error).encode())


def odd_pieces(model):
    """Pieces of all sizes, a half close behind the last; everything comes back, then the end."""
    pieces, got, at = random.Random(2), [], 0
    with model.client() as client:
        reader = threading.Thread(target=receive_all, args=(client, got))
        reader.start()
        while at < len(DATA):
            size = pieces.choice((1, 7, 509, 4097, 16385, 65537, 300001))
            client.sendall(DATA[at:at + size])
            at += size
        client.shutdown(socket.SHUT_WR)
        reader.join(PATIENCE_S)
    assert b"".join(got) == DATA, f"{sum(map(len, got))} bytes back of {len(DATA)}, or others"


def half_close(model):
    """What comes with the end is answered too, and the end by an end."""
    with model.client() as client:
        client.sendall(b"the last words")
        client.shutdown(socket.SHUT_WR)
        got = []
        receive_all(client, got)
    assert b"".join(got) == b"the last words", got


async def converse(port, number):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for turn in range(3):
        words = f"{number} says {turn} ".encode() * 20
        writer.write(words)
        got = await reader.readexactly(len(words))
        assert got == words, "somebody else's words"
    writer.close()
    await writer.wait_closed()


def at_once(model, count=50):
    """Many clients; models that serve few at a time have the others wait."""
    async def everybody():
        await asyncio.wait_for(
            asyncio.gather(*(converse(model.port, number) for number in range(count))), PATIENCE_S)
    asyncio.run(everybody())


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def send_signal(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def stop(model):
    everybody = [model.process.pid, *children(model.process.pid)[0]]
    send_signal(everybody, signal.SIGSTOP)
    return everybody


def vanish(model):
    """Clients that go without a word, or with a reset amid the answer. Those that end, and then reset
    while nobody looks, leave data to read and EPIPE for the write: a signal, if it is not ignored."""
    for size in (0, 10, 100000, 1 << 20):
        with model.client() as client:
            client.setblocking(False)
            if size != 0:
                client.send(DATA[:size])
                time.sleep(0.005)
                reset(client)
    everybody = stop(model)
    for _ in range(3):
        with model.client() as client:
            client.sendall(b"x" * 100)
            client.shutdown(socket.SHUT_WR)
            reset(client)
    send_signal(everybody, signal.SIGCONT)


def stall(model):
    """A client that does not read is written to no more, and read from no more; when it reads at
    last, all is there."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    client.connect(("127.0.0.1", model.port))
    client.settimeout(0.15)
    sent = 0
    try:
        while sent < 32 << 20:
            at = sent % len(DATA)
            sent += client.send(TWICE[at:at + (1 << 18)])
    except TimeoutError:
        pass
    assert sent < 32 << 20, "no end to what it takes"
    client.settimeout(PATIENCE_S)
    client.shutdown(socket.SHUT_WR)
    got = []
    receive_all(client, got)
    client.close()
    back = b"".join(got)
    assert back == (DATA * (sent // len(DATA) + 1))[:sent], f"{len(back)} back of {sent}"


def burst(model):
    """Much that is there at once, when nothing follows that would tell of it again."""
    with model.client() as client:
        for size in (2 << 20, 1 << 20):  # the first one makes the kernel's buffers grow
            got = []
            reader = threading.Thread(target=receive_count, args=(client, got, size))
            reader.start()
            if size == 1 << 20:
                threading.Timer(0.03, send_signal, (stop(model), signal.SIGCONT)).start()
            client.sendall(TWICE[:size])
            reader.join(PATIENCE_S)
            assert b"".join(got) == DATA[:size], f"{sum(map(len, got))} back of {size}"


def stalled_beside(model):
    """Nor does it keep others waiting, where there is room for two."""
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    stuck.connect(("127.0.0.1", model.port))
    stuck.settimeout(0.15)
    try:
        for _ in range(128):
            stuck.send(DATA[:1 << 18])
    except TimeoutError:
        pass
    at_once(model, 3)
    stuck.close()


def few_descriptors(model):
    """The table of descriptors is full: it waits, and goes on. (Only of the first process: its
    children, if any, have tables of their own.)"""
    pid = model.process.pid
    highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 4, hard))
    at_once(model, 12)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    at_once(model, 12)


def few_signals(model):
    """The queue of signals is full: what is lost is asked for."""
    pid = model.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_SIGPENDING)
    resource.prlimit(pid, resource.RLIMIT_SIGPENDING, (1, hard))
    at_once(model)
    resource.prlimit(pid, resource.RLIMIT_SIGPENDING, (soft, hard))


def no_zombies(model):
    deadline = time.monotonic() + PATIENCE_S
    while children(model.process.pid)[1]:
        assert time.monotonic() < deadline, "zombies"
        time.sleep(0.01)


def restart(model):
    """Workers that are killed are replaced; with the accept lock one of them held it."""
    before = children(model.process.pid)[0]
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_S
    while len(set(children(model.process.pid)[0]) - set(before)) < len(before):
        assert time.monotonic() < deadline, "workers are not replaced"
        time.sleep(0.02)
    at_once(model, 12)


def end(model):
    """TERM ends it in time and in order, with clients there and one in the middle of an answer."""
    clients = [model.client() for _ in range(3)]
    clients[0].settimeout(0.05)
    try:
        for _ in range(128):
            clients[0].send(DATA[:1 << 18])
    except TimeoutError:
        pass
    clients[1].sendall(b"x")
    everybody = children(model.process.pid)[0]
    began = time.monotonic()
    model.process.terminate()
    error = model.process.communicate(timeout=PATIENCE_S)[1].decode()
    took = time.monotonic() - began
    assert model.process.returncode == 0, (model.process.returncode, error)
    assert "anitizer" not in error and "runtime error" not in error, error
    assert took < END_S, f"it took {took:.1f} s to end"
    deadline = time.monotonic() + LEFT_S
    while left := [pid for pid in everybody if os.path.exists(f"/proc/{pid}")]:
        assert time.monotonic() < deadline, f"children are left: {left}"
        time.sleep(0.01)
    for client in clients:
        client.close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for attempt in range(100):  # an io_uring that ends keeps its port for a moment
            try:
                again.bind(("127.0.0.1", model.port))
                return
            except OSError:
                time.sleep(0.02)
        again.bind(("127.0.0.1", model.port))


def check(folder, name):
    """Why it failed, or nothing."""
    step = "start"
    try:
        # One at a time: a stuck client ends by the idle time, and others wait for that.
        with Model(os.path.join(folder, name), "-i", "1" if name == "blocking" else "60") as model:
            steps = [odd_pieces, half_close, at_once, vanish, stall, burst, stalled_beside,
                     few_descriptors, *([few_signals] if name == "sigio" else []),
                     *([restart] if name in RESTARTS else []), no_zombies, end]
            for one in steps:
                step = one.__name__
                one(model)
        step = "limit"
        with Model(os.path.join(folder, name), "-c", "3", "-w", "2") as model:
            at_once(model, 12)
            end(model)
    except Unavailable as error:
        return f"skipped: {error}"
    except Exception as error:  # pylint: disable=broad-exception-caught
        return f"{step}: {type(error).__name__}: {str(error)[:300]}"
    return ""


def main(folder, sources, *only):
    names = sorted(name[:-2] for name in os.listdir(sources) if name.endswith(".c"))
    names = [name for name in names if (not only or name in only) and name not in NOT_THREAD]
    missing = [name for name in names if not os.path.exists(os.path.join(folder, name))]
    names = [name for name in names if name not in missing]
    failed = skipped = 0
    with ThreadPoolExecutor(3) as pool:
        for name, why in zip(names, pool.map(lambda one: check(folder, one), names)):
            if why:
                print(f"{name}: {why}")
            skipped += why.startswith("skipped")
            failed += bool(why) and not why.startswith("skipped")
    print(f"{len(names) - failed - skipped} passed, {failed} failed, {skipped} skipped"
          + (f", not built: {' '.join(missing)}" if missing else ""))
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
