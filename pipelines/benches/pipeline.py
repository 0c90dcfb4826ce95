#!/usr/bin/env python3
"""Times the whole healthcare pipeline over a file: events/s, CPU seconds and peak memory of each run.

cargo build --release --bin healthcare && python3 pipelines/benches/pipeline.py
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from datetime import datetime, timedelta


def write_events(path, count):
    """Made-up vitals, 2,000 a second of event time; one line in a hundred is broken."""
    rng = random.Random(1)
    start = datetime(2025, 11, 24, 21)
    with open(path, "w", encoding="utf-8") as out:
        for i in range(count):
            if rng.random() < 0.01:
                out.write('{"patient_id":\n')
                continue
            kind = rng.choice(["vitals", "vitals", "lab_result", "medication"])
            event = {
                "event_id": i,
                "patient_id": rng.randrange(1000, 6000),
                "name": "Zoe Quimby",
                "ssn": f"{rng.randrange(100, 999)}-45-{rng.randrange(1000, 9999)}",
                "phone": f"(555) 867-{rng.randrange(1000, 9999)}",
                "dob": "1961-07-13",
                "address": "742 Evergreen Ter, Boston, MA 02118",
                "event_type": kind,
                "heart_rate": rng.randrange(45, 140),
                "blood_pressure": f"{rng.randrange(95, 190)}/{rng.randrange(55, 94)}",
                "temperature": round(rng.uniform(97, 102), 1),
                "spo2": rng.randrange(90, 100),
                "respiratory_rate": rng.randrange(10, 26),
                "medication": "Heparin" if kind == "medication" else None,
                "timestamp": (start + timedelta(microseconds=500 * i)).isoformat(timespec="microseconds"),
            }
            out.write(json.dumps(event) + "\n")


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
