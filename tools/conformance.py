#!/usr/bin/env python3
"""docs/conformance.md: which contract is pinned by which tests, and how they ended on each back end.

usage: conformance.py write BUILD [REGEX]    run the conformance tests in this build folder, or those
                                             that match beside former results, and write the page
       conformance.py check                  is the page about the tests that there are?

The page is made from the tests' results; the check compares names alone, so that it needs no run.
"""

import json
import platform
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "conformance.md"
FOLDER = ROOT / "tests" / "conformance"

# Group of cases (the beginning of their names): title, and what else pins it or comes later.
GROUPS = {
    "k01": ("K1 one owner", "`weir_blob` comes with the issue that shares memory between loops"),
    "k02": ("K2 handles", ""),
    "k03": ("K3 flat", ""),
    "k04": ("K4 exactly once", "also unit.co"),
    "k05": ("K5 order", ""),
    "k06": ("K6 bounded", "also e2e.cmd_hostile; pinned zero-copy bytes come with zero-copy sends"),
    "k07": ("K7 deadlines", "also e2e.cmd_hostile (heads and bodies)"),
    "k08": ("K8 views", "coroutines get copies: no receive block is kept for them"),
    "k09": ("K9 close", "zero-copy notices come with zero-copy sends"),
    "k10": ("K10 distinct ends", ""),
    "k11": ("K11 scarcity", "also e2e.cmd_hostile, and the nth tests, which fail each call in turn"),
    "k12": ("K12 the plan", "also unit.loop.test_plan, unit.io.test_uring_old, e2e.cmd_options"),
    "k13": ("K13 idle is free", "also e2e.cmd_idle (strace, CPU, memory)"),
    "k14": ("K14 time", "also unit.base.test_wheel"),
    "k15": ("K15 fork, signals, SIGPIPE", "also e2e.cmd_drain"),
    "k16": ("K16 fairness", "also e2e.cmd_hostile"),
    "k17": ("K17 upgrade and reload",
            "also e2e.cmd_drain; reload, upgrade and adopting listeners come with the shape "
            "`processes`"),
    "k18": ("K18 hostile input",
            "also fuzz.*, e2e.http_corpus, e2e.cmd_hostile; codecs to come are fuzzed with them"),
    "k19": ("K19 overload",
            "also e2e.cmd_hostile; goodput at twice the peak is `./dev bench goodput`; shedding by "
            "age comes with queues of work"),
    "sends": ("every kind of send", "also K5, K6, K8"),
    "datagram": ("datagrams", "also K1 to K6, K8, K11, K13, K16, K18"),
    "capture": ("packets of an interface", "also unit.net.test_capture_filter, kernel.packets"),
    "tun": ("TUN and TAP devices", "also kernel.packets"),
    "foreign": ("descriptors that are not weir's", ""),
    "pipe": ("pipes", ""),
    "filters": ("filters", ""),
    "tls": ("TLS", "also unit.tls, e2e.cmd_tls"),
    "via": ("proxies", "also e2e.via, unit.proto.test_proxies"),
    "frames": ("frames", "also unit.proto.test_frame"),
    "run": ("the end of weir_run", "also e2e.cmd_drain"),
    "addresses": ("addresses that cannot be had", "also unit.net.test_socket"),
}
# Where a group does not run: the reason.
ABSENT = {
    "tls": "what the ring's switches change is below the filter, which other tests see",
    "run": "shapes are the same code whatever the ring's switches are, and `acceptor` hands over what "
           "direct descriptors cannot be",
}


def columns():
    """Back ends as tests/conformance/plan.cmake names them: what it says, and CTest's suffix."""
    text = (FOLDER / "plan.cmake").read_text()
    words = re.search(r"set\(uring_switched ([^)]*)\)", text)[1].split()
    calls = re.findall(r"weir_add_conformance\(\$\{name\} ([^$)]*)", text)
    names = calls[0].split() if calls else []
    names = names + words
    return [(name, re.sub(r"[^A-Za-z0-9_=-]+", ".", name)) for name in names]


def sources():
    """Cases of each test program, as its last lines list them."""
    out = {}
    for path in sorted(FOLDER.glob("test_*.c")):
        _, _, cases = path.read_text().partition("\nK_MAIN(")
        out[path.stem] = re.findall(r"\b[A-Z]+\((\w+)\)", cases)
    return out


def group_of(case, program):
    """The contract in a case's name, or else the subject in its program's name."""
    contract = re.match(r"k\d\d(?=_)", case)
    return contract[0] if contract else program.split("_")[1]


def groups(programs):
    """Title, remark, and cases of each group; one that is not known here stands at the end."""
    found = {group: [] for group in GROUPS}
    for program, cases in programs.items():
        for case in cases:
            found.setdefault(group_of(case, program), []).append(case)
    return {group: (*GROUPS.get(group, (group, "")), cases) for group, cases in found.items()}


class Results:
    """Cases and how they ended: passed, skipped with a reason, failed, or not run."""

    def __init__(self, kept):
        self.kept = kept
        rows = json.loads(kept.read_text()) if kept.exists() else []
        self.ended = {(case, suffix): (state, why) for case, suffix, state, why in rows}

    def save(self):
        self.kept.write_text(json.dumps([[*key, *value] for key, value in self.ended.items()]))

    def read(self, path, programs):
        for case in xml.parse(path).getroot().iter("testcase"):
            name = case.get("name").removeprefix("conformance.")
            program = max((p for p in programs if name.startswith(p + ".")), key=len, default=None)
            if program is None:
                continue
            suffix = name[len(program) + 1:]
            output = case.findtext("system-out") or ""
            passed = set(re.findall(r"^\[       OK \] (\w+)", output, re.M))
            skipped = dict.fromkeys(re.findall(r"^\[  SKIPPED \] (\w+)$", output, re.M))
            whys = dict(re.findall(r"^skip: (\w+): (.*)$", output, re.M))
            for one in programs[program]:
                if one in skipped:
                    why = whys.get(one) or next(iter(whys.values()), "no reason given")
                    self.ended[one, suffix] = ("skipped", why)
                else:
                    self.ended[one, suffix] = ("passed" if one in passed else "failed", "")


def letter_of(why, notes):
    return notes.setdefault(why, chr(ord("a") + len(notes)))


def cell(group, cases, suffix, results, notes):
    """How many passed; those skipped with their reason's letter."""
    count = {"passed": 0, "failed": 0, "skipped": 0, None: 0}
    letters = []
    for case in cases:
        state, why = results.ended.get((case, suffix), (None, ""))
        count[state] += 1
        if state == "skipped":
            letter = letter_of(why, notes)
            if letter not in letters:
                letters.append(letter)
    if count["failed"]:
        return f"{count['failed']} FAILED"
    if count[None] == len(cases) and group in ABSENT:
        return f"not run: {letter_of(ABSENT[group], notes)}"
    if count[None]:
        return f"{count[None]} DID NOT RUN"
    text = str(count["passed"])
    if count["skipped"]:
        text += f" ({count['skipped']} skipped: {', '.join(letters)})"
    return text


def page(results, programs):
    heads = columns()
    notes = {}
    rows = []
    for group, (title, _, own) in groups(programs).items():
        cells = [cell(group, own, suffix, results, notes) for _, suffix in heads]
        rows.append(f"| {title} | " + " | ".join(cells) + " |")
    out = ["# Conformance", "",
           "Generated by `tools/conformance.py write build/release` from the results of the tests in",
           "`tests/conformance`; do not edit. Each contract of the design has cases that carry its "
           "number;",
           "each runs on every back end and with each main feature of io_uring switched. A cell tells "
           "how many",
           "of them passed; one that failed beside other work on the machine was tried again.", "",
           f"Run on Linux {platform.release()}, {platform.machine()}.", "",
           "| contract | " + " | ".join(f"`{name}`" for name, _ in heads) + " |",
           "|---|" + "---|" * len(heads), *rows, ""]
    if notes:
        out += ["Skipped, because:", ""]
        out += [f"- {letter}: {why}" for why, letter in notes.items()]
        out += [""]
    out += ["## Cases", ""]
    for title, beside, own in groups(programs).values():
        names = ", ".join(f"`{case}`" for case in own)
        out += [f"**{title}**: {names}." + (f" Beside them: {beside}." if beside else ""), ""]
    return "\n".join(out)


def write(build, regex):
    programs = sources()
    results = Results(Path(build) / "conformance.json")
    if not regex:
        results.ended.clear()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.xml"
        subprocess.run(["ctest", "-L", "^conformance$", *(["-R", regex] if regex else []), "-j", "2",
                        "--output-junit", path, "--repeat", "until-pass:3",
                        "--test-output-size-passed", "1000000",
                        "--test-output-size-failed", "1000000"], cwd=build, check=False)
        results.read(path, programs)
    results.save()
    PAGE.write_text(page(results, programs))
    failed = sorted(f"{case} on {suffix}" for (case, suffix), (state, _) in results.ended.items()
                    if state == "failed")
    print("\n".join(failed) if failed else f"{PAGE} is written")
    return 1 if failed else 0


def offences():
    programs = sources()
    cases = {case for program in programs.values() for case in program}
    for title, _, own in groups(programs).values():
        if not own:
            yield f"{title}: no case"
    if not PAGE.exists():
        yield "it is not there"
        return
    text = PAGE.read_text()
    lists = re.findall(r"^\*\*[^*]+\*\*: ((?:`\w+`(?:, )?)+)", text, re.M)
    listed = {name for line in lists for name in re.findall(r"`(\w+)`", line)}
    for case in sorted(cases - listed):
        yield f"{case} is not on it"
    for case in sorted(listed - cases):
        yield f"{case} is on it and not among the tests"
    head = re.search(r"^\| contract \|(.*)\|$", text, re.M)
    if head is None or re.findall(r"`([^`]+)`", head[1]) != [name for name, _ in columns()]:
        yield "its columns are not the back ends of tests/conformance/plan.cmake"
    for row in re.findall(r"^\|.*FAILED.*|^\|.*DID NOT RUN.*", text, re.M):
        yield f"it tells of failures: {row}"


def check():
    found = list(offences())
    for offence in found:
        print(f"docs/conformance.md: {offence}")
    if found:
        print("./dev build release && tools/conformance.py write build/release makes it anew")
    return 1 if found else 0


def main():
    if sys.argv[1:] == ["check"]:
        return check()
    if len(sys.argv) in (3, 4) and sys.argv[1] == "write":
        return write(sys.argv[2], "".join(sys.argv[3:]))
    print(__doc__, file=sys.stderr)
    return 64


if __name__ == "__main__":
    sys.exit(main())
