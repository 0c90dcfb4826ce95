#!/usr/bin/env python3
"""Times recovery: how long a job with a given state takes to restore it, and to catch up with what came meanwhile.

cargo build --release --bin healthcare && python3 pipelines/benches/recovery.py --patients 400000

The state is one open window per patient. The job is stopped behind a checkpoint that holds all of it, and started again
with a backlog to read. What is printed: bytes of state as stored; seconds from the start of the process to the restored
state, and to the end of the backlog, its checkpoint included.
"""
import argparse
import datetime
import json
import os
import re
import subprocess
import tempfile
import time

BACKLOG = 200_000
START = datetime.datetime(2025, 11, 24, 21)


def write_events(path, patients):
    with open(path, "w", encoding="utf-8") as out:
        for i in range(patients + BACKLOG):
            # A minute in all: no window ends.
            at = START + datetime.timedelta(microseconds=int(60e6 * i / (patients + BACKLOG)))
            out.write(
                f'{{"patient_id":{i % patients},"event_type":"vitals","heart_rate":{50 + i % 70},'
                f'"blood_pressure":"{100 + i % 80}/70","temperature":98.{i % 10},"spo2":97,"respiratory_rate":16,'
                f'"timestamp":"{at.isoformat(timespec="microseconds")}"}}\n'
            )


def newest_state(data):
    folder = os.path.join(data, "checkpoints")
    newest = max(name for name in os.listdir(folder) if name.startswith("manifest-"))
    with open(os.path.join(folder, newest), encoding="utf-8") as file:
        return sum(part["bytes"] for part in json.load(file)["state"])


def resume(command):
    """Seconds to the restored state and to the end."""
    begun = time.monotonic()
    restored = None
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"THALWEG_LOG": "debug"},
    )
    for line in child.stderr:
        if restored is None and re.search(r"\brestored\b", line):
            restored = time.monotonic() - begun
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0 or restored is None:
        raise SystemExit(f"the job failed with status {status}")
    return restored, time.monotonic() - begun, usage.ru_maxrss * 1024


def main():
    folder = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.path.join(folder, "healthcare"))
    parser.add_argument("--patients", type=int, default=400_000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--folder", help="where to put data; a temporary folder by default")
    args = parser.parse_args()
    for _ in range(args.runs):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            source, config = os.path.join(folder, "events.jsonl"), os.path.join(folder, "config.toml")
            data = os.path.join(folder, "data")
            write_events(source, args.patients)
            with open(config, "w", encoding="utf-8") as out:
                out.write('[time]\nwindow = "1day"\n')
            command = [args.binary, "run", "--config", config, "--data-dir", data, "--input", source]
            command += ["--checkpoint-interval", "10m", "--events"]
            subprocess.run(
                command + [str(args.patients), "--quiet"], check=True, stdout=subprocess.DEVNULL
            )
            state = newest_state(data)
            restored, done, peak = resume(command + [str(args.patients + BACKLOG)])
            print(
                f"patients={args.patients} state_mb={state / 1e6:.0f} restored_s={restored:.2f} "
                f"caught_up_s={done:.2f} backlog={BACKLOG} peak_mb={peak / 1e6:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
