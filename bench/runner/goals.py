"""What became of each goal, and which results cannot be right: from the rows alone."""
from . import jobs
from .stats import interval, median

PAIRS_LEAST = 15
WIDTH_MOST = 0.04   # of the 95 % interval, for the floor's goals
BARE_LEAST = 0.95   # of the bare loop's cost: less is INVALID until explained


def by_server(rows):
    groups = {}
    for row in rows:
        groups.setdefault(row["server"], []).append(row)
    return groups


def case_rows(rows, name):
    return [row for row in rows if row.get("case", row["bench"]) == name]


def cost(rows):
    return median([row["cpu_us"] for row in rows])


def cheapest(groups, names):
    """The rows of the one that costs least, or None."""
    there = [groups[name] for name in names if name in groups]
    return min(there, key=cost) if there else None


def ratios(ours, theirs, figure="cpu_us"):
    """Our CPU per request over theirs, round by round: what disturbed both goes out of it."""
    other = {row["round"]: row[figure] for row in theirs}
    return [row[figure] / other[row["round"]] for row in ours if other.get(row["round"])]


def _outcome(goal, values, limit, met, least=False):
    low, high = interval(values)
    if goal.kind == "floor":
        sure = len(values) >= PAIRS_LEAST and high - low < WIDTH_MOST * max(1.0, limit)
        why = ("" if sure else f"fewer than {PAIRS_LEAST} pairs" if len(values) < PAIRS_LEAST
               else "the interval is too wide")
    else:
        sure = high <= limit or low > limit
        why = "" if sure else "within the noise"
    return {"server": goal.ours, "against": goal.text, "kind": goal.kind, "limit": limit,
            "least": least, "ratio": round(median(values), 3), "low": round(low, 3),
            "high": round(high, 3), "pairs": len(values), "met": met, "certain": sure, "why": why}


def _speed(goal, groups):
    if goal.ours not in groups:
        return None
    values = [1e6 / row["cpu_us"] for row in groups[goal.ours] if row["cpu_us"]]
    return _outcome(goal, values, goal.least, median(values) >= goal.least, True) if values else None


def _grown(rows, name, first, last):
    """Cost at the end over cost at the beginning, round by round."""
    return ratios([row for row in case_rows(rows, last) if row["server"] == name],
                  [row for row in case_rows(rows, first) if row["server"] == name])


def _growth(goal, rows):
    ours = _grown(rows, goal.ours, goal.first, goal.last)
    theirs = [grown for grown in (_grown(rows, name, goal.first, goal.last)
                                  for name in goal.theirs) if grown]
    if not ours or not theirs:
        return None
    least = min(theirs, key=median)
    values = [mine / median(least) for mine in ours]
    return _outcome(goal, values, goal.limit, median(values) <= goal.limit)


def judge(goal, groups, rows):
    """The outcome of a goal as a dictionary, or None when one side was not measured."""
    if isinstance(goal, jobs.Speed):
        return _speed(goal, groups)
    if isinstance(goal, jobs.Growth):
        return _growth(goal, rows)
    best = cheapest(groups, goal.theirs)
    if goal.ours not in groups or best is None:
        return None
    values = ratios(groups[goal.ours], best)
    return _outcome(goal, values, goal.limit, median(values) <= goal.limit) if values else None


def judge_job(job, rows):
    groups = by_server(case_rows(rows, job.name))
    found = (judge(goal, groups, rows) for goal in job.goals)
    return [{"bench": job.name, **goal} for goal in found if goal]


def too_good(name, rows):
    """Servers that cost less than the best bare loop of the case by more than 5 %: {"bench",
    "server", "ratio", "explained"}."""
    groups = by_server(case_rows(rows, name))
    best = cheapest(groups, [server for server in groups if server.startswith("bare")])
    found = []
    for server, group in groups.items():
        values = ratios(group, best) if best and not server.startswith("bare") else []
        if values and median(values) < BARE_LEAST:
            found.append({"bench": name, "server": server, "ratio": round(median(values), 3),
                          "explained": jobs.EXPLAINED.get((name, server), "")})
    return found
