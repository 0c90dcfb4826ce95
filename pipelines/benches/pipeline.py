#!/usr/bin/env python3
"""Times the whole healthcare pipeline over a file: events/s, CPU seconds and peak memory of each run.

cargo build --release --bin healthcare && python3 pipelines/benches/pipeline.py
"""
import argparse
import os
import statistics
import subprocess
import tempfile
import time

from events import write_events


def run(binary, data, source, interval):
    """One run in a child process: wall seconds, CPU seconds, peak bytes."""
    command = [binary, "run", "--quiet", "--data-dir", data, "--input", source, "--checkpoint-interval", interval]
    begun = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - begun
    if status != 0:
        raise SystemExit(f"the run failed with status {status}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main():
    folder = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--checkpoint-interval", default="1s")
    parser.add_argument("--input", help="a file of JSON lines instead of made-up events")
    parser.add_argument("--binary", default=os.path.join(folder, "healthcare"))
    args = parser.parse_args()
    rates = []
    with tempfile.TemporaryDirectory() as work:
        source = args.input or os.path.join(work, "events.jsonl")
        if args.input is None:
            write_events(source, args.events)
        with open(source, "rb") as lines:
            events = sum(1 for _ in lines)
        for number in range(args.runs):
            data = os.path.join(work, f"data-{number}")
            wall, cpu, peak = run(args.binary, data, source, args.checkpoint_interval)
            rates.append(events / wall)
            print(f"run {number}: {events / wall:>9,.0f} events/s, {wall:.2f} s, CPU {cpu:.2f} s, peak {peak / 1e6:.0f} MB")
    print(f"median of {args.runs}: {statistics.median(rates):,.0f} events/s over {events:,} events")


if __name__ == "__main__":
    main()
