//! Log checkpoints and clean-up, off the commit path.
//!
//! Without checkpoints a reader replays every entry, and without clean-up the log's folder grows by a file per epoch.
//! Both read and write much, so they run as a task of their own, at most one per table; if one is still running when
//! the next is due, that one is skipped. They may fail: the next run makes up for it.
//!
//! The version that the newest published cut names stays, and all that reading it takes, however old its entry is: a table
//! that was quiet for long is read at it, and the next version is in no cut yet, or, where others have made it, in none ever.
//! Which one that is a committer knows of the cut that it has published itself: until then it removes nothing from the log of
//! a table that it found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use delta_kernel::Snapshot;
use deltalake::checkpoints::cleanup_expired_logs_for;
use deltalake::logstore::{LogStore, LogStoreRef};
use thalweg_core::{Result, failpoint};
use tokio::sync::Mutex;

use super::table::{Table, on_log_of};
use super::{entry, failure, reach};
use crate::background;

/// Knows a table's last log checkpoint and holds the place of its running task.
#[derive(Debug)]
pub(crate) struct Upkeep {
    /// The version of the last log checkpoint that we began.
    begun: AtomicU64,
    /// The version in the cut that this committer has published last; before that [`NONE`], or [`ANY`] for a table that it
    /// found.
    named: AtomicU64,
    running: Arc<Mutex<()>>,
}

/// No cut names a version.
const NONE: u64 = u64::MAX;
/// Some cut may name any version.
const ANY: u64 = 0;

impl Default for Upkeep {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), named: AtomicU64::new(NONE), running: Arc::default() }
    }
}

impl Upkeep {
    /// Takes note of a commit, and starts a task if `interval` entries have no log checkpoint and none is running.
    /// Those of earlier processes count: a job that is restarted often writes as many as one that is not.
    pub(crate) fn committed(
        &self,
        table: &Table,
        interval: u64,
        runtime: Option<&tokio::runtime::Handle>,
    ) {
        let last = self.begun.load(Ordering::Relaxed).max(table.log_checkpoint);
        if interval == 0 || table.version.saturating_sub(last) < interval {
            return;
        }
        let Ok(place) = Arc::clone(&self.running).try_lock_owned() else { return };
        self.begun.store(table.version, Ordering::Relaxed);
        let (log, name) = (Arc::clone(table.log()), table.name.clone());
        let (version, retention) = (table.version, table.retention());
        // What other jobs have published of a table that they share, `DeltaMaintenance` looks up.
        let named = self.named.load(Ordering::Relaxed);
        let work = async move {
            if let Err(error) = maintain(&log, &name, version, retention, named).await {
                tracing::warn!(table = %name, version, %error, "log maintenance failed");
            }
            drop(place);
        };
        background::spawn(runtime, work);
    }

    /// Takes note that this committer has published a cut which names this version.
    pub(crate) fn published(&self, version: u64) {
        self.named.store(version, Ordering::Relaxed);
    }

    /// Takes note that the table has versions which this committer knows of no cut. Those that a manifest knows may be later
    /// than what is published: a start looks at the table, and may die before its first cut.
    pub(crate) fn found(&self) {
        let relaxed = Ordering::Relaxed;
        self.named.compare_exchange(NONE, ANY, relaxed, relaxed).ok();
    }

    pub(crate) async fn idle(&self) {
        drop(self.running.lock().await);
    }
}

/// Writes a checkpoint of the log at `version`, removes expired entries and says how many.
async fn maintain(
    log: &LogStoreRef,
    name: &str,
    version: u64,
    retention: Option<Duration>,
    named: u64,
) -> Result<usize> {
    checkpoint(log, name, version).await?;
    let removed = clean(log, name, version.min(named), retention).await?;
    tracing::debug!(table = %name, version, removed, "log checkpoint written");
    Ok(removed)
}

/// Removes expired entries below `version` that a log checkpoint of it, or of one before, stands for, and says how many.
pub(super) async fn clean(
    log: &LogStoreRef,
    name: &str,
    version: u64,
    retention: Option<Duration>,
) -> Result<usize> {
    let Some(retention) = retention else { return Ok(0) };
    let expired = entry::now_millis() - i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    match reach::last_checkpoint(log, name, version, expired).await? {
        None => Ok(0),
        Some(version) => cleanup_expired_logs_for(version, log.as_ref(), expired, None)
            .await
            .map_err(|e| failure::storage("clean up the log", name, &e)),
    }
}

pub(super) async fn checkpoint(log: &LogStoreRef, name: &str, version: u64) -> Result<()> {
    failpoint::hit("log.before")?;
    let (engine, url) = (log.engine(None), log.root_url().clone());
    let write = move || {
        let snapshot = Snapshot::builder_for(url).at_version(version).build(engine.as_ref())?;
        snapshot.checkpoint(engine.as_ref(), None).map(drop)
    };
    background::blocking(&on_log_of(name), write)
        .await?
        .map_err(|e| failure::log("write a log checkpoint", name, &e))?;
    failpoint::hit("log.after")
}
