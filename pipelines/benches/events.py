#!/usr/bin/env python3
"""Writes made-up healthcare events as JSON lines, the same ones each time.

pipelines/benches/events.py 5000000 events.jsonl --broken 0
"""
import argparse
import json
import random
from datetime import datetime, timedelta


def write_events(path, count, broken=0.01, per_second=2000):
    """Made-up vitals, so many a second of event time; the share `broken` of the lines is none."""
    rng = random.Random(1)
    start = datetime(2025, 11, 24, 21)
    with open(path, "w", encoding="utf-8") as out:
        for i in range(count):
            if rng.random() < broken:
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
                "timestamp": (start + timedelta(seconds=i / per_second)).isoformat(timespec="microseconds"),
            }
            out.write(json.dumps(event) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=int)
    parser.add_argument("out")
    parser.add_argument("--broken", type=float, default=0.01, help="share of lines that are no events")
    parser.add_argument("--per-second", type=int, default=2000, help="events in a second of event time")
    args = parser.parse_args()
    write_events(args.out, args.events, args.broken, args.per_second)


if __name__ == "__main__":
    main()
