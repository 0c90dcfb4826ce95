//! Counts words per hour: a source, a map, an exchange by key, a window, a sink.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
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
struct Text {
    text: String,
    at: Micros,
}

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct WordCount {
    window_start: Micros,
    window_end: Micros,
    text: String,
    count: i64,
}

fn texts(texts: Vec<&str>, times: Vec<i64>) -> Result<RecordBatch> {
    let at = TimestampMicrosecondArray::from(times).with_timezone("UTC");
    RecordBatch::try_new(Text::schema(), vec![Arc::new(StringArray::from(texts)), Arc::new(at)])
        .map_err(|_| thalweg_core::Error::internal("columns that do not fit"))
}

/// One row per word, each at the time of its line.
fn words(lines: RecordBatch) -> Result<RecordBatch> {
    let batch = Batch::<Text>::new(lines);
    let (lines, times) = (batch.column(Text::TEXT)?, batch.column(Text::AT)?);
    let pairs = lines.iter().zip(times.values());
    let (words, times) =
        pairs.flat_map(|(l, at)| l.unwrap_or("").split_whitespace().map(|w| (w, *at))).unzip();
    texts(words, times)
}

#[expect(clippy::print_stdout, reason = "the result of the example")]
fn main() -> Result<(), Box<dyn Error>> {
    Usage("usage: word_count").no_arguments();
    let lines = texts(vec!["deep water", "slow water", "water"], vec![0, 1_000_000, 2_000_000])?;
    let source = MemorySource::new(Text::schema()).split("poem", [lines]);
    let tables = MemoryStore::default();

    let env = StreamEnvironment::new("word-count");
    env.source::<Text>("lines", source)
        .watermarks(WatermarkStrategy::bounded_out_of_orderness(Text::AT, Duration::ZERO))
        .transform::<Text>("words", Map::new("words", Text::schema(), words))
        .key_by(Text::TEXT)
        .window(TumblingEventTimeWindows::of(Duration::from_hours(1)))
        .aggregate::<WordCount>("count", &Aggregate::over(Text::AT).count("count"))
        .sink("counts", tables.sink("counts"));

    let key = Arc::new(MasterKey::generate()?);
    JobBuilder::new(env.build()?, Arc::new(MemoryStorage::default()), key).start()?.join()?;

    let mut counts = Vec::new();
    for batch in tables.batches("counts") {
        let words = batch.column(2).as_string::<i32>().iter().flatten().map(str::to_owned);
        counts.extend(words.zip(batch.column(3).as_primitive::<Int64Type>().values().to_vec()));
    }
    counts.sort();
    for (word, count) in counts {
        println!("{word} {count}");
    }
    Ok(())
}
