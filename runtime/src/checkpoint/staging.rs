//! Rows that sinks keep in the checkpoint: where writers put them, and how committers get them back.

use std::sync::Arc;

use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::staging::{DecidedCheckpoint, StagedBytes, StagingArea};
use thalweg_core::{CheckpointId, OperatorUid, Result, SubtaskIndex};

use super::recover::{JobContext, lost_or_cleaned_up, read_newest};
use super::state_files::{StateStore, sha256};

/// The place of one sink writer of one attempt.
#[derive(Debug)]
pub(crate) struct SinkStaging {
    pub(crate) store: Arc<StateStore>,
    pub(crate) uid: OperatorUid,
    pub(crate) subtask: SubtaskIndex,
    /// The checkpoint that the attempt was restored from.
    pub(crate) restored: CheckpointId,
}

impl StagingArea for SinkStaging {
    fn put(&self, checkpoint: CheckpointId, part: u32, bytes: &[u8]) -> Result<StagedBytes> {
        // Begins with the number, so that the garbage collector knows when it is of no more use.
        let (token, uid, subtask) = (&self.store.token, &self.uid, self.subtask);
        // Behind the last hyphen stands a dot, as behind that of no state file: an operator may be called as a sink is with
        // a number behind it.
        let path = format!("state/{:020}-{token}-{uid}-{subtask}.{part}", checkpoint.0);
        self.store.seal(path, bytes)
    }

    fn first_checkpoint(&self) -> CheckpointId {
        self.restored.next()
    }
}

/// A stored manifest that is being finished.
#[derive(Debug)]
pub(super) struct Decided {
    store: StateStore,
    number: CheckpointId,
    digest: String,
}

impl Decided {
    pub(super) fn new(job: &JobContext, manifest: &Manifest, digest: &str) -> Self {
        Self {
            store: StateStore {
                storage: Arc::clone(&job.storage),
                key: Arc::clone(&job.key),
                chain: manifest.chain.clone(),
                token: manifest.attempt.clone(),
            },
            number: manifest.number,
            digest: digest.to_owned(),
        }
    }
}

impl DecidedCheckpoint for Decided {
    fn read(&self, staged: &StagedBytes) -> Result<Vec<u8>> {
        let storage = self.store.storage.as_ref();
        self.store.open(staged).map_err(|e| lost_or_cleaned_up(storage, self.number, e))
    }

    fn is_newest(&self) -> Result<bool> {
        let newest = read_newest(self.store.storage.as_ref())?;
        Ok(newest
            .is_some_and(|(m, bytes)| m.number == self.number && sha256(&bytes) == self.digest))
    }
}

/// What the sinks staged in a checkpoint; of no more use once it is finished.
pub(super) fn staged(manifest: &Manifest) -> Vec<StagedBytes> {
    let items = manifest.pending.iter().flat_map(|p| &p.staged);
    items.filter_map(StagedBytes::of_item).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use thalweg_core::ErrorKind;
    use thalweg_core::crypto::MasterKey;
    use thalweg_core::key::KeyGroupRange;

    use super::*;
    use crate::checkpoint::sample::manifest;
    use crate::checkpoint::storage::{CheckpointStorage, Created, MemoryStorage};

    #[test]
    fn no_state_file_has_the_name_of_what_a_sink_stages() {
        let store = StateStore {
            storage: Arc::new(MemoryStorage::default()),
            key: Arc::new(MasterKey::generate().unwrap()),
            chain: "chain".into(),
            token: "token".into(),
        };
        let (checkpoint, subtask) = (CheckpointId(1), SubtaskIndex(0));
        let groups = KeyGroupRange { start: 0, end: 1 };
        let mut paths = Vec::new();
        for operator in ["mirror", "mirror-0", "mirror-0.0", "mirror-0-0"] {
            let uid = OperatorUid::new(operator).unwrap();
            paths.push(store.write(checkpoint, &uid, subtask, groups, &[]).unwrap().path);
        }
        let store = Arc::new(store);
        for sink in ["mirror", "mirror-0"] {
            let (store, uid) = (Arc::clone(&store), OperatorUid::new(sink).unwrap());
            let restored = CheckpointId::GENESIS;
            let area = SinkStaging { store, uid, subtask, restored };
            for part in 0..2 {
                paths.push(area.put(checkpoint, part, b"rows").unwrap().path);
            }
        }
        // By its number the garbage collector finds each.
        assert!(paths.iter().all(|path| path.starts_with(&format!("state/{:020}-", 1))));
        let different: BTreeSet<&String> = paths.iter().collect();
        assert_eq!(different.len(), 8, "{paths:?}");
    }

    fn stored(number: u64) -> Vec<u8> {
        manifest(number).encode().unwrap()
    }

    #[test]
    fn rows_that_were_cleaned_up_are_another_process_and_rows_that_are_missing_are_damage() {
        let storage = Arc::new(MemoryStorage::default());
        let create = |number: u64| {
            let name = Manifest::name(CheckpointId(number));
            assert!(matches!(storage.create(&name, &stored(number)), Created::Yes));
        };
        create(4);
        let store = StateStore {
            storage: Arc::clone(&storage) as _,
            key: Arc::new(MasterKey::generate().unwrap()),
            chain: "chain".into(),
            token: "token".into(),
        };
        let staged = store.seal("state/4".into(), b"rows").unwrap();
        let digest = sha256(&stored(4));
        let decided = Decided { store, number: CheckpointId(4), digest };
        assert_eq!(decided.read(&staged).unwrap(), b"rows");
        storage.delete("state/4").unwrap();
        assert_eq!(decided.read(&staged).unwrap_err().kind(), ErrorKind::Corrupt);
        // Another process has finished checkpoint 4, gone on to 5, and cleaned up.
        create(5);
        assert_eq!(decided.read(&staged).unwrap_err().kind(), ErrorKind::Fenced);
        assert!(!decided.is_newest().unwrap());
    }
}
