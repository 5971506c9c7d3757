"""The measured parts of docs/models.md, and its pictures: what stands between two marks is replaced."""
import os
from html import escape

from .stats import interval, median

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 760, 150, 150, 16, 6, 44
MOST = 8  # times the cheapest one's cost: longer bars are cut
WEIR = ("reactor", "reactors_threads", "proactor", "coroutines")


def middle(rows, name, case, key):
    found = [row[key] for row in rows if row["server"] == name and row["case"] == case
             and key in row]
    return median(found) if found else None


def per_connection(rows, name, case):
    """Bytes; of a few connections it would be noise."""
    return middle([row for row in rows if row["served"] >= 100], name, case, "user_bytes")


def figure(value, form="{:.2f}"):
    return "–" if value is None else form.format(value)


def table(results, cases, order):
    rows, calls = results["rows"], results["calls"]
    big = cases[-1].name
    out = ["| model | " + " | ".join(case.name for case in cases) + f" | p99 µs at {cases[1].name} "
           f"| served of {cases[-1].conns} | bytes a connection | system calls |",
           "|---|" + "---|" * (len(cases) + 4)]
    for name in order:
        if not any(row["server"] == name for row in rows):
            continue
        costs = [figure(middle(rows, name, case.name, "cpu_us")) for case in cases]
        most = sorted(calls.get(name, {}).items(), key=lambda item: -item[1])[:3]
        out.append(f"| [{name}](../examples/models/{name}.c) | " + " | ".join(costs) + " | "
                   + figure(middle(rows, name, cases[1].name, "p99_us"), "{:.0f}") + " | "
                   + figure(middle(rows, name, big, "served"), "{:.0f}") + " | "
                   + figure(per_connection(rows, name, big), "{:.0f}") + " | "
                   + (", ".join(f"{call} {count:.2f}" for call, count in most) or "–") + " |")
    return "\n".join(out)


def facts(results):
    m = results["machine"]
    return (f"{results['date']}, {m['cpu']}, {m['cpus']} CPUs, kernel {m['kernel']}, {m['system']}: "
            f"medians of {results['rounds']} rounds of {results['seconds']} s each. Load average "
            f"{m['load_before']} before and {m['load_after']} after"
            + (": **other work ran on both CPUs meanwhile**; compare the rows of a column, and "
               "take nothing else from these figures." if m["load_before"] > 1.5 else "."))


def picture(results, case, order):
    """Bars of the server's CPU a message, cheapest first, with the interval of the median."""
    groups = {}
    for name in order:
        costs = [row["cpu_us"] for row in results["rows"]
                 if row["server"] == name and row["case"] == case.name]
        if costs:
            groups[name] = costs
    names = sorted(groups, key=lambda name: median(groups[name]))
    if not names:
        return None
    most = min(max(interval(costs)[1] for costs in groups.values()), MOST * median(groups[names[0]]))
    scale, height = (WIDTH - LEFT - RIGHT) / most, TOP + len(names) * (BAR + GAP) + 10
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
           f'<text x="10" y="18" font-size="14">{case.conns} connections, {case.active} of them '
           'active</text>',
           '<text x="10" y="34" fill="#606060">server CPU for a message of 64 bytes, µs: median and '
           'interval; in brackets how many clients are served, if not all</text>']
    for i, name in enumerate(names):
        y, cost = TOP + i * (BAR + GAP), median(groups[name])
        low, high = interval(groups[name])
        at, low_x, high_x = (LEFT + min(x, most) * scale for x in (cost, low, high))
        served = middle(results["rows"], name, case.name, "served")
        note = f"{cost:,.2f}" + (" cut" if cost > most else "")
        note += f" [{served:.0f}]" if served < case.conns else ""
        colour = "#1f77b4" if name in WEIR else "#e0a040"
        out += [f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>',
                f'<rect x="{LEFT}" y="{y}" width="{at - LEFT:.1f}" height="{BAR}" fill="{colour}"/>',
                f'<line x1="{low_x:.1f}" y1="{y + BAR / 2}" x2="{high_x:.1f}" y2="{y + BAR / 2}" '
                'stroke="#000000"/>',
                f'<text x="{max(at, high_x) + 6:.1f}" y="{y + 12}">{note}</text>']
    return "\n".join(out + ["</svg>"]) + "\n"


def put(text, mark, part):
    begin, end = f"<!-- measured: {mark} -->\n", "<!-- end -->"
    before, found, after = text.partition(begin)
    if not found or end not in after:
        raise ValueError(f"docs/models.md has no place for {mark}")
    return before + begin + part + "\n" + end + after.partition(end)[2]


def write(docs, results, cases, order):
    path = os.path.join(docs, "models.md")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    os.makedirs(os.path.join(docs, "models"), exist_ok=True)
    pictures = []
    for case in cases:
        svg = picture(results, case, order)
        if svg:
            with open(os.path.join(docs, "models", f"{case.name}.svg"), "w",
                      encoding="utf-8") as file:
                file.write(svg)
            pictures.append(f"![{case.name}](models/{case.name}.svg)")
    text = put(text, "facts", facts(results))
    text = put(text, "table", table(results, cases, order))
    text = put(text, "pictures", "\n\n".join(pictures))
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
