"""What a request costs the load generator: weir bench beside wrk, against the same server."""
import json
import os
import re
import subprocess
import time

from . import goals, load, servers
from .measure import say
from .process import LOAD_CPU, Server, free_port, on_cpu
from .stats import interval, median

CONNS = 64


def cpu_of(argv, env=None, prepare=None):
    """Runs a program to its end: what it printed, and the nanoseconds of CPU that its whole process
    had, from its start to its end. The kernel's account of it knows no clock: others that use the CPU
    too are not in it."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, **(env or {})}, preexec_fn=prepare) as process:
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise load.LoadError(out.strip()[-300:] or f"{argv[0]} failed")
    return out, round((usage.ru_utime + usage.ru_stime) * 1e9)


def _us(text):
    """wrk's way to write a time, in microseconds."""
    number, unit = re.match(r"([\d.]+)(us|ms|s|m)$", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}[unit]


def wrk(url, seconds, prepare=None):
    """{"requests", "cpu_ns", "p50_us", "p99_us"} of one thread of wrk. It knows whole seconds only."""
    out, cpu_ns = cpu_of(["wrk", "-t", "1", "-c", str(CONNS), "-d", f"{seconds}s", "--latency", url],
                         prepare=prepare)
    if "Non-2xx" in out or "Socket errors" in out:
        raise load.LoadError(out[-300:])
    at = dict(re.findall(r"^ +(50|99)% +(\S+)$", out, re.MULTILINE))
    return {"requests": int(re.search(r"^ *(\d+) requests in", out, re.MULTILINE).group(1)),
            "cpu_ns": cpu_ns, "p50_us": _us(at["50"]), "p99_us": _us(at["99"])}


def weir(program, url, seconds, path, backend="", prepare=None):
    """The same of one thread of weir bench http. `path`: where it may write its result."""
    _, cpu_ns = cpu_of([program, "bench", "http", "-q", "-t", "1", "-c", str(CONNS), "-d",
                        f"{seconds}s", "--json", path, url],
                       {"WEIR_BACKEND": backend} if backend else None, prepare)
    with open(path, encoding="utf-8") as file:
        run = json.load(file)["runs"][0]
    if run["errors"]["all"] or run["counts"]["status_2xx"] != run["counts"]["requests"]:
        raise load.LoadError(f"weir bench counted {run['errors']} and {run['counts']}")
    return {"requests": run["counts"]["requests"], "cpu_ns": cpu_ns,
            "p50_us": run["service"]["p50_ns"] / 1000, "p99_us": run["service"]["p99_ns"] / 1000}


class Generator:
    """Requests for each second of the generator's CPU, in turn against one server: weir's, which is
    started once and is not what is compared."""
    name = bench = "generator"
    quick = True
    title = "HTTP/1.1 tiny body, 64 keep-alive connections: what a request costs the generator"
    candidates = [servers.Candidate(f"weir-bench-{name}", "" if name == "auto" else name,
                                    ["{bin}/../weir"])
                  for name in ("auto", "uring", "epoll")]
    candidates.append(servers.Candidate("wrk", "epoll", ["wrk"], package="wrk"))
    goal, seconds = 1.3, 1

    def run(self, candidates, place, pairs, results):
        rows, port = [], free_port()
        server = servers.HTTP[0]
        with Server(server.argv(place, port), port, server.env, f"{place.run}/server.log"):
            for turn in range(pairs):
                for candidate in candidates:
                    try:
                        row = self.once(candidate, place, f"http://127.0.0.1:{port}/")
                    except (load.LoadError, OSError) as error:
                        say(f"bench: generator: {candidate.name} FAILED: {error}")
                        results["failed"].append({"bench": self.name, "server": candidate.name,
                                                  "why": str(error)})
                        return
                    rows.append({**row, "round": turn})
                say(f"bench: generator: round {turn + 1} of {pairs}")
        results["rows"] += rows
        results["goals"] += self.goals(rows)

    def once(self, candidate, place, url):
        prepare = on_cpu(LOAD_CPU)
        out = (wrk(url, self.seconds, prepare) if candidate.name == "wrk" else
               weir(candidate.command[0].format(bin=place.bin), url, self.seconds,
                    f"{place.run}/generator.json", candidate.backend, prepare))
        return {"bench": self.name, "date": time.strftime("%Y-%m-%d"), "server": candidate.name,
                "backend": candidate.backend or place.auto, "version": place.version(candidate),
                "conns": CONNS, "requests": out["requests"],
                "rps": round(out["requests"] / self.seconds),
                "cpu_us": round(out["cpu_ns"] / max(1, out["requests"]) / 1000, 4),
                "p50_us": out["p50_us"], "p99_us": out["p99_us"]}

    def goals(self, rows):
        groups, found = goals.by_server(rows), []
        for name, own in groups.items():
            if name == "wrk" or "wrk" not in groups:
                continue
            values = goals.ratios(groups["wrk"], own)
            low, high = interval(values)
            found.append({"bench": self.name, "server": name, "least": True, "limit": self.goal,
                          "against": "wrk, requests per second of the generator's CPU",
                          "ratio": round(median(values), 3), "low": round(low, 3),
                          "high": round(high, 3), "pairs": len(values),
                          "met": median(values) >= self.goal,
                          "certain": low >= self.goal or high < self.goal})
        return found


def table(rows, title):
    lines = [f"### generator: {title}", "",
             "One thread against the same server, weir's. Medians; the CPU is that of the generator's "
             "whole process.", "",
             "| generator | back end | version | CPU µs per request | requests per CPU second "
             "| requests/s | p50 µs | p99 µs |", "|---|---|---|---|---|---|---|---|"]
    groups = goals.by_server(rows)
    for name in sorted(groups, key=lambda name: goals.cost(groups[name])):
        own = groups[name]
        cost = goals.cost(own)
        lines.append(f"| {name} | {own[0]['backend']} | {own[0]['version']} | {cost:.3f} "
                     f"| {1e6 / cost:,.0f} | {median([row['rps'] for row in own]):,.0f} "
                     f"| {median([row['p50_us'] for row in own]):,.0f} "
                     f"| {median([row['p99_us'] for row in own]):,.0f} |")
    return "\n".join(lines) + "\n"
