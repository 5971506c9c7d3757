"""The settings of a rival: what its own documentation recommends for speed, quoted, and what was made of
it. A rival without such a file is not in the tables.

settings.md has a section for each setting:

    ## the setting
    > What the documentation says of it.

    Source: title, where it is

    What was made of it here.
"""
import os
import re

FILE = "settings.md"


def read(folder):
    """A list of {"title", "quote", "source", "text"}; raises OSError when there is no file."""
    with open(os.path.join(folder, FILE), encoding="utf-8") as file:
        parts = re.split(r"^## ", file.read(), flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        title, _, rest = part.partition("\n")
        quote = " ".join(line[1:].strip() for line in rest.splitlines() if line.startswith(">"))
        source = re.search(r"^Source:[ ]*(\S.*)$", rest, re.MULTILINE)
        text = [line for line in rest.splitlines()
                if line.strip() and not line.startswith((">", "Source:"))]
        found.append({"title": title.strip(), "quote": quote,
                      "source": source.group(1) if source else "", "text": " ".join(text)})
    return found


def problem(folder):
    """Why a rival cannot be in the tables, or an empty string."""
    name = os.path.basename(folder)
    try:
        found = read(folder)
    except OSError:
        return f"peers/{name}/{FILE} is not there: without its documentation quoted it is not compared"
    if not found:
        return f"peers/{name}/{FILE} has no settings"
    for one in found:
        for part in ("quote", "source", "text"):
            if not one[part]:
                return f"peers/{name}/{FILE}: \"{one['title']}\" has no {part}"
    return ""
