//! Creating M(n), and forgetting old ones.

use std::collections::BTreeSet;

use thalweg_core::checkpoint::Manifest;
use thalweg_core::checkpoint::manifest::SourceSnapshot;
use thalweg_core::checkpoint::resolve::expired;
use thalweg_core::connector::staging::StagedBytes;
use thalweg_core::graph::NodeKind;
use thalweg_core::{CheckpointId, Error, Result, failpoint};

use super::recover::{JobContext, create_manifest};
use super::staging::staged;
use super::state_files::sha256;
use super::storage::CheckpointStorage;

/// Seals positions, creates M(n), and checks that its parent still stands (P7). Blocking.
pub(super) fn store(
    job: &JobContext,
    mut manifest: Manifest,
    parent: CheckpointId,
    parent_digest: &str,
) -> Result<(Manifest, String)> {
    for snapshot in &mut manifest.sources {
        let node = job.graph.nodes().iter().find(|n| n.uid == snapshot.uid);
        if let Some(NodeKind::Source(source)) = node.map(|n| &n.kind) {
            for split in &mut snapshot.splits {
                source.source.seal_position(&mut split.split)?;
            }
        }
    }
    failpoint::hit("manifest.before")?;
    let bytes = create_manifest(job, &manifest)?;
    failpoint::hit("manifest.after")?;
    check_parent(job.storage.as_ref(), parent, parent_digest)?;
    Ok((manifest, sha256(&bytes)))
}

/// Reads M(n) again behind the creation of M(n+1): where both had been cleaned up meanwhile, what was created decides
/// nothing (P7).
///
/// # Errors
/// [`thalweg_core::ErrorKind::Fenced`] when M(n) is gone or changed.
pub(crate) fn check_parent(
    storage: &dyn CheckpointStorage,
    parent: CheckpointId,
    digest: &str,
) -> Result<()> {
    match storage.read(&Manifest::name(parent))? {
        Some(stored) if sha256(&stored) == digest => Ok(()),
        _ => Err(Error::fenced(format!(
            "checkpoint {parent} is gone or changed: another process owns this job; this one stops"
        ))),
    }
}

/// Deletes expired manifests one by one, ascending, and state files that no retained manifest names (P7). `spent` is
/// what sinks had staged for the checkpoint before `head`.
///
/// Looking for such state files reads all retained manifests, so it is done once in as many checkpoints, and once in 16 at
/// least.
///
/// It may be behind: later checkpoints are finished and their garbage collected meanwhile. Of the files up to `head` a later
/// manifest names only what `head` names, or, behind a rewind, an older one that is still there: so nothing is known to be
/// of no use unless `head` and all that is listed behind the deletions can be read.
pub(super) fn collect_garbage(
    storage: &dyn CheckpointStorage,
    head: CheckpointId,
    keep: u64,
    spent: &[StagedBytes],
) -> Result<()> {
    let delete = |what: &str, path: &str| {
        failpoint::hit_at("gc.delete", what)?;
        storage.delete(path)
    };
    for staged in spent {
        delete("staged", &staged.path)?;
    }
    let manifests = || -> Result<Vec<CheckpointId>> {
        Ok(storage.list("")?.iter().filter_map(|n| Manifest::number_of(n)).collect())
    };
    let gone = expired(&manifests()?, head, keep);
    // Manifests expire one at a time once a job is under way; the state files follow now and then.
    for number in &gone {
        delete("manifest", &Manifest::name(*number))?;
    }
    if gone.is_empty() || !head.0.is_multiple_of(keep.clamp(2, 16)) {
        return Ok(());
    }
    let numbers = manifests()?;
    if !numbers.contains(&head) {
        return Ok(());
    }
    let mut named = BTreeSet::new();
    for number in numbers {
        let Some(bytes) = storage.read(&Manifest::name(number))? else { return Ok(()) };
        let manifest = Manifest::decode(&bytes)?;
        if number == head {
            named.extend(staged(&manifest).into_iter().map(|s| s.path));
        }
        named.extend(manifest.state.into_iter().map(|s| s.path));
    }
    let mut files = storage.list("state")?;
    files.sort();
    for name in files {
        let path = format!("state/{name}");
        let written = name.get(..20).and_then(|n| n.parse::<u64>().ok());
        // Files of checkpoints that are still being taken are named by no manifest yet.
        if written.is_some_and(|n| n <= head.0) && !named.contains(&path) {
            delete("state", &path)?;
        }
    }
    Ok(())
}

/// How often the job's sources have gone past rows that were lost.
pub(super) fn losses(job: &JobContext) -> u64 {
    let of = |kind: &NodeKind| match kind {
        NodeKind::Source(source) => source.source.losses(),
        _ => 0,
    };
    job.graph.nodes().iter().map(|node| of(&node.kind)).sum()
}

/// For lag tools only: nothing depends on it. Returns the rows that wait behind the checkpoint, when that is known.
pub(super) fn tell_sources(job: &JobContext, sources: &[SourceSnapshot]) -> Option<u64> {
    let mut lag = Some(0);
    for snapshot in sources {
        let node = job.graph.nodes().iter().find(|n| n.uid == snapshot.uid);
        let Some(NodeKind::Source(source)) = node.map(|n| &n.kind) else { continue };
        let splits: Vec<_> = snapshot.splits.iter().map(|s| s.split.clone()).collect();
        let told = failpoint::hit("group.commit").and_then(|()| source.source.committed(&splits));
        if let Err(error) = told {
            tracing::debug!(source = %snapshot.uid, %error, "positions could not be published");
        }
        lag = lag.zip(source.source.lag(&splits)).map(|(sum, rows)| sum + rows);
    }
    lag
}

#[cfg(test)]
mod tests {
    use thalweg_core::checkpoint::manifest::StateFile;
    use thalweg_core::key::KeyGroupRange;
    use thalweg_core::{OperatorUid, SubtaskIndex};

    use super::*;
    use crate::checkpoint::sample::manifest;
    use crate::checkpoint::storage::{Created, MemoryStorage};

    /// A store in which somebody goes back to what is being deleted, just before it is.
    #[derive(Debug, Default)]
    struct Rewound {
        storage: MemoryStorage,
        /// What is created then.
        rewind: Option<Manifest>,
    }

    impl CheckpointStorage for Rewound {
        fn describe(&self) -> String {
            self.storage.describe()
        }
        fn create(&self, name: &str, bytes: &[u8]) -> Created {
            self.storage.create(name, bytes)
        }
        fn sync(&self, name: &str) -> Result<()> {
            self.storage.sync(name)
        }
        fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
            self.storage.read(name)
        }
        fn list(&self, folder: &str) -> Result<Vec<String>> {
            self.storage.list(folder)
        }
        fn delete(&self, name: &str) -> Result<()> {
            if let Some(rewind) = &self.rewind {
                self.create(&Manifest::name(rewind.number), &rewind.encode()?);
            }
            self.storage.delete(name)
        }
    }

    /// With one state file, if any.
    fn naming(number: u64, file: Option<&str>) -> Manifest {
        let file = file.map(|path| StateFile {
            uid: OperatorUid::new("count").unwrap(),
            subtask: SubtaskIndex(0),
            key_groups: KeyGroupRange { start: 0, end: 1 },
            path: path.to_owned(),
            sha256: String::new(),
            bytes: 1,
        });
        Manifest { state: file.into_iter().collect(), ..manifest(number) }
    }

    #[test]
    fn state_that_a_rewind_has_named_again_meanwhile_stays() {
        let file = format!("state/{:020}-token-count-0", 1);
        for rewound in [false, true] {
            let rewind = rewound.then(|| naming(17, Some(&file)));
            let store = Rewound { rewind, ..Rewound::default() };
            store.create(&file, b"x");
            for (number, file) in [(1, Some(file.as_str())), (15, None), (16, None)] {
                let bytes = naming(number, file).encode().unwrap();
                store.create(&Manifest::name(CheckpointId(number)), &bytes);
            }
            collect_garbage(&store, CheckpointId(16), 2, &[]).unwrap();
            assert!(store.read(&Manifest::name(CheckpointId(1))).unwrap().is_none());
            assert_eq!(store.read(&file).unwrap().is_some(), rewound);
        }
    }

    #[test]
    fn a_collection_that_is_behind_deletes_no_state_that_a_later_manifest_names() {
        let storage = MemoryStorage::default();
        let create = |name: &str| assert!(matches!(storage.create(name, b"x"), Created::Yes));
        let file = format!("state/{:020}-token-count-0", 3);
        create(&file);
        // Checkpoint 16 is being cleaned up behind when 19 and 20 are all that is kept; both go on with the file of 3.
        for number in [1, 19, 20] {
            create(&Manifest::name(CheckpointId(number)));
        }
        collect_garbage(&storage, CheckpointId(16), 2, &[]).unwrap();
        assert!(storage.read(&file).unwrap().is_some());
        assert!(storage.read(&Manifest::name(CheckpointId(1))).unwrap().is_none());
    }
}
