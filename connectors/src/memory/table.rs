//! A table in memory: what has been committed to it, by whom, and at which version.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use serde_json::Value;
use thalweg_core::CheckpointId;

/// A table, all of its versions included.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) id: String,
    pub(super) columns: Value,
    /// The newest commit of each application; 0 before its first.
    pub(super) txns: BTreeMap<String, CheckpointId>,
    /// Commit i made version i + 1.
    pub(super) commits: Vec<Commit>,
}

/// One commit.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) app_id: String,
    pub(super) checkpoint: CheckpointId,
    pub(super) batches: Vec<RecordBatch>,
}

impl Commit {
    pub(super) fn rows(&self) -> u64 {
        self.batches.iter().map(|b| b.num_rows() as u64).sum()
    }
}

impl Table {
    pub(super) fn new(id: String, columns: Value) -> Self {
        Self { id, columns, txns: BTreeMap::new(), commits: Vec::new() }
    }

    /// The newest version; 0 is the empty table.
    pub(super) fn version(&self) -> u64 {
        self.commits.len() as u64
    }

    /// The version that `app_id`'s commit of `checkpoint` made.
    pub(super) fn version_of(&self, app_id: &str, checkpoint: CheckpointId) -> Option<u64> {
        let made = |c: &Commit| c.app_id == app_id && c.checkpoint == checkpoint;
        self.commits.iter().position(made).map(|i| i as u64 + 1)
    }

    pub(super) fn rows(&self) -> u64 {
        self.commits.iter().map(Commit::rows).sum()
    }

    pub(super) fn commit(&mut self, commit: Commit) -> u64 {
        self.txns.insert(commit.app_id.clone(), commit.checkpoint);
        self.commits.push(commit);
        self.version()
    }
}
