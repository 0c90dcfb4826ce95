//! The benchmark of many tables: `many_tables ROWS TABLES WORKERS FOLDER`, such as `20000000 8 2 tables`.
//!
//! Row i goes to one of TABLES Delta tables below FOLDER, its neighbours to the next ones, exactly once and with a
//! checkpoint every second. Says how long a checkpoint took, from its barrier until every table had its entry.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::{BooleanArray, Float64Array, Int64Array, RecordBatch};
use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_connectors::generator::{GeneratorSource, from_fn};
use thalweg_core::Record;
use thalweg_core::connector::source::Source;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_core::record::column_of;
use thalweg_core::time::Clock;
use thalweg_examples::Usage;
use thalweg_operators::prelude::*;
use thalweg_runtime::{JobBuilder, JobHandle, LocalStorage, Settings, SystemClock};

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Row {
    number: i64,
    table: i64,
    value: f64,
}

fn rows(from: u64, to: u64, tables: u64) -> Result<RecordBatch> {
    let number = Int64Array::from_iter_values((from..to).map(u64::cast_signed));
    let table = Int64Array::from_iter_values((from..to).map(|i| (i % tables).cast_signed()));
    let value = Float64Array::from_iter_values((from..to).map(|i| (i % 1000) as f64 / 10.0));
    RecordBatch::try_new(Row::schema(), vec![Arc::new(number), Arc::new(table), Arc::new(value)])
        .map_err(|e| thalweg_core::Error::internal("rows of another shape").with_source(e))
}

fn graph(
    source: impl Source + 'static,
    tables: i64,
    committer: &Arc<DeltaCommitter>,
) -> Result<JobGraph, GraphErrors> {
    let env = StreamEnvironment::new("many-tables");
    let rows = env.source::<Row>("rows", source);
    for n in 0..tables {
        let name = format!("table-{n}");
        let share = Filter::new(&name, move |batch| {
            Ok(BooleanArray::from_unary(column_of(batch, Row::TABLE)?, |table| table == n))
        });
        rows.apply(&format!("share-{n}"), share).sink(&name, DeltaSink::append(committer, &name));
    }
    env.build()
}

/// What each checkpoint took until the job ended, in µs, ascending.
fn checkpoints(job: &JobHandle) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        let ended = job.is_finished();
        let took = job.metrics().checkpoint_micros.load(Ordering::Relaxed);
        if took > 0 && all.last() != Some(&took) {
            all.push(took);
        }
        if ended {
            all.sort_unstable();
            return all;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[expect(clippy::print_stdout, reason = "the result of the benchmark")]
fn main() -> Result<(), Box<dyn Error>> {
    let usage = Usage("usage: many_tables ROWS TABLES WORKERS FOLDER");
    let arguments = usage.arguments();
    let [total, tables, workers, folder] = arguments.as_slice() else { usage.misuse() };
    let (total, tables): (u64, u32) = (usage.number(total), usage.number(tables));
    let (parallelism, folder): (u32, _) = (usage.number(workers), Path::new(folder));
    if tables == 0 {
        return Err("TABLES must be at least 1".into());
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let generator = from_fn(Row::schema(), move |from, to| rows(from, to, tables.into()));
    let source =
        GeneratorSource::new("rows", generator, clock).splits(parallelism).total(Some(total));
    let committer = Arc::new(DeltaCommitter::new(folder)?);
    let graph = graph(source, tables.into(), &committer)?;
    let storage = Arc::new(LocalStorage::open(folder.join("checkpoints"))?);
    let job = JobBuilder::new(graph, storage, Arc::new(MasterKey::generate()?))
        .settings(Settings { parallelism, ..Settings::default() })
        .start()?;
    let took = checkpoints(&job);
    let summary = job.join()?;
    println!(
        "thalweg tables={} rows={} seconds={:.2} checkpoints={} checkpoint_ms={:.1}",
        summary.written.len(),
        summary.written.values().sum::<u64>(),
        summary.elapsed.as_secs_f64(),
        summary.checkpoint,
        took.get(took.len() / 2).copied().unwrap_or_default() as f64 / 1e3,
    );
    Ok(())
}
