"""The command line of ./dev bench."""
import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass

from . import machine, measure, process, report, servers
from .jobs import JOBS
from .special import SPECIAL

ROOT = os.path.dirname(servers.HERE)


@dataclass
class Place:
    bin: str   # where the programs are
    run: str   # scratch, for configurations and logs
    root: str  # the folder that is served


def parse(argv):
    names = [job.name for job in JOBS] + [job.name for job in SPECIAL]
    parser = argparse.ArgumentParser(
        prog="./dev bench", description="Compares weir with bare loops, libraries and servers: "
        "server CPU per request and throughput, alternating runs, medians.",
        epilog="jobs: " + " ".join(names))
    parser.add_argument("names", nargs="*", metavar="NAME", help="jobs (default: all)")
    effort = parser.add_mutually_exclusive_group()
    effort.add_argument("--quick", action="store_true", help="5 short rounds, under 5 minutes")
    effort.add_argument("--full", action="store_true", help="25 rounds")
    parser.add_argument("--pairs", type=int, metavar="N", help="rounds (default 15)")
    parser.add_argument("--seconds", type=float, metavar="S", help="of each run (default 1)")
    parser.add_argument("--only", metavar="A,B", help="only these servers")
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
                        help="install the Debian packages that the rivals need, then end")
    args = parser.parse_args(argv)
    wrong = [name for name in args.names if name not in names]
    if wrong:
        parser.error(f"no job {wrong[0]}; there are: {' '.join(names)}")
    args.pairs = args.pairs or (5 if args.quick else 25 if args.full else 15)
    args.seconds = args.seconds or (0.4 if args.quick else 1.0)
    process.nice = args.nice
    return args


def chosen(args, jobs):
    return [job for job in jobs if not args.names or job.name in args.names]


def present(job, args, place):
    """The candidates of a job that can run; the others are named, loudly."""
    out = []
    for candidate in job.candidates:
        if args.only and candidate.name not in args.only.split(","):
            continue
        why = candidate.missing(place)
        if why:
            measure.say(f"bench: {job.name}: SKIPPED {candidate.name}: {why}")
        else:
            out.append(candidate)
    if args.wrk and getattr(job, "load", "") == "http":
        job.load = "wrk"
    if getattr(job, "load", "") == "wrk" and not shutil.which("wrk"):
        measure.say(f"bench: SKIPPED {job.name}: wrk is not there (./dev bench --setup)")
        return []
    return out


def run_job(job, args, place, results):
    candidates = present(job, args, place)
    if not candidates:
        return
    rows, failed = measure.alternate(job, candidates, place, args.pairs, args.seconds)
    if not args.quick:
        measure.add_syscalls(job, [c for c in candidates if c.name not in failed], place, rows)
    results["rows"] += rows
    results["failed"] += [{"bench": job.name, "server": name, "why": why}
                          for name, why in failed.items()]
    groups = report.by_server(rows)
    found = [goal for goal in (report.judge(goal, groups) for goal in job.goals) if goal]
    results["goals"] += [{"bench": job.name, **goal} for goal in found]


def apart(congestion, argv):
    """The same again on a loopback of its own. A namespace may only choose among the algorithms
    that the machine allows everybody."""
    os.environ["WEIR_BENCH_NETNS"] = congestion
    script = ('ip link set lo up && sysctl -qw net.ipv4.tcp_congestion_control="$0" >&2 && '
              '[ "$(cat /proc/sys/net/ipv4/tcp_congestion_control)" = "$0" ] && exec "$@"')
    os.execvp("unshare", ["unshare", "-n", "sh", "-c", script, congestion, sys.executable,
                          os.path.join(servers.HERE, "run"), *argv])


def make_files(root):
    """What the file jobs serve."""
    with open(os.path.join(root, "1m"), "wb") as file:
        file.write(random.Random(1).randbytes(1 << 20))


def main(argv):
    args = parse(argv)
    if args.list:
        for job in JOBS + SPECIAL:
            print(f"{job.name:15} {job.title}: {' '.join(c.name for c in job.candidates)}")
        return 0
    if args.render:
        with open(args.render, encoding="utf-8") as file:
            report.write_docs(ROOT, JOBS + SPECIAL, json.load(file))
        return 0
    if args.congestion and os.environ.get("WEIR_BENCH_NETNS") != args.congestion:
        return apart(args.congestion, argv)
    if os.cpu_count() < 2:
        print("bench: server and load need a CPU each; this machine has one", file=sys.stderr)
        return 69
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as scratch:
        place = Place(os.path.join(os.environ.get("WEIR_BIN", os.path.join(
            ROOT, "build", "release", "bin")), "bench"), scratch, os.path.join(scratch, "files"))
        os.mkdir(place.root)
        os.chmod(scratch, 0o755)  # nginx's worker is another user
        make_files(place.root)
        results = {"schema": 1, "date": time.strftime("%Y-%m-%d %H:%M"),
                   "command": "./dev bench " + " ".join(argv), "machine": machine.facts(ROOT),
                   "versions": servers.versions(), "auto": servers.automatic(place),
                   "pairs": args.pairs, "seconds": args.seconds,
                   "rows": [], "goals": [], "failed": []}
        for job in chosen(args, JOBS):
            run_job(job, args, place, results)
            print(report.section(job, results), flush=True)
        for job in chosen(args, SPECIAL):
            candidates = present(job, args, place)
            if candidates:
                job.run(candidates, place, args.pairs, results)
                print(report.section(job, results), flush=True)
    if results["goals"]:
        print("### Goals\n\n" + report.goals_table(results["goals"]))
    save(args, results)
    return 1 if results["failed"] else 0


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
