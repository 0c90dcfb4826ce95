//! What a job has decided, read beside it.

use std::collections::BTreeSet;

use thalweg_connectors::delta::KIND;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::sink::PendingCommit;
use thalweg_core::{CheckpointId, Error, Result};
use thalweg_runtime::CheckpointStorage;

/// The manifests of a job that may be running.
#[derive(Clone, Copy)]
pub(crate) struct Manifests<'a>(pub(crate) &'a dyn CheckpointStorage);

impl Manifests<'_> {
    fn numbers(self) -> Result<Vec<CheckpointId>> {
        let names = self.0.list("")?;
        let mut numbers: Vec<CheckpointId> =
            names.iter().filter_map(|name| Manifest::number_of(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The newest one; `None` where there is none yet.
    pub(crate) fn newest(self) -> Result<Option<Manifest>> {
        let Some(number) = self.numbers()?.pop() else { return Ok(None) };
        let gone = || {
            Error::transient(format!(
                "checkpoint {number} is gone already: a job is running on {}",
                self.0.describe()
            ))
        };
        let bytes = self.0.read(&Manifest::name(number))?.ok_or_else(gone)?;
        Manifest::decode(&bytes).map(Some)
    }

    /// All that are retained, ascending.
    pub(super) fn read(self) -> Result<Vec<Manifest>> {
        let mut found = Vec::new();
        for number in self.numbers()? {
            // One that the job has deleted since was finished long ago.
            if let Some(bytes) = self.0.read(&Manifest::name(number))? {
                found.push(Manifest::decode(&bytes)?);
            }
        }
        if found.is_empty() { Err(self.none()) } else { Ok(found) }
    }

    /// Refuses a place without any: a mistyped prefix of an object store looks like a job that has none yet.
    pub(crate) fn require(self) -> Result<()> {
        if self.numbers()?.is_empty() { Err(self.none()) } else { Ok(()) }
    }

    fn none(self) -> Error {
        Error::config(format!("there are no checkpoints in {}", self.0.describe()))
    }

    /// The tables that the newest manifest writes to.
    pub(super) fn tables(self) -> Result<BTreeSet<String>> {
        let all = self.read()?;
        let sinks = all.last().into_iter().flat_map(|m| m.sinks.iter());
        Ok(sinks.filter(|s| s.target.kind == KIND).map(|s| s.target.path.clone()).collect())
    }

    /// Every commit that a manifest holds, done or not: its files are spared whatever their age (P14).
    pub(super) fn pending(self) -> Result<Vec<PendingCommit>> {
        Ok(self.read()?.into_iter().flat_map(|m| m.pending).filter(|p| p.kind == KIND).collect())
    }
}
