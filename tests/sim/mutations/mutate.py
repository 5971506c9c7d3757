#!/usr/bin/env python3
"""The test of the tests: breaks the library on purpose, and sees whether simulation notices.

    mutate.py [--build DIR] [--seeds N] [--jobs J] [NAME ...]     those of rules.txt (default: all)

A mutant is one changed source, compiled and linked in place of its object; then programs run under
simulation until a run fails, or N seeds have passed: killed, or survived. Nothing in the tree is
changed. Those that a script makes are for tests/mutations. Exit codes: 0 all were killed, 1 not,
64 usage.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", "..", ".."))


class Mutant:
    def __init__(self, name, source, what, text, line=0, program=None):
        self.name, self.source, self.what, self.text, self.line = name, source, what, text, line
        self.program = program
        self.killed, self.how = False, ""


def read(source):
    with open(os.path.join(ROOT, source), encoding="utf-8") as file:
        return file.read()


def pattern_of(lines):
    """Matches these lines whatever their indentation, and wherever they stand."""
    return re.compile(r"[ \t]*" + r"\s*\n\s*".join(re.escape(line.strip()) for line in lines))


def rules(path):
    """Blocks of: "@ NAME FILE: what", lines with - that stand in the file once, lines with + for
    them. "FILE by PROGRAM": only that one reaches the place, the others need not be run."""
    found, name = [], None
    blocks = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.rstrip("\n")
            if line.startswith("@ "):
                head = re.fullmatch(r"@ (\S+) (\S+?)(?: by (\S+))?: (.*)", line)
                if head is None:
                    sys.exit(f"mutate: {path}: what is this? {line}")
                blocks.append((head, [], []))
            elif line.startswith("-"):
                blocks[-1][1].append(line[1:])
            elif line.startswith("+"):
                blocks[-1][2].append(line[1:])
    for head, old, new in blocks:
        name, source, program, what = head.groups()
        text = read(source)
        hits = list(pattern_of(old).finditer(text))
        if len(hits) != 1:
            sys.exit(f"mutate: {name}: its lines stand {len(hits)} times in {source}: mend rules.txt")
        hit = hits[0]
        changed = text[:hit.start()] + "\n".join(new) + text[hit.end():]
        found.append(Mutant(name, source, what, changed, text.count("\n", 0, hit.start()) + 1,
                            program))
    return found


class Build:
    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        with open(os.path.join(self.folder, "compile_commands.json"), encoding="utf-8") as file:
            self.commands = {entry["file"]: entry["command"] for entry in json.load(file)}
        listing = subprocess.run(["ninja", "-C", self.folder, "-t", "commands", "tests/sim"],
                                 check=True, capture_output=True, text=True)
        link = listing.stdout.strip().split("\n")[-1]
        self.link = re.sub(r"^: && | && :$", "", link)

    def make(self, mutant, folder):
        """The mutant's simulator, or None when it does not compile."""
        source = os.path.join(folder, os.path.basename(mutant.source))
        with open(source, "w", encoding="utf-8") as file:
            file.write(mutant.text)
        original = os.path.join(ROOT, mutant.source)
        words = [w for w in shlex.split(self.commands[original]) if w != "-Werror"]
        old = words[words.index("-o") + 1]
        # state.ld knows the library's variables by this folder's name.
        objects = os.path.join(folder, re.search(r"weir\w*_objects\.dir", old).group(0))
        os.mkdir(objects)
        new = os.path.join(objects, os.path.basename(old))
        words[words.index("-o") + 1] = new
        words[words.index("-c") + 1] = source
        where = ["-w", "-I" + os.path.dirname(original)]
        if subprocess.run(words + where, cwd=self.folder, capture_output=True).returncode != 0:
            return None
        binary = os.path.join(folder, "sim")
        link = self.link.replace(" " + old + " ", " " + new + " ")
        link = re.sub(r" -o \S+", " -o " + shlex.quote(binary), link, count=1)
        done = subprocess.run(link, shell=True, cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            return None
        return binary


def judge(build, mutant, options):
    with tempfile.TemporaryDirectory(prefix="weir-mutant-") as folder:
        binary = build.make(mutant, folder)
        if binary is None:
            mutant.how = "does not compile"
            return mutant
        arguments = [binary, "--jobs", "1", "--base", hex(options.base), "--seeds",
                     str(options.seeds)]
        for program in options.program or ([mutant.program] if mutant.program else []):
            arguments += ["--program", program]
        try:
            run = subprocess.run(arguments, capture_output=True, text=True, errors="replace",
                                 timeout=options.timeout)
        except subprocess.TimeoutExpired:
            mutant.how = "not noticed in time" # a run that hangs ends by itself
            return mutant
        mutant.killed = run.returncode != 0
        if mutant.killed:
            lines = run.stdout.split("\n") + run.stderr.split("\n")
            at = [i for i, line in enumerate(lines) if line.startswith("FAILED")]
            why = lines[at[0] + 1] if at and at[0] + 1 < len(lines) else "?"
            runs = re.search(r"^(\d+) runs", run.stdout, re.M)
            mutant.how = f"{runs.group(1) if runs else '?'} seeds: {why[:100]}"
        return mutant


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("--base", type=lambda text: int(text, 0), default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one mutant")
    parser.add_argument("--program", action="append", default=[])
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    mutants = rules(os.path.join(HERE, "rules.txt"))
    build = Build(options.build)
    # Without libweir-tls in the build there is nothing to break of it.
    mutants = [m for m in mutants if os.path.join(ROOT, m.source) in build.commands]
    if options.names:
        mutants = [m for m in mutants if m.name in options.names]
    survivors, killed, broken = [], 0, 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for mutant in pool.map(lambda m: judge(build, m, options), mutants):
            if mutant.how == "does not compile":
                broken += 1
            elif mutant.killed:
                killed += 1
            else:
                survivors.append(mutant)
            word = "killed" if mutant.killed else mutant.how or "SURVIVED"
            print(f"{word:9} {mutant.name:32} {mutant.what}" +
                  (f"  [{mutant.how}]" if mutant.killed else ""), flush=True)
    tried = killed + len(survivors)
    rate = 100 * killed / tried if tried else 0
    print(f"{tried} mutants, {killed} killed ({rate:.1f} %), {len(survivors)} survived" +
          (f", {broken} did not compile" if broken else ""))
    return 0 if not survivors and not broken else 1


if __name__ == "__main__":
    sys.exit(main())
