#!/usr/bin/env python3
"""The rules of the house that no compiler knows; see CONTRIBUTING.md.

usage: style.py [ROOT]

Prints one line per offence and exits with 1 if there is any. Exceptions stand with their reason in
tools/style-exceptions.txt, and one that is no longer needed is an offence as well.
"""

import re
import subprocess
import sys
from pathlib import Path

FLOORS = ["base", "io", "loop", "net", "co", "dns", "proto", "app", "tls", "cmd"]
# What stands beside the house: it sees public headers and its own.
BESIDE = ["tls", "cmd"]
MOST_FILE_LINES = 600
MOST_FUNCTION_LINES = 60
MOST_COLUMNS = 100
# What only base/ may call, so that a simulation can put its own in place.
RESERVED = {
    "allocation": "malloc calloc realloc free strdup strndup asprintf vasprintf aligned_alloc "
    "posix_memalign reallocarray",
    "environment": "getenv secure_getenv setenv putenv",
    "clock": "clock_gettime gettimeofday time clock",
    "randomness": "rand random srand srandom rand_r drand48 getrandom getentropy arc4random",
    "threads": "pthread_create thrd_create",
}
KIND_OF = {name: kind for kind, names in RESERVED.items() for name in names.split()}
RESERVED_CALL = re.compile(r"(?<![\w.>])(" + "|".join(KIND_OF) + r")\s*\(")
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def without_comments(text):
    """The text with comments and the contents of literals blanked, its lines kept."""

    def blank(match):
        token = match.group(0)
        if token.startswith("/"):
            return re.sub(r"[^\n]", " ", token)
        return token[0] + " " * (len(token) - 2) + token[-1]

    tokens = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(tokens, blank, text, flags=re.S)


def floor_of(path):
    """The floor's number, -1 for a public header, None for what stands outside the house."""
    parts = path.split("/")
    if path.startswith("include/weir/"):
        return -1
    if parts[0] == "src" and len(parts) > 2 and parts[1] in FLOORS:
        return FLOORS.index(parts[1])
    return None


def sizes(path, text, lines):
    if len(lines) > MOST_FILE_LINES:
        yield 1, "long-file", f"{len(lines)} lines, at most {MOST_FILE_LINES}"
    code = without_comments(text).split("\n")
    opened = None
    for number, line in enumerate(code, 1):
        if line.startswith("{"):
            opened = number
        elif line.startswith("}") and opened is not None:
            length = number - opened - 1
            if length > MOST_FUNCTION_LINES:
                yield opened, "long-function", f"{length} lines, at most {MOST_FUNCTION_LINES}"
            opened = None


def includes(path, lines):
    floor = floor_of(path)
    if floor is None:
        return
    for number, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        bracket, name = found.groups()
        top = name.split("/")[0]
        if floor == -1 and bracket == '"':
            yield number, "include", f'a public header includes only <...>, not "{name}"'
        elif bracket == '"' and top not in FLOORS:
            yield number, "include", f'"{name}" is not named by its floor ("floor/file.h")'
        elif bracket == '"' and FLOORS[floor] in BESIDE and top != FLOORS[floor]:
            yield number, "include", f'{FLOORS[floor]}/ uses only public headers, not "{name}"'
        elif bracket == '"' and FLOORS.index(top) > floor:
            yield number, "include", f'"{name}" points up from {FLOORS[floor]}/'


def reserved_calls(path, text):
    floor = floor_of(path)
    if floor is None or FLOORS[floor] == "base" or floor == -1:
        return
    for number, line in enumerate(without_comments(text).split("\n"), 1):
        for found in RESERVED_CALL.finditer(line):
            name = found.group(1)
            kind = KIND_OF[name]
            # The command is no part of the library and sees only public headers; it may use the
            # memory and the environment of its process.
            if FLOORS[floor] == "cmd" and kind in ("allocation", "environment"):
                continue
            yield number, name, f"{name}() is called only in base/ ({kind})"


def words_and_spaces(path, lines):
    for number, line in enumerate(lines, 1):
        if UNFINISHED.search(line):
            yield number, "unfinished", "unfinished work is finished or written down as an issue"
        if path.endswith((".c", ".h", ".S")):
            if line != line.rstrip():
                yield number, "space", "space at the end of the line"
            if "\t" in line:
                yield number, "space", "a tab"
            if len(line) > MOST_COLUMNS:
                yield number, "columns", f"{len(line)} columns, at most {MOST_COLUMNS}"


def links(root, path, text):
    for found in LINK.finditer(text):
        target = found.group(1)
        if "://" in target or target.startswith("mailto:"):
            continue
        if not (root / path).parent.joinpath(target).exists():
            number = text.count("\n", 0, found.start()) + 1
            yield number, "link", f"no such file: {target}"


def offences_of(root, path):
    try:
        text = (root / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return  # test data
    lines = text.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    if "/corpus/" not in path:
        yield from words_and_spaces(path, lines)
    if path.endswith((".c", ".h")):
        yield from sizes(path, text, lines)
        yield from includes(path, lines)
        yield from reserved_calls(path, text)
    elif path.endswith(".md"):
        yield from links(root, path, text)


def read_exceptions(root):
    """{(path, rule): line number}; each line is: path, rule, reason."""
    exceptions = {}
    for number, line in enumerate((root / "tools/style-exceptions.txt").open(), 1):
        words = line.split(None, 2)
        if not words or words[0].startswith("#"):
            continue
        if len(words) < 3:
            sys.exit(f"tools/style-exceptions.txt:{number}: path, rule and reason, please")
        exceptions[words[0], words[1]] = number
    return exceptions


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    listed = subprocess.run(
        ["git", "-C", root, "ls-files", "-co", "--exclude-standard", "-z"],
        capture_output=True, check=True, text=True)
    paths = sorted({path for path in listed.stdout.split("\0") if (root / path).is_file()})
    exceptions = read_exceptions(root)
    used = set()
    offences = 0
    for path in paths:
        for number, rule, text in offences_of(root, path):
            if (path, rule) in exceptions:
                used.add((path, rule))
                continue
            print(f"{path}:{number}: {text} [{rule}]")
            offences += 1
    for key in sorted(exceptions.keys() - used):
        print(f"tools/style-exceptions.txt:{exceptions[key]}: no longer needed: {' '.join(key)}")
        offences += 1
    print(f"{len(paths)} files, {offences} offences")
    sys.exit(1 if offences else 0)


main()
