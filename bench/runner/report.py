"""Tables in Markdown: all of it from the results alone."""
import os

from . import generator, goodput, half, loops, plot, settings
from .goals import by_server, case_rows, cost, ratios
from .stats import interval, median, spread

MEASURE = "weir-auto"  # what everybody is compared with


def goal_line(result):
    state = "met" if result["met"] else "NOT MET"
    if not result["certain"]:
        state += f" ({result.get('why') or 'within the noise'})"
    digits = 3 if result["limit"] and result["limit"] < 10 else 0  # a ratio, or bytes and calls
    sign = "≥ " if result.get("least") else "≤ "
    return (f"| {result['bench']} | {result['server']} / {result['against']} "
            f"| {result['ratio']:,.{digits}f} "
            f"| {result['low']:,.{digits}f} to {result['high']:,.{digits}f} "
            f"| {sign}{result['limit']:,.{min(digits, 2)}f} | {state} |")


GOAL_HEAD = ("| job | server CPU per request, or as said | median | 95 % interval | goal | |\n"
             "|---|---|---|---|---|---|")


def goals_table(goals):
    return "\n".join([GOAL_HEAD] + [goal_line(goal) for goal in goals]) + "\n"


def _middle(rows, name, digits):
    return f"{median([row[name] for row in rows]):,.{digits}f}"


def compared(groups, name):
    """How many times weir's cost this server's is, with its interval."""
    if name == MEASURE or MEASURE not in groups:
        return "1" if name == MEASURE else "", ""
    values = ratios(groups[name], groups[MEASURE])
    if not values:
        return "", ""
    low, high = interval(values)
    return f"{median(values):.3f}", f"{low:.3f} to {high:.3f}"


HEAD = ("server", "back end", "version", "CPU µs per request", "±", "× weir-auto", "95 % interval",
        "requests/s", "p50 µs", "p99 µs", "resident KiB", "switches per request",
        "system calls per request", "CPU 0 busy µs", "of it softirq µs", "server CPU", "load CPU")


def _line(name, groups, invalid):
    group = groups[name]
    cpu = [row["cpu_us"] for row in group]
    calls = "" if group[0]["syscalls"] is None else f"{group[0]['syscalls']:.2f}"
    by_name = group[0].get("calls") or {}
    if by_name:
        calls += " (" + ", ".join(f"{call} {n:.2f}" for call, n in by_name.items() if n >= 0.005) + ")"
    mark = " **INVALID**" if invalid.get(name) == "" else " *" if name in invalid else ""
    fields = [name + mark, group[0]["backend"], group[0].get("version", ""), f"{median(cpu):.3f}",
              f"{spread(cpu) * 100:.0f} %", *compared(groups, name), _middle(group, "rps", 0),
              _middle(group, "p50_us", 0), _middle(group, "p99_us", 0), _middle(group, "rss_kb", 0),
              _middle(group, "switches", 3), calls, _middle(group, "busy_us", 3),
              _middle(group, "softirq_us", 3), f"{median([r['server_cpu'] for r in group]):.0%}",
              f"{median([r['load_cpu'] for r in group]):.0%}"]
    return "| " + " | ".join(fields) + " |"


def order(groups):
    return sorted(groups, key=lambda name: cost(groups[name]))


def table(job, rows, invalid):
    """The case's candidates, cheapest first. `invalid` is {server: explanation or ""}."""
    groups = by_server(rows)
    lines = [f"### {job.name}: {job.title}", "", "| " + " | ".join(HEAD) + " |",
             "|" + "---|" * len(HEAD)]
    lines += [_line(name, groups, invalid) for name in order(groups)]
    for name, why in invalid.items():
        lines += ["", f"\\* {name}: {why}" if why else
                  f"{name} costs less than 0.95 times the bare loop: INVALID until explained."]
    return "\n".join(lines) + "\n"


def noise(rows):
    """The part of the server's CPU that others had, as the median over the runs."""
    others = [max(0.0, row["cpu0_busy"] - row["server_cpu"]) for row in rows]
    return median(others) if others else 0.0


def disturbed(rows):
    """A sentence when others used the server's CPU, or an empty string."""
    part = noise(rows)
    return (f"Others had the server's CPU for {part:.0%} of the time: ratios hold, throughput does "
            "not.\n" if part > 0.1 else "")


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


def section(job, results):
    """One job of any kind, or an empty string when it was not run."""
    rows = case_rows(results["rows"], job.name)
    if not rows:
        return ""
    if job.name == "memory":
        return memory_table(rows, results["record_bytes"], job.title)
    if job.name == "goodput":
        return goodput.table(rows, job.title)
    if job.name == "generator":
        return generator.table(rows, job.title)
    if job.name == "loops":
        return loops.table(rows, job.title)
    if job.name == "half-load":
        return half.table(rows, job.title)
    if job.name == "idle":
        return idle_table(rows, job.title)
    invalid = {one["server"]: one["explained"] for one in results.get("invalid", [])
               if one["bench"] == job.name}
    text = table(job, rows, invalid)
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
| rounds | {pairs}, each run {seconds} s |
| load of the machine before | {load_before} |

## Goals

A ratio is the median, over the rounds, of the server's CPU per request divided by the rival's in
the same round; a goal is met when it is not above the limit. Of goodput it is the part of the peak, and
met when it is not below. Where the first goals ask less than the later ones, both are shown.

{goals}
## Figures

Medians. ± is half the distance of the quartiles. CPU is the server's, user and system, all of its
threads, by the kernel's scheduler statistics; "CPU 0 busy" is the time that its CPU was busy, whoever
was on it, and of that softirq, for each request. "Server CPU" and "load CPU" tell how busy each was: a
closed loop keeps the load near 100 %; where the server is well below it, it waited for the load. The
calls of the kernel are counted in a run of their own. Of a rival from Debian 13 the name ends in -new.

{sections}
## Settings

What each rival's documentation recommends, and what was made of it.

{settings}"""


def settings_list(rows):
    """The settings files of the rivals in the tables."""
    from . import servers  # their names; the results do not depend on them
    folders = sorted({one.rival for one in servers.everybody() if one.rival
                      and any(row["server"] == one.name for row in rows)})
    lines = []
    for folder in folders:
        titles = ", ".join(one["title"] for one in
                           settings.read(os.path.join(servers.PEERS, folder)))
        lines.append(f"- [{folder}](../bench/peers/{folder}/{settings.FILE}): {titles}")
    return "\n".join(lines) + "\n"


def page(jobs, results, plots=None):
    """docs/benchmarks.md; `plots` maps a case's name to the path of its picture."""
    parts = []
    for job in jobs:
        text = section(job, results)
        picture = (plots or {}).get(job.name)
        if text:
            parts.append(text + (f"\n![{job.title}]({picture})\n" if picture else ""))
    sections = "\n".join(parts)
    for kind, text in (("failed", "Left out because they failed"),
                       ("skipped", "Left out because they could not run")):
        if results.get(kind):
            sections += f"\n{text}: " + "; ".join(
                f"{f['server']} in {f['bench']}: {f['why']}" for f in results[kind]) + "\n"
    return PAGE.format(goals=goals_table(results["goals"]), sections=sections,
                       settings=settings_list(results["rows"]),
                       **{k: results[k] for k in ("command", "date", "auto", "pairs", "seconds")},
                       **results["machine"])


def write_docs(root, jobs, results):
    """docs/benchmarks.md and a picture for each case, beside it in benchmarks/."""
    folder = os.path.join(root, "docs", "benchmarks")
    plots = {}
    os.makedirs(folder, exist_ok=True)
    for job in jobs:
        rows = [row for row in case_rows(results["rows"], job.name) if "busy_us" in row]
        if rows:
            plots[job.name] = f"benchmarks/{job.name}.svg"
            with open(os.path.join(folder, job.name + ".svg"), "w", encoding="utf-8") as file:
                file.write(plot.bars(job.title, by_server(rows)))
    with open(os.path.join(root, "docs", "benchmarks.md"), "w", encoding="utf-8") as file:
        file.write(page(jobs, results, plots))
