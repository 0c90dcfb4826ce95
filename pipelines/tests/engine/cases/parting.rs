//! What goes on beside a job when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use object_store::path::Path;
use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_connectors::testing::faulty_store::{Faults, Verdict, faulty};
use thalweg_core::connector::sink::BoxFuture;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_runtime::{JobBuilder, MemoryStorage};

use super::world::{Reading, settings, source};

/// Takes its time for checkpoints of a log: longer than the job goes on behind its last commit. Counts what it has begun to
/// wait for, and what has not been given up meanwhile.
#[derive(Default)]
struct SlowCheckpoints {
    begun: AtomicU32,
    done: AtomicU32,
}

impl Faults for SlowCheckpoints {
    fn write<'a>(&'a self, location: &'a Path) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if location.as_ref().contains(".checkpoint.") {
                self.begun.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.done.fetch_add(1, Ordering::Relaxed);
            }
            Verdict::Pass
        })
    }
}

#[test]
fn a_log_checkpoint_that_is_under_way_when_the_job_ends_is_written() {
    let lake = tempfile::tempdir().unwrap();
    let tables = DeltaCommitter::new(lake.path()).unwrap().checkpoint_every(1);
    let slow = Arc::new(SlowCheckpoints::default());
    let faults = Arc::clone(&slow);
    let tables = tables.decorate_stores(move |store| faulty(store, Arc::clone(&faults) as _));
    let tables = Arc::new(tables);
    let env = StreamEnvironment::new("parting");
    let readings = env.source::<Reading>("readings", source(100));
    readings.sink("all", DeltaSink::append(&tables, "all"));
    let key = Arc::new(MasterKey::generate().unwrap());
    let job = JobBuilder::new(env.build().unwrap(), Arc::new(MemoryStorage::default()), key);
    let summary = job.settings(settings()).start().unwrap().join().unwrap();
    assert!(summary.finished && summary.written["all"] == 300, "{summary:?}");
    let (begun, done) = (slow.begun.load(Ordering::Relaxed), slow.done.load(Ordering::Relaxed));
    assert!(begun > 0 && begun == done, "{done} of {begun} log checkpoints are written");
    // The hint is the last that is written of a log checkpoint.
    assert!(lake.path().join("all/_delta_log/_last_checkpoint").is_file());
}
