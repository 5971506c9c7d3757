#!/usr/bin/env python3
"""Every test that docs/guide/causes.md names is there: a row that no test shows is not to stand.

usage: causes.py [ROOT]

Prints one line per name that is missing and exits with 1 if there is any.
"""

import re
import sys
from pathlib import Path

PLACES = {  # what a name begins with: files, and how it stands there
    "k": ("tests/conformance/*.c", r"\b[A-Z]\({}\)"),
    "io.": ("tests/unit/io/*.c", r"\b{}\b"),
    "net.": ("tests/kernel/networks.py", r"^def {}\("),
    "flow.": ("tests/kernel/flows.py", r"^def {}\("),
    "restart.": ("tests/kernel/restart.py", r"^def {}\("),
}
NAMED = re.compile(r"`((?:k\d\d_|io\.|net\.|flow\.|restart\.|…_)\w+)`")
SIMULATED = re.compile(r'"([^"]+)"')
FAULT = re.compile(r"\b([A-Z]{4,}(?:_[A-Z]+)*)\b")


def contents(root, pattern):
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(root.glob(pattern)))


def is_there(root, name):
    if name.startswith("…"):  # the name before it, and another end
        return re.search(r"\b[A-Z]\(\w+" + name[1:] + r"\)", contents(root, PLACES["k"][0])) is not None
    begin = "k" if re.match(r"k\d\d_", name) else name.split(".")[0] + "."
    pattern, how = PLACES[begin]
    bare = name if begin == "k" else name[len(begin):]
    return re.search(how.format(bare), contents(root, pattern), re.M) is not None


def names_of(line):
    """What a row of the tables names: tests, simulated rows, faults of the simulator."""
    cells = line.strip().strip("|").split(" | ")
    if not line.startswith("| ") or len(cells) != 5:
        return [], [], []
    return (NAMED.findall(cells[3]), SIMULATED.findall(cells[4]),
            FAULT.findall(SIMULATED.sub("", cells[4])))


def missing(root, line):
    tests, simulated, faults = names_of(line)
    yield from (name for name in tests if not is_there(root, name))
    rows = contents(root, "tests/sim/programs/causes.c") if simulated else ""
    yield from (f'"{name}"' for name in simulated if f'.name = "{name}"' not in rows)
    known = contents(root, "tests/sim/sim.h") if faults else ""
    yield from (name for name in faults if not re.search(rf"\({name}, ", known))


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    text = (root / "docs/guide/causes.md").read_text(encoding="utf-8").split("\n")
    names = sum(len(names_of(line)[0]) for line in text)
    wrong = [(number, name) for number, line in enumerate(text, 1)
             for name in missing(root, line)]
    for number, name in wrong:
        print(f"docs/guide/causes.md:{number}: no such test: {name}")
    if names < 60:
        print(f"docs/guide/causes.md: only {names} names of tests were found")
    print(f"causes: {names} names of tests, {len(wrong)} missing")
    sys.exit(1 if wrong or names < 60 else 0)


main()
