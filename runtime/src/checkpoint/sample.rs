//! A manifest for tests, of a job without anything in it.

use thalweg_core::CheckpointId;
use thalweg_core::checkpoint::{Manifest, ManifestKind};

/// An ordinary checkpoint with this number.
pub(crate) fn manifest(number: u64) -> Manifest {
    Manifest {
        format: 1,
        job: "job".into(),
        chain: "chain".into(),
        shard: "0 of 1".into(),
        number: CheckpointId(number),
        attempt: "token".into(),
        parent: None,
        kind: ManifestKind::Checkpoint,
        finished: false,
        created_at: 0,
        max_parallelism: 8,
        fingerprint: Vec::new(),
        key_ids: Vec::new(),
        sources: Vec::new(),
        state: Vec::new(),
        sinks: Vec::new(),
        pending: Vec::new(),
    }
}
