//! Makes staged batches visible, exactly once.

use std::sync::Arc;

use arrow_array::RecordBatch;
use serde_json::Value;
use thalweg_core::connector::sink::{
    BoxFuture, Committed, Committer, Cut, PendingCommit, Target, TargetExpectation, TargetStatus,
};
use thalweg_core::connector::staging::DecidedCheckpoint;
use thalweg_core::connector::standing::{Standing, standing};
use thalweg_core::{CheckpointId, Error, Result};

use super::decide::{Found, Opening, opening};
use super::lock;
use super::sink::KIND;
use super::store::{Inner, MemoryStore, pass, unique};
use super::table::{Commit, Table};

/// The committer of a [`MemoryStore`]'s tables: one commit per checkpoint and application, replays do nothing.
#[derive(Debug, Clone)]
pub struct MemoryCommitter {
    store: MemoryStore,
}

impl MemoryCommitter {
    pub(super) fn new(store: MemoryStore) -> Self {
        Self { store }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> Result<T>) -> Result<T> {
        act(&mut lock(&self.store.shared().inner))
    }
}

impl Committer for MemoryCommitter {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn identity(&self) -> usize {
        std::ptr::from_ref(self.store.shared()).addr()
    }

    fn open<'a>(
        &'a self,
        target: &'a Target,
        app_id: &'a str,
        expected: &'a TargetExpectation,
        adopt: bool,
    ) -> BoxFuture<'a, Result<TargetStatus>> {
        Box::pin(async move { self.with(|inner| open(inner, target, app_id, expected, adopt)) })
    }

    fn commit<'a>(
        &'a self,
        pending: &'a PendingCommit,
        _checkpoint: &'a Arc<dyn DecidedCheckpoint>,
    ) -> BoxFuture<'a, Result<Committed>> {
        Box::pin(async move {
            pass(&self.store.shared().commits_stalled).await;
            self.with(|inner| {
                if take_one(&mut inner.failing_commits) {
                    return Err(Error::transient(format!(
                        "commit to memory table {} failed, as the test asked for",
                        pending.path
                    )));
                }
                let committed = commit(inner, pending)?;
                if take_one(&mut inner.lost_answers) {
                    return Err(Error::transient(format!(
                        "the answer to a commit to memory table {} was lost, as the test asked for",
                        pending.path
                    )));
                }
                Ok(committed)
            })
        })
    }

    fn version<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move { self.with(|inner| Ok(table(inner, path)?.version())) })
    }

    fn count_rows<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>>> {
        Box::pin(async move { self.with(|inner| Ok(Some(table(inner, path)?.rows()))) })
    }

    fn publish_cut<'a>(&'a self, cut: &'a Cut) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.with(|inner| {
                let same = |c: &Cut| c.chain == cut.chain && c.checkpoint == cut.checkpoint;
                if !inner.cuts.iter().any(same) {
                    inner.cuts.push(cut.clone());
                }
                Ok(())
            })
        })
    }
}

fn take_one(count: &mut u32) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

fn gone(path: &str) -> Error {
    Error::data_loss(format!(
        "memory table {path} is gone: it was removed, or it belongs to another process or another MemoryStore"
    ))
}

fn table<'a>(inner: &'a mut Inner, path: &str) -> Result<&'a mut Table> {
    inner.tables.get_mut(path).ok_or_else(|| gone(path))
}

fn open(
    inner: &mut Inner,
    target: &Target,
    app_id: &str,
    expected: &TargetExpectation,
    adopt: bool,
) -> Result<TargetStatus> {
    let path = &target.path;
    let found = inner.tables.get(path).map(|t| Found {
        id: &t.id,
        txn: t.txns.get(app_id).copied(),
        version: t.version(),
        has_rows: t.rows() > 0,
    });
    match opening(found, expected, adopt) {
        Opening::Continue => {}
        Opening::Create => {
            let id = expected.id.clone().unwrap_or_else(|| unique("memory"));
            inner.tables.insert(path.clone(), Table::new(id, target.definition.clone()));
        }
        Opening::Missing => return Err(gone(path)),
        Opening::Unknown => {
            return Err(Error::config(format!(
                "memory table {path} has rows that no checkpoint of this job knows: use another path, or --adopt-tables to go on in it"
            )));
        }
        Opening::Recreated => {
            return Err(Error::data_loss(format!(
                "memory table {path} was removed and made anew since the last checkpoint"
            )));
        }
        Opening::Behind => {
            return Err(Error::data_loss(format!(
                "memory table {path} lacks commits that the checkpoint knows"
            )));
        }
    }
    let table = table(inner, path)?;
    if table.columns != target.definition {
        return Err(Error::incompatible(format!(
            "memory table {path} has other columns than the sink: use another path"
        )));
    }
    // From here on the application is known, even before its first commit.
    table.txns.entry(app_id.to_owned()).or_insert(CheckpointId::GENESIS);
    let txn = table.txns.get(app_id).copied().filter(|n| *n > CheckpointId::GENESIS);
    Ok(TargetStatus { id: table.id.clone(), txn, version: table.version() })
}

fn commit(inner: &mut Inner, pending: &PendingCommit) -> Result<Committed> {
    let PendingCommit { path, app_id, checkpoint, .. } = pending;
    let found = table(inner, path)?;
    if found.id != pending.target_id {
        return Err(Error::data_loss(format!(
            "memory table {path} was removed and made anew since the last checkpoint"
        )));
    }
    let newest = found.version();
    match standing(found.txns.get(app_id).copied(), *checkpoint) {
        Standing::Fenced => {
            return Err(Error::fenced(format!(
                "memory table {path} has a newer commit than checkpoint {checkpoint}: another attempt owns it"
            )));
        }
        Standing::Done => {
            let version = found.version_of(app_id, *checkpoint).unwrap_or(newest);
            return Ok(Committed { version, replayed: true });
        }
        Standing::Missing => {}
    }
    // An empty epoch makes no version (P17).
    if pending.staged.is_empty() {
        return Ok(Committed { version: newest, replayed: false });
    }
    let batches = staged(inner, pending)?;
    let rows: u64 = batches.iter().map(|b| b.num_rows() as u64).sum();
    if rows != pending.rows {
        return Err(Error::corrupt(format!(
            "checkpoint {checkpoint} promises {} rows for memory table {path}, but {rows} are staged",
            pending.rows
        )));
    }
    let made = Commit { app_id: app_id.clone(), checkpoint: *checkpoint, batches };
    let version = table(inner, path)?.commit(made);
    for token in pending.staged.iter().filter_map(token) {
        inner.staged.remove(token);
    }
    Ok(Committed { version, replayed: false })
}

fn token(item: &Value) -> Option<&str> {
    item.get("token")?.as_str()
}

/// The batches that a checkpoint names; none of them may be missing (P14).
fn staged(inner: &Inner, pending: &PendingCommit) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for item in &pending.staged {
        let found = token(item).and_then(|token| inner.staged.get(token)).ok_or_else(|| {
            Error::data_loss(format!(
                "rows staged for memory table {} are gone: memory does not outlive its process",
                pending.path
            ))
        })?;
        batches.extend(found.iter().cloned());
    }
    Ok(batches)
}
