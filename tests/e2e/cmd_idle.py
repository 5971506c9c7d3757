"""What nothing costs: system calls and CPU of an idle server, memory of idle connections."""
import os
import re
import resource
import shutil
import signal
import subprocess

from cmd_support import *

IDLE_CONNS = 15000
# poll's own table adds what the others' kernel side holds.
BYTES_EACH = {"poll": 240}.get(BACKEND, 200)


def switches(server):
    """How often its threads gave up the CPU: each system call that waits is one at least. A ring's
    workers are the kernel's: the last one looks around every five seconds."""
    total = 0
    for task in os.listdir(f"/proc/{server.pid}/task"):
        try:
            with open(f"/proc/{server.pid}/task/{task}/status") as file:
                text = file.read()
        except OSError:
            continue  # it has ended
        if not text.startswith("Name:\tiou-"):
            total += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", text))
    return total


def cpu_ticks(server):
    with open(f"/proc/{server.pid}/stat") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def settle(server, quiet_s=1, at_most_s=20):
    """Returns when nothing has happened for a while. Behind work, memory is given back and threads
    end for some seconds."""
    last, since = None, time.monotonic()
    end = since + at_most_s * SLOW
    while time.monotonic() < end:
        now = switches(server)
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > quiet_s:
            return
        time.sleep(0.1)
    raise AssertionError("it does not come to rest")


@test
def an_idle_server_does_nothing():
    log = os.path.join(SCRATCH, "idle.log")
    server = Server("--loops", "2", "--access-log", log)
    client = Client(server)
    client.get()
    client.close()
    wait_until(lambda: os.path.getsize(log), what="the log")
    settle(server, 6, 60)
    before, ticks = switches(server), cpu_ticks(server)
    time.sleep(3)
    assert switches(server) == before, "a thread woke up"
    assert cpu_ticks(server) == ticks, "it used the CPU"
    server.stop()


@test
def strace_sees_nothing():
    if not shutil.which("strace"):
        raise Skipped("no strace")
    server = Server("--loops", "2")
    settle(server)
    trace = os.path.join(SCRATCH, "trace")
    # -ttt: what a thread was in when strace came is written at the time of its coming.
    strace = subprocess.Popen(["strace", "-f", "-ttt", "-o", trace, "-p", str(server.pid)],
                              stderr=subprocess.PIPE, text=True)
    said = strace.stderr.readline()
    if "attached" not in said:
        strace.kill()
        strace.wait()
        raise Skipped(f"strace cannot attach here: {said.strip()}")
    time.sleep(1)
    with open(trace) as file:
        before = file.read()
    time.sleep(3)
    with open(trace) as file:
        after = file.read()
    # Something is seen when there is something.
    Client(server).get()
    wait_until(lambda: os.path.getsize(trace) > len(after), what="a system call in the trace")
    strace.send_signal(signal.SIGINT)
    strace.wait(20)
    assert after == before, "system calls of an idle server:\n" + after[len(before):]
    server.stop()


def resident(server):
    with open(f"/proc/{server.pid}/smaps_rollup") as file:
        return int(re.search(r"^Rss:\s+(\d+) kB", file.read(), re.M)[1]) * 1024


def open_idle(server, count, sources):
    clients = []
    for number in range(count):
        client = Client(server, source=(f"127.0.0.{2 + number % sources}", 0))
        client.ask("/missing")
        clients.append(client)
        if len(clients) % 64 == 0:
            for one in clients[-64:]:
                one.response()
    for one in clients[-(count % 64):] if count % 64 else []:
        one.response()
    return clients


@test
def idle_connections_cost_200_bytes():
    if os.environ.get("WEIR_SANITIZE"):
        raise Skipped("a sanitizer keeps memory of its own")
    if BACKEND == "select":
        raise Skipped("select takes no descriptor above 1023")
    need = IDLE_CONNS + 600
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < need:
        raise Skipped(f"the limit of open files is below {need} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE,
                       (need, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    server = Server("--idle", "10m", "--loops", "2")
    warm = open_idle(server, 256, 4)
    # Each loop's receive blocks, 2 MiB, are touched as they are used, and then stay.
    for client in warm:
        for _ in range(20):
            client.get("/missing", ["X-Fill: " + "x" * 3000])
    time.sleep(1)
    before = resident(server)
    clients = open_idle(server, IDLE_CONNS, 4)
    time.sleep(12)  # what the burst of opening took is given back
    after = resident(server)
    each = (after - before) / IDLE_CONNS
    print(f"  {each:.0f} bytes each: {before} bytes before, {after} after", flush=True)
    conns = server.stat("conns")
    assert conns >= IDLE_CONNS + 256, f"{conns} are open"
    # They still work.
    for client in clients[::500] + warm[::50]:
        assert client.get("/missing")[0] == 404
    assert each <= BYTES_EACH, f"{each:.0f} bytes for each connection"
    # Nothing happens on them, and so nothing is done.
    before, ticks = switches(server), cpu_ticks(server)
    time.sleep(3)
    woken = switches(server) - before
    assert woken <= 8, f"woken {woken} times in 3 s"
    assert cpu_ticks(server) - ticks <= 2
    for client in warm + clients:
        client.close()
    wait_until(lambda: server.stat("conns") == 1, 60, "their end")
    server.stop()


main()
