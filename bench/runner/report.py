"""Tables in Markdown, and what became of each goal: all of it from the results alone."""
import os

from . import goodput
from .stats import interval, median, spread


def by_server(rows):
    groups = {}
    for row in rows:
        groups.setdefault(row["server"], []).append(row)
    return groups


def ratios(ours, theirs):
    """Our CPU per request over theirs, round by round: what disturbed both goes out of it."""
    other = {row["round"]: row["cpu_us"] for row in theirs}
    return [row["cpu_us"] / other[row["round"]] for row in ours
            if other.get(row["round"])]


def judge(goal, groups):
    """The outcome of a goal as a dictionary, or None when one side was not measured."""
    rivals = [groups[name] for name in goal.theirs if name in groups]
    if goal.ours not in groups or not rivals:
        return None
    best = min(rivals, key=lambda rows: median([row["cpu_us"] for row in rows]))
    values = ratios(groups[goal.ours], best)
    if not values:
        return None
    low, high = interval(values)
    ratio = median(values)
    return {"server": goal.ours, "against": goal.text, "limit": goal.limit,
            "ratio": round(ratio, 3), "low": round(low, 3), "high": round(high, 3),
            "met": ratio <= goal.limit, "certain": high <= goal.limit or low > goal.limit}


def goal_line(result):
    state = "met" if result["met"] else "NOT MET"
    if not result["certain"]:
        state += " (within the noise)"
    digits = 3 if result["limit"] and result["limit"] < 10 else 0  # a ratio, or bytes and calls
    return (f"| {result['bench']} | {result['server']} / {result['against']} "
            f"| {result['ratio']:.{digits}f} "
            f"| {result['low']:.{digits}f} to {result['high']:.{digits}f} "
            f"| {result['limit']:.{min(digits, 2)}f} | {state} |")


GOAL_HEAD = ("| job | server CPU per request, or as said | median | 95 % interval | goal | |\n"
             "|---|---|---|---|---|---|")


def _middle(rows, name, digits):
    return f"{median([row[name] for row in rows]):,.{digits}f}"


def table(job, rows, auto):
    """The job's candidates, cheapest first."""
    groups = by_server(rows)
    order = sorted(groups, key=lambda name: median([row["cpu_us"] for row in groups[name]]))
    lines = [f"### {job.name}: {job.title}", "",
             "| server | CPU µs per request | ± | requests/s | p50 µs | p99 µs | resident KiB "
             "| switches per request | system calls per request | server CPU | load CPU |",
             "|---|---|---|---|---|---|---|---|---|---|---|"]
    for name in order:
        group = groups[name]
        cpu = [row["cpu_us"] for row in group]
        calls = "" if group[0]["syscalls"] is None else f"{group[0]['syscalls']:.2f}"
        mark = " (auto)" if name == f"weir-{auto}" else ""
        lines.append(
            f"| {name}{mark} | {median(cpu):.3f} | {spread(cpu) * 100:.0f} % "
            f"| {_middle(group, 'rps', 0)} | {_middle(group, 'p50_us', 0)} "
            f"| {_middle(group, 'p99_us', 0)} | {_middle(group, 'rss_kb', 0)} "
            f"| {_middle(group, 'switches', 3)} | {calls} "
            f"| {median([r['server_cpu'] for r in group]):.0%} "
            f"| {median([r['load_cpu'] for r in group]):.0%} |")
    return "\n".join(lines) + "\n"


def noise(rows):
    """The part of the server's CPU that others had, as the median over the runs."""
    others = [max(0.0, row["cpu0_busy"] - row["server_cpu"]) for row in rows]
    return median(others) if others else 0.0


def memory_table(rows, sizes, title):
    lines = [f"### memory: {rows[0]['conns']:,} {title}", "",
             f"weir's record of a connection: {sizes['conn']} bytes; HTTP's beside it: "
             f"{sizes['http']} bytes.", "",
             "| server | resident before KiB | with all KiB | bytes per connection "
             "| the same when all buffers were used before "
             "| kernel, both ends, bytes per connection |", "|---|---|---|---|---|---|"]
    for name, group in by_server(rows).items():
        lines.append(f"| {name} | " + " | ".join(
            _middle(group, key, 0)
            for key in ("rss_before_kb", "rss_kb", "growth_bytes", "warm_bytes", "kernel_bytes"))
            + " |")
    return "\n".join(lines) + "\n"


def idle_table(rows, title):
    return "\n".join(
        [f"### idle: {title}", "", "| server | system calls | CPU µs |", "|---|---|---|"]
        + [f"| {row['server']} | {row['syscalls']} | {row['cpu_us']:.0f} |" for row in rows]) + "\n"


def goals_table(goals):
    return "\n".join([GOAL_HEAD] + [goal_line(goal) for goal in goals]) + "\n"


def disturbed(rows):
    """A sentence when others used the server's CPU, or an empty string."""
    part = noise(rows)
    return (f"Others had the server's CPU for {part:.0%} of the time: ratios hold, throughput does "
            "not.\n" if part > 0.1 else "")


def section(job, results):
    """One job of any kind, or an empty string when it was not run."""
    rows = [row for row in results["rows"] if row["bench"] == job.name]
    if not rows:
        return ""
    if job.name == "memory":
        return memory_table(rows, results["record_bytes"], job.title)
    if job.name == "goodput":
        return goodput.table(rows, job.title)
    if job.name == "idle":
        return idle_table(rows, job.title)
    text = table(job, rows, results["auto"])
    note = disturbed(rows)
    return text + ("\n" + note if note else "")


PAGE = """# Benchmarks

Generated by `{command}` on {date}; do not edit. What is measured, and how:
[bench](../bench/README.md).

| | |
|---|---|
| machine | {cpu}, {cpus} CPUs, {memory_mb} MiB |
| system | {system}, kernel {kernel}, congestion control {congestion} |
| compiler | {compiler} |
| weir | {commit}; of itself it takes {auto} here |
| rivals | {rivals} |
| rounds | {pairs}, each run {seconds} s |
| load of the machine before | {load_before} |

## Goals

A ratio is the median, over the rounds, of the server's CPU per request divided by the rival's in
the same round; a goal is met when it is not above the limit. Of goodput it is the part of the peak, and
met when it is not below.

{goals}
## Figures

Medians. ± is half the distance of the quartiles. CPU is the server's, user and system, all of its
threads, by the kernel's scheduler statistics. "Server CPU" and "load CPU" tell how busy each was: a
closed loop keeps the load near 100 %; where the server is well below it, it waited for the load.

{sections}"""


def page(jobs, results):
    """docs/benchmarks.md."""
    sections = "\n".join(text for text in (section(job, results) for job in jobs) if text)
    rivals = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    if results["failed"]:
        sections += "\nLeft out because they failed: " + "; ".join(
            f"{f['server']} in {f['bench']}: {f['why']}" for f in results["failed"]) + "\n"
    return PAGE.format(goals=goals_table(results["goals"]), sections=sections, rivals=rivals,
                       **{k: results[k] for k in ("command", "date", "auto", "pairs", "seconds")},
                       **results["machine"])


def write_docs(root, jobs, results):
    with open(os.path.join(root, "docs", "benchmarks.md"), "w", encoding="utf-8") as file:
        file.write(page(jobs, results))
