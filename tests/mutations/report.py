"""docs/mutations.md."""
import os

import tree


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


def write(found, results):
    pass
