#!/usr/bin/env python3
"""Workload H as one batch query of DataFusion: no stream, no checkpoint, no recovery. The nearest thing to a limit.

usage: datafusion_h.py IN.jsonl OUT    (pip install datafusion pyarrow)
"""
import os
import sys

import pyarrow as pa
from datafusion import SessionConfig, SessionContext

TEXTS = ["name", "ssn", "phone", "dob", "address", "event_type", "blood_pressure", "medication", "timestamp"]
INTEGERS = ["heart_rate", "spo2", "respiratory_rate"]
COLUMNS = (
    [("event_id", pa.int64()), ("patient_id", pa.int64()), ("temperature", pa.float64())]
    + [(name, pa.string()) for name in TEXTS]
    + [(name, pa.int32()) for name in INTEGERS]
)

VALID = r"""
create table valid as select
    event_id, patient_id,
    regexp_replace(name, '(\S)\S*', '${1}***', 'g') as name,
    concat('***-**-', right(ssn, 4)) as ssn,
    regexp_replace(phone, '^(\(\d+\)) \d+-', '${1} ***-') as phone,
    concat(left(dob, 4), '-**-**') as dob,
    regexp_replace(address, '^.*, ([^,]+, [A-Z]{2}).*$', '${1}') as address,
    event_type, heart_rate, blood_pressure, temperature, spo2, respiratory_rate, medication,
    to_timestamp_micros("timestamp") as ts
from events
where patient_id is not null
    and event_type in ('vitals', 'medication', 'lab_result')
    and "timestamp" ~ '^\d{4}-\d\d-\d\dT'
    and heart_rate between 20 and 300
    and temperature between 80 and 115
    and blood_pressure ~ '^[0-9]+/[0-9]+$'
"""

GOLD = """
select date_bin(interval '1 minute', ts) as window_start, event_type,
    count(*) as n, avg(heart_rate) as hr, avg(temperature) as temp
from valid group by 1, 2
"""


def main():
    source, out = (os.path.abspath(path) for path in sys.argv[1:3])
    os.makedirs(out)
    context = SessionContext(SessionConfig().with_target_partitions(os.cpu_count()))
    context.register_json("events", source, schema=pa.schema(COLUMNS), file_extension=".jsonl")
    context.sql(VALID)
    context.sql("select * from valid").write_parquet(os.path.join(out, "silver"))
    context.sql(GOLD).write_parquet(os.path.join(out, "gold"))


if __name__ == "__main__":
    main()
