"""./dev bench models: run by models_bench.sh with a scratch folder that has the programs."""
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "bench"))

from runner import models, models_page, shown  # noqa: E402


def run(*arguments):
    return subprocess.run([sys.executable, os.path.join(ROOT, "bench", "models"), *arguments],
                          capture_output=True, text=True, check=False, timeout=90)


def everybody():
    """Each program is measured, and each has its paragraph on the page."""
    programs = {name[:-2] for name in os.listdir(os.path.join(ROOT, "examples", "models"))
                if name.endswith(".c")}
    assert programs == set(models.ORDER), programs ^ set(models.ORDER)
    with open(os.path.join(ROOT, "docs", "models.md"), encoding="utf-8") as file:
        page = file.read()
    told = set(re.findall(r"^\*\*\[(\w+)\]", page, re.MULTILINE))
    assert told == programs, told ^ programs
    for name in shown.SHOWN:
        assert f"`{name}`" in page, f"{name} is not on the page"


def measured(scratch):
    path = os.path.join(scratch, "results.json")
    done = run("--only", "epoll_lt,pool,process", "--cases", "one,active-100", "--rounds", "2",
               "--seconds", "0.05", "--json", path)
    assert done.returncode == 0, (done.stdout, done.stderr)
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    rows = results["rows"]
    assert [row["server"] for row in rows if row["case"] == "active-100"] == [
        "process", "pool", "epoll_lt"] * 2, "alternating"
    for row in rows:
        assert row["served"] == row["conns"] and row["messages"] > 0 and row["cpu_us"] >= 0, row
        assert row["lost"] == 0 and row["p99_us"] >= row["p50_us"] > 0, row
    # In so short a time some use less than the kernel's clock of CPU time tells.
    assert any(row["cpu_us"] > 0 for row in rows), rows
    calls = results["calls"]
    if calls:  # without strace there are none
        assert 1 < sum(calls["epoll_lt"].values()) < 4, calls
    docs = os.path.join(scratch, "docs")
    os.mkdir(docs)
    shutil.copy(os.path.join(ROOT, "docs", "models.md"), docs)
    models_page.write(docs, results, models.CASES, models.ORDER)
    with open(os.path.join(docs, "models.md"), encoding="utf-8") as file:
        page = file.read()
    lines = [line for line in page.splitlines() if line.startswith("| [")]
    assert len(lines) == 3 and len({line.count("|") for line in lines}) == 1, lines
    picture = xml.parse(os.path.join(docs, "models", "active-100.svg")).getroot()
    assert sum(part.tag.endswith("rect") for part in picture) == 1 + 3


def phenomena():
    for name in shown.SHOWN:
        done = run(name)
        if done.returncode == 1:  # another program may have had both CPUs
            done = run(name)
        assert done.returncode in (0, 77), done.stdout + done.stderr
        assert ("verdict" if done.returncode == 0 else "skip") in done.stdout, done.stdout


if __name__ == "__main__":
    everybody()
    phenomena()
    if os.cpu_count() < 2:
        print("skip: the comparison needs two CPUs")
        sys.exit(77)
    measured(sys.argv[1])
