"""One to several loops: what a request costs, and how many there are, when a server has more of them."""
import json
import os
import subprocess
import time

from . import goals, servers
from .load import LoadError
from .measure import say
from .process import Server, free_port, on_cpu
from .stats import median

CONNS = 64  # for each loop


def split(loops, cpus):
    """The CPUs of the server, one for each loop, and those of the load: the others, or all where there
    are none left."""
    ours = cpus[:loops]
    return ours, cpus[loops:] or cpus


def counts(cpus):
    """1, 2, 4 ... as far as there are CPUs."""
    return [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= cpus]


class Loops:
    """weir's echo with a loop for each CPU that it is given. Where the machine has too few CPUs for
    server and load, they share, and the table says so: then the cost of a request is what is to be
    looked at, not their number."""
    name = bench = "loops"
    quick = False
    title = "64-byte echo, one to several loops, 64 connections for each"
    candidates = [servers.weir(name, "weir_echo", job="echo") for name in ("uring", "epoll")]
    seconds = 1

    def run(self, candidates, place, pairs, results):
        rows, cpus = [], sorted(os.sched_getaffinity(0))
        for turn in range(min(pairs, 5)):
            for candidate in candidates:
                for loops in counts(len(cpus)):
                    try:
                        rows.append({**self.once(candidate, place, loops, cpus), "round": turn})
                    except (LoadError, RuntimeError, OSError) as error:
                        say(f"bench: loops: {candidate.name} with {loops} FAILED: {error}")
                        results["failed"].append({"bench": self.name, "why": str(error),
                                                  "server": f"{candidate.name} with {loops} loops"})
            say(f"bench: loops: round {turn + 1} of {min(pairs, 5)}")
        results["rows"] += rows

    def once(self, candidate, place, loops, cpus):
        port = free_port()
        ours, others = split(loops, cpus)
        with Server([*candidate.argv(place, port), str(loops)], port, candidate.env,
                    f"{place.run}/server.log", cpus=ours) as server:
            before = server.account()
            run = self.load(place, port, loops, others)
            after = server.account()
        requests, seconds = max(1, run["counts"]["requests"]), run["measured_ns"] / 1e9
        return {"bench": self.name, "date": time.strftime("%Y-%m-%d"),
                "server": candidate.name, "backend": candidate.backend or place.auto,
                "loops": loops, "shared": bool(set(ours) & set(others)), "conns": CONNS * loops,
                "rps": round(requests / seconds), "p99_us": run["service"]["p99_ns"] / 1000,
                "cpu_us": round((after["cpu_ns"] - before["cpu_ns"]) / requests / 1000, 4),
                "server_cpu": round((after["cpu_ns"] - before["cpu_ns"]) / 1e9 / seconds, 3)}

    def load(self, place, port, loops, cpus):
        path = f"{place.run}/loops.json"
        done = subprocess.run(
            [f"{place.bin}/../weir", "bench", "tcp", "rr", "--plain", "-q", "-t", str(len(cpus)), "-c",
             str(CONNS * loops), "-d", f"{self.seconds}s", "--json", path, f"tcp://127.0.0.1:{port}"],
            capture_output=True, text=True, check=False, preexec_fn=on_cpu(*cpus), timeout=60)
        if done.returncode != 0:
            raise LoadError(done.stderr.strip()[-300:] or "weir bench failed")
        with open(path, encoding="utf-8") as file:
            run = json.load(file)["runs"][0]
        if run["errors"]["all"]:
            raise LoadError(f"weir bench counted {run['errors']}")
        return run


def table(rows, title):
    lines = [f"### loops: {title}", "", f"Medians. Measured on {rows[0]['date']}.", "",
             "| server | loops | CPUs | requests/s | CPU µs per request | × one loop | CPUs used "
             "| p99 µs |", "|---|---|---|---|---|---|---|---|"]
    for name, own in goals.by_server(rows).items():
        first = [row for row in own if row["loops"] == 1]
        for loops in sorted({row["loops"] for row in own}):
            group = [row for row in own if row["loops"] == loops]
            ratios = goals.ratios(group, first)
            lines.append(
                f"| {name} | {loops} | {'shared with the load' if group[0]['shared'] else 'its own'} "
                f"| {median([row['rps'] for row in group]):,.0f} "
                f"| {median([row['cpu_us'] for row in group]):.3f} "
                f"| {f'{median(ratios):.3f}' if ratios else ''} "
                f"| {median([row['server_cpu'] for row in group]):.2f} "
                f"| {median([row['p99_us'] for row in group]):,.0f} |")
    return "\n".join(lines) + "\n"
