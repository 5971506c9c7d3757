#!/usr/bin/env python3
"""Reads the cases of this folder; see README.md. With file names: prints the bytes of each."""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ESCAPE = re.compile(r"\\(?:([rnt0\\])|x([0-9a-fA-F]{2})|\{([0-9]+)\*([^}]*)\}|(.?))", re.S)
PLAIN = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\"}


def unescape(text):
    """Gives the bytes that an escaped text stands for."""
    out, at = b"", 0
    for match in ESCAPE.finditer(text):
        out += text[at:match.start()].encode("ascii")
        at = match.end()
        if match[1]:
            out += PLAIN[match[1]]
        elif match[2]:
            out += bytes([int(match[2], 16)])
        elif match[3]:
            out += unescape(match[4]) * int(match[3])
        else:
            raise ValueError("bad escape: " + match[0])
    return out + text[at:].encode("ascii")


class Case:
    """One file: name, keys (a dictionary), statuses (a list of sets), fate, data (bytes)."""

    def __init__(self, path):
        with open(path, encoding="ascii") as file:
            head, _, raw = file.read().partition("---\n")
        lines = [line for line in head.splitlines() if line and not line.startswith("#")]
        self.name = os.path.relpath(path, HERE)
        self.keys = {}
        for line in lines:
            key, _, value = line.partition(":")
            self.keys[key] = value.strip()
        words = self.keys["expect"].split()
        self.statuses = [{int(status) for status in word.split("|")} for word in words[:-1]]
        self.fate = words[-1]
        if self.fate not in ("keep", "close", "wait", "any"):
            raise ValueError("%s: no such fate: %s" % (path, self.fate))
        self.data = unescape(raw.replace("\n", ""))


def cases():
    """Gives every case, sorted by name."""
    for folder, _, files in sorted(os.walk(HERE)):
        for name in sorted(files):
            if name.endswith(".txt"):
                yield Case(os.path.join(folder, name))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        sys.stdout.buffer.write(Case(argument).data)
    if len(sys.argv) == 1:
        print(sum(1 for _ in cases()), "cases")
