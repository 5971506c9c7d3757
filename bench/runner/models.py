"""./dev bench models: the server models of examples/models on one load; see docs/models.md."""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from . import machine, models_page, process
from .measure import parse_strace, say
from .shown import SHOWN
from .stats import median

PROGRAMS = os.path.join(os.environ.get("WEIR_BIN", ""), "examples", "models")
LOAD = os.path.join(os.environ.get("WEIR_BIN", ""), "bench", "model_load")
TRACED = "active-100"  # the case whose system calls are counted


class Failed(RuntimeError):
    pass


@dataclass(frozen=True)
class Case:
    name: str
    conns: int
    active: int


CASES = [Case("one", 1, 1), Case("active-100", 100, 100), Case("idle-100", 100, 5),
         Case("active-5000", 5000, 5000), Case("idle-5000", 5000, 50)]

# Those that have a worker for each connection get some; the others share one CPU anyway.
HOLDERS = ("prefork", "prefork_lock", "prefork_pass", "pool", "accept_threads")
WORKERS = {**{name: 128 for name in HOLDERS}, "oneshot": 4, "workers": 4, "cgi": 8,
           "reactors_threads": 2, "reactors_processes": 2}
ORDER = ["blocking", "process", "prefork", "prefork_lock", "prefork_pass", "thread", "pool",
         "accept_threads", "cgi", "busy", "select", "poll", "sigio", "epoll_lt", "epoll_et",
         "aio_posix", "aio_linux", "uring", "oneshot", "workers", "reactors_processes", "reactor",
         "reactors_threads", "proactor", "coroutines"]


def read(path):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def cpu_ns(server):
    """Of all processes of the tree, threads and ended threads too; and of the children that have
    ended, by the parent's account of them (in ticks of 10 ms, for the sum of them)."""
    total, tick = 0, 10**9 // os.sysconf("SC_CLK_TCK")
    for pid in server.pids():
        try:
            total += time.clock_gettime_ns((~pid << 3) | 2)  # clock_getcpuclockid(3)
        except OSError:
            continue
        part = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        total += (int(part[13]) + int(part[14])) * tick if part else 0
    return total


def user_kb(server):
    """Resident memory, pages that processes share counted once."""
    total = 0
    for pid in server.pids():
        for line in read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


class Load:
    """model_load on its CPU: says how many are served, measures when told, holds till the end."""

    def __init__(self, port, case, seconds):
        self.process = subprocess.Popen(
            [LOAD, str(port), str(case.conns), str(case.active), str(seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=process.on_cpu(process.LOAD_CPU))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def line(self):
        text = self.process.stdout.readline()
        if not text:
            raise Failed("the load failed: " + self.process.stderr.read()[-200:].strip())
        return text

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return json.loads(self.line())


def run(name, case, seconds, trace=None):
    """A row of the results; with `trace` the number of system calls a message, by name."""
    port = process.free_port()
    argv = [os.path.join(PROGRAMS, name), "-p", str(port), "-c", "6000", "-w",
            str(WORKERS.get(name, 1))]
    with process.Server(argv, port) as server:
        fresh_kb, began = user_kb(server), time.monotonic()
        with Load(port, case, seconds) as load:
            served = int(load.line().split()[1])
            row = {"case": case.name, "server": name, "conns": case.conns, "served": served,
                   "opened_s": round(time.monotonic() - began, 3)}
            if served == 0:
                raise Failed("nobody was served")
            if case.name == "idle-5000":
                row["user_bytes"] = round((user_kb(server) - fresh_kb) * 1024 / served)
            if trace:
                return calls_per_message(server, load, trace)
            before = cpu_ns(server)
            out = load.go()
            used = cpu_ns(server) - before
    if out["messages"] == 0:
        raise Failed("no message came back")
    return {**row, "messages": out["messages"], "active": out["active"], "lost": out["lost"],
            "rate": round(out["messages"] * 1e9 / out["wall_ns"]),
            "cpu_us": round(used / out["messages"] / 1000, 3),
            "busy": round(used / out["wall_ns"], 3), "p50_us": out["p50_us"],
            "p99_us": out["p99_us"]}


def calls_per_message(server, load, path):
    pids = [word for pid in server.pids() for word in ("-p", str(pid))]
    with subprocess.Popen(["strace", "-q", "-c", "-f", "-o", path, *pids],
                          stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tracer:
        time.sleep(0.5)
        try:
            out = load.go()
        finally:
            tracer.terminate()
            try:
                tracer.wait(10)
            except subprocess.TimeoutExpired:
                tracer.kill()
    calls = parse_strace(read(path))
    if not calls:
        raise Failed("strace says nothing")
    return {name: round(count / max(1, out["messages"]), 3) for name, count in calls.items()
            if count > out["messages"] / 200}


def measure(args, run_folder):
    rows, failed, calls = [], [], {}
    names = [name for name in ORDER if os.path.exists(os.path.join(PROGRAMS, name))
             and (not args.only or name in args.only)]
    for case in CASES:
        if args.cases and case.name not in args.cases:
            continue
        rounds = args.rounds if case.conns < 1000 else min(3, args.rounds)
        for turn in range(rounds):
            for name in names:
                try:
                    rows.append({**run(name, case, args.seconds), "round": turn})
                except (Failed, RuntimeError, OSError, ValueError) as error:
                    failed.append(f"{case.name}, round {turn + 1}, {name}: {error}")
                    say("bench models: FAILED: " + failed[-1])
            say(f"bench models: {case.name}: round {turn + 1} of {rounds}")
        if case.name == TRACED and shutil.which("strace"):
            for name in names:
                try:
                    calls[name] = run(name, case, 0.3, os.path.join(run_folder, "strace"))
                except (Failed, RuntimeError, OSError, ValueError) as error:
                    say(f"bench models: system calls of {name} not counted: {error}")
    return rows, failed, calls


def tell(rows):
    for case in CASES:
        found = [row for row in rows if row["case"] == case.name]
        if not found:
            continue
        print(f"\n{case.name}: {case.conns} connections, {case.active} active")
        print(f"  {'model':20} {'served':>6} {'CPU µs':>8} {'msg/s':>9} {'p50 µs':>8} {'p99 µs':>8}")
        for name in sorted({row["server"] for row in found}, key=ORDER.index):
            mine = [row for row in found if row["server"] == name]
            middle = {key: median([row[key] for row in mine])
                      for key in ("served", "cpu_us", "rate", "p50_us", "p99_us")}
            print(f"  {name:20} {middle['served']:6.0f} {middle['cpu_us']:8.2f} "
                  f"{middle['rate']:9.0f} {middle['p50_us']:8.0f} {middle['p99_us']:8.0f}")


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="./dev bench models", description="Runs every program of examples/models on one load "
        "in turn, and tells what a message costs the server; or shows what is often said of them.")
    parser.add_argument("shown", nargs="*", metavar="NAME",
                        help="show this instead of measuring: " + ", ".join(SHOWN) + ", or all")
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="MODEL,...")
    parser.add_argument("--cases", type=lambda text: text.split(","), metavar="CASE,...",
                        help=", ".join(case.name for case in CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.2 s")
    parser.add_argument("--nice", type=int, default=0, metavar="N")
    parser.add_argument("--docs", action="store_true",
                        help="write the tables and pictures of docs/models.md")
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.seconds = 3, 0.2
    for name in args.shown:
        if name != "all" and name not in SHOWN:
            parser.error(f"nothing is shown as {name}")
    return args


def main(argv):
    args = parse(argv)
    if args.shown:
        return show(SHOWN if "all" in args.shown else args.shown)
    process.nice = args.nice
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    results = {"machine": machine.facts(root), "date": time.strftime("%Y-%m-%d %H:%M"),
               "rounds": args.rounds, "seconds": args.seconds}
    with tempfile.TemporaryDirectory(prefix="weir-models-") as folder:
        results["rows"], results["failed"], results["calls"] = measure(args, folder)
    results["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    tell(results["rows"])
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    if args.docs:
        models_page.write(os.path.join(root, "docs"), results, CASES, ORDER)
    return 0 if results["rows"] else 1


def show(names):
    """0 when all came out as the page says, 77 when none could be shown here."""
    ends = []
    for name in names:
        print(f"\n{name}: {SHOWN[name].__doc__.strip()}", flush=True)
        ends.append(SHOWN[name]())
    return 1 if 1 in ends else 77 if set(ends) == {77} else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
