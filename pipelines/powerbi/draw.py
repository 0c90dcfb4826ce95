#!/usr/bin/env python3
"""Draws the report's pages and Grafana's dashboards as SVG, out of their files and of what their queries give.

pipelines/powerbi/draw.py --tables data --out docs/images

These are no screenshots: neither Power BI nor Grafana runs here. Titles, places, fields and numbers are real; colours,
fonts and axes are this program's.
"""

import argparse
import html
import math
import pathlib
import re
import sys

from checks import database, directquery, grafana, layout, model

HERE = pathlib.Path(__file__).resolve().parent
# Okabe and Ito's colours, told apart by colour-blind readers, too.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7"]
INK, FAINT, PAGE = "#222222", "#767676", "#f3f3f3"
CELL = (53.3, 34)  # a cell of Grafana's grid, in pixels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", metavar="DIR", required=True, help="data folder of the pipeline")
    parser.add_argument("--out", metavar="DIR", type=pathlib.Path, required=True)
    given = parser.parse_args()
    source = database.Tables(given.tables)
    semantic, problems = model.load(HERE / "Healthcare.SemanticModel" / "definition")
    if problems:
        sys.exit("\n".join(problems))
    for page in layout.load(HERE / "Healthcare.Report" / "definition"):
        days = directquery.recent_days(source, semantic) if page.value.get("filterConfig") else None
        panels = [of_power_bi(source, visual, semantic, days) for visual in page.visuals]
        write(given.out / f"power-bi-{page.name}.svg", f"{page.title}: layout of the Power BI report", panels)
    boards = grafana.load(HERE.parent / "grafana")
    times = source.query("select min(window_start) as a, max(window_end) as b from gold_kpis")[1][0]
    for board in boards.values():
        values = grafana.variables(source, board)
        panels = [of_grafana(source, panel, times, values) for panel in board["panels"]]
        name = board["uid"].removeprefix("thalweg-")
        write(given.out / f"grafana-{name}.svg", f"{board['title']}: layout of the Grafana dashboard", panels)


def of_power_bi(source, visual, semantic, days):
    kind = {"cardVisual": "number", "lineChart": "line", "clusteredColumnChart": "columns", "clusteredBarChart": "bars"}
    if visual.kind not in kind:
        return visual.title, "choice", visual.at, [], [], []
    names, formats, rows = directquery.answer(source, visual, semantic, days)
    if names[0] == "Category":
        place = order(semantic)
        rows = [[place[row[0]][1], *row[1:]] for row in sorted(rows, key=lambda row: place[row[0]][0])]
    elif visual.kind == "lineChart":
        rows = sorted(rows, key=lambda row: row[0])
    elif visual.kind == "clusteredBarChart":
        rows = sorted(rows, key=lambda row: -row[-1])
    return visual.title, kind[visual.kind], visual.at, names, formats, rows


def order(semantic):
    """Severity and name of each category of blood pressure, as the imported table has them."""
    text = semantic.tables["Blood Pressure"].expression
    return {key: (int(at), name) for key, name, at in re.findall(r'\{"(\w+)", "([^"]+)", "[^"]*", (\d)\}', text)}


def of_grafana(source, panel, times, values):
    kinds, rows = source.query(grafana.expand(panel["targets"][0]["rawSql"], times, values))
    kind = {"stat": "number", "timeseries": "line", "barchart": "columns"}[panel["type"]]
    if panel["options"].get("orientation") == "horizontal":
        kind = "bars"
    x, y, w, h = grafana.cell(panel)
    at = (x * CELL[0] + 8, y * CELL[1] + 8, w * CELL[0] - 8, h * CELL[1] - 8)
    defaults = panel["fieldConfig"]["defaults"]
    shown = "0.0%" if defaults.get("unit") == "percentunit" else "0.0" if defaults.get("decimals") else "#,0"
    return panel["title"], kind, at, list(kinds), [shown] * len(kinds), rows


def write(path, title, panels):
    width = max(x + w for _, _, (x, _, w, _), *_ in panels) + 16
    height = max(y + h for _, _, (_, y, _, h), *_ in panels) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height + 24:.0f}" role="img" '
        'font-family="sans-serif">',
        f"<title>{html.escape(title)}</title>",
        f'<rect width="100%" height="100%" fill="{PAGE}"/>',
    ]
    for panel in panels:
        parts += draw(*panel)
    note = (
        "Drawn by pipelines/powerbi/draw.py from the project's files and the results of its queries. Not a screenshot."
    )
    parts += [text(16, height + 8, note, 12, FAINT), "</svg>"]
    path.write_text("\n".join(parts) + "\n", "utf-8")
    print(path.name)


def draw(title, kind, at, names, formats, rows):
    x, y, w, h = at
    yield f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="4" fill="white" stroke="#d0d0d0"/>'
    yield text(x + 10, y + 20, fitted(title, w - 16, 13), 13)
    if kind == "number":
        yield text(x + w / 2, y + h - 22, shown(rows[0][-1], formats[-1]), 26, INK, "middle")
    elif kind == "choice":
        yield f'<rect x="{x + 10:.1f}" y="{y + 40:.1f}" width="{w - 20:.1f}" height="30" fill="none" stroke="{FAINT}"/>'
        yield text(x + 20, y + 60, "All", 13, FAINT)
    else:
        series = names[1:]
        if len(series) > 1 or kind == "line":
            place = x + 10
            for number, name in enumerate(series):
                yield f'<rect x="{place:.1f}" y="{y + h - 17:.1f}" width="10" height="10" fill="{COLOURS[number]}"/>'
                yield text(place + 14, y + h - 8, name, 11)
                place += 24 + 6.2 * len(name)
        inside = (x + 44, y + 34, w - 60, h - 34 - 42)
        yield from {"line": lines, "columns": columns, "bars": bars}[kind](inside, rows, formats)


def lines(at, rows, formats):
    x, y, w, h = at
    values = [v for row in rows for v in row[1:] if v is not None]
    low, high = math.floor(min(values)), math.ceil(max(values))
    high = high if high > low else low + 1
    first, last = rows[0][0], rows[-1][0]
    span = (last - first).total_seconds() or 1
    yield from axis(at, low, high)
    for number in range(len(rows[0]) - 1):
        points = [
            f"{x + (time - first).total_seconds() / span * w:.1f},{y + h - (value - low) / (high - low) * h:.1f}"
            for time, value in ((row[0], row[1 + number]) for row in rows)
            if value is not None
        ]
        yield f'<polyline points="{" ".join(points)}" fill="none" stroke="{COLOURS[number]}" stroke-width="2"/>'
    yield text(x, y + h + 14, first.strftime("%H:%M"), 11, FAINT)
    yield text(x + w, y + h + 14, last.strftime("%H:%M"), 11, FAINT, "end")


def columns(at, rows, formats):
    x, y, w, h = at
    high = max(v for row in rows for v in row[1:] if v is not None) * 1.12
    yield from axis(at, 0, high)
    slot, count = w / len(rows), len(rows[0]) - 1
    wide = slot * 0.8 / count
    for place, row in enumerate(rows):
        for number, value in enumerate(row[1:]):
            left, tall = x + place * slot + slot * 0.1 + number * wide, (value or 0) / high * h
            size = f'width="{wide * 0.92:.1f}" height="{tall:.1f}"'
            yield f'<rect x="{left:.1f}" y="{y + h - tall:.1f}" {size} fill="{COLOURS[number]}"/>'
            yield text(
                left + wide / 2,
                y + h - tall - 3,
                shown(value, formats[min(number, len(formats) - 1)]),
                10 if count < 3 else 8,
                INK,
                "middle",
            )
        yield text(x + (place + 0.5) * slot, y + h + 14, str(row[0]), 11, FAINT, "middle")


def bars(at, rows, formats):
    x, y, w, h = at[0] + 50, at[1], at[2] - 90, at[3] + 26
    slot, high = h / len(rows), max(row[1] for row in rows)
    for place, row in enumerate(rows):
        top, long = y + place * slot + slot * 0.15, row[1] / high * w
        yield f'<rect x="{x:.1f}" y="{top:.1f}" width="{long:.1f}" height="{slot * 0.7:.1f}" fill="{COLOURS[0]}"/>'
        yield text(x - 6, top + slot * 0.5, str(row[0]), 11, INK, "end")
        yield text(x + long + 5, top + slot * 0.5, shown(row[1], formats[-1]), 11)


def axis(at, low, high):
    x, y, w, h = at
    for step in range(5):
        level = y + h - step / 4 * h
        yield f'<line x1="{x:.1f}" y1="{level:.1f}" x2="{x + w:.1f}" y2="{level:.1f}" stroke="#e4e4e4"/>'
        value = low + step / 4 * (high - low)
        yield text(x - 5, level + 4, f"{value:,.0f}" if high - low > 8 else f"{value:.1f}", 10, FAINT, "end")


def shown(value, how):
    if value is None:
        return "–"
    if hasattr(value, "strftime"):
        return value.strftime("%Y-%m-%d %H:%M")
    if how == "0.0%":
        return f"{value:.1%}"
    return f"{value:.1f}" if how == "0.0" else f"{value:,.0f}"


def fitted(words, width, size):
    most = int(width / (size * 0.56))
    return words if len(words) <= most else words[: most - 1] + "…"


def text(x, y, words, size, fill=INK, anchor="start"):
    look = f'font-size="{size}" fill="{fill}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{html.escape(words)}</text>'


if __name__ == "__main__":
    main()
