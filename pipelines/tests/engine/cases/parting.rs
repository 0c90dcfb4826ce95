//! What goes on beside a job when it ends.

use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_connectors::testing::faulty_store::{Faults, Verdict, faulty};
use thalweg_core::connector::sink::BoxFuture;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_runtime::{JobBuilder, MemoryStorage};

use super::world::{Reading, settings, source};

/// Takes its time for checkpoints of a log: longer than the job goes on behind its last commit.
struct SlowCheckpoints;

impl Faults for SlowCheckpoints {
    fn write<'a>(&'a self, location: &'a Path) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if location.as_ref().contains(".checkpoint.") {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Verdict::Pass
        })
    }
}

#[test]
fn a_log_checkpoint_that_is_under_way_when_the_job_ends_is_written() {
    let lake = tempfile::tempdir().unwrap();
    let tables = DeltaCommitter::new(lake.path()).unwrap().checkpoint_every(1);
    let tables = Arc::new(tables.decorate_stores(|store| faulty(store, Arc::new(SlowCheckpoints))));
    let env = StreamEnvironment::new("parting");
    let readings = env.source::<Reading>("readings", source(100));
    readings.sink("all", DeltaSink::append(&tables, "all"));
    let key = Arc::new(MasterKey::generate().unwrap());
    let job = JobBuilder::new(env.build().unwrap(), Arc::new(MemoryStorage::default()), key);
    let summary = job.settings(settings()).start().unwrap().join().unwrap();
    assert!(summary.finished && summary.written["all"] == 300, "{summary:?}");
    // The hint is the last that is written of a log checkpoint.
    assert!(lake.path().join("all/_delta_log/_last_checkpoint").is_file());
}
