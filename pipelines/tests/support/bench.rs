//! Jobs over memory connectors: checkpoints, a key and tables that outlive them.

use std::sync::Arc;
use std::time::Duration;

use thalweg_connectors::memory::MemoryStore;
use thalweg_core::crypto::MasterKey;
use thalweg_core::graph::JobGraph;
use thalweg_core::time::Clock;
use thalweg_runtime::{CheckpointStorage, JobBuilder, MemoryStorage, Settings, SystemClock};

pub(crate) struct Bench {
    pub(crate) storage: Arc<dyn CheckpointStorage>,
    pub(crate) key: Arc<MasterKey>,
    pub(crate) store: MemoryStore,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            storage: Arc::new(MemoryStorage::default()),
            key: Arc::new(MasterKey::generate().unwrap()),
            store: MemoryStore::default(),
        }
    }

    pub(crate) fn job(&self, graph: JobGraph, settings: Settings) -> JobBuilder {
        JobBuilder::new(graph, Arc::clone(&self.storage), Arc::clone(&self.key)).settings(settings)
    }
}

/// What takes longer on the busiest machine does not happen any more.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until `done`, with patience.
pub(crate) fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let clock = SystemClock::default();
    while !done() {
        assert!(clock.monotonic() < PATIENCE, "{what} did not come within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Checkpoints that follow each other closely, and restarts that do not wait.
pub(crate) fn brisk(parallelism: u32) -> Settings {
    Settings {
        parallelism,
        checkpoint_interval: Duration::from_millis(10),
        restart_delay: Duration::from_millis(1),
        ..Settings::default()
    }
}
