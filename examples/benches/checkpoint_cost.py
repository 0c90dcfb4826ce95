#!/usr/bin/env python3
"""What checkpoints cost: workload H with one every second and with one every minute, in pairs, CPU seconds.

cargo build --release --workspace --bins && examples/benches/checkpoint_cost.py EVENTS.jsonl --pairs 10
"""
import argparse
import os
import shutil
import statistics
import tempfile

from workload_h import run


def main():
    target = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--target", default=target, help="folder of the release binaries")
    args = parser.parse_args()
    scratch = tempfile.mkdtemp(prefix="checkpoint-cost-")
    shares = []
    try:
        for number in range(args.pairs):
            cpu = {}
            # Whoever goes first may have the colder caches: they take turns.
            for interval in (1_000, 60_000) if number % 2 else (60_000, 1_000):
                out = os.path.join(scratch, "out")
                shutil.rmtree(out, ignore_errors=True)
                binary = os.path.join(args.target, "workload_h")
                _, cpu[interval], _ = run([binary, args.events, out, "--checkpoint-ms", str(interval)])
            shares.append(cpu[1_000] / cpu[60_000] - 1)
            print(f"pair {number + 1}: {cpu[1_000]:.2f} s and {cpu[60_000]:.2f} s CPU, {shares[-1]:+.1%}", flush=True)
        print(f"median of {len(shares)} pairs: {statistics.median(shares):+.1%} (from {min(shares):+.1%} to {max(shares):+.1%})")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
