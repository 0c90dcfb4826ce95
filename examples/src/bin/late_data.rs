//! A row that comes after its window has closed leaves by a side output: it is counted nowhere and lost nowhere.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::Record;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_examples::Usage;
use thalweg_operators::prelude::*;
use thalweg_runtime::{JobBuilder, MemoryStorage};

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Reading {
    ward: String,
    at: Micros,
}

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct PerMinute {
    window_start: Micros,
    window_end: Micros,
    ward: String,
    readings: i64,
}

#[expect(clippy::print_stdout, reason = "the result of the example")]
fn main() -> Result<(), Box<dyn Error>> {
    Usage("usage: late_data").no_arguments();
    // Seconds. The row of second 100 moves the watermark to 90: the first minute is closed when second 50 comes,
    // while the second minute still takes second 95.
    let seconds = [10, 20, 100, 50, 95];
    let at = TimestampMicrosecondArray::from_iter_values(seconds.map(|s| s * 1_000_000));
    let wards = StringArray::from(vec!["north"; seconds.len()]);
    let columns: Vec<arrow_array::ArrayRef> =
        vec![Arc::new(wards), Arc::new(at.with_timezone("UTC"))];
    let readings = RecordBatch::try_new(Reading::schema(), columns)?;
    let source = MemorySource::new(Reading::schema()).split("a", [readings]);
    let tables = MemoryStore::default();

    let minutes = TumblingEventTimeWindows::of(Duration::from_mins(1));
    let bound = Duration::from_secs(10);
    let env = StreamEnvironment::new("late-data");
    let judged = env
        .source::<Reading>("readings", source)
        .watermarks(WatermarkStrategy::bounded_out_of_orderness(Reading::AT, bound))
        .apply("lateness", Lateness::new(Reading::AT, minutes, Duration::ZERO));
    judged.side_output(&LATE).sink("late", tables.sink("late"));
    judged
        .key_by(Reading::WARD)
        .window(minutes)
        .aggregate::<PerMinute>("per-minute", &Aggregate::over(Reading::AT).count("readings"))
        .sink("gold", tables.sink("gold").ranked(1));

    let key = Arc::new(MasterKey::generate()?);
    JobBuilder::new(env.build()?, Arc::new(MemoryStorage::default()), key).start()?.join()?;

    for batch in tables.batches("gold") {
        let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>().values();
        let counts = batch.column(3).as_primitive::<Int64Type>().values();
        for (start, count) in starts.iter().zip(counts) {
            println!("minute {}: {count} readings", start / 60_000_000);
        }
    }
    println!("late: {} readings", tables.rows("late"));
    Ok(())
}
