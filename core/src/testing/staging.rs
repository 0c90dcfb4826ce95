//! A checkpoint store for one sink, in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::connector::staging::{DecidedCheckpoint, StagedBytes, StagingArea};
use crate::{CheckpointId, Error, Result};

/// Keeps what sink writers stage, and gives it to committers.
#[derive(Debug, Default)]
pub struct MemoryStaging {
    parts: Mutex<BTreeMap<String, Vec<u8>>>,
    superseded: AtomicBool,
}

impl MemoryStaging {
    /// From now on a newer manifest stands.
    pub fn supersede(&self) {
        self.superseded.store(true, Ordering::Relaxed);
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.parts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl StagingArea for MemoryStaging {
    fn put(&self, checkpoint: CheckpointId, part: u32, bytes: &[u8]) -> Result<StagedBytes> {
        let mut parts = self.parts();
        let path = format!("{checkpoint}-{part}-{}", parts.len());
        parts.insert(path.clone(), bytes.to_vec());
        Ok(StagedBytes { path, sha256: String::new(), bytes: bytes.len() as u64 })
    }

    fn first_checkpoint(&self) -> CheckpointId {
        CheckpointId(1)
    }
}

impl DecidedCheckpoint for MemoryStaging {
    fn read(&self, staged: &StagedBytes) -> Result<Vec<u8>> {
        let found = self.parts().get(&staged.path).cloned();
        found.ok_or_else(|| Error::corrupt(format!("{} is missing", staged.path)))
    }

    fn is_newest(&self) -> Result<bool> {
        Ok(!self.superseded.load(Ordering::Relaxed))
    }
}
