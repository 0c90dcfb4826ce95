//! What goes on beside a job when it ends, and beside an attempt that fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arrow_schema::SchemaRef;
use object_store::path::Path;
use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_connectors::testing::faulty_store::{Faults, Verdict, faulty};
use thalweg_core::connector::sink::BoxFuture;
use thalweg_core::connector::source::{Polled, Source, SourceReader, Split};
use thalweg_core::crypto::MasterKey;
use thalweg_core::operator::{OpenContext, OperatorFactory};
use thalweg_core::prelude::*;
use thalweg_core::record::ColumnName;
use thalweg_runtime::{JobBuilder, MemoryStorage, Settings};

use super::world::{Reading, World, run, settings, source};

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

/// A source without rows. Counts its readers, which take their time to end.
#[derive(Debug)]
struct Silent(Arc<AtomicU32>);

impl Source for Silent {
    fn describe(&self) -> String {
        "silence".to_owned()
    }
    fn schema(&self) -> SchemaRef {
        Reading::schema()
    }
    fn is_bounded(&self) -> bool {
        false
    }
    fn identity(&self) -> Result<BTreeMap<String, String>> {
        Ok(BTreeMap::new())
    }
    fn start_splits(&self) -> Result<Vec<Split>> {
        let properties = BTreeMap::new();
        Ok(vec![Split { id: "a".to_owned(), position: 0, end: None, properties }])
    }
    fn verify(&self, _: &BTreeMap<String, String>, _: &[Split]) -> Result<()> {
        Ok(())
    }
    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(SilentReader(Arc::clone(&self.0))))
    }
}

struct SilentReader(Arc<AtomicU32>);

impl SourceReader for SilentReader {
    fn assign(&mut self, _: Vec<Split>) -> Result<()> {
        Ok(())
    }
    fn poll(&mut self, max_wait: Duration) -> Result<Polled> {
        std::thread::park_timeout(max_wait);
        Ok(Polled::Nothing)
    }
}

impl Drop for SilentReader {
    fn drop(&mut self) {
        std::thread::park_timeout(Duration::from_millis(200));
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Its instances cannot be made.
#[derive(Debug)]
struct Broken;

impl OperatorFactory for Broken {
    fn describe(&self) -> String {
        "broken".to_owned()
    }
    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(Arc::clone(input))
    }
    fn create(&self, _: OpenContext) -> Result<Box<dyn Operator>> {
        Err(Error::config("it is broken"))
    }
}

#[test]
fn an_attempt_whose_operators_cannot_be_made_leaves_no_reader_behind() {
    let (world, readers) = (World::new(), Arc::new(AtomicU32::new(0)));
    let env = StreamEnvironment::new("parting");
    env.source::<Reading>("readings", Silent(Arc::clone(&readers)))
        .key_by(ColumnName("ward"))
        .transform::<Reading>("broken", Broken)
        .sink("all", world.store.sink("all"));
    let storage = Arc::clone(&world.storage);
    let job = JobBuilder::new(env.build().unwrap(), storage as _, Arc::clone(&world.key));
    let told = run(job.settings(Settings { restart_attempts: 0, ..settings() })).unwrap_err();
    assert!(told.to_string().contains("operator `broken`: it is broken"), "{told}");
    assert_eq!(readers.load(Ordering::SeqCst), 0, "readers that are still there");
}
