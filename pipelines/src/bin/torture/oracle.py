"""A batch oracle for the healthcare pipeline: oracle.py DATA_DIR INPUT MIRROR

INPUT and MIRROR hold a topic's messages as lines "partition offset payload-in-hex". Recomputes every table and the
mirror from INPUT alone, with no code of the pipeline's; prints findings, and last the rows lost and duplicated.
"""
import collections
import datetime
import json
import re
import sys

import deltalake

DATA, INPUT, MIRROR = sys.argv[1:]
MINUTE = 60_000_000
OUT_OF_ORDERNESS = 30_000_000
EVENT_TYPES = {"vitals", "lab_result", "medication"}
RANGES = {
    "heart_rate": (20, 300), "systolic": (40, 300), "diastolic": (20, 200), "temperature": (80, 115),
    "spo2": (50, 100), "respiratory_rate": (4, 80),
}
VITALS = ["heart_rate", "systolic", "diastolic", "temperature", "spo2", "respiratory_rate"]
lost = duplicated = 0


def messages(path):
    for line in open(path):
        partition, offset, payload = line.rstrip("\n").split(" ")
        yield int(partition), int(offset), bytes.fromhex(payload)


def micros(text):
    at = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if at.tzinfo is None:
        at = at.replace(tzinfo=datetime.timezone.utc)
    return round((at - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(microseconds=1))


def event(payload):
    """The event, and whether it is valid; None when it cannot be read."""
    try:
        raw = json.loads(payload.decode("utf-8"))
    except ValueError:
        return None, False
    if not isinstance(raw, dict):
        return None, False
    good = True
    try:
        time = micros(raw["timestamp"])
    except (KeyError, TypeError, AttributeError, ValueError):
        time, good = None, False
    row = {"time": time, "event_type": raw.get("event_type"), "medication": raw.get("medication")}
    patient = raw.get("patient_id")
    if isinstance(patient, str) and re.fullmatch(r"-?\d+", patient):
        patient = int(patient)
    good &= isinstance(patient, int)
    row["patient_id"] = patient
    good &= row["event_type"] in EVENT_TYPES
    pressure = raw.get("blood_pressure")
    row["systolic"] = row["diastolic"] = None
    if pressure is not None:
        parts = re.fullmatch(r"(\d+)/(\d+)", pressure) if isinstance(pressure, str) else None
        if parts is None:
            good = False
        else:
            row["systolic"], row["diastolic"] = int(parts[1]), int(parts[2])
            good &= row["systolic"] > row["diastolic"]
    for name in ("heart_rate", "temperature", "spo2", "respiratory_rate"):
        value = raw.get(name)
        if value is not None and not isinstance(value, (int, float)):
            value, good = None, False
        row[name] = value
    for name, (low, high) in RANGES.items():
        if row[name] is not None:
            good &= low <= row[name] <= high
    return row, good


def table(name, columns):
    try:
        found = deltalake.DeltaTable(f"{DATA}/{name}")
    except deltalake.exceptions.TableNotFoundError:
        return []
    rows = found.to_pyarrow_table(columns=columns).to_pylist()
    return [tuple(row[c] for c in columns) for row in rows]


def compare(name, expected, found):
    """Two multisets."""
    global lost, duplicated
    expected, found = collections.Counter(expected), collections.Counter(found)
    missing, extra = sum((expected - found).values()), sum((found - expected).values())
    print(f"{name}: {sum(expected.values())} rows expected, {missing} lost, {extra} duplicated or wrong")
    lost, duplicated = lost + missing, duplicated + extra


def same(a, b):
    """Equal, or means whose sums were taken in another order."""
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1)
    return a == b


def settle(expected, found):
    """Found rows, those that say the same as the expected one of their key replaced by it."""
    by_key = {row[:2]: row for row in expected}
    settled = []
    for row in found:
        twin = by_key.get(row[:2])
        settled.append(twin if twin is not None and all(map(same, twin, row)) else row)
    return settled


inputs, valid, invalid, late, on_time = [], [], [], [], []
watermarks = {}
for partition, offset, payload in sorted(messages(INPUT)):
    at = (partition, offset)
    inputs.append(at)
    row, good = event(payload)
    before = watermarks.get(partition)
    if row is not None and row["time"] is not None:
        watermarks[partition] = max(before or row["time"] - OUT_OF_ORDERNESS, row["time"] - OUT_OF_ORDERNESS)
    if not good:
        invalid.append(at)
        continue
    valid.append(at + (row["patient_id"], row["heart_rate"], row["systolic"]))
    end = (row["time"] // MINUTE + 1) * MINUTE
    if before is not None and before >= end:
        late.append(at)
    else:
        on_time.append(row)

place = ["partition", "offset"]
compare("bronze/events", inputs, table("bronze/events", place))
compare("quarantine/events", invalid, table("quarantine/events", place))
compare("silver/events", valid, table("silver/events", place + ["patient_id", "heart_rate", "systolic"]))
compare("late/events", late, table("late/events", place))


def category_of():
    """The category that silver gave each pair: what a category means is not the oracle's to know."""
    pairs = table("silver/events", ["systolic", "diastolic", "bp_category"])
    known = {}
    for systolic, diastolic, category in pairs:
        assert known.setdefault((systolic, diastolic), category) == category, "one pair, two categories"
    return known


categories = category_of()
for row in on_time:
    row["bp_category"] = categories.get((row["systolic"], row["diastolic"]))
for name, key in [
    ("vitals_by_minute", "event_type"), ("vitals_by_bp_category", "bp_category"), ("patient_vitals", "patient_id"),
    ("medications", "medication"), ("kpis", None),
]:
    groups = collections.defaultdict(list)
    for row in on_time:
        if key is None or row[key] is not None:
            groups[(row["time"] // MINUTE * MINUTE, row[key] if key else None)].append(row)
    expected = []
    for (start, value), rows in groups.items():
        cells = [start, value, len(rows), len({row["patient_id"] for row in rows})]
        for vital in VITALS:
            values = [row[vital] for row in rows if row[vital] is not None]
            cells += [sum(values) / len(values), min(values), max(values)] if values else [None] * 3
        expected.append(tuple(cells))
    columns = ["window_start"] + ([key] if key else []) + ["events", "patients"]
    columns += [f"{vital}_{what}" for vital in VITALS for what in ("mean", "min", "max")]
    found = []
    for row in table(f"gold/{name}", columns):
        cells = list(row)
        cells[0] = round(cells[0].timestamp() * 1_000_000)
        if key is None:
            cells.insert(1, None)
        found.append(tuple(cells))
    compare(f"gold/{name}", expected, settle(expected, found))

mirrored = []
for _, _, payload in messages(MIRROR):
    row = json.loads(payload)
    mirrored.append((row["partition"], row["offset"], row["patient_id"], row["heart_rate"], row["systolic"]))
compare("mirror topic", valid, mirrored)
print(lost, duplicated)
