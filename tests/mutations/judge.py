"""Which tests pass a place, and whether one of them fails when that place is broken."""
import json
import os
import re
import resource
import signal
import subprocess
import tempfile
import time

HITS_BYTES = 1 << 16
SIM_SEEDS = 60          # of each simulated program, whose places are recorded
SIM_SEEDS_TRIED = 40    # of those that pass a place
SIM_CHUNKS = 30         # further runs of each program, in chunks
SIM_CHUNK = 100
SIM_CHUNKS_TRIED = 12
NTH_TRIED = 25          # runs in which something fails, of those that pass a place
NTH_VARIANTS = (0, 1, 99)   # the call's first errors, and one many times
BATCHES_US = (20_000, 250_000, 20_000_000)


def limits():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))


class Run:
    """One process, ended with all that it began when its time is over."""

    def __init__(self, command, variables, timeout):
        with tempfile.TemporaryDirectory(prefix="weir-mutant-") as folder, \
                tempfile.TemporaryFile() as output:
            child = subprocess.Popen(command, env={**os.environ, **variables}, cwd=folder,
                                     stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                     start_new_session=True, preexec_fn=limits)
            self.late = False
            try:
                self.code = child.wait(timeout)
            except subprocess.TimeoutExpired:
                self.late, self.code = True, 1
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - 200_000))
            self.text = output.read().decode(errors="replace")

    def failed(self):
        return self.code not in (0, 77)


class Program:
    """A test as CTest runs it: what to run, and its environment."""

    def __init__(self, name, command, variables):
        self.name, self.command, self.variables = name, command, variables
        self.cases = {}     # name of the case: microseconds, places


def programs_of(build):
    """The tests of the build that can be run case by case, or as a whole."""
    listing = subprocess.run(["ctest", "--show-only=json-v1"], cwd=build, check=True,
                             capture_output=True, text=True).stdout
    found = []
    for test in json.loads(listing)["tests"]:
        if not re.match(r"unit\.(io|loop|net|app|base)\.|conformance\.|fuzz\.|nth\.", test["name"]):
            continue
        if "command" not in test:
            continue
        variables = {}
        for prop in test["properties"]:
            if prop["name"] == "ENVIRONMENT":
                variables = dict(pair.split("=", 1) for pair in prop["value"])
        found.append(Program(test["name"], test["command"], variables))
    return found


def sites_hit(path):
    with open(path, "rb") as file:
        data = file.read()
    return [i for i, byte in enumerate(data) if byte and i]


def record(program):
    """Runs a test as it is and notes each case's time and places; cases that fail, three times on a
    machine that may be busy, are left out."""
    for _ in range(3):
        failed = record_once(program)
        if not failed:
            break
    return program, failed


def record_once(program):
    failed = False
    with tempfile.TemporaryDirectory(prefix="weir-record-") as folder:
        hits, lines = os.path.join(folder, "hits"), os.path.join(folder, "lines")
        with open(hits, "wb") as file:
            file.truncate(HITS_BYTES)
        began = time.monotonic()
        run = Run(program.command, {**program.variables, "WEIR_MUTANT_HITS": hits,
                                    "WEIR_CASES_RECORD": lines}, 300)
        taken_us = int((time.monotonic() - began) * 1e6)
        if program.name.startswith("nth"):
            return run.failed() # run by run: record_nth
        if not os.path.exists(lines):
            if not run.failed():
                program.cases["whole"] = [taken_us, sites_hit(hits)]
            return run.failed()
        with open(lines, encoding="utf-8") as file:
            for line in file:
                words = line.split()
                if words[1] == "0":
                    program.cases[words[0]] = [int(words[2]), [int(w) for w in words[3:] if w != "0"]]
                else:
                    failed = True
        return failed


def record_seed(build, program, seed):
    with tempfile.NamedTemporaryFile(prefix="weir-record-") as hits:
        hits.truncate(HITS_BYTES)
        run = Run([os.path.join(build, "tests", "sim"), "--program", program, "--seed", hex(seed),
                   "--jobs", "1"], {"WEIR_MUTANT_HITS": hits.name}, 60)
        return program, seed, [] if run.failed() else sites_hit(hits.name)


def record_chunk(build, program, base):
    with tempfile.NamedTemporaryFile(prefix="weir-record-") as hits:
        hits.truncate(HITS_BYTES)
        run = Run([os.path.join(build, "tests", "sim"), "--program", program, "--seeds",
                   str(SIM_CHUNK), "--base", hex(base), "--jobs", "1"],
                  {"WEIR_MUTANT_HITS": hits.name}, 120)
        return [program, base, [] if run.failed() else sites_hit(hits.name)]


def nth_runs(program):
    """Every single run that a program of tests/nth can make: what fails, and which of its errors."""
    run = Run(program.command, {**program.variables, "WEIR_NTH_RUNS": "1"}, 120)
    kinds = ("memory", "calls", "entries", "completions")
    for kind, places in re.findall(r"^(\w+): (\d+) places", run.text, re.M):
        for n in range(1, int(places) + 1):
            for variant in NTH_VARIANTS[:1] if kind == "memory" else NTH_VARIANTS:
                yield [str(kinds.index(kind)), str(n), str(variant)]


def record_nth(program, arguments):
    with tempfile.NamedTemporaryFile(prefix="weir-record-") as hits:
        hits.truncate(HITS_BYTES)
        run = Run(program.command + arguments, {**program.variables,
                                                "WEIR_MUTANT_HITS": hits.name}, 60)
        return [] if run.failed() else sites_hit(hits.name)


class Judge:
    """What is known of the tests of one build."""

    def __init__(self, build, recorded, most_s, only=""):
        """only: a pattern of the programs that judge, alone; no simulation then."""
        self.build, self.most_s = build, most_s
        self.by_site = {}       # number: [(microseconds, program, case)]
        self.seeds = {}         # number: [(program, seed)]
        self.programs = {}
        for name, entry in recorded["programs"].items():
            self.programs[name] = Program(name, entry["command"], entry["variables"])
            if not re.search(only, name):
                continue
            for case, (us, places) in entry["cases"].items():
                for place in places:
                    self.by_site.setdefault(place, []).append((us, name, case))
        if only:
            recorded = {"seeds": []}
        for program, seed, places in recorded["seeds"]:
            for place in places:
                self.seeds.setdefault(place, []).append((program, seed))
        self.chunks = {}
        for program, base, places in recorded.get("chunks", []):
            for place in places:
                self.chunks.setdefault(place, []).append((program, base))
        self.nth = {}           # number: [(program, arguments)]
        for name, arguments, places in recorded.get("nth", []):
            for place in places:
                self.nth.setdefault(place, []).append((name, arguments))

    def reached(self, number):
        return any(number in known for known in (self.by_site, self.seeds, self.chunks, self.nth))

    def run_cases(self, number, name, cases, timeout):
        program = self.programs[name]
        variables = {**program.variables, "WEIR_MUTANT": str(number)}
        if cases != ["whole"]:
            variables["WEIR_CASES"] = " ".join(cases)
        return Run(program.command, variables, timeout)

    def fails(self, number, name, cases, base_us):
        """A failure counts when it comes twice, and not without the mutant in between."""
        timeout = 3 + 4 * base_us / 1e6
        first = self.run_cases(number, name, cases, timeout)
        if not first.failed():
            return ""
        told = re.findall(r"^FAILED (\S+) (\S+)", first.text, re.M)
        what = told[-1][1] if told else ""
        if told:
            cases = [told[-1][0]]
        if self.run_cases(0, name, cases, timeout).failed():
            return ""
        second = self.run_cases(number, name, cases, timeout)
        if not second.failed():
            return ""
        how = " (hangs)" if second.late else f" (signal {-second.code})" if second.code < 0 else ""
        return f"{name} {what}{how}".strip()

    def simulate(self, number, arguments, timeout):
        run = Run([os.path.join(self.build, "tests", "sim"), "--jobs", "1"] + arguments,
                  {"WEIR_MUTANT": str(number)}, timeout)
        at = re.search(r"^FAILED: program (\S+), seed (\S+)\n(.*)", run.text, re.M)
        if at is None:
            return ""
        again = Run([os.path.join(self.build, "tests", "sim"), "--jobs", "1", "--program", at[1],
                     "--seed", at[2]], {"WEIR_MUTANT": "0"}, 60)
        return "" if again.failed() else f"sim {at[1]} {at[2]}: {at[3][:70]}"

    @staticmethod
    def some_of(pairs, most):
        """Some of each program."""
        by_program, chosen = {}, []
        for program, which in pairs:
            by_program.setdefault(program, []).append(which)
        while by_program and len(chosen) < most:
            for program in list(by_program):
                chosen.append((program, by_program[program].pop(0)))
                if not by_program[program]:
                    del by_program[program]
        return chosen

    def nth_fails(self, number, name, arguments):
        program = self.programs[name]
        said = []
        for mutant in (number, 0, number):
            run = Run(program.command + arguments,
                      {**program.variables, "WEIR_MUTANT": str(mutant)}, 30)
            if run.failed() == (mutant == 0):
                return ""
            said = re.findall(r"^WRONG: .*", run.text, re.M) or said
        return f"{name}: {said[-1][7:110] if said else ''}"

    def batches(self, number):
        """Cases by cost, then by program; those that would take too long in all are left out."""
        spent = 0
        cases = sorted(self.by_site.get(number, []))
        for limit, least in zip(BATCHES_US, (0,) + BATCHES_US):
            by_program = {}
            for us, name, case in cases:
                if least <= us < limit and spent + us < self.most_s * 1e6:
                    spent += us
                    by_program.setdefault(name, []).append((us, case))
            order = sorted(by_program, key=lambda n: (n.startswith("conformance"),
                                                      n.count(".") > 2, n))
            for name in order:
                own = by_program[name]
                yield name, [case for _, case in own], sum(us for us, _ in own)

    def judge(self, number):
        """("killed", by whom), ("survived", ""), ("unreached", "")."""
        if not self.reached(number):
            return "unreached", ""
        chosen = self.some_of(self.seeds.get(number, []), SIM_SEEDS_TRIED)
        if chosen:
            with tempfile.NamedTemporaryFile("w", prefix="weir-seeds-") as file:
                file.writelines(f"{program} {hex(seed)}\n" for program, seed in chosen)
                file.flush()
                by = self.simulate(number, ["--kept", file.name, "--seeds", "1"], 60)
            if by:
                return "killed", by
        for name, cases, us in self.batches(number):
            by = self.fails(number, name, cases, us)
            if by:
                return "killed", by
        for name, arguments in self.some_of(self.nth.get(number, []), NTH_TRIED):
            by = self.nth_fails(number, name, arguments)
            if by:
                return "killed", by
        for program, base in self.some_of(self.chunks.get(number, []), SIM_CHUNKS_TRIED):
            by = self.simulate(number, ["--program", program, "--seeds", str(SIM_CHUNK), "--base",
                                        hex(base)], 60)
            if by:
                return "killed", by
        return "survived", ""
