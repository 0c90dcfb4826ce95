#!/usr/bin/env python3
"""Throughput against parallelism, keys and overlap of windows: measured, drawn as SVG, printed as Markdown tables.

pip install matplotlib && cargo build --release --workspace --bins
python3 examples/benches/curves.py --bin target/release --events EVENTS.jsonl --out docs/images

`keyed_count` counts generated rows per key and minute behind an exchange; `workload_h` reads EVENTS.jsonl (healthcare
events, a JSON object a line), masks them and writes two Delta tables. Both take a checkpoint every second. A point is
the median wall time of whole processes; all points are measured in turn, again and again, and the bars are the fastest
and slowest. Nothing else may run meanwhile: a run of all takes about ten minutes on two cores.

Writes throughput-keys.svg, throughput-overlap.svg and throughput-parallelism.svg. The same figures make the same files, byte for byte.
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


def count_lines(path):
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def commands(args, folder):
    """What to run for each point, (program, parallelism, what else varies), and how many rows that is."""
    points = {}
    for parallelism in args.parallelism:
        for keys in sorted({KEYS, *args.keys}):
            program = os.path.join(args.bin, "keyed_count")
            points["keyed_count", parallelism, keys] = args.rows, [program, args.rows, keys, parallelism]
        for overlap in args.overlaps:
            points[OVERLAP, parallelism, overlap] = args.rows, [program, args.rows, KEYS, parallelism, overlap]
    if args.events:
        rows = count_lines(args.events)
        for parallelism in args.parallelism:
            program = os.path.join(args.bin, "workload_h")
            command = [program, args.events, folder, "--parallelism", parallelism]
            points["workload_h", parallelism, None] = rows, command
    return points


def measure(args):
    """Rows per second of each run of each point."""
    scratch = tempfile.mkdtemp(prefix="curves-")
    folder = os.path.join(scratch, "out")
    points = commands(args, folder)
    rates = {point: [] for point in points}
    try:
        for number in range(args.runs):
            for point, (rows, command) in points.items():
                shutil.rmtree(folder, ignore_errors=True)
                _, wall, _, _ = run(command)
                rates[point].append(rows / wall)
                print(f"run {number + 1} {point}: {wall:.2f} s", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return rates


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
        keys = ("throughput-keys.svg", "keys", "Count per key and minute")
        draw_line_each(rates, args, out, "keyed_count", args.keys, keys)
        overlap = ("throughput-overlap.svg", "windows that a row is in", f"Sliding windows, {KEYS:,} keys")
        draw_line_each(rates, args, out, OVERLAP, args.overlaps, overlap)
        draw_parallelism(rates, args, out)


def markdown(rates, args):
    """A row for each program and number of keys, or of windows that a row is in, a column for each parallelism."""
    def cell(taken):
        median, low, high = (f(taken) / 1e6 for f in (statistics.median, min, max))
        return f"{median:.2f} ({low:.2f} to {high:.2f})"

    head = "".join(f" parallelism {parallelism} |" for parallelism in args.parallelism)
    lines = [f"Million rows/s, median of {args.runs} runs (slowest to fastest):", ""]
    lines += [f"| Program | Keys or overlap |{head}", f"|---|---:|{'---:|' * len(args.parallelism)}"]
    for program, keys in dict.fromkeys((program, keys) for program, _, keys in rates):
        cells = [cell(rates[program, parallelism, keys]) for parallelism in args.parallelism]
        lines.append(f"| `{program}` | {f'{keys:,}' if keys else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    target = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=target, help="folder of the release binaries")
    parser.add_argument("--events", metavar="FILE", help="input of workload_h; without it that curve is left out")
    parser.add_argument("--out", default="docs/images", help="folder of the pictures")
    parser.add_argument("--rows", type=int, default=20_000_000, help="generated rows per run of keyed_count")
    parser.add_argument("--keys", type=int, nargs="+", default=[10, 1_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--overlaps", type=int, nargs="+", default=[1, 5, 15, 60])
    parser.add_argument("--parallelism", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    rates = measure(args)
    draw(rates, args, args.out)
    print(markdown(rates, args))


if __name__ == "__main__":
    main()
