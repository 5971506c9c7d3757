#!/usr/bin/env python3
"""Takes things out of the library, one at a time, and sees whether a test of the project notices.

    mutants.py [--sample N] [--seed S] [FLOOR|FILE ...]    judges a sample, or all of io, loop, net
    mutants.py --again [...]        only those that survived when they were last judged
    mutants.py --list [...]         what there is, without judging
    mutants.py --report             docs/mutations.md from all that was judged

Each re-arm, check, count and early return is a mutant (sites.py has the rules). All of them are
compiled at once, into a copy of the tree under build/mutations, with a switch that the environment
turns; a first run notes which test passes which place, so that a mutant is judged by those tests
only: simulated programs first, then unit and conformance cases, the quickest first. survivors.txt
has the survivors that cannot matter, with the reason of each.

Exit codes: 0 enough were killed (--rate), 1 not, 64 usage.
"""
import argparse
import concurrent.futures
import json
import os
import random
import subprocess
import sys

import judge
import report
import tree

FOLDER = os.path.join(tree.ROOT, "build", "mutations")


def store(name, value):
    path = os.path.join(FOLDER, name)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(path + ".new", path)


def load(name, default):
    path = os.path.join(FOLDER, name)
    if not os.path.exists(path):
        return default
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def record_all(build, jobs, known, everything):
    """What each test passes, as it is; what is known already of programs that have not changed is
    kept."""
    programs = judge.programs_of(build)
    listing = subprocess.run([os.path.join(build, "tests", "sim"), "--list"], check=True,
                             capture_output=True, text=True).stdout
    recorded = {"programs": {}, "seeds": []}
    todo = []
    for program in programs:
        program.stamp = tree.stamp(build, program.command[0])
        old = known["programs"].get(program.name)
        if old is not None and old["stamp"] == program.stamp and not everything:
            recorded["programs"][program.name] = old
        else:
            todo.append(program)
    seeds = [(line.split()[0], seed) for line in listing.splitlines()
             for seed in range(1, judge.SIM_SEEDS + 1)]
    if known["seeds"] and not everything:
        recorded["seeds"], seeds = known["seeds"], []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for program, failed in pool.map(judge.record, todo):
            if failed:
                print(f"fails without a mutant: {program.name}", flush=True)
            recorded["programs"][program.name] = {
                "command": program.command, "variables": program.variables,
                "stamp": 0 if failed else program.stamp, "cases": program.cases}
        for entry in pool.map(lambda s: judge.record_seed(build, *s), seeds):
            recorded["seeds"].append(entry)
    return recorded


def record_rare(build, recorded, jobs, part):
    """What only many simulated runs, or calls that fail, pass: all of them, or a part of a
    hundred. Noted for the places that few of those runs pass, since the others are judged by
    quicker tests."""
    programs = [judge.Program(name, entry["command"], entry["variables"])
                for name, entry in recorded["programs"].items() if name.startswith("nth.")]
    names = sorted({entry[0] for entry in recorded["seeds"]})
    chunks = [(name, (chunk + 1) << 32) for name in names for chunk in range(judge.SIM_CHUNKS)]
    runs = [(program, arguments) for program in programs for arguments in judge.nth_runs(program)]
    if part < 100:
        draw = random.Random(part)
        chunks = draw.sample(chunks, len(chunks) * part // 100)
        runs = draw.sample(runs, len(runs) * part // 100)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        recorded["chunks"] = list(pool.map(lambda c: judge.record_chunk(build, *c), chunks))
        places = list(pool.map(lambda r: judge.record_nth(*r), runs))
    recorded["nth"] = [[program.name, arguments, own]
                       for (program, arguments), own in zip(runs, places)]
    often = {}
    for entry in recorded["nth"]:
        for place in entry[2]:
            often[place] = often.get(place, 0) + 1
    for entry in recorded["nth"]:
        entry[2] = [place for place in entry[2] if often[place] < len(runs) / 20]


def prepare(options, found):
    """The build, and what its tests pass. A record made before a source was changed is still good
    for the places that are as they were."""
    tree.make(FOLDER, found)
    build = tree.build(FOLDER, options.jobs, options.asan)
    name = "recorded-asan.json" if options.asan else "recorded.json"
    known = load(name, {"keys": [], "programs": {}, "seeds": []})
    keys = [site.key for site in found]
    if known["keys"] != keys:
        now = {key: number for number, key in enumerate(keys, 1)}
        moved = [0] + [now.get(key, 0) for key in known["keys"]]
        for program in known["programs"].values():
            for case in program["cases"].values():
                case[1] = [moved[n] for n in case[1] if moved[n]]
        for entry in known["seeds"] + known.get("chunks", []) + known.get("nth", []):
            entry[2] = [moved[n] for n in entry[2] if moved[n]]
    recorded = record_all(build, options.record_jobs, known, options.record)
    for rare in ("chunks", "nth"):
        recorded[rare] = known.get(rare, [])
    recorded["keys"] = keys
    store(name, recorded)
    if options.record or not recorded["nth"]:
        record_rare(build, recorded, options.record_jobs, options.rare)
        store(name, recorded)
    return judge.Judge(build, recorded, options.most, options.only)


def passed_by(recorded, found):
    """Numbers of the places that some test passes, by what was taken down last."""
    keys = set()
    entries = [case[1] for program in recorded.get("programs", {}).values()
               for case in program["cases"].values()]
    entries += [entry[2] for kind in ("seeds", "chunks", "nth") for entry in recorded.get(kind, [])]
    for places in entries:
        keys.update(recorded["keys"][place - 1] for place in places)
    return {site.number for site in found if site.key in keys}


def chosen_of(options, found, results):
    chosen = [s for s in found if not options.names or
              any(s.source.startswith(f"src/{n}") or s.source == n or s.key == n
                  for n in options.names)]
    if options.again:
        chosen = [s for s in chosen
                  if results.get(s.key, {}).get("state") in ("survived", "unreached")]
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    if options.fresh:
        chosen = [s for s in chosen if s.key not in results]
    return chosen


def judge_all(options, judges, chosen, results):
    killed = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = {pool.submit(judges.judge, site.number): site for site in chosen}
        for done in concurrent.futures.as_completed(futures):
            site, (state, by) = futures[done], done.result()
            killed += state == "killed"
            if options.only and state == "unreached":
                state = results.get(site.key, {}).get("state", state)
            results[site.key] = {"state": state, "by": by}
            print(f"{state:9} {site.source}:{site.line} {site.kind}: {site.text[:90]}" +
                  (f"  [{by}]" if by else ""), flush=True)
            store("results.json", results)
    return killed


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", default="1", help="of the sample")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="only what was not judged yet")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--only", default="", help="judged by the programs of this pattern alone")
    parser.add_argument("--record", action="store_true", help="notes anew what every test passes")
    parser.add_argument("--rare", type=int, default=100,
                        help="percent of the rarer runs that are looked at")
    parser.add_argument("--asan", action="store_true", help="judged by the sanitizers' build")
    parser.add_argument("--rate", type=float, default=90, help="percent that must be killed")
    parser.add_argument("--most", type=float, default=12, help="seconds of cases for one mutant")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1))
    parser.add_argument("--record-jobs", type=int, default=6)
    parser.add_argument("names", nargs="*")
    return parser.parse_args()


def main():
    options = arguments()
    found = tree.all_sites()
    results = load("results.json", {})
    if options.report:
        report.write(found, results, passed_by(load("recorded.json", {"keys": []}), found))
        return 0
    chosen = chosen_of(options, found, results)
    if options.list:
        for site in chosen:
            print(f"{site.number} {site.source}:{site.line} {site.kind}: {site.text}")
        return 0
    judges = prepare(options, found)
    killed = judge_all(options, judges, chosen, results)
    explained = report.reasons()
    open_ones = [s for s in chosen if results[s.key]["state"] != "killed" and
                 s.key not in explained]
    tried = len(chosen) - sum(s.key in explained and results[s.key]["state"] != "killed"
                              for s in chosen)
    rate = 100 * killed / tried if tried else 100
    print(f"{len(chosen)} mutants, {killed} killed, {len(chosen) - killed - len(open_ones)} explained, "
          f"{len(open_ones)} survived: {rate:.1f} %")
    return 0 if rate >= options.rate else 1


if __name__ == "__main__":
    sys.exit(main())
