"""What the tests of broken networks share: a client's host and a server's with a router between
them, each a network namespace of its own; programs in them; a list of tests run side by side."""
import atexit
import concurrent.futures
import ctypes
import errno
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

BUILD = os.environ.get("WEIR_BUILD", "build/release")
PUPPET = os.path.join(BUILD, "tests", "kernel.puppet")
SLOW = 4 if os.environ.get("WEIR_SANITIZE") else 1
CLIENT, SERVER = "10.77.1.2", "10.77.2.2"
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class Skipped(Exception):
    pass


def run(*command, check=True, text=None):
    done = subprocess.run(command, capture_output=True, text=True, input=text, timeout=30 * SLOW)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def wait_until(condition, seconds=10, what="it"):
    end = time.monotonic() + seconds * SLOW
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {seconds * SLOW} s")


class Host:
    """One network namespace."""

    def __init__(self, name):
        self.name = name
        run("ip", "netns", "add", name)

    def ip(self, command, check=True):
        return run("ip", "-n", self.name, *command.split(), check=check)

    def run(self, *command, check=True, text=None):
        return run("ip", "netns", "exec", self.name, *command, check=check, text=text)

    def sysctl(self, **values):
        """Names without their "net." and with "__" for "."; those of other kernels may lack."""
        for name, value in values.items():
            self.run("sysctl", "-qw", f"net.{name.replace('__', '.')}={value}")

    def nft(self, text):
        self.run("nft", "-f", "-", text=text)

    def call(self, function):
        """Calls a function on a thread within the namespace: its sockets are that host's."""
        def inside():
            with open(f"/run/netns/{self.name}") as file:
                if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            return function()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(inside).result()

    def socket(self, kind=socket.SOCK_STREAM, protocol=0, family=socket.AF_INET):
        made = self.call(lambda: socket.socket(family, kind, protocol))
        if kind == socket.SOCK_STREAM:
            made.settimeout(20 * SLOW)
        return made

    def connect_says(self, address, port, seconds=20):
        """The name of the error that a plain connect ends with; "" is success."""
        plain = self.socket()
        plain.settimeout(None)
        # A receive time-out of Python's would make the socket non-blocking.
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO,
                         int(seconds).to_bytes(8, "little") + bytes(8))
        with plain:
            return errno.errorcode.get(plain.connect_ex((address, port)), "")

    def states(self):
        """How many TCP sockets are in each state."""
        counts = {}
        for line in self.run("ss", "-Htan").splitlines():
            state = line.split()[0]
            counts[state] = counts.get(state, 0) + 1
        return counts

    def counter(self, name):
        """A counter of /proc/net/netstat, such as TcpExt's SyncookiesSent."""
        lines = self.run("cat", "/proc/net/netstat").splitlines()
        for names, values in zip(lines[::2], lines[1::2]):
            if name in names.split():
                return int(values.split()[names.split().index(name)])
        raise Skipped(f"this kernel does not count {name}")


class Net:
    """A client's host a and a server's host b, joined by a router r."""
    numbers = itertools.count(1)
    living = []

    def __init__(self):
        base = f"weir{os.getpid()}-{next(Net.numbers)}"
        Net.living.append(self)
        self.hosts, self.puppets = [], []
        for letter in "arb":
            self.hosts.append(Host(base + letter))
        self.a, self.r, self.b = self.hosts
        for host in self.hosts:
            host.ip("link set lo up")
            host.sysctl(ipv4__conf__all__rp_filter=0, ipv4__conf__default__rp_filter=0)
        for host, index in ((self.a, 1), (self.b, 2)):
            side = f"v{host.name[-1]}"
            self.r.ip(f"link add {side} type veth peer name eth0 netns {host.name}")
            self.r.ip(f"addr add 10.77.{index}.1/24 dev {side}")
            self.r.ip(f"link set {side} up")
            host.ip(f"addr add 10.77.{index}.2/24 dev eth0")
            host.ip("link set eth0 up")
            host.ip(f"route add default via 10.77.{index}.1")
        self.r.sysctl(ipv4__ip_forward=1)
        self.r.nft("add table inet f\n"
                   "add chain inet f way { type filter hook forward priority 0; }\n")

    def rule(self, rule):
        """Makes this the router's only rule for what it forwards; "" is none."""
        self.r.nft("flush chain inet f way\n" + (f"add rule inet f way {rule}\n" if rule else ""))

    def silent(self, on=True):
        """The router swallows everything."""
        self.rule("drop" if on else "")

    def close(self):
        for puppet in self.puppets:
            puppet.kill()
        for host in self.hosts:
            run("ip", "netns", "del", host.name, check=False)
        Net.living.remove(self)


class Puppet:
    """tests/kernel/puppet.c on a host."""

    def __init__(self, net, host, backend):
        self.events = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", host.name, PUPPET], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, "WEIR_BACKEND": backend})
        net.puppets.append(self)
        threading.Thread(target=self.read, daemon=True).start()
        first = self.wait(lambda e: e["event"] in ("up", "no loop"))
        if first["event"] != "up":
            raise Skipped(f"no loop on {backend}: {first['error']}")

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.events.append({**json.loads(line), "at": time.monotonic()})
                self.changed.notify_all()

    def wait(self, wanted, seconds=10, since=0, what=None):
        """The first event from number `since` on that is wanted."""
        end = time.monotonic() + seconds * SLOW
        with self.changed:
            while True:
                for event in self.events[since:]:
                    if wanted(event):
                        return event
                if not self.changed.wait(end - time.monotonic()):
                    raise AssertionError(f"{what or 'an event'} did not come within {seconds} s; "
                                         f"the last were {self.events[-5:]}")

    def tell(self, *lines):
        for line in lines:
            self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line, event="result", seconds=10):
        since = len(self.events)
        self.tell(line)
        return self.wait(lambda e: e["event"] == event, seconds, since, f"an answer to {line}")

    def listen(self, address=SERVER, port=0):
        answer = self.ask(f"listen tcp://{address}:{port}")
        assert answer["code"] == 0, answer
        with self.changed:
            listening = [e for e in self.events if e["event"] == "listening"]
        return int(listening[-1]["url"].rsplit(":", 1)[1])

    def connect(self, port, count=1, address=SERVER, opened=True, seconds=10):
        """Numbers of the new connections, once they are open."""
        before = self.count("open")
        answer = self.ask(f"connect {count} tcp://{address}:{port}")
        assert answer["code"] == 0, answer
        if opened:
            wait_until(lambda: self.count("open") >= before + count, seconds,
                       f"the opening of {count} connections")

    def count(self, event, **fields):
        with self.changed:
            return sum(e["event"] == event and all(e.get(k) == v for k, v in fields.items())
                       for e in self.events)

    def stats(self):
        return self.ask("stats", "stats")

    def ending(self, conn=None, seconds=10):
        """How a connection (or the first that does) ends."""
        return self.wait(lambda e: e["event"] == "close" and conn in (None, e["conn"]), seconds,
                         what=f"the end of connection {conn or ''}")

    def goes_on(self, rounds, seconds=15):
        """Waits for so many more rounds."""
        wanted = self.stats()["rounds"] + rounds
        wait_until(lambda: self.stats()["rounds"] >= wanted, seconds, f"{rounds} more rounds")

    def all_well(self, living):
        stats = self.stats()
        assert stats["opened"] == living and stats["wrong"] == 0, stats
        assert self.count("close") == 0, [e for e in self.events if e["event"] == "close"]

    def kill(self):
        self.process.kill()
        self.process.wait()


def expect(ending, why, error="", deadline="", text=None):
    """An end of a connection is what it should be; says so."""
    got = (ending["why"], ending["error"], ending["deadline"])
    assert got == (why, error, deadline), f"{(why, error, deadline)} expected: {ending}"
    assert not error or ending["text"], ending
    if text:
        assert text in ending["text"], ending
    return f"{why} {deadline} {error} \"{ending['text']}\" after {ending['ms']} ms"


# --- the list of tests -----------------------------------------------------------------------------

TESTS = []


def test(*backends):
    def add(function):
        TESTS.append((function, backends or ("uring", "epoll")))
        return function
    return add


everywhere = ("uring", "epoll", "poll", "select")


def lab_or_skip():
    """Leaves with a reason where there are no namespaces."""
    def skip(why):
        print(f"skip: {why}")
        sys.exit(77)
    if os.geteuid() != 0:
        skip("network namespaces need root here")
    for tool in ("ip", "ss", "nft", "sysctl"):
        if subprocess.run(["sh", "-c", f"command -v {tool}"], capture_output=True).returncode != 0:
            skip(f"no {tool}")
    if not os.path.exists(PUPPET):
        skip("tests/kernel/puppet.c was not built")
    try:
        Net().close()
    except (AssertionError, OSError) as error:
        for net in list(Net.living):
            net.close()
        skip(f"no network namespaces with veth and nftables here: {error}")


def uring_here():
    weir = os.path.join(os.environ.get("WEIR_BIN", f"{BUILD}/bin"), "weir")
    plan = json.loads(run(weir, "backends", "--json"))
    return any(b["backend"] == "uring" and b["usable"] for b in plan["backends"])


def run_one(function, backend):
    """Prints its lines at once, so that those of tests side by side do not mix."""
    name, began, lines, net = f"{function.__name__}.{backend}", time.monotonic(), [], None
    try:
        net = Net()
        said = function(net, backend)
        seconds = time.monotonic() - began
        lines = [f"ok {name} ({seconds:.1f} s)", *[f"   {line}" for line in said or []]]
        outcome = "passed"
    except Skipped as reason:
        lines, outcome = [f"skipped {function.__name__}_{backend}: {reason}"], "skipped"
    except Exception:
        lines, outcome = [f"FAILED {name}", traceback.format_exc()], "failed"
        for puppet in net.puppets if net else []:
            lines.append(f"   events: {puppet.events[-12:]}")
    finally:
        if net:
            net.close()
    print("\n".join(lines), flush=True)
    return outcome


def main(workers=6):
    """Runs the tests, or those named on the command line (NAME or NAME.BACKEND), and leaves."""
    lab_or_skip()
    atexit.register(lambda: [net.close() for net in list(Net.living)])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    only, uring, wanted = sys.argv[1:], uring_here(), []
    for function, backends in TESTS:
        for backend in backends:
            name = function.__name__
            if only and name not in only and f"{name}.{backend}" not in only:
                continue
            if backend == "uring" and not uring:
                print(f"skipped {name}_uring: no io_uring here")
                continue
            wanted.append((function, backend))
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(lambda job: run_one(*job), wanted))
    failed = outcomes.count("failed")
    print(f"{outcomes.count('passed')} scenarios hold, {failed} do not")
    sys.exit(1 if failed or not wanted else 0)
