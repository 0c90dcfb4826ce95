//! Rows that wait for their commit inside the checkpoint itself.
//!
//! A sink whose target cannot hold rows that nobody sees yet, such as a topic, keeps them here: sealed with the job's
//! key, durable before the subtask acknowledges, gone once the checkpoint is finished.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{CheckpointId, Result};

/// Names bytes in the checkpoint store; part of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedBytes {
    /// Its name in the store.
    pub path: String,
    /// SHA-256 of the stored bytes, hex.
    pub sha256: String,
    /// Length of the stored bytes.
    pub bytes: u64,
}

const FIELD: &str = "checkpoint_bytes";

impl StagedBytes {
    /// As an item of [`super::sink::Staged`].
    pub fn to_item(&self) -> Value {
        json!({ FIELD: self })
    }

    /// What an item names; `None` for items of sinks that stage elsewhere.
    pub fn of_item(item: &Value) -> Option<Self> {
        serde_json::from_value(item.get(FIELD)?.clone()).ok()
    }
}

/// Where one sink writer keeps the rows of an epoch. Blocking.
pub trait StagingArea: Send + Sync + Debug {
    /// Stores `bytes` durably as part number `part` of what this writer stages for `checkpoint`.
    ///
    /// # Errors
    /// Those of the checkpoint store.
    fn put(&self, checkpoint: CheckpointId, part: u32, bytes: &[u8]) -> Result<StagedBytes>;

    /// The first checkpoint to stage for; the ones after it follow without a gap.
    fn first_checkpoint(&self) -> CheckpointId;
}

/// The checkpoint that is being finished, as a committer may ask it. Blocking.
pub trait DecidedCheckpoint: Send + Sync + Debug {
    /// The bytes that a writer staged.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when they are missing or damaged.
    fn read(&self, staged: &StagedBytes) -> Result<Vec<u8>>;

    /// Whether its manifest still is the newest: who finds a newer one must not take anything from its owner.
    fn is_newest(&self) -> Result<bool>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_reads_back_and_those_of_others_are_none() {
        let staged = StagedBytes { path: "state/1".into(), sha256: "ab".into(), bytes: 7 };
        assert_eq!(StagedBytes::of_item(&staged.to_item()), Some(staged));
        assert_eq!(StagedBytes::of_item(&json!({ "path": "x", "size": 3 })), None);
    }
}
