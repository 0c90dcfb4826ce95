//! Two sources, of which one ends while the other goes on for a hundred checkpoints.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::CheckpointId;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_operators::Project;
use thalweg_runtime::{CheckpointStorage, JobBuilder, JobHandle, MemoryStorage, Settings};

use crate::bench::wait_for;

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Row {
    key: i64,
    at: Micros,
    from: String,
}

const SECOND: i64 = 1_000_000;
/// Rows of the source that ends.
const ENDS: i64 = 50;

fn rows(from: &str, numbers: impl Iterator<Item = i64> + Clone) -> RecordBatch {
    let count = numbers.clone().count();
    // No time is in both, so that each has a timer of its own.
    let offset = if from == "live" { SECOND / 2 } else { 0 };
    let at = numbers.clone().map(|i| i * SECOND + offset);
    let at = TimestampMicrosecondArray::from_iter_values(at);
    RecordBatch::try_new(
        Row::schema(),
        vec![
            Arc::new(Int64Array::from_iter_values(numbers.map(|i| i % 7))),
            Arc::new(at.with_timezone("UTC")),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(from, count))),
        ],
    )
    .unwrap()
}

/// Passes rows on, and a row more when event time has reached each.
#[derive(Debug, Clone)]
struct Bell;

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
        for (row, key) in context.keys().iter().enumerate() {
            context.set_timer(key, times.value(row));
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
        let from = if context.watermark() == Watermark::MAX { "end" } else { "bell" };
        out.emit(rows(from, [time / SECOND].into_iter()));
        Ok(())
    }
}

struct Bench {
    storage: Arc<MemoryStorage>,
    key: Arc<MasterKey>,
    store: MemoryStore,
}

impl Bench {
    fn start(&self, live: &MemorySource, parallelism: u32) -> JobHandle {
        let file = MemorySource::new(Row::schema()).split("f", [rows("file", 0..ENDS)]);
        let env = StreamEnvironment::new("two");
        let strategy =
            || WatermarkStrategy::bounded_out_of_orderness(Row::AT, Duration::from_secs(1));
        let file = env.source::<Row>("file", file).watermarks(strategy());
        // A chain of its own, which ends when the source does.
        file.sink("file-rows", self.store.sink("file"));
        let file = file.apply("file-columns", Project::to::<Row>());
        let live = env.source::<Row>("live", live.clone()).watermarks(strategy());
        let live = live.apply("live-columns", Project::to::<Row>());
        let both = file.key_by(Row::KEY).union(live.key_by(Row::KEY));
        both.process("bell", Bell).sink("out", self.store.sink("out"));
        let settings = Settings {
            parallelism,
            checkpoint_interval: Duration::from_millis(2),
            keep_checkpoints: 10_000,
            ..Settings::default()
        };
        let (storage, key) = (Arc::clone(&self.storage), Arc::clone(&self.key));
        JobBuilder::new(env.build().unwrap(), storage as _, key).settings(settings).start().unwrap()
    }

    /// The numbers of the rows that came from there, sorted.
    fn found(&self, from: &str) -> Vec<i64> {
        let mut found = Vec::new();
        for batch in self.store.batches("out") {
            assert_eq!(batch.column(0).as_primitive::<Int64Type>().len(), batch.num_rows());
            let times = batch.column(1).as_primitive::<TimestampMicrosecondType>();
            let whose = batch.column(2).as_string::<i32>();
            let rows = (0..batch.num_rows()).filter(|i| whose.value(*i) == from);
            found.extend(rows.map(|i| times.value(i) / SECOND));
        }
        found.sort_unstable();
        found
    }

    /// Waits until event time has got to `number` in the operator behind both sources: the one that ended does not hold it
    /// back.
    fn await_bell(&self, number: i64) {
        wait_for("event time", || self.found("bell").last().is_some_and(|last| *last >= number));
    }

    fn manifests_behind(&self, number: u64) -> Vec<Manifest> {
        let names = self.storage.list("").unwrap();
        let later = names.iter().filter(|name| {
            Manifest::number_of(name).is_some_and(|found| found > CheckpointId(number))
        });
        let bytes = later.map(|name| self.storage.read(name).unwrap().unwrap());
        bytes.map(|bytes| Manifest::decode(&bytes).unwrap()).collect()
    }
}

#[test]
fn a_source_that_ends_is_at_its_end_in_a_hundred_later_checkpoints() {
    let (key, store) = (Arc::new(MasterKey::generate().unwrap()), MemoryStore::default());
    let bench = Bench { storage: Arc::default(), key, store };
    let live = MemorySource::new(Row::schema()).split("l", []);
    let hand = live.handle();
    let mut pushed = 0;
    let mut push = || {
        hand.push("l", rows("live", std::iter::once(pushed))).unwrap();
        pushed += 1;
    };
    let job = bench.start(&live, 2);
    let checkpoint = || job.metrics().checkpoint.load(Ordering::Relaxed);
    wait_for("the end of the file", || {
        assert!(!job.is_finished());
        bench.store.rows("file") == ENDS as u64 && bench.found("file").len() == ENDS as usize
    });
    let ended = checkpoint();
    while checkpoint() < ended + 100 {
        let before = checkpoint();
        push();
        wait_for("the checkpoint of a row", || {
            assert!(!job.is_finished());
            checkpoint() > before
        });
    }
    for _ in 0..3 * ENDS {
        push();
    }
    bench.await_bell(2 * ENDS);
    job.stopper().stop();
    let stopped = job.join().unwrap();
    assert!(!stopped.finished);
    let later = bench.manifests_behind(ended);
    assert!(later.len() >= 100, "{}", later.len());
    for manifest in &later {
        let file = manifest.sources.iter().find(|s| s.uid.as_str() == "file").unwrap();
        assert_eq!(file.rows, ENDS as u64, "checkpoint {}", manifest.number);
        for split in &file.splits {
            assert!(split.split.is_finished(), "checkpoint {}", manifest.number);
            assert_eq!(split.split.position, ENDS);
            // It is its own rows' time that a checkpoint remembers, whatever it said beside the other source.
            assert_eq!(split.watermark, Some((ENDS - 2) * SECOND));
        }
    }

    // From the last one nothing of it is read again, and it holds nobody back.
    let again = bench.start(&live, 3);
    for _ in 0..ENDS {
        push();
    }
    bench.await_bell(pushed - 3);
    hand.finish();
    let metrics = Arc::clone(again.metrics());
    let summary = again.join().unwrap();
    assert!(summary.finished);
    assert_eq!(
        metrics.nodes().get("file").map_or(0, |rows| rows.0),
        0,
        "rows of its were replayed"
    );
    assert_eq!(summary.read["file"], ENDS as u64);
    assert_eq!(summary.read["live"], pushed as u64);
    assert_eq!(bench.store.rows("file"), ENDS as u64);
    assert_eq!(bench.found("file"), (0..ENDS).collect::<Vec<_>>());
    assert_eq!(bench.found("live"), (0..pushed).collect::<Vec<_>>());
    let mut rung = bench.found("bell");
    rung.extend(bench.found("end"));
    rung.sort_unstable();
    let mut all: Vec<i64> = (0..ENDS).chain(0..pushed).collect();
    all.sort_unstable();
    assert_eq!(rung, all, "each row's time was reached once");
}
