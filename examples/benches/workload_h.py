#!/usr/bin/env python3
"""Workload H, Thalweg beside its peers, interleaved: whole processes, wall time, ratios in one run.

cargo build --release && examples/benches/workload_h.py EVENTS.jsonl --peer datafusion --peer flink --runs 5

EVENTS.jsonl holds healthcare events, a JSON object a line, none malformed. `--python` names an interpreter that has
the peers' packages (datafusion and pyarrow, apache-flink, pyspark, pathway). Gold is compared with DataFusion's, row by
row. `pipeline` as a peer is Thalweg's whole healthcare pipeline over the same file.
"""
import argparse
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def run(command):
    """Wall seconds, CPU seconds of all children, and the peak memory of the largest, MB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - begun
    if status != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, usage.ru_maxrss / 1000


def compare(python, thalweg, datafusion):
    """Raises when gold or the number of silver rows differ."""
    program = f"""
import glob, pyarrow as pa, pyarrow.parquet as pq, deltalake
def gold(table):
    rows = zip(*(table[c].to_pylist() for c in ("window_start", "event_type", "n", "hr", "temp")))
    return sorted((str(w)[:19], t, n, round(hr, 6), round(temp, 6)) for w, t, n, hr, temp in rows)
ours = deltalake.DeltaTable({thalweg!r} + "/gold").to_pyarrow_table()
theirs = pa.concat_tables(pq.read_table(f) for f in glob.glob({datafusion!r} + "/gold/*.parquet"))
assert gold(ours) == gold(theirs), "gold differs"
silver = sum(pq.read_metadata(f).num_rows for f in glob.glob({datafusion!r} + "/silver/*.parquet"))
added = deltalake.DeltaTable({thalweg!r} + "/silver").get_add_actions(flatten=True)
assert silver == sum(pa.table(added)["num_records"].to_pylist()), "silver differs"
print("gold equal:", len(gold(ours)), "rows; silver:", silver, "rows")
"""
    subprocess.run([python, "-c", program], check=True)


def main():
    target = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events")
    parser.add_argument("--peer", action="append", choices=["datafusion", "flink", "spark", "pathway", "pipeline"], default=[])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--python", default="python3")
    parser.add_argument("--target", default=target, help="folder of the release binaries")
    args = parser.parse_args()
    scratch = tempfile.mkdtemp(prefix="workload-h-")
    commands = {"thalweg": [os.path.join(args.target, "workload_h"), args.events]}
    for peer in args.peer:
        commands[peer] = [args.python, os.path.join(HERE, "peers", f"{peer}_h.py"), args.events]
    figures = {name: [] for name in commands}
    try:
        for number in range(args.runs):
            for name, command in commands.items():
                out = os.path.join(scratch, name)
                shutil.rmtree(out, ignore_errors=True)
                if name == "pipeline":
                    binary = os.path.join(args.target, "healthcare")
                    command = [binary, "run", "--quiet", "--input", args.events, "--data-dir", out]
                else:
                    command = [*command, out]
                wall, cpu, peak = run(command)
                figures[name].append((wall, cpu, peak))
                print(f"run {number + 1} {name:<11} {wall:7.2f} s wall {cpu:7.2f} s CPU {peak:6.0f} MB", flush=True)
            if "datafusion" in commands and number == 0:
                compare(args.python, os.path.join(scratch, "thalweg"), os.path.join(scratch, "datafusion"))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for name in commands:
        ratios = [theirs[0] / ours[0] for ours, theirs in zip(figures["thalweg"], figures[name])]
        walls = [wall for wall, _, _ in figures[name]]
        print(
            f"{name:<11} median {statistics.median(walls):7.2f} s wall, {statistics.median(f[1] for f in figures[name]):7.2f} s CPU, "
            f"peak {max(f[2] for f in figures[name]):6.0f} MB; wall against thalweg's {statistics.median(ratios):5.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
