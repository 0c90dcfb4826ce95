//! Two sources into one keyed operator: each row once, timers by the one that knows event time.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_operators::Project;
use thalweg_runtime::{CheckpointStorage, JobBuilder, MemoryStorage, Settings};

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Row {
    key: i64,
    at: Micros,
    from: String,
}

/// Passes rows on, and a row more for each time that was reached.
#[derive(Debug, Clone)]
struct Bell;

fn rows(of: impl Iterator<Item = (i64, i64)> + Clone, from: &str) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(of.clone().map(|row| row.1));
    let count = of.clone().count();
    RecordBatch::try_new(
        Row::schema(),
        vec![
            Arc::new(Int64Array::from_iter_values(of.map(|row| row.0))),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(from, count))),
        ],
    )
    .unwrap()
}

impl KeyedOperator for Bell {
    type In = Row;
    type Out = Row;

    fn process(
        &mut self,
        batch: Batch<Row>,
        context: &KeyedContext,
        out: &mut Collector,
    ) -> Result<()> {
        let times = batch.column(Row::AT)?;
        let from = batch.column(Row::FROM)?;
        for (row, key) in context.keys().iter().enumerate() {
            if from.value(row) == "timed" {
                context.set_timer(key, times.value(row));
            }
        }
        out.emit(batch.into_record_batch());
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: &Key,
        time: i64,
        context: &KeyedContext,
        out: &mut Collector,
    ) -> Result<()> {
        // The end of the input is not among them: the last of each key rings there.
        let from = if context.watermark() == Watermark::MAX { "end" } else { "bell" };
        out.emit(rows([(0, time)].into_iter(), from));
        Ok(())
    }
}

const KEYS: i64 = 13;

/// `count` rows a second apart, in batches of 50.
fn source(count: i64, from: &'static str) -> MemorySource {
    let batches = |offset: i64| -> Vec<RecordBatch> {
        let starts = (0..count).step_by(50);
        let row = move |i: i64| ((i + offset) % KEYS, i * 1_000_000 + offset);
        starts.map(|start| rows((start..(start + 50).min(count)).map(row), from)).collect()
    };
    MemorySource::new(Row::schema()).split("a", batches(0)).split("b", batches(1))
}

fn graph(store: &MemoryStore, timed: i64, untimed: i64) -> Result<JobGraph, GraphErrors> {
    let env = StreamEnvironment::new("union");
    let strategy = WatermarkStrategy::bounded_out_of_orderness(Row::AT, Duration::from_secs(1));
    let events = env
        .source::<Row>("events", source(timed, "timed"))
        .watermarks(strategy)
        .apply("event-columns", Project::to::<Row>());
    let others = env.source::<Row>("others", source(untimed, "untimed"));
    let both = events.key_by(Row::KEY).union(others.key_by(Row::KEY));
    both.process("bell", Bell).sink("out", store.sink("out"));
    env.build()
}

/// Source or bell, and time, of all rows.
fn found(store: &MemoryStore) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    for batch in store.batches("out") {
        let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
        let from = batch.column(2).as_string::<i32>();
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().len(), batch.num_rows());
        found.extend((0..batch.num_rows()).map(|i| (from.value(i).to_owned(), times.value(i))));
    }
    found.sort();
    found
}

struct Bench {
    storage: Arc<dyn CheckpointStorage>,
    key: Arc<MasterKey>,
    store: MemoryStore,
}

impl Bench {
    fn new() -> Self {
        let (key, store) = (Arc::new(MasterKey::generate().unwrap()), MemoryStore::default());
        Self { storage: Arc::new(MemoryStorage::default()), key, store }
    }

    fn job(&self, parallelism: u32) -> JobBuilder {
        let settings = Settings {
            parallelism,
            checkpoint_interval: Duration::from_millis(10),
            restart_delay: Duration::from_millis(1),
            ..Settings::default()
        };
        let graph = graph(&self.store, 4_000, 3_000).unwrap();
        JobBuilder::new(graph, Arc::clone(&self.storage), Arc::clone(&self.key)).settings(settings)
    }
}

#[test]
fn every_row_of_both_comes_once_and_time_is_that_of_the_timed_one() {
    let mut expected = None;
    for parallelism in [1, 2, 3] {
        let bench = Bench::new();
        assert!(bench.job(parallelism).start().unwrap().join().unwrap().finished);
        let found = found(&bench.store);
        let of = |from: &str| found.iter().filter(|row| row.0 == from).count();
        assert_eq!((of("timed"), of("untimed")), (8_000, 6_000));
        // Watermarks are a second behind the furthest: but for the last seconds, timers rang before the end, although one
        // source says nothing about time.
        assert_eq!(of("bell") + of("end"), 8_000);
        assert!(of("end") <= 4, "{} rang at the end", of("end"));
        assert_eq!(*expected.get_or_insert_with(|| found.clone()), found);
    }
}

#[test]
fn a_union_is_stopped_and_resumed_at_other_parallelisms_without_loss() {
    let calm = Bench::new();
    calm.job(2).start().unwrap().join().unwrap();
    let bench = Bench::new();
    for (parallelism, limit) in [(1, 3_000), (3, 4_000), (2, 2_500)] {
        let summary = bench.job(parallelism).events(Some(limit)).start().unwrap().join().unwrap();
        assert!(!summary.finished);
    }
    assert!(bench.job(4).start().unwrap().join().unwrap().finished);
    assert_eq!(found(&bench.store), found(&calm.store));
}

#[test]
fn what_does_not_fit_together_does_not_build() {
    let store = MemoryStore::default();
    let problems = |build: fn(&StreamEnvironment, &MemoryStore)| {
        let env = StreamEnvironment::new("union");
        build(&env, &store);
        env.build().unwrap_err().to_string()
    };
    let columns = problems(|env, store| {
        let strategy = WatermarkStrategy::bounded_out_of_orderness(Row::AT, Duration::ZERO);
        let timed = env.source::<Row>("timed", source(1, "timed")).watermarks(strategy);
        let plain = env.source::<Row>("plain", source(1, "untimed"));
        let both = timed.key_by(Row::KEY).union(plain.key_by(Row::KEY));
        both.process("bell", Bell).sink("out", store.sink("out"));
    });
    assert!(columns.contains("different numbers of columns"), "{columns}");
    let keys = problems(|env, store| {
        let one = env.source::<Row>("one", source(1, "timed"));
        let two = env.source::<Row>("two", source(1, "untimed"));
        let both = one.key_by(Row::KEY).union(two.key_by(Row::FROM));
        both.process("bell", Bell).sink("out", store.sink("out"));
    });
    assert!(keys.contains("grouped by key and by from"), "{keys}");
}
