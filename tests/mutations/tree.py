"""The copy of the tree whose library has a switch at each place (sites.py), and its build."""
import os
import subprocess

import sites

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", ".."))
FOLDERS = ("io", "loop", "net")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write_changed(path, text):
    """Leaves a file alone that is as it should be, so that nothing is compiled twice."""
    if os.path.islink(path):
        os.unlink(path)
    if not os.path.exists(path) or read(path) != text:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def all_sites():
    """Every place of the floors, numbered from 1; keys are what survives an edit elsewhere in the
    file: source, kind, text, and a count if that is there more than once."""
    found, seen = [], {}
    for folder in FOLDERS:
        where = os.path.join(ROOT, "src", folder)
        for name in sorted(os.listdir(where)):
            if name.endswith(".c"):
                source = f"src/{folder}/{name}"
                found += sites.sites_of(source, read(os.path.join(ROOT, source)))
    for number, site in enumerate(found, 1):
        site.number = number
        key = f"{site.source} {site.kind} {site.text}"
        seen[key] = seen.get(key, 0) + 1
        site.key = key if seen[key] == 1 else f"{key} #{seen[key]}"
    return found


def link_folder(source, target):
    os.makedirs(target, exist_ok=True)
    wanted = set()
    for name in sorted(os.listdir(source)):
        if name in ("__pycache__",):
            continue
        wanted.add(name)
        here, there = os.path.join(source, name), os.path.join(target, name)
        if os.path.isdir(here):
            link_folder(here, there)
        elif not os.path.lexists(there):
            os.symlink(here, there)
    for name in os.listdir(target):
        there = os.path.join(target, name)
        if name not in wanted and (os.path.islink(there) or os.path.isfile(there)) \
                and name not in ("mutant.h", "mutant.c", "mutant_cases.c"):
            os.unlink(there)


def make(folder, found):
    """The copy: links, but for the sources with switches and what reads the switch."""
    for name in ("src", "include", "cmake", "tests", "docs", "tools"):
        link_folder(os.path.join(ROOT, name), os.path.join(folder, name))
    for name in ("CMakeLists.txt", "LICENSE", "README.md"):
        if not os.path.lexists(os.path.join(folder, name)):
            os.symlink(os.path.join(ROOT, name), os.path.join(folder, name))
    by_source = {}
    for site in found:
        by_source.setdefault(site.source, []).append(site)
    for source, own in by_source.items():
        text = read(os.path.join(ROOT, source))
        head = '#include "base/mutant.h"\n#line 1 "' + source + '"\n'
        write_changed(os.path.join(folder, source), head + sites.switched(text, own))
    for name, place in (("mutant.h", "src/base/mutant.h"), ("mutant.c", "src/base/mutant.c"),
                        ("cases.c", "tests/support/mutant_cases.c")):
        write_changed(os.path.join(folder, place), read(os.path.join(HERE, name)))


def build(folder, jobs, asan):
    """Configures and compiles the tests of the copy; gives the folder of the programs."""
    out = os.path.join(folder, "build-asan" if asan else "build")
    options = ["-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DCMAKE_C_FLAGS=-w"]
    if asan:
        options = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_C_FLAGS=-w -O1",
                   "-DWEIR_SANITIZE=address,undefined"]
    subprocess.run(["cmake", "-S", folder, "-B", out, "-G", "Ninja", "-DWEIR_WERROR=OFF",
                    "-DWEIR_EXAMPLES=OFF", "-DWEIR_INSTALL=OFF"] + options,
                   check=True, stdout=subprocess.DEVNULL)
    listing = subprocess.run(["ninja", "-C", out, "-t", "targets", "all"], check=True,
                             capture_output=True, text=True).stdout
    wanted = [line.split(":")[0] for line in listing.splitlines()
              if line.startswith(("tests/unit.io.", "tests/unit.loop.", "tests/unit.net.",
                                  "tests/unit.app.", "tests/unit.base.", "tests/conformance.",
                                  "tests/nth.", "tests/sim:", "tests/fuzz_")) and
              "EXECUTABLE_LINKER" in line]
    subprocess.run(["nice", "-n", "10", "ninja", "-C", out, f"-j{jobs}"] + wanted, check=True,
                   stdout=subprocess.DEVNULL)
    return out


def stamp(build, program):
    """Changes when the program's own sources do."""
    own = os.path.join(build, "tests", "CMakeFiles", os.path.basename(program) + ".dir")
    newest = 0
    for folder, _, names in os.walk(own):
        for name in names:
            if name.endswith(".o"):
                newest = max(newest, os.stat(os.path.join(folder, name)).st_mtime_ns)
    return newest
