"""A batch oracle for the healthcare pipeline: (alerts.py and) oracle.py DATA_DIR TOPIC INPUT MIRROR LETTERS PAGES

INPUT holds the messages of TOPIC as lines "partition offset timestamp-in-milliseconds payload-in-hex", MIRROR those of the
mirror topic as lines of JSON, LETTERS those of the topic of dead letters, and PAGES those of the topic of alerts.
Recomputes from INPUT alone, with no code of the pipeline's, every row of bronze, quarantine, silver, late, gold, alerts, the
mirror and the dead letters. Not compared: `ingested_at`, and what is encrypted but for its length, that no two rows have the
same, and that a dead letter has the bytes of its row in quarantine. Alerts of a patient whose events come by several
partitions are not recomputed. That each alert has a cause in INPUT, tells values that its patient has there, and goes its way
without a gap or a repetition is checked of all; PAGES must have each row of the table, however often, and no other. That each
row of meta/checkpoints names versions that hold that checkpoint and no later one is checked but for versions that a clean-up
has removed from the logs.

Prints findings, and last the rows lost and the rows duplicated or wrong. A wrong row is one of each. No finding tells a
value of a record.
"""
import array
import bisect
import collections
import datetime
import json
import os
import re
import sys

import deltalake
import pyarrow as pa
import pyarrow.parquet

DATA, TOPIC, INPUT, MIRROR, LETTERS, PAGES = sys.argv[1:]
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
# Of the years 1 to 9998, in microseconds.
FIRST, END = -62_135_596_800_000_000, 253_370_764_800_000_000
OUT_OF_ORDERNESS = 30_000_000
# A version, a key's number, a salt, a nonce and a tag.
SEALED_WITH = 1 + 8 + 16 + 12 + 16
EVENT_TYPES = {"vitals", "lab_result", "medication"}
RANGES = {
    "heart_rate": (20, 300), "systolic": (40, 300), "diastolic": (20, 200), "temperature": (80, 115),
    "spo2": (50, 100), "respiratory_rate": (4, 80),
}
VITALS = list(RANGES)
GOLD_OF_VITAL = ("mean", "min", "max", "readings")
# Less than what is valid is a reading for alerts, from here on.
READ_FROM = {"heart_rate": 0, "systolic": 0, "diastolic": 0, "spo2": 2, "respiratory_rate": 0}
SILVER = [
    "event_id", "patient_id", "name", "ssn", "phone", "dob", "address", "event_type", "heart_rate", "blood_pressure",
    "systolic", "diastolic", "bp_category", "temperature", "spo2", "respiratory_rate", "medication", "event_time",
    "consciousness", "oxygen", "unit", "device_id",
]
GOLD = {
    "vitals_by_minute": "event_type", "vitals_by_bp_category": "bp_category", "patient_vitals": "patient_id",
    "medications": "medication", "kpis": None,
}
LEVELS = {
    "a": "A", "alert": "A", "c": "C", "confusion": "C", "new confusion": "C", "v": "V", "voice": "V", "p": "P", "pain": "P",
    "u": "U", "unresponsive": "U",
}
PLACE = ["partition", "offset"]
# What rules find wrong with events that could be read; a code that is none of these is the decoder's.
OF_RULES = {"patient_id.missing", "event_type.missing", "event_type.unknown", "timestamp.missing", "blood_pressure.order"}
OF_RULES |= {f"{name}.range" for name in RANGES}
ALERT = [
    "alert_id", "sequence", "patient_id", "rule", "state", "severity", "vital", "value", "score", "score_missing",
    "event_time", "fired_at", "by",
]
lost = duplicated = 0


def verdict(name, rows, missing, extra, first=""):
    global lost, duplicated
    print(f"{name}: {rows} rows expected, {missing} lost, {extra} duplicated or wrong{first}")
    lost, duplicated = lost + missing, duplicated + extra


# Messages.


class Number(str):
    """A number as it is written."""


def micros(text):
    at = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    at = at.replace(tzinfo=at.tzinfo or datetime.timezone.utc)
    micros = (at - EPOCH) // datetime.timedelta(microseconds=1)
    if not FIRST <= micros < END:
        raise ValueError("in UTC it has another year")
    return micros


def refuse(constant):
    raise ValueError(f"{constant} is no JSON")


def fields(payload):
    """The fields of a message, or why there are none."""
    if not payload:
        return None, "message.empty"
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        return None, "utf8.invalid"
    try:
        raw = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=refuse)
    except ValueError:
        return None, "json.malformed"
    return (raw, None) if isinstance(raw, dict) else (None, "json.not_object")


def is_text(value):
    return isinstance(value, str) and not isinstance(value, Number)


def event(payload):
    """The columns of a message, clear, and the codes of all that is wrong with it."""
    raw, unreadable = fields(payload)
    row = dict.fromkeys(SILVER)
    if unreadable:
        return row, [unreadable]
    codes = []

    def take(name, column, missing, wrong, read):
        """Reads a field; `read` raises ValueError at what is none."""
        value = raw.get(name)
        if value is None:
            codes.extend([missing] if missing else [])
            return
        try:
            row[column] = read(value)
        except ValueError:
            codes.append(wrong)

    def patient(value):
        if not isinstance(value, Number) or not re.fullmatch(r"-?\d+", value) or not -2**63 <= int(value) < 2**63:
            raise ValueError
        return int(value)

    def kind(value):
        if not is_text(value) or value not in EVENT_TYPES:
            raise ValueError
        return value

    def time(value):
        if not is_text(value):
            raise ValueError
        return micros(value)

    def number(value):
        if not isinstance(value, Number):
            raise ValueError
        return float(value)

    take("patient_id", "patient_id", "patient_id.missing", "patient_id.type", patient)
    take("event_type", "event_type", "event_type.missing", "event_type.unknown", kind)
    take("timestamp", "event_time", "timestamp.missing", "timestamp.unparsable", time)
    if row["event_time"] is not None and row["event_time"] < 0:
        row["event_time"] = None
        codes.append("timestamp.past")
    for name in ("heart_rate", "temperature", "spo2", "respiratory_rate"):
        take(name, name, None, f"{name}.type", number)
    pressure = raw.get("blood_pressure")
    if is_text(pressure):
        parts = re.fullmatch(r"\s*([0-9]{1,3})\s*/\s*([0-9]{1,3})\s*", pressure)
        if parts:
            row["blood_pressure"], row["systolic"], row["diastolic"] = pressure, int(parts[1]), int(parts[2])
            row["bp_category"] = category(row["systolic"], row["diastolic"])
            codes.extend(["blood_pressure.order"] if row["systolic"] <= row["diastolic"] else [])
        else:
            codes.append("blood_pressure.unparsable")
    elif pressure is not None:
        codes.append("blood_pressure.type")
    for name, (low, high) in RANGES.items():
        if row[name] is not None and not low <= row[name] <= high:
            codes.append(f"{name}.range")
    for name in ("event_id", "name", "ssn", "phone", "dob", "address", "medication", "unit", "device_id"):
        value = raw.get(name)
        # The job leaves out a text that seems to hold an identifier; none of these messages has one.
        row[name] = str(value) if isinstance(value, str) else None
    level, oxygen = raw.get("consciousness"), raw.get("oxygen")
    row["consciousness"] = LEVELS.get(level.strip().lower()) if is_text(level) else None
    written = str(oxygen).strip().lower() if isinstance(oxygen, (str, bool)) else None
    row["oxygen"] = {"true": True, "1": True, "false": False, "0": False}.get(written)
    return row, codes


def category(systolic, diastolic):
    """As the guideline of the ACC and the AHA has it: the worse of the two."""
    if systolic > 180 or diastolic > 120:
        return "severe"
    if systolic >= 140 or diastolic >= 90:
        return "stage_2"
    if systolic >= 130 or diastolic >= 80:
        return "stage_1"
    return "elevated" if systolic >= 120 else "normal"


LETTER = re.compile(r"[^\W\d_]")
# What may be shown of an identity, written as the simulated hospital writes it (docs/guide/privacy.md).
MASKS = {
    "name": lambda text: " ".join(LETTER.search(word)[0] + "***" for word in text.split()),
    "ssn": lambda text: f"***-**-{text[-4:]}",
    "phone": lambda text: f"{text[:5]} ***-{text[-4:]}",
    "dob": lambda text: f"{text[:4]}-**-**",
    "address": lambda text: f"{text.split(', ')[-2]}, {text.split(', ')[-1].split()[0]}",
}


def silver(row):
    return tuple(MASKS[name](row[name]) if name in MASKS and row[name] is not None else row[name] for name in SILVER)


# Tables.


class Ledger:
    """The row that is expected at each place of some: a digest of it, since there may be many millions."""

    def __init__(self):
        self.partitions = collections.defaultdict(lambda: array.array("q"))
        self.rows = 0

    def expect(self, partition, offset, row):
        digests = self.partitions[partition]
        digests.extend([0] * (offset + 1 - len(digests)))
        digests[offset] = hash(row) or 1
        self.rows += 1

    def compare(self, name, found):
        """With rows that begin with their place, each of which must be there once."""
        seen = {partition: bytearray(len(digests)) for partition, digests in self.partitions.items()}
        right = wrong = extra = 0
        first = ""
        for partition, offset, *row in found:
            digests = self.partitions.get(partition, ())
            if offset >= len(digests) or digests[offset] == 0 or seen[partition][offset]:
                extra += 1
            else:
                seen[partition][offset] = 1
                matches = digests[offset] == (hash(tuple(row)) or 1)
                right, wrong = right + matches, wrong + (not matches)
                if matches:
                    continue
            first = first or f" (the first of them: partition {partition}, offset {offset})"
        verdict(name, self.rows, self.rows - right, extra + wrong, first)


def table(name, columns):
    """The rows of a table, times as microseconds."""
    try:
        dataset = deltalake.DeltaTable(f"{DATA}/{name}").to_pyarrow_dataset()
    except deltalake.exceptions.TableNotFoundError:
        return
    for batch in dataset.to_batches(columns=columns):
        cells = []
        for column in batch.columns:
            if pa.types.is_timestamp(column.type):
                column = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
            cells.append(column.to_pylist())
        yield from zip(*cells)


class Group:
    """What gold says about some events."""

    def __init__(self):
        self.events, self.patients, self.values = 0, set(), [None] * len(VITALS)

    def add(self, row):
        self.events += 1
        self.patients.add(row["patient_id"])
        for place, vital in enumerate(VITALS):
            value = row[vital]
            if value is not None:
                total, count, low, high = self.values[place] or (0.0, 0, value, value)
                self.values[place] = (total + value, count + 1, min(low, value), max(high, value))

    def says(self, events, patients, *cells):
        """Whether a row says the same; means may be of sums that were taken in another order."""
        if (events, patients) != (self.events, len(self.patients)):
            return False
        for value, mean, low, high, readings in zip(self.values, *(cells[at::len(GOLD_OF_VITAL)] for at in range(4))):
            if value is None:
                if (mean, low, high, readings) != (None, None, None, 0):
                    return False
                continue
            if mean is None or (readings, low, high) != value[1:]:
                return False
            if abs(mean - value[0] / value[1]) > 1e-9 * max(abs(mean), 1):
                return False
        return True


def compare_gold(name, key, groups):
    columns = ["window_start", "window_end"] + ([key] if key else []) + ["events", "patients"]
    columns += [f"{vital}_{what}" for vital in VITALS for what in GOLD_OF_VITAL]
    seen, right, extra = set(), 0, 0
    for start, end, *cells in table(f"gold/{name}", columns):
        at = (start, cells.pop(0) if key else None)
        fits = at not in seen and at in groups and end == start + MINUTE and groups[at].says(*cells)
        seen.add(at)
        right, extra = right + fits, extra + (not fits)
    verdict(f"gold/{name}", len(groups), len(groups) - right, extra)


# Alerts.

class Alerts:
    """The alerts in the table, by patient and rule and the time that they were opened at."""

    def __init__(self):
        self.rows, self.repeated, self.wrong = 0, 0, 0
        self.changes, self.causes = collections.defaultdict(dict), collections.defaultdict(list)
        # The rows, each once, and values that they tell and that no event has told yet.
        self.told, self.unheard = set(), set()
        for row in table("alerts/events", ALERT):
            self.rows += 1
            self.told.add(row)
            alert, sequence, patient, rule, state, severity, vital, value, _, _, at, fired, by = row
            change = (state, severity, at, fired, by)
            if value is not None:
                self.unheard.add((patient, vital, value))
            parts = alert.split("/")
            if len(parts) != 3 or parts[:2] != [str(patient), rule] or not re.fullmatch(r"-?\d+", parts[2]):
                self.wrong += 1
            elif sequence in self.changes[patient, rule, int(parts[2])]:
                self.repeated += 1
            else:
                self.changes[patient, rule, int(parts[2])][sequence] = change
        for patient, rule, opened in self.changes:
            # A signal is lost some time after the last event.
            heard = opened - SILENCE if rule == "signal-lost" else opened
            self.causes[patient, heard].append((patient, rule, opened))
        self.caused, self.recomputed = set(), Recomputed()

    def hear(self, partition, row, codes, watermark, arrival):
        """Of an event, valid or not, and all that is wrong with it."""
        if None in (row["patient_id"], row["event_type"], row["event_time"]):
            return
        for vital in VITALS:
            self.unheard.discard((row["patient_id"], vital, row[vital]))
        row = readings(row, codes)
        if row is None:
            return
        self.recomputed.hear(partition, row, watermark, arrival)
        for alert in self.causes.get((row["patient_id"], row["event_time"]), ()):
            vital, bound, _, side, _, _ = LIMITS.get(alert[1], (None, 0, 0, 0, 0, 0))
            value = row.get(vital)
            if vital is None or (value is not None and side * charted(vital, value) >= side * charted(vital, bound)):
                self.caused.add(alert)

    def judge(self):
        gaps, without = 0, len(self.changes) - len(self.caused)
        opened = collections.defaultdict(list)
        for (patient, rule, at), changes in self.changes.items():
            numbers = sorted(changes)
            rows = [changes[n] for n in numbers]
            # That an alert waited is its first change where it has to wait, and is not told.
            gaps += numbers[0] not in (1, 2) or rows[0][0] != "firing"
            gaps += numbers[-1] - numbers[0] + 1 - len(numbers)
            self.wrong += not goes_its_way(rule, at, rows)
            opened[patient, rule].append((at, rows[-1][0] == "resolved"))
        beside = 0
        for alerts in opened.values():
            # Of a patient's alerts of a rule only the last one may be open.
            beside += sum(not resolved for _, resolved in sorted(alerts)[:-1])
        print(
            f"changes of alerts: {self.rows} rows of {len(self.changes)} alerts, {gaps} missing, {self.repeated} repeated, "
            f"{without} without a cause, {beside} beside another, {len(self.unheard)} values that no event has, {self.wrong} "
            "otherwise wrong"
        )
        return gaps, self.repeated + without + beside + len(self.unheard) + self.wrong

    def compare(self, watermark):
        """With those that there must be where the slowest partition has got as far as `watermark`."""
        expected = self.recomputed.finish(watermark)
        missing = expected - self.told
        extra = {row for row in self.told - expected if row[2] not in self.recomputed.scattered}
        names = sorted({row[3] if row[3] in RULES else "no rule of ours" for row in missing | extra})
        patients = len({row[2] for row in missing | extra})
        where = f" (patients: {patients}; rules: {', '.join(names)})" if names else ""
        if self.recomputed.scattered:
            where += f"; patients of several partitions, not recomputed: {len(self.recomputed.scattered)}"
        # Of the same row twice one is too many, whoever it is of.
        verdict("alerts/events", len(expected), len(missing), len(extra) + self.rows - len(self.told), where)

    def compare_pages(self, pages):
        """With the topic of alerts, which may tell a row again and tells no other."""
        missing, extra = self.told - pages, pages - self.told
        verdict("alerts topic", len(self.told), len(missing), len(extra))


def readings(row, codes):
    """An event as alerts see it: without values that nobody can have. None if it is damaged and says nothing else."""
    if not codes:
        return row
    seen = dict(row)
    for name, (low, high) in RANGES.items():
        if row[name] is not None and not READ_FROM.get(name, low) <= row[name] <= high:
            seen[name] = None
    # Numbers that changed places, but not those of somebody who has hardly any pressure.
    if "blood_pressure.order" in codes and row["systolic"] >= RANGES["systolic"][0]:
        seen["systolic"] = seen["diastolic"] = None
    says = any(seen[name] is not None for name in (*VITALS, "consciousness", "oxygen"))
    damaged = seen != row or not OF_RULES.issuperset(codes)
    return seen if says or not damaged else None


def goes_its_way(rule, opened, rows):
    """Whether changes, but for the missing ones, follow one another: it fires, gets worse, and is resolved."""
    before, severity = opened, -1
    # The score may get critical behind an alert that is so already, because nobody came: it says so once.
    repeats = rule == "news2"
    for place, (state, name, at, fired, by) in enumerate(rows):
        last = place == len(rows) - 1
        if state not in ("firing", "resolved") or name not in SEVERITIES or by is not None:
            return False
        if at < before or fired != rows[0][2] or (state == "resolved" and not last):
            return False
        # To fire again it has to have got worse.
        again = state == "firing" and SEVERITIES.index(name) == severity
        if SEVERITIES.index(name) < severity or (again and not repeats):
            return False
        repeats = repeats and not again
        before, severity = at, SEVERITIES.index(name)
    return True


# Checkpoints.


class Log:
    """A table's log: the rows that it has at each version, and the version that each checkpoint came with.

    It begins with the table's first version, or with that of a log checkpoint if a clean-up has removed entries before it."""

    def __init__(self, name):
        folder = f"{DATA}/{name}/_delta_log"
        found = os.listdir(folder)
        entries = sorted(int(file[:20]) for file in found if re.fullmatch(r"\d{20}\.json", file))
        written = {int(file[:20]): file for file in found if re.fullmatch(r"\d{20}\.checkpoint\.parquet", file)}

        def is_whole(first):
            kept = entries[bisect.bisect_left(entries, first) :]
            return kept != [] and kept == list(range(first, entries[-1] + 1))

        # A clean-up that was killed has removed some entries before a log checkpoint, none behind it.
        begins = [first for first in (0, *sorted(written)) if is_whole(first)]
        self.first, self.gaps, self.repeated = (begins or entries)[0], int(not begins), 0
        self.rows, self.checkpoints, files = [], {}, {}
        stands = self.first in written
        if stands:
            for add in pa.parquet.read_table(f"{folder}/{written[self.first]}", columns=["add"])["add"].to_pylist():
                if add is not None:
                    files[add["path"]] = json.loads(add["stats"])["numRecords"]
        rows = sum(files.values())
        for version in entries[bisect.bisect_left(entries, self.first) :]:
            for line in open(f"{folder}/{version:020}.json", encoding="utf-8"):
                action = json.loads(line)
                if "txn" in action:
                    at = (action["txn"]["appId"].split("/")[1], action["txn"]["version"])
                    self.repeated += at in self.checkpoints
                    self.checkpoints[at] = version
                elif stands and version == self.first:
                    continue
                elif "add" in action:
                    files[action["add"]["path"]] = json.loads(action["add"]["stats"])["numRecords"]
                    rows += files[action["add"]["path"]]
                elif "remove" in action:
                    # What is removed twice was merged twice.
                    removed = files.pop(action["remove"]["path"], None)
                    self.repeated += removed is None
                    rows -= removed or 0
            self.rows.append(rows)

    def at(self, version):
        return self.rows[version - self.first]

    def has(self, version):
        return 0 <= version - self.first < len(self.rows)


def manifest():
    """What the newest checkpoint says of itself."""
    folder = f"{DATA}/checkpoints"
    newest = max(name for name in os.listdir(folder) if re.fullmatch(r"manifest-\d+\.json", name))
    return json.load(open(f"{folder}/{newest}", encoding="utf-8"))


def compare_checkpoints(sent):
    """`sent`: the rows that each topic should have, by its name; one at least once has them in the manifest once."""
    newest = manifest()
    names = {sink["target"]["path"]: sink["rows"] for sink in newest["sinks"]}
    logs = {name: Log(name) for name, sink in names.items() if os.path.isdir(f"{DATA}/{name}/_delta_log")}
    cuts = list(table("meta/checkpoints", ["chain", "checkpoint", "tables", "versions"]))
    log = Log("meta/checkpoints")
    published = log.checkpoints
    numbers = [(chain, number) for chain, number, _, _ in cuts]
    # In the order of the log they ascend, and each row came with an entry of its own.
    order = [at for at in published if at[1] > 0]
    since = min((number for _, number in order), default=0) if log.first > 0 else 0
    repeated = len(numbers) - len(set(numbers)) + sum(log.repeated + log.gaps for log in logs.values())
    wrong = (order != sorted(order)) + (set(order) != {at for at in numbers if at[1] >= since})
    wrong += len(set(chain for chain, _ in numbers)) != 1
    bad = cleaned = 0
    ordered = {name: sorted((n, version) for (_, n), version in log.checkpoints.items()) for name, log in logs.items()}
    ascending = all([v for _, v in pairs] == sorted(v for _, v in pairs) for pairs in ordered.values())
    wrong += not ascending
    position = dict.fromkeys(logs, 0)
    for _, number, tables, versions in sorted(cuts, key=lambda cut: cut[1]):
        cut = dict(zip(tables, versions))
        old = {name for name, version in cut.items() if name in logs and version < logs[name].first}
        cleaned += bool(old)
        fits = len(tables) == len(versions) and tables == sorted(logs)
        fits = fits and all(logs[t].has(v) for t, v in cut.items() if t not in old)
        for name, pairs in ordered.items() if fits else ():
            if name in old:
                continue
            # It holds what came with this checkpoint and earlier ones, and nothing later.
            while position[name] < len(pairs) and pairs[position[name]][0] <= number:
                position[name] += 1
            upto, behind = pairs[: position[name]][-1:], pairs[position[name] :][:1]
            fits &= all(version <= cut[name] for _, version in upto) and all(version > cut[name] for _, version in behind)
        if fits and not old:
            rows = {name: logs[name].at(cut[name]) for name in cut}
            fits = rows["bronze/events"] == rows["silver/events"] + rows["quarantine/events"]
            fits &= rows["late/events"] <= rows["silver/events"]
        bad += not fits
    # What the newest one names is never cleaned up.
    wrong += 0 < len(cuts) == cleaned
    # The newest checkpoint is published, and every table has as many rows as it says.
    wrong += (newest["chain"], newest["number"]) not in published
    counted = {name: log.rows[-1] for name, log in logs.items()}
    counted |= {name: sent.get(name) for name in names if name not in logs}
    uncounted = sum(counted[name] != rows for name, rows in names.items())
    print(
        f"meta/checkpoints: {len(cuts)} rows, {repeated} repeated, {bad} name versions of other checkpoints, {cleaned} "
        f"versions that are cleaned up, {uncounted} tables of other lengths than the newest checkpoint says, {wrong} "
        "otherwise wrong"
    )
    return 0, repeated + bad + uncounted + wrong


# The input, once.

alerts = Alerts()
bronze, quarantine, letters, valid, late = Ledger(), Ledger(), Ledger(), Ledger(), Ledger()
groups = {name: {} for name in GOLD}
watermarks = {}
for line in open(INPUT, encoding="ascii"):
    partition, offset, millis, payload = line.rstrip("\n").split(" ")
    partition, offset, payload = int(partition), int(offset), bytes.fromhex(payload)
    row, codes = event(payload)
    length = len(payload) + SEALED_WITH
    bronze.expect(partition, offset, (TOPIC, None if millis == "-" else int(millis) * 1_000, length))
    # An event moves the watermark of its partition, whether it is valid or not, unless it is too far ahead of its arrival,
    # and is judged by the one before.
    before, time = watermarks.get(partition), row["event_time"]
    if time is not None and (millis == "-" or time <= int(millis) * 1_000 + AHEAD):
        watermarks[partition] = max(before or time - OUT_OF_ORDERNESS, time - OUT_OF_ORDERNESS)
    alerts.hear(partition, row, codes, before, None if millis == "-" else int(millis) * 1_000)
    if codes:
        quarantine.expect(partition, offset, (tuple(sorted(codes)), TOPIC, length))
        stage = "validate" if OF_RULES.issuperset(codes) else "decode"
        letters.expect(partition, offset, (stage, tuple(sorted(codes)), TOPIC, length))
        continue
    shown = silver(row)
    valid.expect(partition, offset, shown)
    start = time // MINUTE * MINUTE
    if before is not None and before >= start + MINUTE:
        late.expect(partition, offset, shown)
        continue
    for name, key in GOLD.items():
        value = row[key] if key else None
        if key is None or value is not None:
            groups[name].setdefault((start, value), Group()).add(row)


def slowest(watermarks):
    """How far all partitions got: one of which nothing was read holds the others back, and is in no INPUT."""
    splits = [len(source["splits"]) for source in manifest()["sources"] if source["uid"] == "events"]
    return min(watermarks.values()) if splits == [len(watermarks)] else None


def sealed(name, *columns):
    """Rows whose last column is encrypted: its length stands for it."""
    keys, nonces, repeated = set(), set(), 0
    for *row, key, payload in table(name, PLACE + list(columns) + ["key_id", "payload"]):
        keys.add(key)
        # The salt of a writer and the nonce of a row.
        nonce = hash(payload[9:37]) if payload is not None else None
        repeated += nonce is not None and nonce in nonces
        nonces.add(nonce)
        row = [tuple(sorted(cell)) if isinstance(cell, list) else cell for cell in row]
        yield *row, len(payload) if payload is not None else SEALED_WITH
    if repeated or len(keys) > 1:
        verdict(f"{name}, encrypted", 0, 0, repeated + max(len(keys) - 1, 0))


def dead_letters():
    """Rows whose last column is encrypted, as in `sealed`. What is not what its row of quarantine holds has no length."""
    stored = {(partition, at): held for partition, at, held in table("quarantine/events", PLACE + ["payload"])}
    for line in open(LETTERS, encoding="utf-8"):
        row = json.loads(line)
        place = (row["partition"], row["offset"])
        payload = bytes.fromhex(row["payload"]) if row["payload"] is not None else None
        length = len(payload) if payload is not None else SEALED_WITH
        # A row that is lost is missed in the table.
        same = stored.get(place, payload) == payload
        yield *place, row["stage"], tuple(sorted(row["reason_codes"])), row["topic"], length if same else None


def pages():
    for line in open(PAGES, encoding="utf-8"):
        row = json.loads(line)
        for name in ("event_time", "fired_at"):
            row[name] = micros(row[name]) if row[name] is not None else None
        yield tuple(row[name] for name in ALERT)


def mirror():
    for line in open(MIRROR, encoding="utf-8"):
        row = json.loads(line)
        row["event_time"] = micros(row["event_time"])
        yield *(row[name] for name in PLACE), *(row.get(name) for name in SILVER)


bronze.compare("bronze/events", sealed("bronze/events", "topic", "kafka_timestamp"))
quarantine.compare("quarantine/events", sealed("quarantine/events", "reason_codes", "topic"))
valid.compare("silver/events", table("silver/events", PLACE + SILVER))
late.compare("late/events", table("late/events", PLACE + SILVER))
for name, key in GOLD.items():
    compare_gold(name, key, groups[name])
valid.compare("mirror topic", mirror())
letters.compare("dead-letter topic", dead_letters())
alerts.compare(slowest(watermarks))
alerts.compare_pages(set(pages()))
sent = {f"{TOPIC}-mirror": valid.rows, f"{TOPIC}-dead-letters": quarantine.rows, f"{TOPIC}-alerts": alerts.rows}
for missing, extra in (alerts.judge(), compare_checkpoints(sent)):
    lost, duplicated = lost + missing, duplicated + extra
print(lost, duplicated, flush=True)
# The libraries' threads may abort a process that ends in the usual way.
os._exit(0)
