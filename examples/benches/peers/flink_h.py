#!/usr/bin/env python3
"""Workload H in Flink SQL, exactly once into JSON files, gold printed; a checkpoint every 10 s.

usage: flink_h.py IN.jsonl OUT    (pip install apache-flink; Java 17)
"""
import os
import sys

from pyflink.table import EnvironmentSettings, TableEnvironment

SOURCE = """
create table events (
    event_id bigint, patient_id bigint, name string, ssn string, phone string, dob string, address string,
    event_type string, heart_rate int, blood_pressure string, temperature double, spo2 int, respiratory_rate int,
    medication string, `timestamp` string,
    ts as coalesce(
        to_timestamp(replace(`timestamp`, 'T', ' '), 'yyyy-MM-dd HH:mm:ss.SSSSSS'), timestamp '1970-01-01 00:00:00.000'),
    watermark for ts as ts - interval '30' second
) with ('connector' = 'filesystem', 'path' = 'file://{source}', 'format' = 'json', 'json.ignore-parse-errors' = 'true')
"""

SILVER = """
create table silver (
    event_id bigint, patient_id bigint, name string, ssn string, phone string, dob string, address string,
    event_type string, heart_rate int, blood_pressure string, temperature double, spo2 int, respiratory_rate int,
    medication string, ts timestamp(3)
) with ('connector' = 'filesystem', 'path' = 'file://{out}/silver', 'format' = 'json')
"""

GOLD = "create table gold (w timestamp(3), event_type string, n bigint, hr double, temp double) with ('connector' = 'print')"

VALID = """
create temporary view valid as select * from events
where patient_id is not null and event_type in ('vitals', 'medication', 'lab_result')
    and ts > timestamp '2000-01-01 00:00:00' and heart_rate between 20 and 300 and temperature between 80 and 115
    and regexp(blood_pressure, '^[0-9]+/[0-9]+$')
"""

INTO_SILVER = r"""
insert into silver select event_id, patient_id,
    regexp_replace(name, '(\S)\S*', '$1***'), concat('***-**-', right(ssn, 4)),
    regexp_replace(phone, '^(\(\d+\)) \d+-', '$1 ***-'), concat(left(dob, 4), '-**-**'),
    regexp_replace(address, '^.*, ([^,]+, [A-Z]{2}).*$', '$1'),
    event_type, heart_rate, blood_pressure, temperature, spo2, respiratory_rate, medication, cast(ts as timestamp(3))
from valid
"""

INTO_GOLD = """
insert into gold select window_start, event_type, count(*), avg(cast(heart_rate as double)), avg(temperature)
from table(tumble(table valid, descriptor(ts), interval '1' minute))
group by window_start, window_end, event_type
"""


def main():
    source, out = (os.path.abspath(path) for path in sys.argv[1:3])
    table = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    settings = {
        "parallelism.default": str(os.cpu_count()),
        "execution.checkpointing.dir": f"file://{out}/checkpoints",
        "execution.checkpointing.interval": "10 s",
        "table.exec.source.idle-timeout": "5 s",
    }
    for name, value in settings.items():
        table.get_config().set(name, value)
    for statement in (SOURCE.format(source=source), SILVER.format(out=out), GOLD, VALID):
        table.execute_sql(statement)
    inserts = table.create_statement_set()
    inserts.add_insert_sql(INTO_SILVER)
    inserts.add_insert_sql(INTO_GOLD)
    inserts.execute().wait()


if __name__ == "__main__":
    main()
