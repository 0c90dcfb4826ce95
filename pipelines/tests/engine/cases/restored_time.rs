//! Event time behind a restart: nobody falls back behind what had been heard when the checkpoint was taken.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use thalweg_connectors::memory::MemorySource;
use thalweg_core::prelude::*;
use thalweg_runtime::{JobBuilder, Settings};

use super::world::{World, settings};
use crate::bench::wait_for;

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Row {
    key: i64,
    at: Micros,
}

const SECOND: i64 = 1_000_000;

/// A row at each of these seconds.
fn rows(seconds: std::ops::Range<i64>) -> RecordBatch {
    let at = TimestampMicrosecondArray::from_iter_values(seconds.clone().map(|s| s * SECOND));
    let keys = Int64Array::from_iter_values(seconds.map(|s| s % 5));
    RecordBatch::try_new(Row::schema(), vec![Arc::new(keys), Arc::new(at.with_timezone("UTC"))])
        .unwrap()
}

/// Passes rows on and writes down how far event time was.
#[derive(Debug, Clone)]
struct Notes(Arc<Mutex<Vec<i64>>>);

impl KeyedOperator for Notes {
    type In = Row;
    type Out = Row;

    fn process(
        &mut self,
        batch: Batch<Row>,
        context: &KeyedContext,
        out: &mut Collector,
    ) -> Result<()> {
        self.0.lock().unwrap().push(context.watermark().0);
        out.emit(batch.into_record_batch());
        Ok(())
    }
}

/// Some subtasks of the source have no split: they hear from the others how far event time is, now and then.
#[test]
fn an_operator_that_is_restored_stands_where_event_time_had_got_to() {
    let world = World::new();
    let source = MemorySource::new(Row::schema()).split("a", [rows(0..100)]);
    let hand = source.handle();
    let notes = Arc::new(Mutex::new(Vec::new()));
    let job = |parallelism| {
        let env = StreamEnvironment::new("noted");
        let strategy = WatermarkStrategy::bounded_out_of_orderness(Row::AT, Duration::from_secs(5));
        env.source::<Row>("rows", source.clone())
            .watermarks(strategy)
            .key_by(Row::KEY)
            .process("notes", Notes(Arc::clone(&notes)))
            .sink("all", world.store.sink("all"));
        let (graph, storage) = (env.build().unwrap(), Arc::clone(&world.storage));
        let job = JobBuilder::new(graph, storage as _, Arc::clone(&world.key));
        job.settings(Settings { parallelism, ..settings() }).start().unwrap()
    };
    let first = job(2);
    let heard = || world.manifest(world.newest()).sources[0].watermark;
    wait_for("a checkpoint of the event time that all have told", || {
        assert!(!first.is_finished());
        first.metrics().checkpoint.load(Ordering::Relaxed) > 0 && heard().is_some()
    });
    first.stopper().stop();
    assert!(!first.join().unwrap().finished);
    assert_eq!(heard(), Some(94 * SECOND));

    notes.lock().unwrap().clear();
    // Those of the first ones are late.
    hand.push("a", rows(90..110)).unwrap();
    hand.finish();
    assert!(job(3).join().unwrap().finished);
    let noted = notes.lock().unwrap();
    assert!(!noted.is_empty() && noted.iter().all(|at| *at >= 94 * SECOND), "{noted:?}");
}
