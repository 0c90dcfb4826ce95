#!/usr/bin/env python3
"""Throughput against parallelism, keys, overlap of windows and tables: measured, drawn as SVG, printed in Markdown.

pip install matplotlib && cargo build --release --workspace --bins
python3 examples/benches/curves.py --bin target/release --events EVENTS.jsonl --out docs/images

`keyed_count` counts generated rows per key and minute behind an exchange; `many_tables` sends each generated row to one
of some Delta tables; `workload_h` reads EVENTS.jsonl (healthcare events, a JSON object a line), masks them and writes two
Delta tables. All take a checkpoint every second. A point is the median wall time of whole processes; all points are
measured in turn, again and again, and the bars are the fastest and slowest. Nothing else may run meanwhile: a run of all
takes about fifteen minutes on two cores. `--curve tables` measures and draws that curve alone.

Writes throughput-CURVE.svg for each curve. The same figures make the same files, byte for byte.
"""
import argparse
import os
import shutil
import statistics
import sys
import tempfile

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

from keyed_count import run  # noqa: E402

STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "thalweg",
}
COLOURS = ["#1f6f8b", "#d1603d", "#5a8f3c", "#7a5195"]
# Where the curve over parallelism is taken.
KEYS = 1_000
OVERLAP = "keyed_count, overlap"
CURVES = ["keys", "overlap", "tables", "parallelism"]


def count_lines(path):
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def commands(args, folder):
    """What to run for each point, (program, parallelism, what else varies), and how many rows that is."""
    points = {}
    keys = set(args.keys if "keys" in args.curve else []) | ({KEYS} if "parallelism" in args.curve else set())
    events = args.events if "parallelism" in args.curve else None
    in_file = count_lines(events) if events else 0

    def add(name, parallelism, value, rows, program, *arguments):
        points[name, parallelism, value] = rows, [os.path.join(args.bin, program), *arguments]

    for parallelism in args.parallelism:
        for number in sorted(keys):
            add("keyed_count", parallelism, number, args.rows, "keyed_count", args.rows, number, parallelism)
        for overlap in args.overlaps if "overlap" in args.curve else []:
            add(OVERLAP, parallelism, overlap, args.rows, "keyed_count", args.rows, KEYS, parallelism, overlap)
        for tables in args.tables if "tables" in args.curve else []:
            arguments = [args.rows, tables, parallelism, folder]
            add("many_tables", parallelism, tables, args.rows, "many_tables", *arguments)
        if events:
            arguments = [events, folder, "--parallelism", parallelism]
            add("workload_h", parallelism, None, in_file, "workload_h", *arguments)
    return points


def measure(args):
    """Rows per second of each run of each point, and the milliseconds of a checkpoint where the program says them."""
    scratch = tempfile.mkdtemp(prefix="curves-")
    folder = os.path.join(scratch, "out")
    points = commands(args, folder)
    rates, checkpoints = {point: [] for point in points}, {}
    try:
        for number in range(args.runs):
            for point, (rows, command) in points.items():
                shutil.rmtree(folder, ignore_errors=True)
                fields, wall, _, _ = run(command)
                rates[point].append(rows / wall)
                if "checkpoint_ms" in fields:
                    checkpoints.setdefault(point, []).append(float(fields["checkpoint_ms"]))
                print(f"run {number + 1} {point}: {wall:.2f} s", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return rates, checkpoints


def curve(axes, xs, runs, colour, label=None):
    """Medians in millions, with bars from the slowest to the fastest."""
    medians = [statistics.median(taken) / 1e6 for taken in runs]
    below = [middle - min(taken) / 1e6 for middle, taken in zip(medians, runs)]
    above = [max(taken) / 1e6 - middle for middle, taken in zip(medians, runs)]
    axes.errorbar(xs, medians, [below, above], color=colour, marker="o", markersize=4, capsize=2, label=label)


def save(figure, out, name):
    figure.savefig(os.path.join(out, name), metadata={"Date": None, "Creator": None})
    plt.close(figure)


def draw_line_each(rates, args, out, program, values, labels):
    """A line for each parallelism over `values`."""
    name, across, title = labels
    figure, axes = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
    for parallelism, colour in zip(args.parallelism, COLOURS):
        runs = [rates[program, parallelism, value] for value in values]
        curve(axes, values, runs, colour, f"parallelism {parallelism}")
    axes.set_xscale("log")
    if max(values) < 1_000:
        axes.set_xticks(values, [str(value) for value in values])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(across)
    axes.set_ylabel(f"million rows/s, median of {args.runs}")
    axes.set_title(title, loc="left")
    axes.legend()
    save(figure, out, name)


def draw_parallelism(rates, args, out):
    titles = {("keyed_count", KEYS): f"Count per key and minute, {KEYS:,} keys"}
    if args.events:
        titles["workload_h", None] = "JSON, masked, to two Delta tables"
    figure, panels = plt.subplots(
        1, len(titles), figsize=(3.6 * len(titles), 2.8), layout="constrained", squeeze=False
    )
    for axes, ((program, keys), title), colour in zip(panels[0], titles.items(), COLOURS):
        runs = [rates[program, parallelism, keys] for parallelism in args.parallelism]
        curve(axes, args.parallelism, runs, colour)
        axes.set_xticks(args.parallelism)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("parallelism")
        axes.set_ylabel(f"million rows/s, median of {args.runs}")
        axes.set_title(title, loc="left", fontsize=9)
    save(figure, out, "throughput-parallelism.svg")


def draw(rates, args, out):
    os.makedirs(out, exist_ok=True)
    with plt.rc_context(STYLE):
        if "keys" in args.curve:
            keys = ("throughput-keys.svg", "keys", "Count per key and minute")
            draw_line_each(rates, args, out, "keyed_count", args.keys, keys)
        if "overlap" in args.curve:
            overlap = ("throughput-overlap.svg", "windows that a row is in", f"Sliding windows, {KEYS:,} keys")
            draw_line_each(rates, args, out, OVERLAP, args.overlaps, overlap)
        if "tables" in args.curve:
            tables = ("throughput-tables.svg", "Delta tables, a row to one of them", "Rows routed to tables")
            draw_line_each(rates, args, out, "many_tables", args.tables, tables)
        if "parallelism" in args.curve:
            draw_parallelism(rates, args, out)


def markdown(figures, unit, args):
    """A row for each program and number of keys, windows that a row is in, or tables; a column for each parallelism."""
    def cell(taken):
        median, low, high = (f(taken) for f in (statistics.median, min, max))
        return f"{median:.2f} ({low:.2f} to {high:.2f})"

    head = "".join(f" parallelism {parallelism} |" for parallelism in args.parallelism)
    lines = [f"{unit}, median of {args.runs} runs (lowest to highest):", ""]
    lines += [f"| Program | Keys, overlap or tables |{head}", f"|---|---:|{'---:|' * len(args.parallelism)}"]
    for program, value in dict.fromkeys((program, value) for program, _, value in figures):
        cells = [cell(figures[program, parallelism, value]) for parallelism in args.parallelism]
        lines.append(f"| `{program}` | {f'{value:,}' if value else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    target = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=target, help="folder of the release binaries")
    parser.add_argument("--events", metavar="FILE", help="input of workload_h; without it that curve is left out")
    parser.add_argument("--out", default="docs/images", help="folder of the pictures")
    parser.add_argument("--rows", type=int, default=20_000_000, help="generated rows per run")
    parser.add_argument("--keys", type=int, nargs="+", default=[10, 1_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--overlaps", type=int, nargs="+", default=[1, 5, 15, 60])
    parser.add_argument("--tables", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--curve", action="append", choices=CURVES, help="only this curve, or these")
    parser.add_argument("--parallelism", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    args.curve = args.curve or CURVES
    rates, checkpoints = measure(args)
    draw(rates, args, args.out)
    millions = {point: [rate / 1e6 for rate in taken] for point, taken in rates.items()}
    print(markdown(millions, "Million rows/s", args))
    if checkpoints:
        print("\n" + markdown(checkpoints, "A checkpoint from barrier to finish, ms", args))


if __name__ == "__main__":
    main()
