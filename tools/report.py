#!/usr/bin/env python3
"""Counts the results of ./dev test and prints them, the verdict alone on the last line.

usage: report.py FOLDER

FOLDER holds STAGE.xml (CTest's JUnit form) and notes.tsv (stage, outcome, name, reason).
STAGE.again.xml has the second run of those that failed and may have one: who passed in it is
unsteady. Skipped cases inside a test that passed count as skipped too, so that none is overlooked.
"""

import re
import sys
import xml.etree.ElementTree as xml
from pathlib import Path


def reason_of(output):
    """The line in which a skipped test says why."""
    for line in output.splitlines():
        if line.lower().startswith("skip:"):
            return line[5:].strip()
    return "no reason given"


def inner_skips(output):
    """Cases skipped within a test that passed, each with its reason: cmocka's, of which
    tests/support/skip.h prints "skip: CASE: REASON", and "skipped CASE: REASON" of the scripts."""
    names = dict.fromkeys(re.findall(r"^\[  SKIPPED \] (\w+)$", output, re.M))
    reasons = {}
    for case, reason in re.findall(r"^skip: (?:(\w+): )?(.*)$", output, re.M):
        reasons.setdefault(case if case in names else None, reason)
    for name in names:
        yield name, reasons.get(name, reasons.get(None, "no reason given"))
    yield from re.findall(r"^skipped (\w+): (.*)$", output, re.M)


def outcomes_of(path):
    """Yields (outcome, name, reason) of each test in one of CTest's result files."""
    for case in xml.parse(path).getroot().iter("testcase"):
        name = case.get("name")
        output = case.findtext("system-out") or ""
        skipped = case.find("skipped")
        if case.get("status") == "run":
            yield "passed", name, ""
            for inner, reason in inner_skips(output):
                yield "skipped", f"{name}: {inner}", reason
        elif skipped is not None and skipped.get("message", "").startswith("SKIP_RETURN_CODE"):
            yield "skipped", name, reason_of(output)
        elif case.get("status") == "disabled":
            yield "skipped", name, "disabled"
        else:
            # A test that did not run for any other reason was meant to run.
            yield "failed", name, "did not run" if skipped is not None else ""


def passed_again(path):
    """The tests that failed in this stage and passed when they ran once more, alone."""
    second = path.with_suffix(".again.xml")
    return {name for outcome, name, _ in outcomes_of(second) if outcome == "passed"} \
        if second.exists() else set()


def results_in(folder):
    for path in sorted(folder.glob("*.xml")):
        if path.stem.endswith(".again"):
            continue
        steady_now = passed_again(path)
        for outcome, name, reason in outcomes_of(path):
            if outcome == "failed" and name in steady_now:
                outcome, reason = "unsteady", "failed among others, passed alone"
            yield path.stem, outcome, name, reason
    notes = folder / "notes.tsv"
    if notes.exists():
        for line in notes.read_text().splitlines():
            stage, outcome, name, reason = line.split("\t")
            yield stage, outcome, name, reason


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: report.py FOLDER")
    count = {"passed": 0, "failed": 0, "skipped": 0, "unsteady": 0}
    stages_of = {"failed": {}, "skipped": {}, "unsteady": {}}
    for stage, outcome, name, reason in results_in(Path(sys.argv[1])):
        count[outcome] += 1
        if outcome in stages_of:
            stages_of[outcome].setdefault((name, reason), []).append(stage)
    print()
    for outcome in ("skipped", "unsteady", "failed"):
        if stages_of[outcome]:
            print(outcome.upper())
        for (name, reason), stages in sorted(stages_of[outcome].items()):
            print(f"  {name} ({', '.join(stages)})" + (f": {reason}" if reason else ""))
    if count["passed"] == 0 and count["failed"] == 0:
        print("nothing was tested")
        count["failed"] = 1
    verdict = f"{count['passed']} passed, {count['failed']} failed"
    for outcome in ("skipped", "unsteady"):
        if count[outcome]:
            verdict += f", {count[outcome]} {outcome}"
    print(verdict)
    sys.exit(1 if count["failed"] else 0)


main()
