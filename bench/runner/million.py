"""./dev bench million: so many connections to one weir serve, held by one weir bench conns.

Neither may have more descriptors than this process's limit, and no setting of the system is
changed: on both sides connections are direct descriptors of io_uring, in one table for each loop.
"""
import argparse
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

from . import machine
from .stats import median

TABLE = 18000          # connections meant for a loop: a hash spreads them, and a table has 20 000
PAIR_KB = 9.8          # of the kernel for a connection, both ends and what weir has in its rings
SPARE_KB = 1 << 20     # of memory that is left alone
ACTIVE = 1000          # connections that are asked while the others idle
IDLE_S, QUIET_S = 10, 60


class Failed(Exception):
    pass


class Skipped(Failed):
    """It cannot be done here."""


def say(text):
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def read(path):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def kb(path, name):
    found = re.search(rf"^{name}:\s+(\d+)", read(path), re.MULTILINE)
    return int(found.group(1)) if found else 0


def kernel():
    """What the kernel has for all sockets of the machine: only differences mean something."""
    tcp = re.search(r"^TCP: inuse (\d+) .* alloc (\d+) mem (\d+)", read("/proc/net/sockstat"),
                    re.MULTILINE)
    return {"slab_kb": kb("/proc/meminfo", "Slab"), "free_kb": kb("/proc/meminfo", "MemAvailable"),
            "vmalloc_kb": kb("/proc/meminfo", "VmallocUsed"),
            "percpu_kb": kb("/proc/meminfo", "Percpu"), "sockets": int(tcp.group(1)),
            "queued_kb": int(tcp.group(3)) * 4}


class Process:
    """A child with its files, ended by its own number."""

    def __init__(self, name, argv, run, nice):
        self.name, self.log = name, os.path.join(run, f"{name}.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=lambda: os.nice(nice))
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end(signal.SIGKILL, 60)

    def alive(self):
        return self.process.poll() is None

    def end(self, number, seconds):
        if self.alive():
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed(f"{self.name} did not end in {seconds} s") from None

    def words(self):
        return read(self.log)[-2000:].strip()

    def rss_kb(self):
        return kb(f"/proc/{self.pid}/status", "VmRSS")

    def priority(self, nice):
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            os.setpriority(os.PRIO_PROCESS, int(thread), nice)

    def cpu(self):
        """CPU nanoseconds of all threads, and how often they went to sleep."""
        busy = sleeps = 0
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            folder = f"/proc/{self.pid}/task/{thread}"
            busy += int((read(f"{folder}/schedstat").split() or ["0"])[0])
            sleeps += kb(f"{folder}/status", "voluntary_ctxt_switches")
        return busy, sleeps


class Million:
    def __init__(self, args, run):
        self.args, self.run = args, run
        self.weir = args.weir
        self.loops = args.loops or max(1, -(-args.conns // TABLE))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}/"
        self.root = os.path.join(run, "www")
        os.mkdir(self.root)
        with open(os.path.join(self.root, "index.html"), "w", encoding="ascii") as file:
            file.write("hello")

    def server_argv(self, loops):
        if self.args.one_thread:
            return [os.path.join(os.path.dirname(self.weir), "bench", "weir_onethread"),
                    self.url.rstrip("/"), str(loops), "unix:" + os.path.join(self.run, "ctl")]
        return [self.weir, "serve", "--backend", "uring", "--features", "+direct", "--shape",
                "threads", "--loops", str(loops), "--listen", self.url.rstrip("/"), "--idle", "10m",
                "--header-timeout", "10m", "--ctl", os.path.join(self.run, "ctl"), self.root]

    def client_argv(self):
        return [self.weir, "bench", "conns", "-q", "-c", str(self.args.conns), "-t",
                str(self.loops), "-d", "1h", "--timeout", "60s", "--prove", "--backend", "uring",
                "--features", "+direct", "--source", "127.0.0.0/16", "--json",
                os.path.join(self.run, "client.json"), "--json-stream",
                os.path.join(self.run, "client.stream"), self.url]

    def serve(self, loops=0):
        loops = loops or self.loops
        server = Process("server", self.server_argv(loops), self.run, self.args.nice)
        for _ in range(600):
            if not server.alive():
                raise Failed("the server did not start: " + server.words())
            if "control" in server.words():
                time.sleep(0.5)
                return server
            time.sleep(0.1)
        server.end(signal.SIGKILL, 60)
        raise Failed("the server did not start in a minute: " + server.words())

    def stats(self):
        """The server's counters, summed over its loops."""
        out = subprocess.run([self.weir, "ctl", "--socket", os.path.join(self.run, "ctl"), "--json",
                              "stats"], capture_output=True, text=True, timeout=60, check=False)
        if out.returncode != 0:
            raise Failed("the server does not answer: " + out.stderr.strip())
        sums = {}
        for loop in json.loads(out.stdout)["loops"]:
            if not loop["answered"]:
                continue
            for name, value in loop["stats"].items():
                sums[name] = sums.get(name, 0) + value
        return sums

    def latency(self, server):
        """Requests over some connections, at a rate that is far from anybody's limit."""
        path = os.path.join(self.run, "latency.json")
        rounds = []
        server.priority(self.args.nice_asked)
        for _ in range(self.args.rounds):
            out = subprocess.run([self.weir, "bench", "http", "-q", "-c", str(ACTIVE), "-t", "1",
                                  "-R", str(self.args.rate), "-w", "1s", "-d", "5s", "--json", path,
                                  self.url], capture_output=True, text=True, check=False,
                                 preexec_fn=lambda: os.setpriority(
                                     os.PRIO_PROCESS, 0, self.args.nice_asked))
            if out.returncode != 0:
                raise Failed("asking some connections failed: " + out.stderr.strip())
            with open(path, encoding="utf-8") as file:
                result = json.load(file)["runs"][0]
            if result["errors"]["all"]:
                raise Failed(f"asking some connections: errors {result['errors']}")
            rounds.append({name: result["response"][name]
                           for name in ("p50_ns", "p99_ns", "p99_9_ns", "max_ns")})
        server.priority(self.args.nice)
        return {name: median([r[name] for r in rounds]) for name in rounds[0]} | {"rounds": rounds}

    # ---- the steps ----

    def check(self):
        need = self.args.conns * PAIR_KB + SPARE_KB
        have = kb("/proc/meminfo", "MemAvailable")
        if have < need:
            raise Skipped(f"{self.args.conns} connections need {need / 2**20:.1f} GiB of "
                          f"memory, {have / 2**20:.1f} are there")
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if self.args.conns / self.loops * 1.06 > limit:
            raise Skipped(f"{self.loops} loops are too few: a table has {limit} slots")
        out = subprocess.run([self.weir, "backends", "--json"], capture_output=True, text=True,
                             env={**os.environ, "WEIR_FEATURES": "+direct"}, check=False)
        try:
            rows = json.loads(out.stdout)["backends"]
        except (ValueError, KeyError):
            rows = []
        uring = [row for row in rows if row["backend"] == "uring" and row["usable"]]
        if not uring or not any(f["feature"] == "direct" and f["used"]
                                for f in uring[0]["features"]):
            raise Skipped("no io_uring with direct descriptors here (kernel 6.13)")

    def alone(self):
        """A server of one loop with nobody on it, and the same server with only those 1000."""
        out = {}
        with self.serve(1) as server:
            out["process_kb"] = server.rss_kb()
            server.end(signal.SIGTERM, 30)
        if self.args.rounds:
            with self.serve() as server:
                out["latency"] = self.latency(server)
                server.end(signal.SIGTERM, 30)
        return out

    def progress(self):
        """Requests answered since all were open, or -1: they are not; and in the last second. The
        first second has some of before, so the end is when nothing more comes."""
        lines = read(os.path.join(self.run, "client.stream")).splitlines()
        answered, last = -1, 0
        for line in lines:
            try:
                last = json.loads(line)["counts"]["requests"]
            except ValueError:
                continue
            answered = max(answered, 0) + last
        return answered, last

    def guard(self, server, client):
        if not server.alive() or not client.alive():
            raise Failed(f"server: {server.words()}\nclient: {client.words()}")
        if kb("/proc/meminfo", "MemAvailable") < SPARE_KB / 2:
            raise Failed("the machine is out of memory: ended")

    def open_all(self, server, client):
        begin, shown = time.monotonic(), 0
        while self.progress()[0] < 0:
            self.guard(server, client)
            if time.monotonic() - begin > self.args.patience:
                raise Failed(f"not open in {self.args.patience} s")
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                now = kernel()
                say(f"{now['sockets']} sockets, {now['free_kb'] >> 20} GiB of memory left")
            time.sleep(0.5)
        while self.progress()[0] < self.args.conns or self.progress()[1] != 0:
            self.guard(server, client)
            if time.monotonic() - begin > 2 * self.args.patience:
                raise Failed(f"only {self.progress()[0]} of {self.args.conns} answered")
            time.sleep(0.5)

    def hold(self, server, client, before):
        say("all are open and have answered; waiting until the burst's memory has gone back")
        settled = time.monotonic() + self.args.quiet
        while time.monotonic() < settled:
            self.guard(server, client)
            time.sleep(1)
        conns, now = self.args.conns, kernel()
        out = {"rss_kb": server.rss_kb(), "client_rss_kb": client.rss_kb(), "kernel": now,
               "kernel_bytes": {name[:-3]: round((now[name] - before[name]) * 1024 / conns)
                                for name in ("slab_kb", "vmalloc_kb", "percpu_kb")},
               "taken_bytes": round((before["free_kb"] - now["free_kb"]) * 1024 / conns)}
        busy, sleeps = server.cpu()
        time.sleep(IDLE_S)
        busy_then, sleeps_then = server.cpu()
        out["idle_cpu_us_s"] = round((busy_then - busy) / 1000 / IDLE_S, 1)
        out["idle_sleeps"] = sleeps_then - sleeps
        if self.args.rounds:
            say(f"asking {ACTIVE} connections while the rest idle")
            out["latency"] = self.latency(server)
        return out

    def close_all(self, server, client):
        say("closing")
        begin = time.monotonic()
        code = client.end(signal.SIGINT, 300)
        took = time.monotonic() - begin
        for _ in range(50):
            stats = self.stats()
            if stats["conns"] <= 1:  # the question's own
                break
            time.sleep(0.2)
        with open(os.path.join(self.run, "client.json"), encoding="utf-8") as file:
            result = json.load(file)["runs"][0]
        if server.end(signal.SIGTERM, 60) != 0:
            raise Failed("the server did not end well: " + server.words())
        return {"client_exit": code, "close_s": round(took, 1), "server": stats, "client": result}

    def main(self):
        self.check()
        conns = self.args.conns
        out = {"conns": conns, "one_thread": self.args.one_thread, "loops": self.loops, "machine": machine.facts(self.args.root),
               "limit_nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
               "date": time.strftime("%Y-%m-%d %H:%M"),
               "commands": {"server": self.server_argv(self.loops), "client": self.client_argv()}}
        out["alone"] = self.alone()
        before = kernel()
        with self.serve() as server:
            out["started_kb"] = server.rss_kb()
            say(f"{conns} connections, {self.loops} loops on either side")
            # One thread among many would get its share of the CPUs only, however much it has to do.
            nice = min(19, self.args.nice + 9 * self.args.one_thread)
            with Process("client", self.client_argv(), self.run, nice) as client:
                self.open_all(server, client)
                out["held"] = self.hold(server, client, before)
                out.update(self.close_all(server, client))
        held = out["held"]
        client = out["client"]
        out["user_bytes"] = round((held["rss_kb"] - out["alone"]["process_kb"]) * 1024 / conns, 1)
        out["opened_s"] = round(client["connect_phase_ns"] / 1e9, 2)
        out["opened_per_s"] = round(conns * 1e9 / client["connect_phase_ns"])
        self.judge(out)
        return out

    def judge(self, out):
        client, server = out["client"], out["server"]
        wrong = []
        for what, value, wanted in (
                ("connections open at the end", client["open_conns"], out["conns"]),
                ("answers", client["counts"]["requests"], out["conns"]),
                ("answers with 200", client["counts"]["status_2xx"], out["conns"]),
                ("errors", client["errors"]["all"], 0),
                ("connections ended by the server", client["counts"]["closed"], 0),
                ("refused", server["refused_limit"], 0),
                ("accept errors", server["accept_errors"], 0),
                ("reset", server["ended_reset"], 0),
                ("ended at a limit", server["ended_limit"], 0),
                ("ended by a deadline", sum(v for k, v in server.items()
                                            if k.startswith("deadline_")), 0)):
            if value != wanted:
                wrong.append(f"{what}: {value}, not {wanted}")
        out["wrong"] = wrong


def tell(out):
    held, none = out["held"], "not measured"
    lines = [
        ("connections", f"{out['conns']}, each asked as it opened and again when all were open"),
        ("opened", f"{out['opened_s']} s, {out['opened_per_s']} a second, each with a request"),
        ("server, resident", f"{held['rss_kb']} KiB; {out['user_bytes']} bytes a connection beyond "
         f"a server of one loop with nobody on it (goal: 200)"),
        ("kernel, both ends", f"{held['kernel_bytes']['slab']} bytes of slab a connection, with what "
         "io_uring has for it"),
        ("idle", f"{held['idle_cpu_us_s']} us of CPU a second, {held['idle_sleeps']} sleeps in "
         f"{IDLE_S} s (goal: none)"),
    ]
    if "latency" in held:
        ours, theirs = held["latency"], out["alone"]["latency"]
        ratio = ours["p99_ns"] / theirs["p99_ns"]
        lines.append((f"{ACTIVE} asked", f"p50 {ours['p50_ns'] / 1e3:.0f} us, p99 "
                      f"{ours['p99_ns'] / 1e3:.0f} us; alone {theirs['p50_ns'] / 1e3:.0f} and "
                      f"{theirs['p99_ns'] / 1e3:.0f}: p99 {ratio:.2f} times (goal: 1.5)"))
    else:
        lines.append((f"{ACTIVE} asked", none))
    lines.append(("closed", f"in {out['close_s']} s"))
    lines.append(("refused, reset, lost", "; ".join(out["wrong"]) or "none"))
    for name, text in lines:
        print(f"{name:22} {text}")


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="./dev bench million", description="Opens so many connections to one weir serve, "
        "proves each alive, holds them, closes them, and tells what they cost.")
    parser.add_argument("--conns", type=int, default=1000000, metavar="N")
    parser.add_argument("--loops", type=int, default=0, metavar="N",
                        help=f"on either side; default one for {TABLE} connections")
    parser.add_argument("--one-thread", action="store_true",
                        help="the server's loops are all turned by one thread")
    parser.add_argument("--rate", type=int, default=2000, metavar="N",
                        help=f"requests a second over {ACTIVE} of them")
    parser.add_argument("--rounds", type=int, default=5, metavar="N",
                        help="of asking these; 0: they are not asked")
    parser.add_argument("--quiet", type=int, default=QUIET_S, metavar="S",
                        help="seconds before memory and CPU are looked at")
    parser.add_argument("--patience", type=int, default=600, metavar="S",
                        help="for opening all of them")
    parser.add_argument("--nice", type=int, default=0, metavar="N")
    parser.add_argument("--nice-asked", type=int, metavar="N",
                        help="the same while some are asked, for a machine with other work")
    parser.add_argument("--json", metavar="FILE", help="write the result there too")
    parser.add_argument("--weir", metavar="PATH", default=os.path.join(
        os.environ.get("WEIR_BIN", ""), "weir"))
    args = parser.parse_args(argv)
    if args.nice_asked is None:
        args.nice_asked = args.nice
    args.root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return args


def main(argv):
    args = parse(argv)
    with tempfile.TemporaryDirectory(prefix="weir-million-") as run:
        try:
            out = Million(args, run).main()
        except Failed as error:
            if isinstance(error, Skipped):
                print(f"skip: {error}")
                return 77
            print(f"bench million: {error}", file=sys.stderr)
            return 1
    tell(out)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(out, file, indent=1)
    return 1 if out["wrong"] else 0
