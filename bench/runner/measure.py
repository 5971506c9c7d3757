"""Alternation: every candidate once, then again, so that what disturbs the machine disturbs all."""
import os
import shutil
import subprocess
import sys
import time

from .load import LOADS, LoadError
from .process import Server, free_port


def say(text):
    print(text, file=sys.stderr, flush=True)


def once(job, candidate, place, seconds):
    """One run on a fresh server. A row of the results."""
    port = free_port()
    log = f"{place.run}/server.log"
    with Server(candidate.argv(place, port), port, candidate.env, log) as server:
        out = LOADS[job.load](job, candidate, server, place, seconds)
        rss = server.resident_kb()
    wall = max(1, out["wall_ns"])
    requests = max(1, out["requests"])
    return {
        "bench": job.name, "server": candidate.name, "backend": candidate.backend,
        "conns": job.conns, "pipeline": job.depth, "size": job.size,
        "requests": out["requests"], "rps": round(out["requests"] * 1e9 / wall, 1),
        "cpu_us": round(out["cpu_ns"] / requests / 1000, 4),
        "p50_us": out["p50_us"], "p99_us": out["p99_us"], "rss_kb": rss,
        "switches": round(out["switches"] / requests, 5), "syscalls": None,
        "server_cpu": round(out["cpu_ns"] / wall, 3),
        "load_cpu": round(out["load_cpu_ns"] / wall, 3),
        "cpu0_busy": round(out["busy_ns"] / wall, 3),
        "cpu0_softirq": round(out["softirq_ns"] / wall, 3),
    }


def count_syscalls(job, candidate, place):
    """System calls per request, from a run of its own, because counting costs time: the number of
    passes of the kernel's tracepoint, or None where it cannot be had (perf, root)."""
    port, out = free_port(), f"{place.run}/perf.txt"
    with Server(candidate.argv(place, port), port, candidate.env,
                f"{place.run}/server.log") as server:
        pids = ",".join(map(str, server.pids()))
        perf = subprocess.Popen(["perf", "stat", "-x", ",", "-e", "raw_syscalls:sys_enter",
                                 "-o", out, "-p", pids],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.3)  # it has attached by then
        load = LOADS[job.load](job, candidate, server, place, 0.5, 0)
        perf.send_signal(2)
        perf.wait()
    with open(out, encoding="ascii", errors="replace") as file:
        for line in file:
            if "raw_syscalls" in line and line.split(",")[0].isdigit():
                return round(int(line.split(",")[0]) / max(1, load["requests"]), 4)
    return None


def add_syscalls(job, candidates, place, rows):
    if os.geteuid() != 0 or not shutil.which("perf"):
        say(f"bench: {job.name}: system calls are not counted: that needs perf and root")
        return
    for candidate in candidates:
        try:
            calls = count_syscalls(job, candidate, place)
        except (LoadError, RuntimeError, OSError) as error:
            say(f"bench: {job.name}: system calls of {candidate.name} not counted: {error}")
            continue
        for row in rows:
            if row["server"] == candidate.name:
                row["syscalls"] = calls


def alternate(job, candidates, place, pairs, seconds):
    """`pairs` rounds over the candidates; returns the rows, each with its round."""
    rows, failed = [], {}
    for turn in range(pairs):
        for candidate in candidates:
            if candidate.name in failed:
                continue
            try:
                row = once(job, candidate, place, seconds)
            except (LoadError, RuntimeError, OSError) as error:
                failed[candidate.name] = str(error)
                say(f"bench: {job.name}: {candidate.name} FAILED and is left out: {error}")
                continue
            rows.append({**row, "round": turn})
        say(f"bench: {job.name}: round {turn + 1} of {pairs}")
    return [row for row in rows if row["server"] not in failed], failed
