#!/usr/bin/env python3
"""The bare engine beside its peers: rows counted per key and minute behind an exchange, in Thalweg, timely and Renoir.

cargo build --release --workspace --bins
examples/benches/keyed_count.py --rows 100000000 --keys 1000 --workers 2 --runs 5

The programs run in turn, again and again, and must agree on results and checksum. Wall time of whole processes; ratios
are of one round. The peers are built here, in workspaces of their own, unless paths are given. What differs: Thalweg
alone takes checkpoints (one a second) and waits a minute for late rows, and it sums up before the exchange, where the
peers send every row; a worker of Renoir is two threads. Peak memory below some 16 MB is this script's own, from which
the program was started.
"""
import argparse
import os
import statistics
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = ["timely", "renoir"]
TARGET = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", "target"))


def build(peer):
    """The path of the peer's program, built if it is not."""
    folder = os.path.join(HERE, "peers", peer)
    target = os.path.join(TARGET, "peers")
    environment = {**os.environ, "CARGO_TARGET_DIR": target}
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=folder, env=environment, check=True)
    return os.path.join(target, "release", f"keyed-count-{peer}")


def run(command):
    """Fields of the line that the program prints, wall seconds, CPU seconds and peak memory in MB."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        begun = time.monotonic()
        child = subprocess.Popen([str(part) for part in command], stdout=out, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - begun
        out.seek(0)
        log.seek(0)
        if status != 0:
            raise SystemExit(f"failed: {' '.join(map(str, command))}\n{log.read().decode()}")
        line = out.read().decode().split()
    fields = dict(word.split("=") for word in line if "=" in word)
    return fields, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def agree(answers, name, fields):
    """Raises when a program's answer is not that of those before it."""
    answer = tuple(fields.get(key) for key in ("results", "rows", "checksum"))
    for other, theirs in answers.items():
        if theirs != answer:
            raise SystemExit(f"{name} answers {answer}, {other} {theirs}: results, rows, checksum")
    answers[name] = answer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--keys", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=5)
    release = os.path.join(TARGET, "release")
    parser.add_argument("--target", default=release, help="folder of Thalweg's release binaries")
    parser.add_argument("--peer", action="append", choices=PEERS, help="only this peer, or these")
    for peer in PEERS:
        parser.add_argument(f"--{peer}", metavar="PROGRAM", help=f"built before: keyed-count-{peer}")
    args = parser.parse_args()
    programs = {"thalweg": os.path.join(args.target, "keyed_count")}
    for peer in args.peer or PEERS:
        programs[peer] = getattr(args, peer) or build(peer)
    figures = {name: [] for name in programs}
    answers = {}
    for number in range(args.runs):
        for name, program in programs.items():
            fields, wall, cpu, peak = run([program, args.rows, args.keys, args.workers])
            agree(answers, name, fields)
            figures[name].append((wall, cpu, peak))
            print(f"run {number + 1} {name:<8} {wall:7.2f} s wall {cpu:7.2f} s CPU {peak:6.0f} MB", flush=True)
    results, rows, checksum = answers["thalweg"]
    print(f"equal: results={results} rows={rows} checksum={checksum}")
    for name, taken in figures.items():
        walls, cpus, peaks = zip(*taken)
        wall, cpu = statistics.median(walls), statistics.median(cpus)
        ratios = [theirs[0] / ours[0] for ours, theirs in zip(figures["thalweg"], taken)]
        print(
            f"{name:<8} median {wall:7.2f} s wall ({args.rows / wall / 1e6:6.1f} M rows/s), {cpu:7.2f} s CPU, "
            f"peak {max(peaks):6.0f} MB; wall against thalweg's {statistics.median(ratios):5.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
