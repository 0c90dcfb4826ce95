//! The tables that memory sinks write, and a test's hands on them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arrow_array::RecordBatch;
use thalweg_core::CheckpointId;
use thalweg_core::connector::sink::{Committer, Cut};
use tokio::sync::watch;

use super::committer::MemoryCommitter;
use super::lock;
use super::sink::MemorySink;
use super::table::{Commit, Table};

/// Tables in memory by path, with a history like a Delta table's. Clones share the tables.
///
/// Use one per job: a job has one committer for all sinks of a kind. Keep it to restart the job over the same tables.
///
/// ```
/// use thalweg_connectors::memory::MemoryStore;
/// use thalweg_core::connector::sink::Sink;
///
/// let store = MemoryStore::default();
/// let sink = store.sink("gold/per-minute");
/// assert_eq!(sink.describe(), "memory gold/per-minute");
/// assert_eq!(store.rows("gold/per-minute"), 0);
/// ```
#[derive(Clone)]
pub struct MemoryStore(Arc<Shared>);

pub(super) struct Shared {
    pub(super) inner: Mutex<Inner>,
    pub(super) writes_stalled: watch::Sender<bool>,
    pub(super) commits_stalled: watch::Sender<bool>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) tables: BTreeMap<String, Table>,
    /// Batches that were staged and not committed yet, by token.
    pub(super) staged: BTreeMap<String, Vec<RecordBatch>>,
    pub(super) write_calls: BTreeMap<String, u64>,
    pub(super) cuts: Vec<Cut>,
    pub(super) failing_commits: u32,
    pub(super) lost_answers: u32,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self(Arc::new(Shared {
            inner: Mutex::default(),
            writes_stalled: watch::Sender::new(false),
            commits_stalled: watch::Sender::new(false),
        }))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.0.inner);
        let tables = inner.tables.iter().map(|(path, table)| (path, table.rows()));
        f.write_str("MemoryStore ")?;
        f.debug_map().entries(tables).finish()
    }
}

impl MemoryStore {
    /// A sink that writes the table at `path`.
    pub fn sink(&self, path: &str) -> MemorySink {
        MemorySink::new(self.clone(), path)
    }

    /// The committer of all its tables.
    pub fn committer(&self) -> Arc<dyn Committer> {
        Arc::new(MemoryCommitter::new(self.clone()))
    }

    /// Rows that are visible at `path`; 0 for a table that does not exist.
    pub fn rows(&self, path: &str) -> u64 {
        self.table(path, 0, Table::rows)
    }

    /// The visible batches at `path`, in the order of commits.
    pub fn batches(&self, path: &str) -> Vec<RecordBatch> {
        self.batches_at(path, u64::MAX)
    }

    /// The batches that a reader of `version` sees.
    pub fn batches_at(&self, path: &str, version: u64) -> Vec<RecordBatch> {
        let commits = usize::try_from(version).unwrap_or(usize::MAX);
        self.table(path, Vec::new(), |table| {
            table.commits.iter().take(commits).flat_map(|c| c.batches.iter().cloned()).collect()
        })
    }

    /// Checkpoint and rows of each commit to `path`, in order.
    pub fn commits(&self, path: &str) -> Vec<(CheckpointId, u64)> {
        let entry = |c: &Commit| (c.checkpoint, c.rows());
        self.table(path, Vec::new(), |table| table.commits.iter().map(entry).collect())
    }

    /// The paths of all tables.
    pub fn paths(&self) -> Vec<String> {
        lock(&self.0.inner).tables.keys().cloned().collect()
    }

    /// The cuts that have been published, oldest first.
    pub fn cuts(&self) -> Vec<Cut> {
        lock(&self.0.inner).cuts.clone()
    }

    /// How often a writer of `path` has been given rows, rows that were never committed included. Counted when the
    /// call is made, before any stall.
    pub fn write_calls(&self, path: &str) -> u64 {
        lock(&self.0.inner).write_calls.get(path).copied().unwrap_or(0)
    }

    /// Makes the next `count` commits fail without doing anything; the error is `Transient`.
    pub fn fail_next_commits(&self, count: u32) {
        lock(&self.0.inner).failing_commits = count;
    }

    /// Makes the next `count` commits happen and their answers get lost: they are done, but fail as `Transient`.
    pub fn lose_next_answers(&self, count: u32) {
        lock(&self.0.inner).lost_answers = count;
    }

    /// Makes writes wait, as a slow store does, until [`MemoryStore::resume`].
    pub fn stall(&self) {
        self.0.writes_stalled.send_replace(true);
    }

    /// Makes commits wait until [`MemoryStore::resume`].
    pub fn stall_commits(&self) {
        self.0.commits_stalled.send_replace(true);
    }

    /// Ends [`MemoryStore::stall`] and [`MemoryStore::stall_commits`].
    pub fn resume(&self) {
        self.0.writes_stalled.send_replace(false);
        self.0.commits_stalled.send_replace(false);
    }

    /// Removes the table at `path`, as an operator might by mistake. Whether there was one.
    pub fn remove(&self, path: &str) -> bool {
        lock(&self.0.inner).tables.remove(path).is_some()
    }

    /// Takes the rows of all commits behind `version` out of the table at `path`, as `RESTORE` does with a Delta table:
    /// versions still count on, and what the table remembers of its writers stays.
    pub fn restore(&self, path: &str, version: u64) {
        let kept = usize::try_from(version).unwrap_or(usize::MAX);
        if let Some(table) = lock(&self.0.inner).tables.get_mut(path) {
            table.commits.iter_mut().skip(kept).for_each(|commit| commit.batches.clear());
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }

    fn table<T>(&self, path: &str, absent: T, present: impl FnOnce(&Table) -> T) -> T {
        lock(&self.0.inner).tables.get(path).map_or(absent, present)
    }
}

/// Waits until `stalled` is false.
pub(super) async fn pass(stalled: &watch::Sender<bool>) {
    // The sender outlives this call, so waiting can only end well.
    drop(stalled.subscribe().wait_for(|stalled| !stalled).await);
}

/// A name that no other staged batch or table of this process has.
pub(super) fn unique(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
