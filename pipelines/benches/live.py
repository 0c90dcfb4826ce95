#!/usr/bin/env python3
"""How long an event takes to the screen: a browser with the dashboard's first page beside a job on a steady stream.

cargo build --release --workspace --bins && npm install --prefix browser playwright-core
MODULES=browser/node_modules CHROMIUM=$(command -v chromium) target/release/kafka python3 pipelines/benches/live.py

`kafka` starts a broker for as long as the script runs. The page shows how many events the running minute has; the stream is
steady, so the number says when its last event was due, and a page, a job or a producer that falls behind makes figures worse
(no coordinated omission). Counted from there to the frame in which the number is painted. Broker, producer, job and browser
share the machine.
"""
import argparse
import os
import statistics
import subprocess
import tempfile
import threading
import time

MINUTE = 60_000
# Milliseconds that a nurse may wait for an event.
TARGET = 1_000
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "browser", "live.mjs")


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def latencies(lines, rate, begun):
    """Milliseconds from when the last event of a number was due to its frame, of whole minutes behind `begun`."""
    for line in lines:
        events, at, _ = line.split()
        at = int(at)
        due = at // MINUTE * MINUTE + int(events) / rate * 1e3
        # A number of the minute before is painted early in the next one.
        if due > at + MINUTE / 2:
            due -= MINUTE
        if due // MINUTE * MINUTE > begun:
            yield at - due


def main():
    target = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="of whole minutes that count")
    parser.add_argument("--rate", type=int, default=20_000, help="events per second")
    parser.add_argument("--target", default=target, help="folder of the release binaries")
    args = parser.parse_args()
    healthcare = os.path.join(args.target, "healthcare")
    steady = ["--quiet", "--bootstrap-servers", os.environ["KAFKA_BOOTSTRAP_SERVERS"], "--topic", f"live-{os.getpid()}"]
    children = []
    with tempfile.TemporaryDirectory() as work:
        try:
            # Creates the topic.
            subprocess.run([healthcare, "produce", *steady, "--events", "1"], check=True, capture_output=True)
            children.append(subprocess.Popen([healthcare, "produce", *steady, "--rate", str(args.rate)], stdout=subprocess.DEVNULL))
            begun = time.time() * 1e3
            run = [healthcare, "run", *steady, "--data-dir", os.path.join(work, "data"), "--http", "127.0.0.1:0"]
            children.append(subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            link = next(word for line in children[-1].stdout for word in line.split() if "?token=" in word)
            threading.Thread(target=children[-1].stdout.read, daemon=True).start()
            # The page ends by itself after two minutes.
            page = subprocess.Popen(["node", PAGE, link], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            children.append(page)
            wait = MINUTE - begun % MINUTE + args.seconds * 1e3 + MINUTE / 10
            timer = threading.Timer(wait / 1e3, page.kill)
            timer.start()
            lines = [line for line in page.stdout if line[0].isdigit()]
            timer.cancel()
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait()
    took = list(latencies(lines, args.rate, begun))
    if not took:
        raise SystemExit("nothing was painted in a whole minute: let it run for longer")
    print(
        f"{len(took)} frames, ms from the event to the screen: p50 {statistics.median(took):.0f}, p99 {quantile(took, 0.99):.0f}, "
        f"least {min(took):.0f}, most {max(took):.0f}"
    )
    if quantile(took, 0.99) > TARGET:
        raise SystemExit(f"the target is {TARGET} ms")


if __name__ == "__main__":
    main()
