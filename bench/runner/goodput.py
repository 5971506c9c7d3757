"""Goodput: what a server still does when twice as much is asked of it as it can do."""
import json
import os
import subprocess
import time

from . import load, servers
from .measure import say
from .process import LOAD_CPU, Server, free_port, on_cpu
from .stats import median


def open_loop(place, server, candidate, rate, seconds, warm_s, patience_s, close):
    """What open_load printed: requests at a rate of their own, and what became of them."""
    argv = [f"{place.bin}/open_load", "-a", server.port, "-t", seconds, "-w", warm_s,
            "-p", ",".join(map(str, server.pids())), "-u", candidate.path,
            *(["-k"] if close else [])]
    env = {**os.environ, "OPEN_LOAD_RATE": str(rate), "OPEN_LOAD_PATIENCE_S": str(patience_s)}
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, env=env,
                          check=False, preexec_fn=on_cpu(LOAD_CPU), start_new_session=True,
                          timeout=60)
    if done.returncode != 0:
        raise load.LoadError(done.stderr.strip()[-300:] or "open_load failed")
    first, second = done.stdout.strip().splitlines()
    return {**json.loads(first), **json.loads(second)}


class Shape:
    """What load.http asks of a job."""
    conns, depth, size = 64, 1, 20

    def __init__(self, close):
        self.close = close


class Goodput:
    """The peak is what a closed loop of 64 connections gets; then requests come in an open loop at
    twice that rate, from users with a second of patience. The answers that come whole, with status
    200, and in time are the goodput. As everywhere here it is compared by the second of the server's
    CPU: on a shared machine others take some of it, more in one run than in another."""
    name = bench = "goodput"
    quick = False
    title = "HTTP/1.1, 0.5 ms of work a request, asked at twice the peak"
    candidates = [servers.weir(name, path="/work") for name in ("auto", "uring", "epoll")]
    goal = 0.9
    patience_s, warm_s, seconds = 1, 4, 3

    def run(self, candidates, place, pairs, results):
        rows = []
        for turn in range(3 if pairs <= 5 else 5):
            for close in (False, True):
                for candidate in candidates:
                    try:
                        rows.append({**self.once(candidate, place, close), "round": turn})
                    except (load.LoadError, RuntimeError, OSError) as error:
                        say(f"bench: goodput: {candidate.name} FAILED: {error}")
                        results["failed"].append({"bench": self.name, "server": candidate.name,
                                                  "why": str(error)})
            say(f"bench: goodput: round {turn + 1}")
        results["rows"] += rows
        results["goals"] += self.goals(rows)

    def once(self, candidate, place, close):
        port, shape = free_port(), Shape(close)
        with Server(candidate.argv(place, port), port, candidate.env,
                    f"{place.run}/server.log") as server:
            peak = load.http(shape, candidate, server, place, 2)
            peak_rps = peak["requests"] * 1e9 / peak["wall_ns"]
            out = open_loop(place, server, candidate, 2 * peak_rps, self.seconds, self.warm_s,
                            self.patience_s, close)
            again = load.http(shape, candidate, server, place, 1)
        return {"bench": self.name, "date": time.strftime("%Y-%m-%d"), "server": candidate.name,
                "backend": candidate.backend or place.auto,
                "close": close, "peak_rps": round(peak_rps),
                "peak_cpu": round(peak["cpu_ns"] / peak["wall_ns"], 3),
                "again_rps": round(again["requests"] * 1e9 / again["wall_ns"]),
                **{name: round(out[name] * 1e9 / out["wall_ns"])
                   for name in ("came", "good", "late", "refused", "failed", "unsent")},
                "p50_us": out["p50_us"], "p99_us": out["p99_us"],
                "cpu0_softirq": round(out["softirq_ns"] / out["wall_ns"], 3),
                "server_cpu": round(out["cpu_ns"] / out["wall_ns"], 3),
                "load_cpu": round(out["load_cpu_ns"] / out["wall_ns"], 3)}

    def goals(self, rows):
        found = []
        for name, close in sorted({(row["server"], row["close"]) for row in rows}):
            own = [row["good"] / row["server_cpu"] * row["peak_cpu"] / row["peak_rps"] for row in rows
                   if (row["server"], row["close"]) == (name, close)]
            text = "its peak, by CPU, " + ("a connection a request" if close else "keep-alive")
            found.append({"bench": self.name, "server": name + "'s goodput", "against": text,
                          "ratio": round(median(own), 3), "limit": self.goal, "least": True,
                          "low": round(min(own), 3), "high": round(max(own), 3),
                          "met": median(own) >= self.goal,
                          "certain": min(own) >= self.goal or max(own) < self.goal})
        return found


def table(rows, title):
    lines = [f"### goodput: {title}", "",
             "Requests a second, medians: at their peak in a closed loop, asked in the open loop, "
             "answered whole and in",
             "time (a second), refused with 503, given up by the client, and in the closed loop again "
             "afterwards. Server",
             "CPU: at the peak, and when asked for too much; the load then keeps its own CPU busy, and "
             "what else runs",
             f"on the machine goes to the server's. Measured on {rows[0]['date']}.", "",
             "| server | connections | peak | asked | good | refused | given up | failed | p50 ms "
             "| p99 ms | peak afterwards | server CPU at peak | server CPU | softirq beside it | load CPU |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for name, close in sorted({(row["server"], row["close"]) for row in rows}):
        own = [row for row in rows if (row["server"], row["close"]) == (name, close)]
        figures = [f"{median([row[key] for row in own]):,.0f}"
                   for key in ("peak_rps", "came", "good", "refused", "late", "failed")]
        times = [f"{median([row[key] for row in own]) / 1000:,.0f}" for key in ("p50_us", "p99_us")]
        after = f"{median([row['again_rps'] for row in own]):,.0f}"
        cpu = [f"{median([row[key] for row in own]):.0%}" for key in
               ("peak_cpu", "server_cpu", "cpu0_softirq", "load_cpu")]
        kind = "one a request" if close else "kept alive"
        lines.append("| " + " | ".join([name, kind, *figures, *times, after, *cpu]) + " |")
    return "\n".join(lines) + "\n"
