"""Plots as SVG, without dependencies: lines over time in panels, and bars on a logarithmic axis.

Colours follow the reader's light or dark theme. What is drawn is rounded to a tenth of a pixel and thinned to
one pair of extremes a pixel, so that a file stays small however often was looked."""

import math
from xml.sax.saxutils import escape

FONT = 12
STYLE = """<style>
svg { font: 12px -apple-system, "Segoe UI", Helvetica, Arial, sans-serif }
.paper { fill: #ffffff } .ink { fill: #1f2328 } .dim { fill: #59636e } .grid { stroke: #d1d9e0 }
.axis { stroke: #818b98 } .mark { stroke: #818b98; stroke-dasharray: 3 3 }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round }
.c0 { stroke: #0969da } .c1 { stroke: #d1570a } .c2 { stroke: #59636e } .c3 { stroke: #9a6700 }
.f0 { fill: #0969da } .f1 { fill: #d1570a } .f2 { fill: #818b98 } .f3 { fill: #afb8c1 }
@media (prefers-color-scheme: dark) {
.paper { fill: #0d1117 } .ink { fill: #f0f6fc } .dim { fill: #9198a1 } .grid { stroke: #2f353d }
.axis { stroke: #656c76 } .mark { stroke: #656c76 }
.c0 { stroke: #58a6ff } .c1 { stroke: #f0883e } .c2 { stroke: #9198a1 } .c3 { stroke: #d29922 }
.f0 { fill: #58a6ff } .f1 { fill: #f0883e } .f2 { fill: #9198a1 } .f3 { fill: #656c76 } }
</style>"""


def text(x, y, words, kind="dim", anchor="start", **attributes):
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def straight(x1, y1, x2, y2, kind):
    return f'<path class="{kind}" fill="none" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def write(path, width, height, title, parts):
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title, {chr(34): "&quot;"})}">\n{STYLE}\n'
        f'<rect class="paper" width="{width}" height="{height}" rx="6"/>\n' + "\n".join(parts) + "\n</svg>\n",
        encoding="utf-8")


def steps(top, count=5):
    """Round numbers from 0 to at least `top`."""
    if top <= 0:
        return [0, 1]
    rough = top / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]


def number(value):
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def thinned(points):
    """Of all points in one pixel the first, the extremes and the last."""
    columns = {}
    for x, y in points:
        columns.setdefault(int(x), []).append((x, y))
    for column in columns.values():
        keep = {column[0], column[-1], min(column, key=lambda p: p[1]), max(column, key=lambda p: p[1])}
        yield from sorted(keep)


def panel(left, top, width, height, spec):
    """One diagram. spec: title, unit, x_unit, series [(name, colour, xs, ys)], marks [(x, label)], floor."""
    series = spec["series"]
    x_ticks = steps(max(max(xs) for _, _, xs, _ in series), 6)
    highest = max(max(ys) for _, _, _, ys in series)
    y_ticks = steps(max(highest, spec.get("floor", 0)) * 1.04)
    x_top, y_top = max(max(xs) for _, _, xs, _ in series), y_ticks[-1]

    def place(x, y):
        return left + width * x / x_top, top + height * (1 - y / y_top)

    parts = [text(left, top - 12, f'{spec["title"]}, {spec["unit"]}', "ink", font_weight="600")]
    for tick in y_ticks:
        _, y = place(0, tick)
        parts += [straight(left, y, left + width, y, "grid"), text(left - 6, y + 4, number(tick), anchor="end")]
    for tick in x_ticks:
        if tick <= x_top:
            x, _ = place(tick, 0)
            parts += [straight(x, top + height, x, top + height + 4, "axis"),
                      text(x, top + height + 17, number(tick), anchor="middle")]
    parts += [straight(left, top + height, left + width, top + height, "axis"),
              text(left + width, top + height + 32, spec["x_unit"], anchor="end")]
    for number_, (at, label) in enumerate(sorted(spec.get("marks", ()))):
        x, _ = place(at, 0)
        parts += [straight(x, top, x, top + height, "mark"),
                  text(x + 4, top + height - 8 - 14 * (number_ % 6), label, font_size=11)]
    for _, colour, xs, ys in series:
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in thinned([place(*p) for p in zip(xs, ys)]))
        parts.append(f'<polyline class="line c{colour}" points="{points}"/>')
    return parts


def legend(left, top, names):
    parts = []
    for name, colour in names:
        parts += [straight(left, top - 4, left + 18, top - 4, f"line c{colour}"), text(left + 24, top, name, "ink")]
        left += 24 + 7 * len(name) + 24
    return parts


def lines(path, title, panels, width=860, height=300):
    """Panels beside each other, one legend for all of them."""
    each = (width - 20) / len(panels)
    parts = [text(20, 26, title, "ink", font_weight="600", font_size=15)]
    names = dict.fromkeys((name, colour) for spec in panels for name, colour, _, _ in spec["series"])
    parts += legend(20, 48, names)
    for place, spec in enumerate(panels):
        parts += panel(20 + each * place + 40, 88, each - 60, height - 130, spec)
    write(path, width, height, title, parts)


def bars(path, title, unit, groups, width=860):
    """Lying bars on a logarithmic axis. groups: [(what, [(name, colour, value, label)])]"""
    values = [value for _, rows in groups for _, _, value, _ in rows]
    low, high = math.floor(math.log10(min(values)) - 0.3), math.ceil(math.log10(max(values)))
    left, right, top, row = 250, width - 110, 56, 19
    height = top + sum(26 + row * len(rows) for _, rows in groups) + 36

    def place(value):
        return left + (right - left) * (math.log10(value) - low) / (high - low)

    parts = [text(20, 26, title, "ink", font_weight="600", font_size=15)]
    for power in range(low, high + 1):
        x = place(10 ** power)
        parts += [straight(x, top - 8, x, height - 36, "grid"),
                  text(x, height - 20, f"{10 ** power:g}", anchor="middle")]
    parts.append(text(right, height - 5, f"{unit}, logarithmic", anchor="end"))
    y = top
    for what, rows in groups:
        parts.append(text(20, y + 11, what, "ink", font_weight="600"))
        y += 20
        for name, colour, value, label in rows:
            parts += [text(left - 8, y + 11, name, anchor="end"),
                      f'<rect class="f{colour}" x="{left}" y="{y}" width="{place(value) - left:.1f}" height="13" rx="2"/>',
                      text(place(value) + 6, y + 11, label, "ink")]
            y += row
        y += 6
    write(path, width, height, title, parts)
