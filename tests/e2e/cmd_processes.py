"""weir serve --shape processes: workers that are killed, told things, drained, and outlived."""
import os
import pwd
import signal
import socket
import subprocess
import threading

from cmd_load import Load
from cmd_support import *

BODY = os.urandom(3000)


def serve(*arguments, workers=3, **options):
    www = folder("processes", data=BODY)
    server = Server("--shape", "processes", "--workers", str(workers), *arguments, www, **options)
    return server


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return sorted(int(child) for child in file.read().split())


def workers(server):
    """The workers by their number: what the control socket tells."""
    return server.ctl("loops")["loops"]


def serving(server):
    return [w["process"] for w in workers(server) if w["state"] == "serving"]


def replaced(server, victims, count):
    """Others serve in their places. A victim that is still dying may have taken the question along."""
    if not all(gone(pid) for pid in victims):
        return False
    try:
        now = serving(server)
    except AssertionError:
        return False
    return len(now) == count and not set(victims) & set(now)


def gone(pid):
    """No such process, not as a zombie either."""
    return not os.path.exists(f"/proc/{pid}")


@test
def the_master_has_no_ring_no_loop_no_thread():
    """K17. It has the listeners, signals, its workers."""
    server = serve()
    crew = children(server.pid)
    assert len(crew) == 3
    assert len(os.listdir(f"/proc/{server.pid}/task")) == 1
    kinds = [os.readlink(f"/proc/{server.pid}/fd/{fd}")
             for fd in os.listdir(f"/proc/{server.pid}/fd")]
    assert not [kind for kind in kinds if re.search("io_uring|eventpoll|eventfd|timerfd", kind)], \
        kinds
    listeners = {kind for kind in kinds if kind.startswith("socket:")}
    assert len(listeners) == 4, kinds  # one a worker, and the control socket
    # A worker has its own and the control socket's, and nobody else's.
    for pid in crew:
        has = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert len(has & listeners) == 2, (has, listeners)
    server.stop()
    assert all(gone(pid) for pid in crew)


@test
def a_worker_that_is_killed():
    """Only its own connections fail, and it comes back; what it had counted is not forgotten."""
    server = serve()
    clients = [Client(server) for _ in range(48)]
    for client in clients:
        assert client.get("/data")[2] == BODY
    wait_until(lambda: server.stat("http_requests") == 48, what="every worker's counters")
    shares = {w["process"]: w["conns"] for w in workers(server)}
    victim = max(serving(server), key=lambda pid: shares[pid])
    time.sleep(0.3)  # it has published its counters: it does so within a tenth of a second
    shares = {w["process"]: w["conns"] for w in workers(server)}
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: replaced(server, [victim], 3), what="another worker")
    lost = 0
    for client in clients:
        try:
            assert client.get("/data")[2] == BODY
        except (OSError, EOFError):
            lost += 1
    # The control socket's client may be one of them.
    assert shares[victim] - 1 <= lost <= shares[victim], (lost, shares, victim)
    answer = server.ctl("stats")
    assert answer["crashes"] == 1 and sum(w["starts"] for w in answer["loops"]) == 4, answer
    wait_until(lambda: server.stat("http_requests") == 48 + 48 - lost, what="all that was counted")
    assert answer["gone"]["http_requests"] >= lost and answer["gone"]["conns"] == 0, answer["gone"]
    assert "was killed by SIGKILL; it is started again at once" in server.text(), server.text()
    assert gone(victim), "a zombie"
    server.stop()


@test
def killed_under_load():
    """Who is connected to a worker that lives notices nothing."""
    server = serve(workers=4)
    clients = [Client(server) for _ in range(40)]
    of = {}
    pids = serving(server)
    for pid in pids:  # which connection is whose: by the inodes that the process holds
        held = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        of[pid] = held
    halt, lost, answered = threading.Event(), [], [0] * len(clients)

    def ask(number):
        try:
            while not halt.is_set():
                assert clients[number].get("/data")[2] == BODY
                answered[number] += 1
        except (OSError, EOFError):
            lost.append(number)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(clients))]
    for thread in threads:
        thread.start()
    wait_until(lambda: min(answered) > 5, what="the load")
    time.sleep(0.3)
    before = {w["process"]: w["conns"] for w in workers(server)}
    victim = pids[1]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: replaced(server, [victim], 4), what="another worker")
    so_far = list(answered)
    wait_until(lambda: all(answered[i] > so_far[i] + 5 for i in range(len(clients))
                           if i not in lost), what="the others going on")
    halt.set()
    for thread in threads:
        thread.join(60)
    assert before[victim] - 1 <= len(lost) <= before[victim] + 1, (len(lost), before, victim)
    for client in clients:
        client.close()
    server.stop()


@test
def a_crash_loop_backs_off_and_gives_up():
    """A worker that dies again and again is started less and less often; when each of them has done
    so eight times and none is left, the server ends and says so."""
    server = serve(workers=1)
    killed, end = set(), time.monotonic() + 60 * SLOW
    moments = []
    while len(killed) < 8 and time.monotonic() < end:
        for pid in children(server.pid):
            if pid not in killed:
                killed.add(pid)
                moments.append(time.monotonic())
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    assert server.wait() != 0
    assert len(killed) == 8, (len(killed), server.text())
    assert server.text().count("was killed by SIGKILL") == 8, server.text()
    gaps = [b - a for a, b in zip(moments, moments[1:])]
    for gap, least in zip(gaps[1:], (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)):
        assert gap >= least * 0.95, gaps
    assert "every worker has ended 8 times in a row" in server.text(), server.text()


@test
def it_does_not_start_unless_all_can():
    """A worker that cannot begin ends the whole, with its own error."""
    busy = socket.create_server(("127.0.0.1", 0))
    taken = serve("--quiet", banner=False, listen=f"http://127.0.0.1:{busy.getsockname()[1]}")
    assert taken.wait() != 0 and "is taken" in taken.text(), taken.text()
    busy.close()
    broken = serve("--features", "+no_such_thing", banner=False)
    assert broken.wait() != 0


def big_file():
    with open(os.path.join(folder("processes"), "big"), "wb") as file:
        file.truncate(24 << 20)


def downloading(**options):
    """A server, and a client that takes its time."""
    server = serve(workers=2, **options)
    big_file()
    client = Client(server)
    client.ask("/big")
    client.more()
    return server, client


def listens_nowhere(pid):
    """It has no listening socket of TCP any more."""
    with open("/proc/net/tcp") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    listening = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}
    fds = f"/proc/{pid}/fd"
    return not listening & {os.readlink(f"{fds}/{fd}") for fd in os.listdir(fds)}


def stop_under_load(keep_alive, *arguments, number=signal.SIGTERM, group=False):
    server = serve(*arguments, limits=os.setsid if group else None)
    load = Load(server, keep_alive, BODY)
    wait_until(lambda: load.answered > 300, 20, "the load")
    crew = children(server.pid)
    if group:
        os.killpg(server.pid, number)
    else:
        server.signal(number)
    code = server.wait()
    load.halt.set()
    load.end()
    assert code == 0, (code, server.text())
    assert not load.lost, f"{len(load.lost)} lost of {load.answered}: {load.lost[:5]}"
    assert all(gone(pid) for pid in crew), "somebody is left"


@test
def it_drains():
    for arguments in ([], ["--one-listener"]):
        stop_under_load(False, *arguments)
        stop_under_load(True, *arguments, number=signal.SIGQUIT)


@test
def the_whole_group_is_told():
    """As a service manager or a terminal does. Each worker hears it twice, which is one stop, and the
    first time before it can know that the whole ends: who waits in its queue is served."""
    for arguments in ([], ["--one-listener"]):
        stop_under_load(False, *arguments, group=True)
        stop_under_load(True, *arguments, number=signal.SIGQUIT, group=True)


@test
def a_second_stop_of_the_group_ends_it_at_once():
    server, client = downloading(limits=os.setsid)
    os.killpg(server.pid, signal.SIGTERM)
    time.sleep(0.4)
    assert server.process.poll() is None, "it did not wait"
    os.killpg(server.pid, signal.SIGTERM)
    assert server.wait() == 0
    client.close()


@test
def a_worker_that_was_told_before_the_master():
    """It leaves its queue to the next one. When the end comes meanwhile there is no next one, unless
    the master starts one for that."""
    server = serve("--one-listener", workers=1)
    big_file()
    client = Client(server)
    client.ask("/big")
    client.more()
    crew = children(server.pid)
    os.kill(crew[0], signal.SIGTERM)
    wait_until(lambda: listens_nowhere(crew[0]), what="the end of its listening")
    waiting = Client(server)
    waiting.ask("/data")
    server.signal(signal.SIGTERM)
    client.close()
    assert waiting.response()[2] == BODY
    assert server.wait() == 0
    assert gone(crew[0])


def stands(pid):
    with open(f"/proc/{pid}/status") as file:
        return "\nState:\tT" in file.read()


def pends(pid, number):
    """Whether a signal waits for a process that stands still."""
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"^ShdPnd:\s+(\w+)", file.read(), re.M)[1], 16) >> (number - 1) & 1


@test
def who_waits_in_the_queue_is_served():
    """Of a worker that stands still, and of one that is not there at all."""
    server = serve(workers=2)
    crew = children(server.pid)
    for pid in crew:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(stands(pid) for pid in crew), what="the workers' standing still")
    clients = [Client(server) for _ in range(80)]
    for client in clients:
        client.ask("/data")
    server.signal(signal.SIGTERM)
    wait_until(lambda: pends(crew[0], signal.SIGTERM), what="the master telling it")
    os.kill(crew[0], signal.SIGKILL)  # told to drain: the master starts no other then
    for pid in crew[1:]:
        os.kill(pid, signal.SIGCONT)
    answered = 0
    for client in clients:
        try:
            answered += client.response()[2] == BODY
        except (OSError, EOFError):
            pass
    assert 0 < answered < 80, answered  # its queue went with it
    assert server.wait() == 0


@test
def the_queues_of_workers_that_rest():
    """Workers that rest: their queues are served by those that are started for the end."""
    server = serve(workers=2)
    server.signal(signal.SIGWINCH)
    wait_until(lambda: children(server.pid) == [], what="the workers' end")
    clients = [Client(server) for _ in range(80)]
    for client in clients:
        client.ask("/data")
    server.signal(signal.SIGTERM)
    for number, client in enumerate(clients):
        try:
            assert client.response()[2] == BODY, number
        except OSError as error:
            raise AssertionError(number) from error
    assert server.wait() == 0


@test
def winch_rests_and_hup_goes_on():
    server = serve(workers=2)
    idle = Client(server)
    assert idle.get("/data")[0] == 200
    server.signal(signal.SIGWINCH)
    assert idle.closed()
    wait_until(lambda: children(server.pid) == [], what="the workers' end")
    waiting = Client(server)
    waiting.ask("/data")
    server.signal(signal.SIGHUP)
    assert waiting.response()[2] == BODY
    wait_until(lambda: len(serving(server)) == 2, what="new workers")
    assert server.ctl("stats")["crashes"] == 0
    server.stop()


@test
def a_second_signal_ends_it_at_once():
    server, client = downloading()
    server.signal(signal.SIGTERM)
    time.sleep(0.4)
    assert server.process.poll() is None, "it did not wait"
    began = time.monotonic()
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert time.monotonic() - began < 3 * SLOW
    client.close()


@test
def a_worker_that_hears_nothing_is_killed():
    server = serve("--drain", "300ms", workers=2)
    for pid in children(server.pid):
        os.kill(pid, signal.SIGSTOP)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert "do not end and are killed" in server.text(), server.text()


@test
def a_master_that_is_killed_takes_its_workers_along():
    server = serve()
    crew = children(server.pid)
    client = Client(server)
    assert client.get("/data")[0] == 200
    server.signal(signal.SIGKILL)
    server.wait()
    wait_until(lambda: all(gone(pid) for pid in crew), what="the workers' end")
    assert client.closed()


def workers_folder():
    """A folder for logs, and the arguments by which workers may write there."""
    path = folder("logs")
    if os.geteuid() != 0:
        return path, []
    nobody = unprivileged()
    os.chmod(SCRATCH, 0o755)
    os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return path, ["--user", "nobody"]


@test
def logs_are_opened_anew():
    """USR1 and HUP, under load: each request is in one of the files, also of workers that are
    started afterwards: these have the file that the master has opened."""
    logs, user = workers_folder()
    path = os.path.join(logs, "access.log")
    files = []
    server = serve("--access-log", path, *user)
    load = Load(server, True, BODY, threads=4)
    wait_until(lambda: load.answered > 100, what="the load")
    for number in (signal.SIGUSR1, signal.SIGHUP):
        files.append(f"{path}.{len(files)}")
        os.rename(path, files[-1])
        server.signal(number)
        wait_until(lambda: os.path.exists(path), what="the new file")
        seen = load.answered
        wait_until(lambda: load.answered > seen + 100, what="the load going on")
    load.halt.set()
    load.end()
    time.sleep(0.5)  # what the next one has to say is written
    old = serving(server)
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: replaced(server, old, 3), what="other workers")
    with open(path) as file:
        before = len(file.readlines())
    clients = [Client(server) for _ in range(20)]
    for client in clients:
        assert client.get("/data")[0] == 200
    server.stop()
    with open(path) as file:
        assert len(file.readlines()) == before + 20
    assert "cannot open access log" not in server.text(), server.text()
    lines = 0
    for name in (path, *files):
        assert os.stat(name).st_uid == os.stat(logs).st_uid, name
        with open(name) as file:
            lines += len(file.readlines())
        os.remove(name)
    assert lines == load.answered + 20, (lines, load.answered)


@test
def a_link_in_a_folder_of_the_workers():
    """What a worker that was taken over may leave there leads the master to nothing of its own: not
    when it opens the log anew, and not at the next start."""
    if os.geteuid() != 0:
        raise Skipped("not root, so that master and workers are one user")
    logs, user = workers_folder()
    path, mine = os.path.join(logs, "linked.log"), folder("masters")
    made, present = os.path.join(mine, "made"), os.path.join(mine, "present")
    with open(present, "w") as file:
        file.write("as it was")
    os.chmod(present, 0o600)
    server = serve("--access-log", path, *user, workers=1)
    assert os.stat(path).st_uid == unprivileged().pw_uid
    for target in (made, present):
        os.remove(path)
        os.symlink(target, path)
        before = server.text().count("cannot open access log")
        server.signal(signal.SIGUSR1)
        wait_until(lambda: server.text().count("cannot open access log") == before + 2,
                   what="the refusal in master and worker")
    assert Client(server).get("/data")[0] == 200
    with open(f"/proc/{server.pid}/status") as file:
        status = file.read()
    assert re.search(r"^Uid:\s+0\s+0\s+0\s+0$", status, re.M), status
    assert re.search(r"^Gid:\s+0\s+0\s+0\s+0$", status, re.M), status
    server.stop()
    again = serve("--access-log", path, *user, workers=1, banner=False)
    assert again.wait() != 0 and "cannot open access log" in again.text(), again.text()
    assert not os.path.exists(made)
    with open(present) as file:
        assert file.read() == "as it was"
    os.remove(path)


@test
def hup_and_usr1_lose_nothing():
    server = serve()
    loads = [Load(server, keep_alive, BODY, threads=4) for keep_alive in (True, False)]
    wait_until(lambda: min(load.answered for load in loads) > 50, what="the load")
    for number in (signal.SIGHUP, signal.SIGUSR1) * 3:
        server.signal(number)
        seen = [load.answered for load in loads]
        wait_until(lambda: all(load.answered > seen[i] + 20 for i, load in enumerate(loads)),
                   what="the load going on")
    for load in loads:
        load.halt.set()
        load.end()
        assert not load.lost and not load.refused, (load.lost[:5], load.refused)
    assert server.ctl("stats")["crashes"] == 0
    server.stop()


@test
def a_terminal_that_is_resized_is_no_order():
    """The kernel sends WINCH to the processes of a terminal; only somebody's counts."""
    import fcntl
    import pty
    import struct
    import termios
    master, slave = pty.openpty()
    command = [WEIR, "serve", "--listen", "http://127.0.0.1:0", "--shape", "processes",
               "--workers", "1", "--ctl", "none", "--quiet"]

    def own_terminal():
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(command, stdin=slave, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, preexec_fn=own_terminal)
    wait_until(lambda: children(process.pid) != [], what="the worker")
    time.sleep(0.3)
    crew = children(process.pid)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 90, 0, 0))
    time.sleep(0.3)
    assert children(process.pid) == crew
    process.send_signal(signal.SIGINT)
    assert process.wait(20 * SLOW) == 0
    os.close(master)
    os.close(slave)


@test
def log_level_and_drain_are_for_all():
    server = serve(workers=2)
    assert server.ctl("log-level", "debug")["level"] == "debug"
    for _ in range(8):  # whichever answers
        wait_until(lambda: server.ctl("log-level")["level"] == "debug", what="the level")
    server.ctl("drain")
    assert server.wait() == 0


def unprivileged():
    return pwd.getpwnam("nobody")


@test
def privileges_are_dropped():
    if os.geteuid() != 0:
        raise Skipped("not root, so that there is nothing to drop")
    nobody = unprivileged()
    os.chmod(SCRATCH, 0o755)
    server = serve("--user", "nobody", workers=2)
    os.chmod(SCRATCH, 0o755)
    with open(f"/proc/{server.pid}/status") as file:
        assert re.search(r"^Uid:\s+0\s+0\s+0", file.read(), re.M)
    for pid in children(server.pid):
        with open(f"/proc/{pid}/status") as file:
            status = file.read()
        assert re.search(rf"^Uid:\s+{nobody.pw_uid}\s+{nobody.pw_uid}\s+{nobody.pw_uid}\s",
                         status, re.M), status
        assert re.search(rf"^Gid:\s+{nobody.pw_gid}\s+{nobody.pw_gid}\s", status, re.M), status
        assert re.search(r"^CapEff:\s+0+$", status, re.M), status
        assert re.search(r"^CapPrm:\s+0+$", status, re.M), status
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.M), status
        groups = re.search(r"^Groups:(.*)$", status, re.M)[1].split()
        assert set(groups) <= {str(g) for g in os.getgrouplist("nobody", nobody.pw_gid)}, groups
    assert Client(server).get("/data")[0] == 200
    # It follows its master though the user has changed.
    crew = children(server.pid)
    server.signal(signal.SIGKILL)
    server.wait()
    wait_until(lambda: all(gone(pid) for pid in crew), what="the workers' end")


def has_entry(number):
    try:
        return pwd.getpwuid(number) is not None
    except KeyError:
        return False


@test
def what_is_missing_is_named():
    usage = weir("serve", "--user", "nobody", code=64)[1]
    assert "--shape processes" in usage, usage
    said = weir("serve", "--shape", "processes", "--user", "no-such-user-here", "--listen",
                "http://127.0.0.1:0", code=None)[1]
    assert "knows none of that name" in said, said
    number = next(n for n in range(40000, 60000) if not has_entry(n))
    said = weir("serve", "--shape", "processes", "--user", str(number), "--listen",
                "http://127.0.0.1:0", code=None)[1]
    assert "name --group too" in said, said
    if os.geteuid() != 0:
        raise Skipped("not root, so that it cannot be taken away")
    os.chmod(SCRATCH, 0o755)

    def become_nobody():
        nobody = unprivileged()
        os.setgroups([])
        os.setresgid(*[nobody.pw_gid] * 3)
        os.setresuid(*[nobody.pw_uid] * 3)

    server = serve("--user", "root", "--ctl", "none", banner=False, limits=become_nobody)
    assert server.wait() != 0
    assert "has not CAP_SETUID and CAP_SETGID" in server.text(), server.text()


main()
