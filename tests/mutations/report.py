"""docs/mutations.md, and the reasons in survivors.txt."""
import os

import tree

HEAD = """# Mutations

What happens to the tests when something is taken out of the library: each check, call, count, flag
and early return of `src/io`, `src/loop` and `src/net` is one mutant, {total} in all. Made by
`tests/mutations/mutants.py --report`; how it works stands in
[simulation.md](guide/simulation.md#mutations-made-by-script).

```sh
tests/mutations/mutants.py --sample 200            # builds, and judges a sample
tests/mutations/mutants.py src/net/recv.c          # a file; a floor: net
tests/mutations/mutants.py --again                 # those that survived, after a new test
tests/mutations/mutants.py --list net              # what there is
```

| floor | mutants | judged | killed | of all judged | survivors explained | open | killed without the explained |
|---|---|---|---|---|---|---|---|
"""

JUDGED = """
What was judged is a sample drawn by `--sample N --seed 1` of each floor. When it was first judged 72 %
of it were killed in `io`, 69 % in `loop`, 69 % in `net`; the tests written since were written for its
survivors, so that these figures are no estimate for the places that were not judged. A second sample,
drawn afterwards and answered by no test, is one: 23 of 40 killed in `io`, 29 of 40 in `loop`, 28 of 39 in
`net`, with nothing explained. A third of 90 each followed when datagrams, an idle world, mail between
loops and a slow steady peer had come into simulation, and the trials of io_uring had a test: 67 killed in
`io` (74 %, at 95 % certainty between 65 and 82), 73 in `loop` (81 %, 72 to 88), 70 in `net` (78 %, 68 to
85). A fourth of 40 each, with tests of system calls that are counted or fail, of sendfile and of what a
loop counts: 30 in `io` (75 %, 60 to 86), 33 in `loop` (82 %, 68 to 91), 32 in `net` (80 %, 65 to 90).
The third and fourth were judged with little patience (6 s of cases for a mutant, none of the rarer runs), which lets some survive
that the whole suite would kill, and again nothing is explained in them. Of what was not judged {unpassed} places are passed by no test at all, or are
checks that never come out the other way: they would survive. Explained
survivors are those that no test can tell from the original, or only on another kernel, file system or
in a race of a few instructions; each has its reason below.
"""

BY = """
Who killed them first (the judges are asked in the order of their cost):

| judge | mutants |
|---|---|
"""


def reasons():
    """survivors.txt: blocks of keys, each a line, and below them an indented reason."""
    path = os.path.join(tree.HERE, "survivors.txt")
    found, keys, text = {}, [], []
    if not os.path.exists(path):
        return found
    for line in tree.read(path).splitlines() + [""]:
        if line.startswith("#"):
            continue
        if line.startswith(" "):
            text.append(line.strip())
            continue
        if text:
            for key in keys:
                found[key] = " ".join(text)
            keys, text = [], []
        if line:
            keys.append(line)
    return found


def judge_of(by):
    """The kind of test: "unit", "conformance", "sim", "nth", "fuzz"."""
    return by.replace(" ", ".").split(".")[0]


def row(name, own, results, explained):
    judged = [s for s in own if s.key in results]
    killed = sum(results[s.key]["state"] == "killed" for s in judged)
    left = [s for s in judged if results[s.key]["state"] != "killed"]
    known = sum(s.key in explained for s in left)
    rate = f"{100 * killed / len(judged):.1f} %" if judged else ""
    bare = len(judged) - known
    wanted = f"{100 * killed / bare:.1f} %" if bare else ""
    return (f"| {name} | {len(own)} | {len(judged)} | {killed} | {rate} | {known} | "
            f"{len(left) - known} | {wanted} |\n")


def escaped(text):
    return "`" + text.replace("|", "\\|") + "`"


def survivors(found, results, explained):
    left = [s for s in found if results.get(s.key, {}).get("state", "killed") != "killed"]
    out = "\n## Survivors\n"
    by_reason, unknown = {}, []
    for site in left:
        if site.key in explained:
            by_reason.setdefault(explained[site.key], []).append(site)
        else:
            unknown.append(site)
    for reason, own in by_reason.items():
        out += "\n" + "\n".join(f"- `{s.source}`, {s.kind}: {escaped(s.text)}" for s in own)
        out += f"\n\n  {reason}\n"
    if unknown:
        out += "\n## Open\n\nJudged, not killed, and not explained yet: a test is wanted.\n\n"
        out += "".join(f"- `{s.source}`, {s.kind}: {escaped(s.text)}\n" for s in unknown)
    return out


def write(found, results, passed):
    """passed: the numbers of the places that some test passes."""
    explained = reasons()
    now = {s.key for s in found}
    out = HEAD.format(total=len(found))
    for folder in tree.FOLDERS:
        own = [s for s in found if s.source.startswith(f"src/{folder}/")]
        out += row(folder, own, results, explained)
    out += row("all", found, results, explained)
    out += JUDGED.format(unpassed=sum(s.key not in results and s.number not in passed
                                      for s in found))
    judges = {}
    for key, result in results.items():
        if key in now and result["state"] == "killed":
            judge = judge_of(result["by"])
            judges[judge] = judges.get(judge, 0) + 1
    out += BY + "".join(f"| {name} | {count} |\n"
                        for name, count in sorted(judges.items(), key=lambda pair: -pair[1]))
    out += survivors(found, results, explained)
    with open(os.path.join(tree.ROOT, "docs", "mutations.md"), "w", encoding="utf-8") as file:
        file.write(out)
