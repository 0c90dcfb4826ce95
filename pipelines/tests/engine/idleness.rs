//! Splits that fall silent and come back, or are found late: their rows are on time or late, never a failure.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{RecordBatch, StringArray, TimestampMicrosecondArray};
use thalweg_connectors::memory::{MemorySource, MemorySourceHandle, MemoryStore};
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_core::time::Clock;
use thalweg_operators::prelude::*;
use thalweg_runtime::{
    CheckpointStorage, JobBuilder, JobHandle, MemoryStorage, Settings, SystemClock,
};

use crate::bench::PATIENCE;

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Reading {
    ward: String,
    at: Micros,
}

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct PerMinute {
    window_start: Micros,
    window_end: Micros,
    ward: String,
    readings: i64,
}

/// One reading at each of `seconds`.
fn at(seconds: &[i64]) -> RecordBatch {
    let wards = StringArray::from(vec!["north"; seconds.len()]);
    let times = TimestampMicrosecondArray::from_iter_values(seconds.iter().map(|s| s * 1_000_000));
    RecordBatch::try_new(
        Reading::schema(),
        vec![Arc::new(wards), Arc::new(times.with_timezone("UTC"))],
    )
    .unwrap()
}

struct Ward {
    storage: Arc<dyn CheckpointStorage>,
    key: Arc<MasterKey>,
    store: MemoryStore,
}

impl Ward {
    fn new() -> Self {
        Self {
            storage: Arc::new(MemoryStorage::default()),
            key: Arc::new(MasterKey::generate().unwrap()),
            store: MemoryStore::default(),
        }
    }

    fn start(&self, source: MemorySource, idle: bool, parallelism: u32) -> JobHandle {
        let minutes = TumblingEventTimeWindows::of(Duration::from_mins(1));
        let mut watermarks =
            WatermarkStrategy::bounded_out_of_orderness(Reading::AT, Duration::from_secs(1));
        if idle {
            watermarks = watermarks.with_idleness(Duration::from_millis(20));
        }
        let env = StreamEnvironment::new("ward");
        let judged = env
            .source::<Reading>("readings", source)
            .watermarks(watermarks)
            .apply("lateness", Lateness::new(Reading::AT, minutes, Duration::ZERO));
        judged.side_output(&LATE).sink("late", self.store.sink("late"));
        judged
            .key_by(Reading::WARD)
            .window(minutes)
            .aggregate::<PerMinute>("count", &Aggregate::over(Reading::AT).count("readings"))
            .sink("gold", self.store.sink("gold"));
        let settings = Settings {
            parallelism,
            checkpoint_interval: Duration::from_millis(10),
            // A failure must not be papered over.
            restart_attempts: 0,
            ..Settings::default()
        };
        JobBuilder::new(env.build().unwrap(), Arc::clone(&self.storage), Arc::clone(&self.key))
            .settings(settings)
            .start()
            .unwrap()
    }

    fn counted(&self) -> i64 {
        let gold = self.store.batches("gold");
        gold.iter().flat_map(|b| b.column(3).as_primitive::<Int64Type>().values().to_vec()).sum()
    }

    /// Lets split `a` go behind its first row once that of `b` was read as well: before, `b` may fall idle and its row be
    /// late, however quick this machine is.
    fn release(&self, job: &JobHandle, source: &MemorySourceHandle) {
        let read = || job.metrics().nodes().get("readings").map_or(0, |rows| rows.0);
        self.wait(job, "a row of each split", |_| read() == 2);
        source.release("a");
    }

    fn wait(&self, job: &JobHandle, what: &str, done: impl Fn(&Self) -> bool) {
        let clock = SystemClock::default();
        while !done(self) {
            assert!(!job.is_finished(), "the job ended while waiting for {what}");
            assert!(clock.monotonic() < PATIENCE, "no {what} within {PATIENCE:?}");
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}

#[test]
fn a_split_back_from_idleness_is_late_where_its_windows_were_emitted() {
    for parallelism in [1, 2, 3] {
        let ward = Ward::new();
        let source = MemorySource::new(Reading::schema())
            .split("a", [at(&[0, 60, 120, 180, 240])])
            .split("b", [at(&[1])])
            .hold_at("a", 1);
        let handle = source.handle();
        let job = ward.start(source, true, parallelism);
        ward.release(&job, &handle);
        ward.wait(&job, "windows emitted past the silent split", |w| w.store.rows("gold") >= 3);
        // Two readings of emitted windows, one that is on time.
        handle.push("b", at(&[70, 75, 245])).unwrap();
        ward.wait(&job, "late rows", |w| w.store.rows("late") == 2);
        handle.finish();
        assert!(job.join().unwrap().finished);
        assert_eq!((ward.store.rows("late"), ward.counted()), (2, 7));
    }
}

#[test]
fn what_was_told_while_a_split_was_silent_is_remembered_by_a_checkpoint() {
    let ward = Ward::new();
    let source = || {
        MemorySource::new(Reading::schema())
            .split("a", [at(&[0, 60, 120, 180, 240])])
            .split("b", [at(&[1]), at(&[70, 75, 245])])
            .hold_at("b", 1)
    };
    let first = source().hold_at("a", 1);
    let handle = first.handle();
    let job = ward.start(first, true, 2);
    ward.release(&job, &handle);
    ward.wait(&job, "windows emitted past the silent split", |w| w.store.rows("gold") >= 3);
    job.stopper().stop();
    assert!(!job.join().unwrap().finished);

    let again = source();
    let handle = again.handle();
    let job = ward.start(again, true, 3);
    handle.release("b");
    ward.wait(&job, "late rows", |w| w.store.rows("late") == 2);
    handle.finish();
    assert!(job.join().unwrap().finished);
    assert_eq!((ward.store.rows("late"), ward.counted()), (2, 7));
}

#[test]
fn a_split_found_later_is_late_where_its_windows_were_emitted() {
    for parallelism in [1, 2] {
        let ward = Ward::new();
        let source = MemorySource::new(Reading::schema())
            .split("a", [at(&[0, 60, 120, 180, 240])])
            .discover_every(Duration::from_millis(5));
        let handle = source.handle();
        let job = ward.start(source, false, parallelism);
        ward.wait(&job, "windows emitted", |w| w.store.rows("gold") >= 3);
        handle.push("b", at(&[70, 75, 245])).unwrap();
        ward.wait(&job, "late rows", |w| w.store.rows("late") == 2);
        handle.finish();
        assert!(job.join().unwrap().finished);
        assert_eq!((ward.store.rows("late"), ward.counted()), (2, 6));
    }
}

#[test]
fn a_split_found_at_a_start_is_not_found_again_while_the_job_runs() {
    for parallelism in [1, 2] {
        let ward = Ward::new();
        let source = || {
            MemorySource::new(Reading::schema())
                .split("a", [at(&[0, 60, 120, 180, 240])])
                .discover_every(Duration::from_millis(5))
        };
        let first = source();
        let _open = first.handle();
        let job = ward.start(first, false, parallelism);
        ward.wait(&job, "windows emitted", |w| w.store.rows("gold") >= 3);
        job.stopper().stop();
        assert!(!job.join().unwrap().finished);

        let again = source().split("b", [at(&[70, 75, 245])]);
        let handle = again.handle();
        let job = ward.start(again, false, parallelism);
        ward.wait(&job, "the rows of b", |w| w.store.rows("late") == 2);
        // Whoever finds the third split has looked for the second again. More than orders may wait, in one look.
        for n in 0..150 {
            handle.push(&format!("c{n:03}"), at(&[71])).unwrap();
        }
        ward.wait(&job, "the rows of c", |w| w.store.rows("late") >= 152);
        handle.finish();
        assert!(job.join().unwrap().finished);
        assert_eq!((ward.store.rows("late"), ward.counted()), (152, 6));
    }
}
