//! The benchmark of the bare engine: `keyed_count ROWS KEYS WORKERS [OVERLAP]`, such as `100000000 1000 2`.
//!
//! Row i has a key that is spread by a hash and the event time i × 600 µs; rows are counted per key and minute, behind an
//! exchange by key, with a checkpoint every second. With an OVERLAP the windows are that many minutes long, and slide.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use thalweg_connectors::generator::{GeneratorSource, from_fn};
use thalweg_connectors::memory::MemoryStore;
use thalweg_core::Record;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_core::record::Micros;
use thalweg_core::time::Clock;
use thalweg_examples::Usage;
use thalweg_operators::prelude::*;
use thalweg_runtime::{JobBuilder, LocalStorage, Settings, SystemClock};

const STEP: i64 = 600;
const MINUTE: i64 = 60_000_000;

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Row {
    key: i64,
    at: Micros,
}

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Counted {
    window_start: Micros,
    window_end: Micros,
    key: i64,
    rows: i64,
}

/// `SplitMix64`: spreads neighbours all over.
fn spread(n: u64) -> u64 {
    let z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn rows(from: u64, to: u64, keys: u64) -> Result<RecordBatch> {
    let key = Int64Array::from_iter_values((from..to).map(|i| (spread(i) % keys).cast_signed()));
    let at = (from..to).map(|i| i.cast_signed() * STEP);
    let at = TimestampMicrosecondArray::from_iter_values(at);
    RecordBatch::try_new(Row::schema(), vec![Arc::new(key), Arc::new(at.with_timezone("UTC"))])
        .map_err(|e| thalweg_core::Error::internal("rows of another shape").with_source(e))
}

/// What every program of this benchmark must agree on.
fn checksum(results: &[RecordBatch]) -> (u64, u64) {
    let (mut rows, mut sum) = (0, 0_u64);
    for batch in results {
        let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>().values().iter();
        let keys = batch.column(2).as_primitive::<Int64Type>().values();
        let counts = batch.column(3).as_primitive::<Int64Type>().values();
        for ((start, key), count) in starts.zip(keys).zip(counts) {
            let count = count.cast_unsigned();
            rows += count;
            let minute = (start / MINUTE).cast_unsigned();
            let name = minute.wrapping_mul(1_000_003).wrapping_add(key.cast_unsigned());
            sum = sum.wrapping_add(spread(name).wrapping_mul(count));
        }
    }
    (rows, sum)
}

#[expect(clippy::print_stdout, reason = "the result of the benchmark")]
fn main() -> Result<(), Box<dyn Error>> {
    let usage = Usage("usage: keyed_count ROWS KEYS WORKERS [OVERLAP]");
    let numbers: Vec<u64> = usage.arguments().iter().map(|n| usage.number(n)).collect();
    let (total, keys, workers, overlap) = match *numbers.as_slice() {
        [total, keys, workers] => (total, keys, workers, 1),
        [total, keys, workers, overlap] => (total, keys, workers, u32::try_from(overlap)?),
        _ => usage.misuse(),
    };
    if keys == 0 || overlap == 0 {
        usage.misuse();
    }
    let minute = Duration::from_mins(1);
    let parallelism = u32::try_from(workers)?;
    let clock = Arc::new(SystemClock::default());
    let begun = clock.monotonic();
    let generator = from_fn(Row::schema(), move |from, to| rows(from, to, keys));
    let source = GeneratorSource::new("rows", generator, Arc::clone(&clock) as Arc<dyn Clock>)
        .splits(parallelism)
        .total(Some(total));
    let tables = MemoryStore::default();
    let env = StreamEnvironment::new("keyed-count");
    env.source::<Row>("rows", source)
        .watermarks(WatermarkStrategy::bounded_out_of_orderness(Row::AT, minute))
        .key_by(Row::KEY)
        .window(SlidingEventTimeWindows::of(minute * overlap, minute))
        .aggregate::<Counted>("count", &Aggregate::over(Row::AT).count("rows"))
        .sink("counted", tables.sink("counted"));
    let folder = std::env::temp_dir().join(format!("keyed-count-{}", std::process::id()));
    let settings = Settings { parallelism, ..Settings::default() };
    let storage = Arc::new(LocalStorage::open(&folder)?);
    let summary = JobBuilder::new(env.build()?, storage, Arc::new(MasterKey::generate()?))
        .settings(settings)
        .start()?
        .join()?;
    let (rows, checksum) = checksum(&tables.batches("counted"));
    let seconds = clock.monotonic().saturating_sub(begun).as_secs_f64();
    std::fs::remove_dir_all(&folder)?;
    println!(
        "thalweg results={} rows={rows} checksum={checksum} seconds={seconds:.2}",
        summary.written["counted"]
    );
    Ok(())
}
