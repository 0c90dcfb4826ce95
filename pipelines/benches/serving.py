#!/usr/bin/env python3
"""What readers cost the job: its checkpoints while nobody looks, and while SQL clients and dashboards do.

cargo build --release --workspace --bins --features thalweg-pipelines/sql
pip install psycopg[binary]
target/release/kafka python3 pipelines/benches/serving.py --pairs 10

`kafka` starts a broker for as long as the script runs. One `healthcare run` works on a steady stream of events for the
whole time; quiet phases and phases with readers take turns, the first of a pair changing. SQL is answered by a `healthcare serve`
of its own, dashboards by the job's process. Each SQL client asks what a report asks, one query and then a pause;
each dashboard client reads the live stream; they run at a lower priority than everybody else. A checkpoint's duration is from its barrier to its finish, as /metrics tells.
Broker, producer, job, servers and these clients share the machine.
"""
import argparse
import json
import os
import random
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

import psycopg

# So many streams, and connections to SQL, one user may have open.
EACH = 32
QUERIES = [
    "select event_type, sum(events) from gold_vitals_by_minute group by event_type limit 1000001",
    "select bp_category, sum(temperature_mean * temperature_readings) / sum(temperature_readings) "
    "from gold_vitals_by_bp_category group by bp_category limit 1000001",
    "select window_start, heart_rate_mean, temperature_mean, spo2_mean from gold_kpis order by window_start desc limit 60",
    "select max(patients), sum(heart_rate_mean * heart_rate_readings) / sum(heart_rate_readings), "
    "sum(respiratory_rate_mean * respiratory_rate_readings) / sum(respiratory_rate_readings) from gold_kpis",
    "select medication, sum(events) from gold_medications group by medication order by 2 desc limit 10",
    "select patient_id, max(heart_rate_max) from gold_patient_vitals group by patient_id order by 2 desc limit 20",
]


def free_ports(wanted):
    """Below those that systems hand out to outgoing connections, so that none of them takes one before its server has it."""
    found = []
    for port in random.sample(range(9_000, 12_000), 100):
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == wanted:
            return found
    sys.exit("error: no free ports")


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


class Job:
    """Counters of the running job."""

    def __init__(self, port, token):
        self.request = urllib.request.Request(
            f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"}
        )

    def metrics(self):
        with urllib.request.urlopen(self.request, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def wait(self, what, condition, seconds=120):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                if condition(self.metrics()):
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(0.2)
        raise SystemExit(f"after {seconds} s still not: {what}")

    def checkpoints(self, seconds):
        """Durations in ms of the checkpoints that finish in this time."""
        seen, taken, until = None, [], time.monotonic() + seconds
        while time.monotonic() < until:
            now = self.metrics()
            if seen is not None and now["thalweg_checkpoint"] != seen:
                if now["thalweg_checkpoint"] != seen + 1:
                    raise SystemExit("a checkpoint finished unseen: look more often")
                taken.append(now["thalweg_checkpoint_duration_seconds"] * 1e3)
            seen = now["thalweg_checkpoint"]
            time.sleep(0.2)
        return taken


class Readers:
    """SQL clients, each on a thread, and dashboards, all on one."""

    def __init__(self, args, sql_port, http_port, tokens):
        self.over = threading.Event()
        self.args, self.tokens = args, tokens
        self.sql_port, self.http_port = sql_port, http_port
        self.took, self.failed, self.received = [], [], 0
        self.threads = [threading.Thread(target=self.ask, args=(n,)) for n in range(args.sql)]
        self.threads.append(threading.Thread(target=self.look))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def ask(self, number):
        chance = random.Random(number)
        user = number // EACH
        where = f"host=127.0.0.1 port={self.sql_port} dbname=healthcare user=bench{user} password={self.tokens[user]} sslmode=disable"
        try:
            with psycopg.connect(where, autocommit=True) as client:
                self.over.wait(chance.random() * self.args.pause)
                while not self.over.is_set():
                    begun = time.monotonic()
                    client.execute(chance.choice(QUERIES)).fetchall()
                    self.took.append((time.monotonic() - begun) * 1e3)
                    self.over.wait(self.args.pause)
        except psycopg.Error as problem:
            self.failed.append(f"SQL: {problem}")

    def look(self):
        head = f"GET /api/live HTTP/1.1\r\nHost: 127.0.0.1:{self.http_port}\r\nAuthorization: Bearer "
        watched = selectors.DefaultSelector()
        for number in range(self.args.dashboards):
            client = socket.create_connection(("127.0.0.1", self.http_port))
            client.sendall(f"{head}{self.tokens[number // EACH]}\r\n\r\n".encode())
            watched.register(client, selectors.EVENT_READ)
        while not self.over.is_set():
            for key, _ in watched.select(timeout=0.2):
                read = key.fileobj.recv(1 << 18)
                self.received += len(read)
                if not read:
                    self.failed.append("a dashboard's stream ended")
                    watched.unregister(key.fileobj)
        for key in list(watched.get_map().values()):
            key.fileobj.close()


def measure(args, job, ports, tokens):
    quiet, busy, asked = [], [], []
    for pair in range(args.pairs):
        for readers in [False, True] if pair % 2 == 0 else [True, False]:
            if readers:
                with Readers(args, *ports, tokens) as those:
                    time.sleep(args.settle)
                    before = those.received
                    taken = job.checkpoints(args.seconds)
                    received = (those.received - before) / args.seconds
                if those.failed:
                    raise SystemExit(f"{len(those.failed)} readers failed: {those.failed[0]}")
                asked += those.took
                told = (
                    f"{len(those.took)} queries, p50 {quantile(those.took, 0.5):.0f} ms, p99 {quantile(those.took, 0.99):.0f} ms; "
                    f"{received / 1e6:.2f} MB/s to dashboards"
                )
                busy.append(taken)
            else:
                time.sleep(args.settle)
                taken = job.checkpoints(args.seconds)
                told = "nobody"
                quiet.append(taken)
            if not taken:
                raise SystemExit("no checkpoint was taken: is the job, or the broker, gone?")
            lag = job.metrics().get("thalweg_source_lag_rows", -1)
            print(
                f"pair {pair + 1} {'readers' if readers else 'quiet':<8} {len(taken)} checkpoints, p50 {quantile(taken, 0.5):.1f} ms, "
                f"p90 {quantile(taken, 0.9):.1f} ms, p99 {quantile(taken, 0.99):.1f} ms; lag {lag:.0f}; {told}",
                flush=True,
            )
    for q in (0.5, 0.9, 0.99):
        each = [quantile(b, q) / quantile(a, q) for a, b in zip(quiet, busy)]
        calm, loud = (quantile([x for phase in phases for x in phase], q) for phases in (quiet, busy))
        print(
            f"p{q * 100:g} of all checkpoints: {calm:.1f} ms quiet, {loud:.1f} ms with readers, {loud / calm:.2f} times; "
            f"pairs {statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"
        )
    print(f"queries: {len(asked)}, p50 {quantile(asked, 0.5):.0f} ms, p99 {quantile(asked, 0.99):.0f} ms")


def main():
    target = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=40, help="of a phase")
    parser.add_argument("--settle", type=float, default=5, help="seconds of a phase that do not count")
    parser.add_argument("--rate", type=int, default=20_000, help="events per second")
    parser.add_argument("--sql", type=int, default=50, help="SQL clients")
    parser.add_argument("--dashboards", type=int, default=200, help="clients of the live stream")
    parser.add_argument("--pause", type=float, default=1, help="seconds between queries of a client")
    parser.add_argument("--serve", default="[]", help="JSON list of further arguments of `healthcare serve`")
    parser.add_argument("--target", default=target, help="folder of the release binaries")
    args = parser.parse_args()
    healthcare = os.path.join(args.target, "healthcare")
    servers = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
    topic = f"serving-{os.getpid()}"
    children = []
    with tempfile.TemporaryDirectory() as work:
        data = os.path.join(work, "data")
        os.mkdir(data)
        log = open(os.path.join(work, "log"), "wb")

        def start(*command):
            children.append(subprocess.Popen([healthcare, *command], stdout=log, stderr=log))

        tokens = []
        for number in range(max(args.dashboards, args.sql) // EACH + 1):
            add = [healthcare, "users", "add", f"bench{number}", "--role", "admin", "--data-dir", data]
            tokens.append(subprocess.run(add, check=True, capture_output=True, text=True).stdout.strip())
        http, sql = free_ports(2)
        steady = ["--quiet", "--bootstrap-servers", servers, "--topic", topic]
        try:
            # Creates the topic.
            subprocess.run([healthcare, "produce", *steady, "--events", "1"], check=True)
            start("produce", *steady, "--rate", str(args.rate))
            start("run", *steady, "--data-dir", data, "--http", f"127.0.0.1:{http}")
            job = Job(http, tokens[0])
            # A minute of event time and its lateness must be over before the gold tables exist.
            job.wait("gold is committed", lambda m: m.get('thalweg_sink_committed_rows{sink="gold-kpis"}', 0) > 0, 300)
            start("serve", "--data-dir", data, "--sql", f"127.0.0.1:{sql}", *json.loads(args.serve))
            # Many requests at once with a token that was not seen before look like guessing.
            for token in tokens:
                Job(http, token).metrics()
            time.sleep(2)
            # Readers have machines of their own elsewhere: here they step back for those that are measured.
            os.nice(19)
            measure(args, job, (sql, http), tokens)
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait()
            log.close()
            with open(log.name, errors="replace") as told:
                wrong = [line for line in told if "error" in line or "WARN" in line]
                print("".join(wrong[-5:]), end="")


if __name__ == "__main__":
    main()
