#!/usr/bin/env python3
"""Workload H in Pathway, in memory, into JSON files: no checkpoint, and rows of gold are changes.

usage: pathway_h.py IN.jsonl OUT    (pip install pathway)
"""
import os
import re
import sys

import pathway as pw

TYPES = {"vitals", "medication", "lab_result"}
PRESSURE = re.compile(r"\d+/\d+")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
WORD = re.compile(r"(\S)\S*")
PHONE = re.compile(r"^(\(\d+\)) \d+-")
ADDRESS = re.compile(r"^.*, ([^,]+, [A-Z]{2}).*$")


class Event(pw.Schema):
    event_id: int | None
    patient_id: int | None
    name: str | None
    ssn: str | None
    phone: str | None
    dob: str | None
    address: str | None
    event_type: str | None
    heart_rate: int | None
    blood_pressure: str | None
    temperature: float | None
    spo2: int | None
    respiratory_rate: int | None
    medication: str | None
    timestamp: str | None


def is_valid(patient, kind, rate, pressure, temperature, time):
    if None in (patient, rate, pressure, temperature, time) or kind not in TYPES:
        return False
    within = 20 <= rate <= 300 and 80 <= temperature <= 115
    return within and bool(PRESSURE.fullmatch(pressure)) and bool(TIME.fullmatch(time))


def text(function, column):
    return pw.apply_with_type(function, str, column)


def main():
    source, out = (os.path.abspath(path) for path in sys.argv[1:3])
    os.makedirs(out, exist_ok=True)
    events = pw.io.jsonlines.read(source, schema=Event, mode="static")
    judged = (events.patient_id, events.event_type, events.heart_rate)
    judged += (events.blood_pressure, events.temperature, events.timestamp)
    valid = events.filter(pw.apply_with_type(is_valid, bool, *judged))
    silver = valid.with_columns(
        name=text(lambda name: WORD.sub(r"\1***", name), valid.name),
        ssn=text(lambda ssn: "***-**-" + ssn[-4:], valid.ssn),
        phone=text(lambda phone: PHONE.sub(r"\1 ***-", phone), valid.phone),
        dob=text(lambda dob: dob[:4] + "-**-**", valid.dob),
        address=text(lambda address: ADDRESS.sub(r"\1", address), valid.address),
        heart_rate=pw.unwrap(valid.heart_rate),
        temperature=pw.unwrap(valid.temperature),
        timestamp=pw.unwrap(valid.timestamp).dt.strptime("%Y-%m-%dT%H:%M:%S.%f"),
    )
    minutes = pw.temporal.tumbling(pw.Duration(minutes=1))
    gold = silver.windowby(silver.timestamp, window=minutes, instance=silver.event_type).reduce(
        window_start=pw.this._pw_window_start,
        event_type=pw.this._pw_instance,
        n=pw.reducers.count(),
        hr=pw.reducers.avg(pw.this.heart_rate),
        temp=pw.reducers.avg(pw.this.temperature),
    )
    pw.io.jsonlines.write(silver, os.path.join(out, "silver.jsonl"))
    pw.io.jsonlines.write(gold, os.path.join(out, "gold.jsonl"))
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


if __name__ == "__main__":
    main()
