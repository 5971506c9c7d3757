"""Alternation: every candidate once, then again, so that what disturbs the machine disturbs all."""
import shutil
import sys

from .load import LOADS, LoadError, measured_s, warm_s
from .process import Server, free_port

TRACED_S = 0.3     # of the run that counts system calls
AROUND_S = 0.35    # starting a server and ending it, and its load
OPENING_S = 60e-6  # a connection


def say(text):
    print(text, file=sys.stderr, flush=True)


def _measured(job, candidate, place, seconds, trace=None):
    """One run on a fresh server: what the load printed."""
    port = free_port()
    with Server(candidate.argv(place, port), port, candidate.env,
                f"{place.run}/server.log", place.host) as server:
        return LOADS[candidate.load or job.load](job, candidate, server, place, seconds, trace)


def once(job, candidate, place, seconds):
    """A row of the results."""
    out = _measured(job, candidate, place, seconds)
    wall = max(1, out["wall_ns"])
    requests = max(1, out["requests"])
    return {
        "bench": job.bench, "case": job.name, "server": candidate.name,
        "backend": candidate.backend or place.auto, "version": place.version(candidate),
        "conns": job.conns, "pipeline": job.depth, "size": job.size,
        "requests": out["requests"], "rps": round(out["requests"] * 1e9 / wall, 1),
        "cpu_us": round(out["cpu_ns"] / requests / 1000, 4),
        "p50_us": out["p50_us"], "p99_us": out["p99_us"], "rss_kb": out["rss_kb"],
        "switches": round(out["switches"] / requests, 5), "syscalls": None,
        "busy_us": round(out["busy_ns"] / requests / 1000, 4),
        "softirq_us": round(out["softirq_ns"] / requests / 1000, 4),
        "server_cpu": round(out["cpu_ns"] / wall, 3),
        "load_cpu": round(out["load_cpu_ns"] / wall, 3),
        "cpu0_busy": round(out["busy_ns"] / wall, 3),
        "cpu0_softirq": round(out["softirq_ns"] / wall, 3),
    }


def parse_strace(text):
    """The table of `strace -c` as calls by name."""
    calls = {}
    for line in text.splitlines():
        part = line.split()
        # % time, seconds, usecs/call, calls, [errors,] name
        if len(part) >= 5 and part[0][:1].isdigit() and part[3].isdigit() and part[-1] != "total":
            calls[part[-1]] = int(part[3])
    return calls


def count_syscalls(job, candidate, place):
    """System calls per request, and by name, from a run of its own, because counting costs time:
    strace attaches when the load has warmed up, so that neither start nor accepting are in it."""
    path = f"{place.run}/strace.txt"
    out = _measured(job, candidate, place, TRACED_S, path)
    if candidate.load:
        return None, {}
    with open(path, encoding="ascii", errors="replace") as file:
        calls = parse_strace(file.read())
    requests = max(1, out["requests"])
    most = sorted(calls, key=calls.get, reverse=True)[:4]
    return (round(sum(calls.values()) / requests, 4),
            {name: round(calls[name] / requests, 4) for name in most})


def add_syscalls(job, candidates, place, rows):
    if job.load in ("wrk", "resp", "https") or not shutil.which("strace"):
        say(f"bench: {job.name}: system calls are not counted: that needs strace and our own load")
        return
    for candidate in candidates:
        if candidate.load:
            continue  # its load knows nothing of strace
        try:
            calls, by_name = count_syscalls(job, candidate, place)
        except (LoadError, RuntimeError, OSError) as error:
            say(f"bench: {job.name}: system calls of {candidate.name} not counted: {error}")
            continue
        first = True
        for row in rows:
            if row["server"] == candidate.name:
                row["syscalls"] = calls
                if first:
                    row["calls"], first = by_name, False


def alternate(job, candidates, place, pairs, seconds):
    """`pairs` rounds over the candidates; returns the rows, each with its round."""
    rows, failed = [], {}
    for turn in range(pairs):
        for candidate in candidates:
            if candidate.name in failed:
                continue
            try:
                row = once(job, candidate, place, seconds)
            except (LoadError, RuntimeError, OSError, ValueError) as error:
                failed[candidate.name] = str(error)
                say(f"bench: {job.name}: {candidate.name} FAILED and is left out: {error}")
                continue
            rows.append({**row, "round": turn})
        say(f"bench: {job.name}: round {turn + 1} of {pairs}")
    return [row for row in rows if row["server"] not in failed], failed


def expected_s(job, candidates, pairs, seconds, traced):
    """About how long a job takes: said beforehand."""
    total = 0
    for candidate in candidates:
        around = AROUND_S + warm_s(job, candidate, seconds) + job.conns * OPENING_S
        run = max(1, round(seconds)) if candidate.load else measured_s(job, seconds)
        total += pairs * (run + around)
        if traced and not candidate.load:
            total += TRACED_S + 1 + around
    return total


