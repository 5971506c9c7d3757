"""Tables in Markdown, and what became of each goal."""
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
    return (f"| {result['bench']} | {result['server']} / {result['against']} | {result['ratio']:.{digits}f} "
            f"| {result['low']:.{digits}f} to {result['high']:.{digits}f} "
            f"| {result['limit']:.{min(digits, 2)}f} | {state} |")


GOAL_HEAD = ("| job | server CPU per request, or as said | median ratio | 95 % interval | goal | |\n"
             "|---|---|---|---|---|---|")


def _middle(rows, name, digits):
    return f"{median([row[name] for row in rows]):,.{digits}f}"


def table(job, rows, auto):
    """The job's candidates, cheapest first."""
    groups = by_server(rows)
    order = sorted(groups, key=lambda name: median([row["cpu_us"] for row in groups[name]]))
    lines = [f"### {job.name}: {job.title}", "",
             "| server | CPU µs per request | ± | requests/s | p50 µs | p99 µs | resident KiB "
             "| switches per request | server CPU | load CPU |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for name in order:
        group = groups[name]
        cpu = [row["cpu_us"] for row in group]
        mark = " (auto)" if name == f"weir-{auto}" else ""
        lines.append(
            f"| {name}{mark} | {median(cpu):.3f} | {spread(cpu) * 100:.0f} % "
            f"| {_middle(group, 'rps', 0)} | {_middle(group, 'p50_us', 0)} "
            f"| {_middle(group, 'p99_us', 0)} | {_middle(group, 'rss_kb', 0)} "
            f"| {_middle(group, 'switches', 3)} | {median([r['server_cpu'] for r in group]):.0%} "
            f"| {median([r['load_cpu'] for r in group]):.0%} |")
    return "\n".join(lines) + "\n"


def noise(rows):
    """The part of the server's CPU that others had, as the median over the runs."""
    others = [max(0.0, row["cpu0_busy"] - row["server_cpu"]) for row in rows]
    return median(others) if others else 0.0
