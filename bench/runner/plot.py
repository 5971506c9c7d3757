"""Pictures: a bar for each server, cheapest first, with the interval of its median."""
from html import escape

from .goals import cost
from .stats import interval

WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 760, 130, 110, 16, 6, 44
MOST = 6  # times the cheapest one's cost
COLOURS = {"weir": "#1f77b4", "bare": "#7f7f7f"}


def _colour(name):
    return COLOURS.get(name.split("-")[0], "#e0a040")


def bars(title, groups):
    """An SVG of the server's CPU per request; `groups` maps a server to its rows."""
    names = sorted(groups, key=lambda name: cost(groups[name]))
    # Who costs many times more than the others would make them all look alike: its bar is cut.
    most = min(max(interval([row["cpu_us"] for row in groups[name]])[1] for name in names) or 1,
               MOST * cost(groups[names[0]]) or 1)
    scale = (WIDTH - LEFT - RIGHT) / most
    height = TOP + len(names) * (BAR + GAP) + 10
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
           f'<text x="10" y="18" font-size="14">{escape(title)}</text>',
           '<text x="10" y="34" fill="#606060">server CPU per request, µs: median and its 95 % '
           'interval; less is better</text>']
    for i, name in enumerate(names):
        y, middle = TOP + i * (BAR + GAP), cost(groups[name])
        low, high = interval([row["cpu_us"] for row in groups[name]])
        line = y + BAR / 2
        middle_x, low_x, high_x = (LEFT + min(x, most) * scale for x in (middle, low, high))
        figure = f"{middle:,.3f}" + (" (cut)" if middle > most else "")
        out += [f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>',
                f'<rect x="{LEFT}" y="{y}" width="{middle_x - LEFT:.1f}" height="{BAR}" '
                f'fill="{_colour(name)}"/>',
                f'<line x1="{low_x:.1f}" y1="{line}" x2="{high_x:.1f}" '
                f'y2="{line}" stroke="#000000"/>',
                f'<text x="{high_x + 6:.1f}" y="{y + 12}">{figure}</text>']
    return "\n".join(out + ["</svg>"]) + "\n"
