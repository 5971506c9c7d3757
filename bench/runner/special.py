"""Jobs that are not a load: what idle connections cost, and what an idle server does."""
import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import replace

from . import servers
from .generator import Generator
from .goodput import Goodput
from .half import HalfLoad
from .load import LoadError
from .loops import Loops
from .measure import say
from .process import LOAD_CPU, Server, free_port, on_cpu
from .stats import median


class Memory:
    name = bench = "memory"
    quick = True
    title = "HTTP/1.1 keep-alive connections that are idle"
    # lighttpd takes no more connections than half its descriptors.
    candidates = [c for c in servers.HTTP
                  if c.name != "lighttpd" and not c.name.endswith(("-plain", "-new"))]
    conns = 15000
    record_goal, growth_goal = 128, 200

    def run(self, candidates, place, pairs, results):
        rows = []
        sizes = json.loads(subprocess.run([f"{place.bin}/record"], check=True, text=True,
                                          capture_output=True).stdout)
        for turn in range(1 if pairs <= 5 else 3):  # it hardly varies
            for candidate in candidates:
                try:
                    rows.append({**self.once(candidate, place), "round": turn})
                except (LoadError, RuntimeError, OSError) as error:
                    say(f"bench: memory: {candidate.name} FAILED: {error}")
                    results["failed"].append({"bench": self.name, "server": candidate.name,
                                              "why": str(error)})
        results["rows"] += rows
        results["record_bytes"] = sizes
        results["goals"] += self.goals(rows, sizes)

    def once(self, candidate, place):
        """Resident memory after one request, and again with all connections idle; then the same on
        a server whose buffers, which are the same for any number of connections, were all used."""
        before, after, kernel = self.grow(candidate, place, False)
        warm_before, warm_after, _ = self.grow(candidate, place, True)
        return {"bench": self.name, "server": candidate.name,
                "backend": candidate.backend or place.auto, "conns": self.conns,
                "rss_kb": after, "rss_before_kb": before,
                "growth_bytes": round((after - before) * 1024 / self.conns, 1),
                "warm_bytes": round((warm_after - warm_before) * 1024 / self.conns, 1),
                "kernel_bytes": round(kernel * 1024 / self.conns)}

    def grow(self, candidate, place, warm):
        port = free_port()
        with Server(candidate.argv(place, port), port, candidate.env,
                    f"{place.run}/server.log") as server:
            with Held(place, port, 1, candidate.path):
                pass
            if warm:
                use_buffers(port, candidate.path)
            time.sleep(0.2)
            before, kernel = server.resident_kb(), kernel_kb()
            with Held(place, port, self.conns, candidate.path):
                time.sleep(0.5)
                return before, server.resident_kb(), kernel_kb() - kernel

    def goals(self, rows, sizes):
        found = [{"bench": self.name, "server": "weir", "against": "bytes of the record",
                  "ratio": sizes["conn"], "limit": self.record_goal, "low": sizes["conn"],
                  "high": sizes["conn"], "met": sizes["conn"] == self.record_goal,
                  "certain": True}]
        for name in dict.fromkeys(row["server"] for row in rows):
            if not name.startswith("weir"):
                continue
            for key, text in (("growth_bytes", "resident bytes per idle connection"),
                              ("warm_bytes", "the same when all buffers were used before")):
                values = [row[key] for row in rows if row["server"] == name]
                growth = median(values)
                found.append({"bench": self.name, "server": name, "against": text,
                              "ratio": growth, "limit": self.growth_goal, "low": min(values),
                              "high": max(values), "met": growth <= self.growth_goal,
                              "certain": (max(values) <= self.growth_goal
                                          or min(values) > self.growth_goal)})
        return found


def use_buffers(port, path):
    """Requests of 6 KiB, 4 MiB in all."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    for _ in range(700):
        client.request("GET", path, headers={"X-Filling": "x" * 6000})
        client.getresponse().read()
    client.close()


class Held:
    """Connections held by a process of their own, because of its limit of descriptors."""

    def __init__(self, place, port, conns, path):
        self.conns = conns
        self.process = subprocess.Popen([f"{place.bin}/hold", str(port), str(conns), path], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, preexec_fn=on_cpu(LOAD_CPU),
                                        start_new_session=True)

    def __enter__(self):
        if self.process.stdout.readline() != f"held {self.conns}\n":
            raise LoadError("the connections could not be opened: " + self.process.communicate()[1])
        return self

    def __exit__(self, *_):
        self.process.communicate("")


def kernel_kb():
    """The kernel's slabs: of the whole machine, so only differences mean something."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(re.search(r"^Slab:\s+(\d+)", file.read(), re.MULTILINE).group(1))


class Idle:
    """All servers at once: none of them has anything to do. They are watched some time after their
    last request, because weir gives a burst's memory back seconds after it."""
    name = bench = "idle"
    quick = True
    title = "system calls of an idle server in 5 s"
    candidates = Memory.candidates
    settle, seconds = 12, 5

    def run(self, candidates, place, pairs, results):
        if not shutil.which("strace"):
            say("bench: SKIPPED idle: strace is not there (./dev bench --setup)")
            return
        with contextlib.ExitStack() as stack:
            watched = []
            for candidate in candidates:
                try:
                    watched.append((candidate, self.start(candidate, place, stack)))
                except (LoadError, RuntimeError, OSError) as error:
                    say(f"bench: idle: {candidate.name} FAILED: {error}")
                    results["failed"].append({"bench": self.name, "server": candidate.name,
                                              "why": str(error)})
            time.sleep(self.settle)
            rows = self.watch(watched, place)
        results["rows"] += rows
        results["goals"] += [
            {"bench": self.name, "server": row["server"], "against": "system calls in 5 s",
             "ratio": row["syscalls"], "limit": 0, "low": row["syscalls"],
             "high": row["syscalls"], "met": row["syscalls"] == 0, "certain": True}
            for row in rows if row["server"].startswith("weir")]

    @staticmethod
    def start(candidate, place, stack):
        port, run = free_port(), os.path.join(place.run, candidate.name)
        os.mkdir(run)
        own = replace(place, run=run)
        server = stack.enter_context(Server(candidate.argv(own, port), port, candidate.env,
                                            f"{run}/server.log"))
        with Held(place, port, 1, candidate.path):
            pass
        return server

    def watch(self, watched, place):
        """Calls are counted from a second after strace came: attaching to a waiting process makes
        its wait return once, with EINTR."""
        traces = [strace(server, f"{place.run}/{candidate.name}/trace")
                  for candidate, server in watched]
        time.sleep(1)
        before, start = [server.account() for _, server in watched], time.time()
        time.sleep(self.seconds)
        after, end = [server.account() for _, server in watched], time.time()
        for process in traces:
            process.terminate()
            process.wait()
        rows = []
        for (candidate, _), first, last in zip(watched, before, after):
            with open(f"{place.run}/{candidate.name}/trace", encoding="ascii",
                      errors="replace") as file:
                calls = [line.rstrip() for line in file
                         if start <= float(line.split()[1]) < end and "(" in line]
            rows.append({"bench": self.name, "server": candidate.name,
                         "backend": candidate.backend or place.auto, "syscalls": len(calls),
                         "calls": calls[:20], "cpu_us": (last["cpu_ns"] - first["cpu_ns"]) / 1000})
        return rows


def strace(server, path):
    pids = [part for pid in server.pids() for part in ("-p", str(pid))]
    process = subprocess.Popen(["strace", "-q", "-f", "-ttt", "-o", path] + pids,
                               stderr=subprocess.PIPE, text=True)
    time.sleep(0.2)
    if process.poll() is not None:
        raise RuntimeError("strace could not watch: " + process.stderr.read()[-200:])
    return process


SPECIAL = [Memory(), Idle(), HalfLoad(), Goodput(), Generator(), Loops()]
