"""./dev bench co: what coroutines cost, each goal beside its figure.

Times are nanoseconds; the echo is the server's CPU for each message, a coroutine for each connection
over event handlers, in pairs of runs that take turns. The rivals have no goal: they are there to be
looked at.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
from types import SimpleNamespace

from . import load, machine, process
from .stats import median

MISSED = 1.10           # of a goal: more is a failure
PAIRS, SECONDS = 5, 1.0
GOALS = [               # what micro_verbs says, the goal, the unit, what it is
    ("switch_ns", 6, "ns", "switch of stacks"),
    ("spawn_ns", 60, "ns", "spawn, run, end"),
    ("chan_ns", 25, "ns", "an item sent and received, capacity 64"),
    ("resident_bytes", 8704, "bytes", "resident for each that waits"),
]
ECHO_GOAL = 1.05
RIVALS = [("Go", "go_switch"), ("boost", "switch_boost")]


def run(argv, nice):
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True,
                          check=False, timeout=600,
                          preexec_fn=lambda: (os.sched_setaffinity(0, {process.SERVER_CPU}),
                                              os.nice(nice)))
    if done.returncode != 0:
        raise load.LoadError((done.stderr or done.stdout).strip()[-300:] or f"{argv[0]} failed")
    return json.loads(done.stdout.strip().splitlines()[-1])


def echo_us(place, job, conns, seconds):
    """Microseconds of the server's CPU for a message."""
    port = process.free_port()
    what = SimpleNamespace(conns=conns, depth=1, size=64, close=False, frames=False)
    with process.Server([f"{place.bin}/weir_echo", f"tcp://127.0.0.1:{port}", job], port) as server:
        row = load.echo(what, SimpleNamespace(warm_s=0.2), server, place, seconds)
    return row["cpu_ns"] / row["requests"] / 1000


def echo(place, conns, pairs, seconds):
    """The ratio of each pair, whose two take turns in being first."""
    ratios = []
    for number in range(pairs):
        order = ["echo", "straight"] if number % 2 == 0 else ["straight", "echo"]
        cost = {job: echo_us(place, job, conns, seconds) for job in order}
        ratios.append(cost["straight"] / cost["echo"])
    return ratios


def judged(name, figure, goal, unit, what):
    ratio = figure / goal
    verdict = "met" if ratio <= 1 else "missed, by less than 10 %" if ratio <= MISSED else "MISSED"
    return {"name": name, "what": what, "figure": figure, "goal": goal, "unit": unit,
            "verdict": verdict, "failed": ratio > MISSED}


def show(one):
    figure = f"{one['figure']:.0f}" if one["figure"] >= 100 else f"{one['figure']:.2f}"
    print(f"{one['what']:44} {figure:>8} {one['unit']:5}  goal {one['goal']:>6}  {one['verdict']}",
          flush=True)


def rivals(place, nice):
    found = {}
    for name, program in RIVALS:
        path = f"{place.bin}/{program}"
        if not os.path.exists(path):
            print(f"SKIPPED {name}: it is not built here")
            continue
        found[name] = run([path], nice)
        print(f"{name + ':':8}" + ", ".join(f"{key} {value}" for key, value in found[name].items()),
              flush=True)
    return found


def measure(place, options):
    figures = run([f"{place.bin}/micro_verbs", options.rounds, options.coroutines], options.nice)
    results = [judged(name, figures[name], goal, unit, what) for name, goal, unit, what in GOALS]
    for one in results:
        show(one)
    print(f"{'a change of coroutine by a channel':44} {figures['chan_switch_ns']:8.2f} ns", flush=True)
    for conns in options.conns:
        ratios = echo(place, conns, options.pairs, options.seconds)
        one = judged(f"echo_{conns}", median(ratios), ECHO_GOAL, "x",
                     f"echo with a coroutine / by events, {conns} conns")
        one["pairs"] = [round(value, 4) for value in ratios]
        show(one)
        results.append(one)
    return figures, results


def main(arguments):
    parser = argparse.ArgumentParser(prog="dev bench co", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--rounds", type=int, default=100, help="of the times (default 100)")
    parser.add_argument("--coroutines", type=int, default=100000, help="that wait at once")
    parser.add_argument("--conns", type=int, nargs="*", default=[64, 10000], help="of the echo")
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"of the echo (default {PAIRS})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each run of the echo")
    parser.add_argument("--nice", type=int, default=0)
    options = parser.parse_args(arguments)
    place = SimpleNamespace(bin=os.path.join(os.environ["WEIR_BIN"], "bench"))
    process.nice = options.nice
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    try:
        figures, results = measure(place, options)
        beside = rivals(place, options.nice)
    except (load.LoadError, RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        print(f"bench co: {error}", file=sys.stderr)
        return 69
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine.facts(os.path.dirname(load.HERE)), "figures": figures, "goals": results,
                       "rivals": beside}, file, indent=1)
            file.write("\n")
    failed = [one["what"] for one in results if one["failed"]]
    print(f"{len(results) - len(failed)} of {len(results)} goals met, or missed by less than 10 %"
          + (": not " + "; ".join(failed) if failed else ""))
    return 1 if failed else 0
