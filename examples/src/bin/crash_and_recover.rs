//! A failure while running, then a stop and a resume: every row arrives once.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::Record;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_examples::Usage;
use thalweg_runtime::{CheckpointStorage, JobBuilder, MemoryStorage, Settings};

const ROWS: u64 = 10_000;

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Number {
    n: i64,
}

fn graph(source: &MemorySource, tables: &MemoryStore) -> Result<JobGraph, GraphErrors> {
    let env = StreamEnvironment::new("numbers");
    env.source::<Number>("numbers", source.clone()).sink("copy", tables.sink("copy"));
    env.build()
}

/// Waits until `rows` rows are visible.
fn wait_for(tables: &MemoryStore, rows: u64) {
    while tables.rows("copy") < rows {
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[expect(clippy::print_stdout, reason = "the result of the example")]
fn main() -> Result<(), Box<dyn Error>> {
    Usage("usage: crash_and_recover").no_arguments();
    let numbers = (0..ROWS as i64).step_by(100).map(|from| {
        let n = Int64Array::from_iter_values(from..from + 100);
        RecordBatch::try_new(Number::schema(), vec![Arc::new(n)])
    });
    let numbers: Vec<RecordBatch> = numbers.collect::<Result<_, _>>()?;
    // The source stops before row 3,000 until it is told to go on.
    let source = MemorySource::new(Number::schema()).split("a", numbers).hold_at("a", 3_000);
    let control = source.control();

    // What must outlive a run: the tables, the checkpoints, and the key that they are sealed with.
    let tables = MemoryStore::default();
    let storage: Arc<dyn CheckpointStorage> = Arc::new(MemoryStorage::default());
    let key = Arc::new(MasterKey::generate()?);
    let settings =
        Settings { checkpoint_interval: Duration::from_millis(20), ..Settings::default() };
    let job = || -> Result<JobBuilder> {
        let graph = graph(&source, &tables)?;
        Ok(JobBuilder::new(graph, Arc::clone(&storage), Arc::clone(&key))
            .settings(settings.clone()))
    };

    // The first run: a reader fails, the attempt goes back to the last checkpoint, nothing is read twice or lost.
    let running = job()?.start()?;
    wait_for(&tables, 3_000);
    control.fail(thalweg_core::Error::transient("the disk was away for a moment"));
    control.hold_at("a", 6_000);
    wait_for(&tables, 6_000);
    running.stopper().stop();
    let stopped = running.join()?;
    println!("stopped after {} rows and {} attempts", tables.rows("copy"), stopped.attempts);

    // The second run goes on from the checkpoint with which the first one stopped.
    control.release("a");
    let finished = job()?.start()?.join()?;
    println!("finished: {}, {} rows", finished.finished, tables.rows("copy"));
    Ok(())
}
