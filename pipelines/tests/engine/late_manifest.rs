//! A manifest that was sent, not answered, and arrives when the next attempt of the same process is under way: only
//! networks do that. It is this job's own decision, so the job goes on from it (P6).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::CheckpointId;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_runtime::checkpoint::storage::Created;
use thalweg_runtime::cli::CheckpointsCommand;
use thalweg_runtime::{CheckpointStorage, JobBuilder, MemoryStorage, Settings};

use crate::bench::wait_for;

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Row {
    id: i64,
}

const ROWS: i64 = 200_000;

fn source() -> MemorySource {
    let batch = |from: i64| {
        let ids = Int64Array::from_iter_values(from..from + 10);
        RecordBatch::try_new(Row::schema(), vec![Arc::new(ids)]).unwrap()
    };
    let batches: Vec<_> = (0..ROWS).step_by(10).map(batch).collect();
    MemorySource::new(Row::schema()).split("a", batches)
}

/// Swallows one manifest until somebody else creates its name.
#[derive(Debug, Default)]
struct Slow {
    inner: MemoryStorage,
    name: String,
    under_way: Mutex<Option<Vec<u8>>>,
    arrived: Mutex<bool>,
}

impl CheckpointStorage for Slow {
    fn describe(&self) -> String {
        "slow".to_owned()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Created {
        let mut arrived = self.arrived.lock().unwrap();
        if name == self.name && !*arrived {
            let mut under_way = self.under_way.lock().unwrap();
            if under_way.get_or_insert_with(|| bytes.to_vec()).as_slice() == bytes {
                return Created::Unknown(Error::transient("no answer in time"));
            }
            *arrived = true;
            assert!(matches!(self.inner.create(name, &under_way.take().unwrap()), Created::Yes));
        }
        self.inner.create(name, bytes)
    }

    fn sync(&self, name: &str) -> Result<()> {
        self.inner.sync(name)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.inner.read(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.inner.list(folder)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.inner.delete(name)
    }
}

/// What a copy of the job leaves that slept while garbage was collected, woke up, created its manifest and was fenced.
#[test]
fn a_manifest_left_where_garbage_was_collected_stops_nobody() {
    let storage = Arc::new(MemoryStorage::default());
    let store = MemoryStore::default();
    let key = Arc::new(MasterKey::generate().unwrap());
    let job = |input: MemorySource| {
        let env = StreamEnvironment::new("left");
        env.source::<Row>("rows", input).sink("all", store.sink("all"));
        let (graph, storage) = (env.build().unwrap(), Arc::clone(&storage));
        let settings =
            Settings { checkpoint_interval: Duration::from_millis(10), ..Settings::default() };
        JobBuilder::new(graph, storage as _, Arc::clone(&key)).settings(settings)
    };
    let input = source();
    let hand = input.control();
    hand.hold_at("a", 0);
    let first = job(input).start().unwrap();
    // One batch at a time: each has a checkpoint, and there are not so many that garbage is collected.
    for batch in 1..=4_i64 {
        hand.hold_at("a", batch * 10);
        wait_for("the commit of a batch", || {
            let checkpoint = first.metrics().checkpoint.load(Ordering::Relaxed);
            assert!(!first.is_finished(), "the job ended by itself");
            store.rows("all") == batch.unsigned_abs() * 10 && checkpoint >= batch.unsigned_abs()
        });
    }
    first.stopper().stop();
    let stopped = first.join().unwrap();
    assert!(!stopped.finished, "there is something left to do");
    let head = stopped.checkpoint;
    let name = |n: u64| Manifest::name(CheckpointId(n));
    for collected in 1..head - 1 {
        storage.delete(&name(collected)).unwrap();
    }
    assert_eq!(storage.list("").unwrap().len(), 3, "the newest two, and what was left: M(0)");
    // It is none to go back to, and no damage.
    let told = CheckpointsCommand::Rewind { to: 0 }.act(job(source())).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::InvalidConfig, "{told}");
    assert!(told.to_string().contains("there is no checkpoint 0"), "{told}");
    let told = CheckpointsCommand::Verify.act(job(source())).unwrap();
    assert!(
        told.starts_with("2 checkpoints") && told.contains("checkpoint 0 is of no chain"),
        "{told}"
    );
    assert!(job(source()).start().unwrap().join().unwrap().finished);
    assert_eq!(store.rows("all"), ROWS as u64);
}

#[test]
fn a_manifest_that_arrives_after_a_restart_is_gone_on_from() {
    for number in [0, 2] {
        let name = Manifest::name(CheckpointId(number));
        let storage = Arc::new(Slow { name, ..Slow::default() });
        let store = MemoryStore::default();
        let env = StreamEnvironment::new("late");
        env.source::<Row>("rows", source()).sink("all", store.sink("all"));
        let settings = Settings {
            checkpoint_interval: Duration::from_millis(10),
            restart_delay: Duration::from_millis(1),
            ..Settings::default()
        };
        let key = Arc::new(MasterKey::generate().unwrap());
        let job = JobBuilder::new(env.build().unwrap(), Arc::clone(&storage) as _, key);
        let summary = job.settings(settings).start().unwrap().join().unwrap();
        assert!(*storage.arrived.lock().unwrap(), "manifest {number} arrived late");
        assert!(summary.finished);
        // The one whose manifest is under way, the one that finds it, and the one that goes on from it.
        assert_eq!(summary.attempts, 3, "manifest {number}");
        assert_eq!(store.rows("all"), ROWS as u64, "manifest {number}");
    }
}
