//! Two sources into one keyed operator: each row once, timers by the one that knows event time and is behind.
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
use thalweg_core::prelude::*;
use thalweg_operators::Project;
use thalweg_runtime::{JobBuilder, JobHandle};

use crate::bench::{Bench, brisk};

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

/// A stream with event time, a second behind its newest row.
fn timed<'env>(
    env: &'env StreamEnvironment,
    uid: &str,
    source: MemorySource,
) -> DataStream<'env, Row> {
    let strategy = WatermarkStrategy::bounded_out_of_orderness(Row::AT, Duration::from_secs(1));
    let columns = Project::to::<Row>();
    env.source::<Row>(uid, source).watermarks(strategy).apply(&format!("{uid}-columns"), columns)
}

/// A union of a stream with event time and one without.
fn job(bench: &Bench, parallelism: u32) -> JobBuilder {
    let env = StreamEnvironment::new("union");
    let events = timed(&env, "events", source(4_000, "timed"));
    let others = env.source::<Row>("others", source(3_000, "untimed"));
    let both = events.key_by(Row::KEY).union(others.key_by(Row::KEY));
    both.process("bell", Bell).sink("out", bench.store.sink("out"));
    bench.job(env.build().unwrap(), brisk(parallelism))
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

/// Waits until `enough` holds for what was committed.
fn wait_for(job: &JobHandle, store: &MemoryStore, enough: impl Fn(&[(String, i64)]) -> bool) {
    let mut looks = 0;
    while !enough(&found(store)) {
        assert!(!job.is_finished(), "the job ended by itself");
        looks += 1;
        assert!(looks < 6_000, "it did not come");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn of(found: &[(String, i64)], from: &str) -> usize {
    found.iter().filter(|row| row.0 == from).count()
}

/// The latest time that rang before the end.
fn last_bell(found: &[(String, i64)]) -> Option<i64> {
    found.iter().filter(|row| row.0 == "bell").map(|row| row.1).max()
}

#[test]
fn every_row_of_both_comes_once_and_time_is_that_of_the_timed_one() {
    let mut expected = None;
    for parallelism in [1, 2, 3] {
        let bench = Bench::new();
        assert!(job(&bench, parallelism).start().unwrap().join().unwrap().finished);
        let found = found(&bench.store);
        let of = |from| of(&found, from);
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
    job(&calm, 2).start().unwrap().join().unwrap();
    let bench = Bench::new();
    for (parallelism, limit) in [(1, 3_000), (3, 4_000), (2, 2_500)] {
        let summary = job(&bench, parallelism).events(Some(limit)).start().unwrap().join().unwrap();
        assert!(!summary.finished);
    }
    assert!(job(&bench, 4).start().unwrap().join().unwrap().finished);
    assert_eq!(found(&bench.store), found(&calm.store));
}

#[test]
fn a_union_that_restarts_from_its_checkpoints_changes_nothing() {
    let calm = Bench::new();
    job(&calm, 2).start().unwrap().join().unwrap();
    let bench = Bench::new();
    bench.store.fail_next_commits(2);
    bench.store.lose_next_answers(2);
    let summary = job(&bench, 2).start().unwrap().join().unwrap();
    assert!(summary.attempts > 1, "the failures were met");
    assert_eq!(found(&bench.store), found(&calm.store));
}

#[test]
fn event_time_is_where_it_is_in_the_stream_that_is_behind() {
    let bench = Bench::new();
    let slow = source(100, "slow");
    let more = slow.handle();
    let env = StreamEnvironment::new("union");
    let (fast, slow) = (source(4_000, "timed"), timed(&env, "slow", slow));
    let both = timed(&env, "fast", fast).key_by(Row::KEY).union(slow.key_by(Row::KEY));
    both.process("bell", Bell).sink("out", bench.store.sink("out"));
    let job = bench.job(env.build().unwrap(), brisk(2)).start().unwrap();
    // The slow one has got to 99 s, its watermarks to 98 s; the fast one has been read to its end.
    wait_for(&job, &bench.store, |found| {
        of(found, "timed") == 8_000 && last_bell(found) >= Some(97_000_000)
    });
    assert!(last_bell(&found(&bench.store)) <= Some(98_000_000));

    for split in ["a", "b"] {
        more.push(split, rows([(0, 5_000_000_000)].into_iter(), "slow")).unwrap();
    }
    // All but the last seconds of the fast one.
    wait_for(&job, &bench.store, |found| of(found, "bell") >= 7_990);
    more.finish();
    assert!(job.join().unwrap().finished);
    let found = found(&bench.store);
    assert_eq!((of(&found, "timed"), of(&found, "slow")), (8_000, 202));
    assert_eq!(of(&found, "bell") + of(&found, "end"), 8_000);
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

    let (ours, theirs) = (StreamEnvironment::new("ours"), StreamEnvironment::new("theirs"));
    let one = ours.source::<Row>("one", source(1, "timed"));
    let two = theirs.source::<Row>("two", source(1, "untimed"));
    let both = one.key_by(Row::KEY).union(two.key_by(Row::KEY));
    both.process("bell", Bell).sink("out", store.sink("out"));
    let errors = ours.build().unwrap_err();
    assert_eq!(errors.problems().len(), 1, "{errors}");
    assert!(errors.to_string().contains("a stream of another environment"), "{errors}");
}
