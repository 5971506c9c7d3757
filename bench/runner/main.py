"""The command line of ./dev bench."""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

from . import goals, machine, measure, process, report, servers, veth
from .jobs import CORE_JOBS, CORE_SERVERS, JOBS
from .special import SPECIAL

ROOT = os.path.dirname(servers.HERE)


SCHEMA = 2


@dataclass
class Place:
    bin: str        # where the programs are
    run: str        # scratch, for configurations and logs
    root: str       # the folder that is served
    auto: str = ""  # the back end that weir takes of itself
    host: str = servers.LOOPBACK  # where the servers listen
    enter: list = field(default_factory=list)  # what runs a command where they are
    versions: dict = field(default_factory=dict)

    def version(self, candidate):
        """Asked of dpkg once; weir's own stands at the head of the page."""
        if candidate.name not in self.versions:
            self.versions[candidate.name] = candidate.version()
        return self.versions[candidate.name]


def parse(argv):
    names = list(dict.fromkeys(name for job in JOBS + SPECIAL for name in (job.bench, job.name)))
    parser = argparse.ArgumentParser(
        prog="./dev bench", description="Compares weir with bare loops, libraries and servers: "
        "server CPU per request and throughput, alternating runs, medians.",
        epilog="jobs: " + " ".join(names))
    parser.add_argument("names", nargs="*", metavar="NAME", help="jobs (default: all)")
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true",
                        help="3 short rounds of fewer cases: about ten minutes")
    effort.add_argument("--full", action="store_true",
                        help="25 rounds of everything, Debian 13's rivals too: some hours")
    effort.add_argument("--core", action="store_true",
                        help="15 rounds of what the first goals compare: about 20 minutes")
    parser.add_argument("--pairs", type=int, metavar="N", help="rounds (default 15)")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each run (default 0.3)")
    parser.add_argument("--only", metavar="A,B", help="only these servers")
    parser.add_argument("--newer", action="store_true",
                        help="with the rivals from Debian 13 (--setup --newer)")
    parser.add_argument("--json", metavar="FILE", help="results (default: bench/results/DATE.json)")
    parser.add_argument("--docs", action="store_true",
                        help="also write docs/benchmarks.md and bench/results/reference.json")
    parser.add_argument("--wrk", action="store_true", help="wrk as the load of the HTTP jobs")
    parser.add_argument("--nice", type=int, default=0, metavar="N",
                        help="priority of servers and loads (as root: -10 on a busy machine)")
    parser.add_argument("--congestion", metavar="NAME",
                        help="run in a network namespace of its own with this congestion control "
                        "(as root): reno, where the default is bbr")
    parser.add_argument("--render", metavar="FILE",
                        help="write docs/benchmarks.md again from results, and end")
    parser.add_argument("--list", action="store_true", help="list the jobs and their servers")
    parser.add_argument("--setup", action="store_true",
                        help="install the Debian packages that the rivals need, then end; with "
                        "--newer also Debian 13's rivals, into build/newer")
    args = parser.parse_args(argv)
    wrong = [name for name in args.names if name not in names]
    if wrong:
        parser.error(f"no job {wrong[0]}; there are: {' '.join(names)}")
    servers_known = {one.name for job in JOBS + SPECIAL for one in job.candidates}
    wrong = [name for name in (args.only or "").split(",") if name and name not in servers_known]
    if wrong:
        parser.error(f"no server {wrong[0]}; there are: {' '.join(sorted(servers_known))}")
    args.pairs = args.pairs or (3 if args.quick else 25 if args.full else 15)
    args.seconds = args.seconds or (1.0 if args.full or args.core else 0.3)
    args.newer = args.newer or args.full
    process.nice = args.nice
    return args


def chosen(args, jobs):
    """The cases that were asked for: a job's name stands for all of its cases."""
    if args.names:
        return [job for job in jobs if job.name in args.names or job.bench in args.names]
    if args.core:
        return [job for job in jobs if job.name in CORE_JOBS]
    return [job for job in jobs if job.quick or not args.quick]


def wanted(candidate, args):
    if args.only:
        return candidate.name in args.only.split(",")
    if args.core:
        return candidate.name in CORE_SERVERS
    return args.newer or not candidate.newer


def present(job, args, place, results):
    """The candidates of a job that can run; the others are named, loudly."""
    out = []
    for candidate in job.candidates:
        if not wanted(candidate, args):
            continue
        why = candidate.missing(place)
        if why:
            if not any(known["server"] == candidate.name for known in results["skipped"]):
                measure.say(f"bench: SKIPPED {candidate.name}: {why}")
            results["skipped"].append({"bench": job.name, "server": candidate.name, "why": why})
        else:
            out.append(candidate)
    if getattr(job, "veth", False) and veth.problem():
        measure.say(f"bench: SKIPPED {job.name}: {veth.problem()}")
        results["skipped"].append({"bench": job.name, "server": "all", "why": veth.problem()})
        return []
    if args.wrk and getattr(job, "load", "") == "http":
        job.load = "wrk"
    if getattr(job, "load", "") == "wrk" and not shutil.which("wrk"):
        measure.say(f"bench: SKIPPED {job.name}: wrk is not there (./dev bench --setup)")
        return []
    return out


def run_job(job, candidates, args, place, results):
    if job.veth and place.host == servers.LOOPBACK:
        try:
            with veth.link(place) as far:
                return run_job(job, candidates, args, far, results)
        except RuntimeError as error:
            measure.say(f"bench: {job.name}: FAILED: {error}")
            results["failed"].append({"bench": job.name, "server": "all", "why": str(error)})
            return None
    rows, failed = measure.alternate(job, candidates, place, args.pairs, args.seconds)
    if not args.quick:
        there = [one for one in candidates if one.name not in failed]
        measure.add_syscalls(job, there, place, rows)
    results["rows"] += rows
    results["failed"] += [{"bench": job.name, "server": name, "why": why}
                          for name, why in failed.items()]
    results["goals"] += goals.judge_job(job, results["rows"])
    results["invalid"] += goals.too_good(job.name, rows)
    return None


def apart(congestion, argv):
    """The same again on a loopback of its own. A namespace may only choose among the algorithms
    that the machine allows everybody."""
    os.environ["WEIR_BENCH_NETNS"] = congestion
    script = ('ip link set lo up && sysctl -qw net.ipv4.tcp_congestion_control="$0" >&2 && '
              '[ "$(cat /proc/sys/net/ipv4/tcp_congestion_control)" = "$0" ] && exec "$@"')
    os.execvp("unshare", ["unshare", "-n", "sh", "-c", script, congestion, sys.executable,
                          os.path.join(servers.HERE, "run"), *argv])


def make_files(root):
    """What the file jobs serve; a tiny body for servers that know files only."""
    files = {"1m": random.Random(1).randbytes(1 << 20), "1k": random.Random(2).randbytes(1024),
             "tiny": b"Hello, World!\n"}
    for name, data in files.items():
        with open(os.path.join(root, name), "wb") as file:
            file.write(data)


def make_keys(run):
    """What the jobs of TLS have in common: a certificate signed by itself for each kind of key."""
    kinds = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"], "rsa": ["rsa:2048"]}
    for name, kind in kinds.items():
        made = subprocess.run(
            ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-newkey",
             *kind, "-keyout", f"{run}/{name}.key", "-out", f"{run}/{name}.pem"],
            capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise RuntimeError(f"openssl makes no certificate: {made.stderr.strip()}")


def main(argv):
    args = parse(argv)
    if args.list:
        for job in chosen(args, JOBS + SPECIAL):
            there = " ".join(c.name for c in job.candidates if wanted(c, args))
            print(f"{job.name:17} {job.title}: {there}")
        return 0
    if args.render:
        with open(args.render, encoding="utf-8") as file:
            results = json.load(file)
        if results.get("schema") != SCHEMA:
            print(f"bench: {args.render} is of another schema than {SCHEMA}", file=sys.stderr)
            return 65
        report.write_docs(ROOT, JOBS + SPECIAL, results)
        return 0
    if args.congestion and os.environ.get("WEIR_BENCH_NETNS") != args.congestion:
        return apart(args.congestion, argv)
    if os.cpu_count() < 2:
        print("bench: server and load need a CPU each; this machine has one", file=sys.stderr)
        return 69
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as scratch:
        results = run(args, argv, scratch)
    save(args, results)
    return 1 if results["failed"] else 0


def run(args, argv, scratch):
    place = Place(os.path.join(os.environ.get("WEIR_BIN", os.path.join(
        ROOT, "build", "release", "bin")), "bench"), scratch, os.path.join(scratch, "files"))
    os.mkdir(place.root)
    os.chmod(scratch, 0o755)  # nginx's worker is another user
    make_files(place.root)
    if any(getattr(job, "load", "") == "https" for job in chosen(args, JOBS)):
        make_keys(scratch)
    place.auto = servers.automatic(place)
    results = {"schema": SCHEMA, "date": time.strftime("%Y-%m-%d %H:%M"),
               "command": "./dev bench " + " ".join(argv), "machine": machine.facts(ROOT),
               "auto": place.auto, "pairs": args.pairs, "seconds": args.seconds,
               "rows": [], "goals": [], "invalid": [], "failed": [], "skipped": []}
    plan = [(job, present(job, args, place, results)) for job in chosen(args, JOBS)]
    minutes = sum(measure.expected_s(job, candidates, args.pairs, args.seconds, not args.quick)
                  for job, candidates in plan) / 60
    measure.say(f"bench: about {minutes:.0f} minutes; memory, idle and goodput take a few more")
    for job, candidates in plan:
        if candidates:
            run_job(job, candidates, args, place, results)
            print(report.section(job, results), flush=True)
    for job in chosen(args, SPECIAL):
        candidates = present(job, args, place, results)
        if candidates:
            job.run(candidates, place, args.pairs, results)
            print(report.section(job, results), flush=True)
    if results["goals"]:
        print("### Goals\n\n" + report.goals_table(results["goals"]))
    return results


def save(args, results):
    path = args.json or os.path.join(servers.HERE, "results",
                                     time.strftime("%Y-%m-%d-%H%M%S.json"))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1)
    measure.say(f"bench: results in {path}")
    if args.docs:
        with open(os.path.join(servers.HERE, "results", "reference.json"), "w",
                  encoding="utf-8") as file:
            json.dump(results, file, indent=None, separators=(",", ":"))
        report.write_docs(ROOT, JOBS + SPECIAL, results)
