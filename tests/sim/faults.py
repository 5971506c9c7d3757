#!/usr/bin/env python3
"""Whether the runs of a slice had enough of each fault: the table of kind and operation, summed over
the programs.

    faults.py [--least N] FILE...     FILEs as `tests/sim/run --json FILE` writes them

Each cell that can occur has to have occurred N times (default 1000); which those are, and why a kind
can happen nowhere else, is the list in fault.c. Exit codes: 0 enough, 1 not, 64 usage.
"""
import argparse
import json
import sys


def summed(paths):
    table, elsewhere, runs = {}, {}, 0
    for path in paths:
        with open(path, encoding="utf-8") as file:
            counts = json.load(file)
        runs += counts["runs"]
        elsewhere = counts["elsewhere"]
        for kind, cells in counts["faults"].items():
            for operation, count in cells.items():
                row = table.setdefault(kind, {})
                row[operation] = row.get(operation, 0) + count
    return table, elsewhere, runs


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--least", type=int, default=1000)
    parser.add_argument("files", nargs="+")
    options = parser.parse_args()
    table, elsewhere, runs = summed(options.files)
    few = []
    for kind, cells in table.items():
        print(f"{kind:14}", "  ".join(f"{name} {count}" for name, count in cells.items()))
        print(f"{'':14} nowhere else: {elsewhere[kind]}")
        few += [f"{kind} {name}: {count}" for name, count in cells.items() if count < options.least]
    cells = sum(len(row) for row in table.values())
    print(f"{runs} runs of {len(options.files)} programs; {cells} cells, {len(few)} of them below "
          f"{options.least}")
    for line in few:
        print("too few:", line)
    return 1 if few else 0


if __name__ == "__main__":
    sys.exit(main())
