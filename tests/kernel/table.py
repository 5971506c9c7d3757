"""Looks up what the table of causes names in the sources of the tests."""
import re
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
GUIDE = TESTS.parent / "docs" / "guide" / "causes.md"
SOURCES = {"net": "kernel/networks.py", "flow": "kernel/flows.py", "restart": "kernel/restart.py",
           "io": "unit/io/*.c", "contract": "conformance/*.c"}


def text_of(pattern):
    return "".join(path.read_text() for path in sorted(TESTS.glob(pattern)))


def main():
    guide = GUIDE.read_text()
    sources = {kind: text_of(pattern) for kind, pattern in SOURCES.items()}
    simulated, faults = text_of("sim/programs/causes.c"), text_of("sim/sim.h")
    missing, names = [], 0
    for name in re.findall(r"`(k\d\d_[a-z]\w+|(?:net|flow|restart|io)\.(?!py)\w+)`", guide):
        kind, _, case = name.rpartition(".")
        names += 1
        if not re.search(rf"\b{case}\(", sources[kind or "contract"]):
            missing.append(name)
    for line in guide.splitlines():
        cells = line.split(" | ")
        if not line.startswith("| ") or len(cells) != 5:
            continue
        for row in re.findall(r'"([^"]+)"', cells[-1]):
            names += 1
            if f'.name = "{row}"' not in simulated:
                missing.append(f'the row "{row}" of sim.causes')
        for fault in re.findall(r"\b[A-Z_]{4,}\b", cells[-1]):
            names += 1
            if f"FAULT({fault}," not in faults:
                missing.append(f"the simulator's fault {fault}")
    print(f"{names} names looked up")
    for name in missing:
        print(f"causes.md names {name}, which is not there")
    sys.exit(1 if missing or names < 80 else 0)


main()
