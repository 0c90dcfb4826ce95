//! Whose manifests a process may restart from (P6).

use thalweg_core::checkpoint::Manifest;
use thalweg_core::{Error, Result};

/// The manifest that the first attempt of a process found, and what the tokens of all of them begin with.
#[derive(Debug)]
pub(crate) struct Lineage {
    run: String,
    /// Its digest: later manifests of whoever wrote it are another's.
    first: Option<String>,
}

impl Lineage {
    pub(crate) fn new(run: impl Into<String>) -> Self {
        Self { run: run.into(), first: None }
    }

    /// The newest manifest, as an attempt found it: ours, or the one that this process began with.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::Fenced`] when another process has gone on meanwhile.
    pub(crate) fn check(&mut self, manifest: &Manifest, digest: &str) -> Result<()> {
        let first = self.first.get_or_insert_with(|| digest.to_owned());
        if *first == digest || manifest.attempt.starts_with(&self.run) {
            return Ok(());
        }
        Err(Error::fenced(format!(
            "another process owns this job: checkpoint {} was written by it; this one stops",
            manifest.number
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use thalweg_connectors::memory::{MemorySource, MemoryStore};
    use thalweg_core::crypto::MasterKey;
    use thalweg_core::graph::StreamEnvironment;
    use thalweg_core::{ErrorKind, Record};

    use super::*;
    use crate::checkpoint::begin::begin;
    use crate::checkpoint::recover::{read_newest, restore};
    use crate::checkpoint::sample::manifest;
    use crate::checkpoint::state_files::sha256;
    use crate::checkpoint::storage::{CheckpointStorage, Created, MemoryStorage};
    use crate::job::JobBuilder;

    #[derive(Record)]
    #[expect(dead_code, reason = "only its columns are used")]
    struct Row {
        id: i64,
    }

    fn by(token: &str) -> Manifest {
        Manifest { attempt: token.into(), ..manifest(4) }
    }

    #[test]
    fn a_restart_goes_on_from_its_own_manifests_and_from_no_others() {
        let mut lineage = Lineage::new("ours");
        lineage.check(&by("theirs-1"), "a").unwrap();
        lineage.check(&by("theirs-1"), "a").unwrap();
        lineage.check(&by("ours-1"), "b").unwrap();
        let error = lineage.check(&by("theirs-1"), "c").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
    }

    #[tokio::test]
    async fn a_restart_does_not_finish_what_another_process_has_decided() {
        let (storage, store) = (Arc::new(MemoryStorage::default()), MemoryStore::default());
        let env = StreamEnvironment::new("job");
        env.source::<Row>("rows", MemorySource::new(Row::schema())).sink("all", store.sink("all"));
        let key = Arc::new(MasterKey::generate().unwrap());
        let job = JobBuilder::new(env.build().unwrap(), Arc::clone(&storage) as _, key);
        let context = job.into_context();
        let lineage = Mutex::new(Lineage::new(&context.run));
        begin(&context, &format!("{}-1", context.run), false, &lineage).await.unwrap();
        let (genesis, bytes) = read_newest(&*storage).unwrap().unwrap();
        let theirs = Manifest {
            number: genesis.number.next(),
            attempt: "theirs-1".to_owned(),
            parent: Some(sha256(&bytes)),
            ..genesis
        };
        let name = Manifest::name(theirs.number);
        assert!(matches!(storage.create(&name, &theirs.encode().unwrap()), Created::Yes));
        let token = format!("{}-2", context.run);
        let fenced = restore(&context, &token, None, &lineage).await.unwrap_err();
        assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
        assert!(store.paths().is_empty(), "a table of theirs was made");
    }
}
