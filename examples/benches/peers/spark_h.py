#!/usr/bin/env python3
"""Workload H in Spark Structured Streaming, exactly once into Parquet files: two queries, each of all that is there.

usage: spark_h.py IN.jsonl OUT    (pip install pyspark; Java 17)
"""
import os
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

SCHEMA = """
    event_id long, patient_id long, name string, ssn string, phone string, dob string, address string,
    event_type string, heart_rate int, blood_pressure string, temperature double, spo2 int, respiratory_rate int,
    medication string, `timestamp` string
"""

VALID = """
    patient_id is not null and event_type in ('vitals', 'medication', 'lab_result') and ts is not null
    and heart_rate between 20 and 300 and temperature between 80 and 115 and blood_pressure rlike '^[0-9]+/[0-9]+$'
"""

# A replacement's $1 is Spark's; so is the doubled backslash of its strings.
MASKED = {
    "name": r"regexp_replace(name, '(\\S)\\S*', '$1***')",
    "ssn": "concat('***-**-', right(ssn, 4))",
    "phone": r"regexp_replace(phone, '^(\\(\\d+\\)) \\d+-', '$1 ***-')",
    "dob": "concat(left(dob, 4), '-**-**')",
    "address": "regexp_replace(address, '^.*, ([^,]+, [A-Z]{2}).*$', '$1')",
}


def main():
    source, out = (os.path.abspath(path) for path in sys.argv[1:3])
    # A stream reads folders.
    folder = os.path.join(out, "source")
    os.makedirs(folder)
    os.link(source, os.path.join(folder, "events.json"))
    cores = os.cpu_count()
    builder = SparkSession.builder.master(f"local[{cores}]")
    settings = {
        "spark.sql.shuffle.partitions": cores,
        "spark.driver.memory": "6g",
        "spark.sql.ansi.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    events = spark.readStream.schema(SCHEMA).json(folder)
    valid = events.withColumn("ts", f.to_timestamp("timestamp")).where(VALID)
    masked = valid.withColumns({name: f.expr(text) for name, text in MASKED.items()}).drop("timestamp")
    gold = (
        valid.withWatermark("ts", "30 seconds")
        .groupBy(f.window("ts", "1 minute"), "event_type")
        .agg(f.count("*").alias("n"), f.avg("heart_rate").alias("hr"), f.avg("temperature").alias("temp"))
    )
    queries = [
        stream.writeStream.format("parquet")
        .option("path", os.path.join(out, name))
        .option("checkpointLocation", os.path.join(out, "checkpoints", name))
        .trigger(availableNow=True)
        .start()
        for name, stream in [("silver", masked), ("gold", gold)]
    ]
    for query in queries:
        query.awaitTermination()
    spark.stop()


if __name__ == "__main__":
    main()
