#!/usr/bin/env python3
"""Workload H from a real Kafka (lz4, 4 partitions) beside the same from a file, interleaved.

cargo build --release --workspace --bins
target/release/kafka examples/benches/kafka_rate.py EVENTS.jsonl --runs 5

`kafka` starts a broker for as long as the script runs. `--python` of the shebang needs confluent-kafka, which loads the
topic. Wall time of whole processes; the rate from the topic is given as a share of that from the file.
"""
import argparse
import os
import shutil
import statistics
import tempfile

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from workload_h import run

PARTITIONS = 4


def load(servers, topic, path):
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result()
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 500_000,
            "compression.type": "lz4",
        }
    )
    failed = []
    with open(path, "rb") as lines:
        for number, line in enumerate(lines):
            while True:
                try:
                    producer.produce(topic, line.rstrip(b"\n"), on_delivery=lambda e, _: e and failed.append(e))
                    break
                except BufferError:
                    producer.poll(0.1)
            if number % 1000 == 0:
                producer.poll(0)
    producer.flush()
    if failed:
        raise SystemExit(f"{len(failed)} messages could not be sent: {failed[0]}")


def main():
    target = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--target", default=target, help="folder of the release binaries")
    args = parser.parse_args()
    servers, topic = os.environ["KAFKA_BOOTSTRAP_SERVERS"], "workload-h"
    load(servers, topic, args.events)
    scratch = tempfile.mkdtemp(prefix="kafka-rate-")
    binary = os.path.join(args.target, "workload_h")
    commands = {
        "file": [binary, args.events],
        "topic": [binary, topic, "--bootstrap-servers", servers],
    }
    shares = []
    try:
        for number in range(args.runs):
            walls = {}
            for name, command in commands.items():
                out = os.path.join(scratch, name)
                shutil.rmtree(out, ignore_errors=True)
                walls[name], cpu, peak = run([command[0], command[1], out, *command[2:]])
                print(f"run {number + 1} {name:<6} {walls[name]:6.2f} s wall {cpu:6.2f} s CPU {peak:5.0f} MB", flush=True)
            shares.append(walls["file"] / walls["topic"])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"rate from the topic: {statistics.median(shares):.0%} of that from the file ({min(shares):.0%} to {max(shares):.0%})")


if __name__ == "__main__":
    main()
