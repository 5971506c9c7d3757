#!/usr/bin/env python3
"""Runs tests under one of Debian's own kernels, in a virtual machine without hardware support.

usage: boot.py KERNEL [--slice] [--seconds N] [--results FILE] [REGEX...]

KERNEL is 6.1 or 6.12. What runs is the suite of the contracts (or the tests of it that match a
REGEX), and links that delay, reorder and lose; --slice takes a part that is done in three minutes.
Skips are told by reason, each once. $WEIR_BUILD is the build whose tests these are.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("WEIR_BUILD", HERE.parent.parent / "build" / "release"))
SYSTEM = ("ip", "tc", "nft")
# The slice: where kernels differ, on each back end. What waits for long is left to the whole run.
SLICE = re.compile(r"^conformance\.test_k(0[249]|10|11)_[a-z]+\.(uring|epoll)$|"
                   r"^conformance\.test_k05_[a-z]+\.uring$|"
                   r"^conformance\.test_k10_[a-z]+\.(poll|select|uring\..*multishot.*)$")
OUTCOMES = {0: "passed", 77: "skipped"}


def skip(why):
    print(f"skip: {why}")
    sys.exit(77)


def tests_of_the_build():
    """Name, seconds, program and environment of each test of the contracts."""
    listing = json.loads(subprocess.run(["ctest", "--show-only=json-v1"], cwd=BUILD, text=True,
                                        capture_output=True, check=True).stdout)
    for test in listing["tests"]:
        if test["name"].startswith("conformance."):
            properties = {p["name"]: p["value"] for p in test["properties"]}
            yield test["name"], test["command"][0], properties.get("ENVIRONMENT", [])


def choose(options):
    wanted = re.compile("|".join(options.regex) or ".")
    lines, programs = [], []
    for name, program, environment in tests_of_the_build():
        if not wanted.search(name) or (options.slice and not SLICE.search(name)):
            continue
        lines.append(" ".join([name, "150", os.path.basename(program), "WEIR_TEST_SLOWNESS=10",
                               *environment]))
        programs.append(program)
    for backend in ("uring", "epoll"):
        name = f"kernel.netem.{backend}"
        if options.slice and backend != ("uring" if options.kernel == "6.1" else "epoll"):
            continue
        if wanted.search(name):
            lines.append(f"{name} 150 netem_guest WEIR_BACKEND={backend}")
    return lines, sorted(set(programs))


def boot(folder, image, seconds, seen):
    """The machine's console, line by line; it powers itself off, or is ended."""
    machine = subprocess.Popen(
        ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024",
         # Without cmpxchg16b: the one of qemu 7.2 spoils flags now and then, and 6.12 uses it much.
         "-cpu", "max,cx16=off", "-nodefaults", "-no-user-config", "-no-reboot", "-nographic",
         "-serial", "stdio", "-kernel", folder / "vmlinuz", "-initrd", image,
         "-append", "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    timer = threading.Timer(seconds, machine.kill)
    timer.start()
    try:
        for line in machine.stdout:
            seen(line.decode("utf-8", "replace").rstrip())
        machine.wait()
    finally:
        timer.cancel()
        machine.kill()


class Console:
    """What the machine says, and what its tests came to."""

    def __init__(self, log):
        self.log, self.outcomes, self.reasons, self.plan = log, {}, {}, []
        self.kernel, self.ended, self.pending = "", False, []

    def seen(self, line):
        self.log.write(line + "\n")
        word = line.split()
        if line.startswith("@ kernel "):
            self.kernel = word[2]
        elif line.startswith("@ end"):
            self.ended = True
        elif line.startswith("@ test "):
            self.finished(word[2], int(word[3]), int(word[4]))
        elif line.startswith("@ note "):
            print(line[7:], flush=True)
        elif not self.outcomes:
            self.plan.append(line)
        if not line.startswith("@"):
            self.pending.append(line)

    def finished(self, name, code, seconds):
        outcome = OUTCOMES.get(code, "failed")
        cases = 0
        for line in self.pending:
            found = re.match(r"skip: (?:\w+: )?(.*)$", line)
            if found:
                cases += 1
                self.reasons.setdefault(found[1], []).append(name)
        if outcome == "failed":
            print("\n".join(self.pending[-60:]))
        print(f"{outcome} {name} ({seconds} s{f', {cases} cases skipped' if cases else ''})",
              flush=True)
        self.outcomes[name] = outcome
        self.pending = []


def main():
    arguments = argparse.ArgumentParser(usage=__doc__)
    arguments.add_argument("kernel")
    arguments.add_argument("--slice", action="store_true")
    arguments.add_argument("--seconds", type=int, default=0)
    arguments.add_argument("--results", type=Path)
    arguments.add_argument("regex", nargs="*")
    options = arguments.parse_args()
    for tool in ("qemu-system-x86_64", "busybox", "cpio", "xz", *SYSTEM):
        if not shutil.which(tool):
            skip(f"no {tool}, which the virtual machine needs")
    if any("libasan" in line or "libtsan" in line for line in subprocess.run(
            ["ldd", BUILD / "bin" / "weir"], text=True, capture_output=True).stdout.splitlines()):
        skip("a sanitizer's shadow memory does not fit into the virtual machine")
    folder = Path(os.environ.get("WEIR_KERNELS", HERE.parent.parent / "build" / "kernel"))
    folder /= options.kernel
    fetched = subprocess.run([HERE / "lib_fetch.sh", options.kernel, folder], text=True,
                             stdout=subprocess.PIPE)
    print(fetched.stdout, end="")
    if fetched.returncode != 0:
        sys.exit(fetched.returncode)
    lines, programs = choose(options)
    if not lines:
        sys.exit("no test matches")
    with tempfile.TemporaryDirectory() as scratch:
        listing, image = Path(scratch) / "list", Path(scratch) / "image"
        listing.write_text("\n".join(lines) + "\n")
        subprocess.run([HERE / "lib_pack.sh", folder, image, listing, *programs,
                        BUILD / "tests" / "kernel.puppet", BUILD / "bin" / "weir",
                        BUILD / "bin" / "examples" / "connect",
                        HERE / "netem_guest", *map(shutil.which, SYSTEM)], check=True)
        log_path = BUILD / f"kernel-{options.kernel}.log"
        with open(log_path, "w") as log:
            console = Console(log)
            boot(folder, image, options.seconds or (220 if options.slice else 3000), console.seen)
    report(options, console, [line.split()[0] for line in lines], log_path)


def report(options, console, names, log_path):
    print(f"kernel {console.kernel or options.kernel}; the console is in {log_path}")
    print("\n".join(line for line in console.plan if re.match(r"\w+: |  (yes|no ) |\w+ is | {27}", line)))
    missing = [name for name in names if name not in console.outcomes]
    for reason, tests in sorted(console.reasons.items()):
        kind = re.sub(r"\W+", "_", f"{options.kernel} {min(tests)}")
        print(f"skipped {kind}: {reason} ({len(tests)} cases of {len(set(tests))} tests)")
    failed = [name for name, outcome in console.outcomes.items() if outcome == "failed"]
    if not console.ended:
        print(f"the machine did not get to its end: {len(missing)} tests did not run")
    if options.results:
        with options.results.open("a") as notes:
            stage = f"kernel-{options.kernel}"
            for name, outcome in console.outcomes.items():
                notes.write(f"{stage}\t{outcome}\t{name}\t\n")
            for name in missing:
                notes.write(f"{stage}\tfailed\t{name}\tdid not run\n")
            for reason, tests in sorted(console.reasons.items()):
                notes.write(f"{stage}\tskipped\t{min(tests)}\t{reason} ({len(tests)} cases of "
                            f"{len(set(tests))} tests)\n")
    print(f"{len(names) - len(failed) - len(missing)} tests hold under {options.kernel}, "
          f"{len(failed)} do not, {len(missing)} did not run")
    sys.exit(1 if failed or missing else 0)


main()
