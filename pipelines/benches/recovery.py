#!/usr/bin/env python3
"""Times recovery after kill -9: how long until it is noticed, until the state is restored, and until the job has caught up.

cargo build --release --bin healthcare && python3 pipelines/benches/recovery.py --patients 400000

The state is one open window per patient. A job makes a checkpoint that holds all of it; another goes on from there with a
backlog to read, and is killed while it reads. This program is its supervisor: it waits for the process and starts it again
at once. What is printed: bytes of state as stored; seconds from the kill until the supervisor knows, and from the start of
the next process to the restored state and to the end of the backlog, its checkpoint included.
"""
import argparse
import datetime
import json
import os
import re
import signal
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


def start(command):
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"THALWEG_LOG": "debug"},
    )


def killed(command):
    """Seconds from the kill of a job that reads until its end is known."""
    child = start(command)
    for line in child.stderr:
        if re.search(r"\brestored\b", line):
            break
    time.sleep(0.05)
    begun = time.monotonic()
    child.send_signal(signal.SIGKILL)
    if child.wait() != -signal.SIGKILL:
        raise SystemExit("the job ended before it was killed: give it more to read")
    return time.monotonic() - begun


def resume(command):
    """Seconds to the restored state and to the end."""
    begun = time.monotonic()
    restored = None
    child = start(command)
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
            whole = command + [str(args.patients + BACKLOG)]
            detected = killed(whole)
            restored, done, peak = resume(whole)
            print(
                f"patients={args.patients} state_mb={state / 1e6:.0f} detected_s={detected:.3f} "
                f"restored_s={restored:.2f} "
                f"caught_up_s={done:.2f} backlog={BACKLOG} peak_mb={peak / 1e6:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
