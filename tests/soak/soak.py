#!/usr/bin/env python3
"""Runs `weir serve` under a mixed load for an hour and looks at what it holds.

    soak.py run WEIR [--backend uring] [--seconds 3600] [--out FILE.json]
    soak.py docs FILE.json... > docs/soak.md

The load is varied rather than heavy. Every minute the server's memory, descriptors, and counters are
noted; now and then the load pauses until every connection is gone, and that is compared with the
first such pause, behind the warm-up. WEIR_SOAK_S sets the seconds, too. Exits with 1 when anything
was wrong: an answer, a growth, a log line lost."""
import argparse
import asyncio
import json
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from client import make_files
from load import Load


class Server:
    def __init__(self, weir, backend, folder):
        self.weir = weir
        self.log = os.path.join(folder, "access.log")
        self.ctl_path = os.path.join(folder, "ctl")
        self.lines = 0
        www = os.path.join(folder, "www")
        os.mkdir(www)
        self.files = make_files(www)
        self.errors = open(os.path.join(folder, "stderr"), "w+")
        self.process = subprocess.Popen(
            [weir, "serve", "--listen", "http://127.0.0.1:0", "--backend", backend, "--loops", "2",
             "--listing", "--idle", "20s", "--header-timeout", "5s", "--access-log", self.log,
             "--ctl", self.ctl_path, www], stdin=subprocess.DEVNULL, stderr=self.errors)
        for _ in range(400):
            found = re.search(r"on http://127\.0\.0\.1:(\d+)", self.said())
            if found and os.path.exists(self.ctl_path):
                break
            time.sleep(0.05)
        assert found, f"it did not start: {self.said()}"
        self.port = int(found[1])

    def said(self):
        with open(self.errors.name) as file:
            return file.read()

    def stats(self):
        done = subprocess.run([self.weir, "ctl", "--json", "--socket", self.ctl_path, "stats"],
                              capture_output=True, text=True, timeout=30, check=True)
        return json.loads(done.stdout)["sum"]

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        folder = f"/proc/{self.process.pid}/fd"
        out = []
        for name in os.listdir(folder):
            try:
                out.append(os.readlink(os.path.join(folder, name)))
            except FileNotFoundError:
                pass  # closed meanwhile
        return sorted(out)

    def sample(self, kind, began):
        with open(f"/proc/{self.process.pid}/smaps_rollup") as file:
            rss_kib = int(re.search(r"^Rss:\s+(\d+) kB", file.read(), re.M)[1])
        stats = self.stats()
        return {"kind": kind, "at_s": round(time.monotonic() - began), "rss_kib": rss_kib,
                "descriptors": len(self.descriptors()),
                "threads": len(os.listdir(f"/proc/{self.process.pid}/task")),
                "conns": stats["conns"], "memory_bytes": stats["memory_bytes"],
                "memory_held_bytes": stats["memory_held_bytes"],
                "cpu_s": round(self.cpu_s(), 2), "accepted": stats["accepted"],
                "requests": stats["http_requests"], "sent_bytes": stats["sent_bytes"],
                "log_lost": stats["http_log_lost"]}

    def rotate(self):
        """Has the access log begun anew, and counts the lines of the old one."""
        os.rename(self.log, self.log + ".old")
        self.process.send_signal(signal.SIGUSR1)
        for _ in range(200):
            if os.path.exists(self.log):
                break
            time.sleep(0.05)
        time.sleep(1)  # what was on its way to the old one
        self.count(self.log + ".old")

    def count(self, path):
        with open(path, "rb") as file:
            self.lines += sum(1 for _ in file)
        os.unlink(path)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.count(self.log)
        return code


async def quiet(server, began, settle_s):
    """Behind load: waits until every connection is gone and memory is given back."""
    end = time.monotonic() + 60 + settle_s
    await asyncio.sleep(settle_s)
    while True:
        sample = server.sample("quiet", began)
        if sample["conns"] <= 1 and sample["memory_bytes"] == 0 or time.monotonic() > end:
            await asyncio.sleep(1)  # the connection of `weir ctl` is closed by now
            sample["descriptors"] = len(server.descriptors())
            sample["open"] = server.descriptors()
            return sample
        await asyncio.sleep(1)


async def samples_while(server, began, every_s, out, stop):
    while not stop.is_set():
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except asyncio.TimeoutError:
            out.append(await asyncio.to_thread(server.sample, "load", began))


async def soak(server, seconds, say):
    """The warm-up and four stretches of load, a quiet look behind each."""
    began = time.monotonic()
    load = Load(server.port, server.files, 42)
    warm_s = min(300, seconds / 5)
    settle_s = 15 if seconds >= 600 else 5
    every_s = max(5, min(60, seconds / 20))
    stretches = 4 if seconds >= 600 else 1
    samples = []
    for stretch in range(stretches + 1):
        stop = asyncio.Event()
        sampler = asyncio.create_task(samples_while(server, began, every_s, samples, stop))
        await load.run(warm_s if stretch == 0 else (seconds - warm_s) / stretches)
        stop.set()
        await sampler
        await asyncio.to_thread(server.rotate)
        samples.append(await quiet(server, began, settle_s))
        say(f"{json.dumps(samples[-1])} wrong: {len(load.wrong)}")
    return samples, load


def judge(samples, load, server, code, short):
    """What is not as it must be."""
    wrong = list(load.wrong)
    rest = [sample for sample in samples if sample["kind"] == "quiet"]
    warm, end = rest[0], rest[-1]
    # A short run has not used every receive block of each loop by the end of its warm-up (2 MiB a
    # loop on uring), nor seen every thread's stack. A sanitizer keeps memory of its own.
    slack_kib = 8192 if short else 1024
    if end["rss_kib"] > warm["rss_kib"] + slack_kib and not os.environ.get("WEIR_SANITIZE"):
        wrong.append(f"resident memory grew from {warm['rss_kib']} to {end['rss_kib']} KiB")
    if end["descriptors"] > warm["descriptors"]:
        wrong.append(f"descriptors grew from {warm['open']} to {end['open']}")
    for sample in rest:
        if sample["conns"] > 1 or sample["memory_bytes"] != 0:
            wrong.append(f"left behind: {sample}")
    if end["memory_held_bytes"] > warm["memory_held_bytes"] + (1 << 20):
        wrong.append(f"pools grew from {warm['memory_held_bytes']} to {end['memory_held_bytes']}")
    if end["log_lost"]:
        wrong.append(f"{end['log_lost']} lines of the access log were lost")
    if server.lines < end["requests"]:
        wrong.append(f"{server.lines} lines in the access log for {end['requests']} requests")
    if code != 0:
        wrong.append(f"exit code {code}: {server.said()}")
    return wrong


def run(options):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    folder = tempfile.mkdtemp(prefix="weir-soak-")
    server = Server(os.path.abspath(options.weir), options.backend, folder)
    try:
        samples, load = asyncio.run(soak(server, options.seconds, lambda text: print(
            f"{options.backend}: {text}", flush=True)))
        code = server.stop()
    finally:
        if server.process.poll() is None:
            server.process.kill()
        said = server.said()
        shutil.rmtree(folder)
    server.said = lambda: said
    wrong = judge(samples, load, server, code, options.seconds < 600)
    version = subprocess.run([server.weir, "version"], capture_output=True, text=True).stdout
    result = {"backend": options.backend, "seconds": options.seconds, "done": load.done,
              "load_cpu_s": round(time.process_time(), 1), "log_lines": server.lines,
              "date": time.strftime("%Y-%m-%d"), "kernel": platform.release(),
              "version": version.split("\n")[0], "samples": samples, "wrong": wrong, "said": said}
    if options.out:
        with open(options.out, "w") as file:
            json.dump(result, file, indent=1)
    for text in wrong[:50]:
        print(f"{options.backend}: WRONG {text}")
    print(f"{options.backend}: {sum(load.done.values())} passes, {len(wrong)} wrong")
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("run")
    verb.add_argument("weir")
    verb.add_argument("--backend", default="auto")
    verb.add_argument("--seconds", type=int, default=int(os.environ.get("WEIR_SOAK_S", "3600")))
    verb.add_argument("--out")
    verb = verbs.add_parser("docs")
    verb.add_argument("results", nargs="+")
    options = parser.parse_args()
    if options.verb == "docs":
        from docs import page
        print(page(options.results), end="")
        return 0
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
