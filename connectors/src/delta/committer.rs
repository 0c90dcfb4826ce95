//! The committer: one per job and root folder, for live commits and recovery alike.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use deltalake::kernel::StructField;
use futures::FutureExt;
use object_store::ObjectStore;
use thalweg_core::connector::sink::{
    BoxFuture, Committed, Committer, Cut, PendingCommit, Target, TargetExpectation, TargetStatus,
};
use thalweg_core::connector::staging::DecidedCheckpoint;
use thalweg_core::{CheckpointId, Error, Result, failpoint};
#[cfg(any(test, feature = "test-util"))]
use thalweg_objects::Remote;
use thalweg_objects::{Access, Place};

use super::commit::{Commit, RELOADS, recreated, restless};
use super::decide::{self, Found, Opening};
use super::entry::{self, Definition};
use super::maintenance::Upkeep;
use super::storage::Storage;
use super::table::{Put, Table};
use super::{KIND, count, evolve, withheld};

const CHECKPOINT_INTERVAL: u64 = 100;

/// Commits to the Delta tables below one place.
///
/// Its futures want a multi-thread tokio runtime. One commit holds its table; tables do not wait for each other.
pub struct DeltaCommitter {
    storage: Storage,
    tables: Mutex<HashMap<String, Arc<Slot>>>,
    checkpoint_interval: u64,
    upkeep_runtime: Option<tokio::runtime::Handle>,
}

/// A table's place: whoever commits holds it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// `None` until it is loaded, and again after every error: what is doubtful is read anew.
    pub(crate) table: tokio::sync::Mutex<Option<Table>>,
    pub(crate) upkeep: Upkeep,
    /// Whether somebody was told what the table's statistics may tell: once, not at each attempt.
    warned: AtomicBool,
}

impl Slot {
    /// Nothing of ours depends on it, and who may not change the table goes on: it is told, not refused.
    fn check_statistics(&self, definition: &Definition, table: &Table) {
        let Some(statement) = withheld::missing(definition, &table.facts) else { return };
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                table = %table.name,
                statement,
                "others that rewrite the table's files may write values into its log that this job keeps out of it: run \
                 the statement"
            );
        }
    }
}

impl DeltaCommitter {
    /// Serves the tables below `root`, which is created with the first table.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] when `root` is empty.
    pub fn new(root: impl AsRef<Path>) -> Result<Self> {
        Storage::folder(root.as_ref()).map(Self::over)
    }

    /// Serves the tables below `place`, a folder or a prefix of an object store, which is tried for conditional put
    /// before the first table is opened.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] when this build lacks the place's feature, or a variable is wrong.
    pub fn at(place: &Place, access: &Access) -> Result<Self> {
        Storage::at(place, access).map(Self::over)
    }

    /// Serves the tables below `remote` in `store`, which stands for the one that is there.
    #[cfg(any(test, feature = "test-util"))]
    pub fn on_store(remote: Remote, store: Arc<dyn ObjectStore>) -> Self {
        Self::over(Storage::on(remote, store))
    }

    pub(super) fn over(storage: Storage) -> Self {
        Self {
            storage,
            tables: Mutex::default(),
            checkpoint_interval: CHECKPOINT_INTERVAL,
            upkeep_runtime: None,
        }
    }

    /// Writes a checkpoint of the log and removes expired entries every `entries`. Default: 100; 0: never.
    #[must_use]
    pub fn checkpoint_every(mut self, entries: u64) -> Self {
        self.checkpoint_interval = entries;
        self
    }

    /// Runs log checkpoints and clean-up on this runtime. Default: the one that commits.
    #[must_use]
    pub fn maintain_on(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.upkeep_runtime = Some(runtime);
        self
    }

    /// Puts `decorate` around the stores of log and data: fault injection. Locations are absolute paths.
    #[must_use]
    pub fn decorate_stores(
        mut self,
        decorate: impl Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Send + Sync + 'static,
    ) -> Self {
        self.storage = self.storage.decorated(&decorate);
        self
    }

    /// Waits until no log checkpoint or clean-up is running.
    pub async fn maintained(&self) {
        let slots: Vec<Arc<Slot>> = self.slots().values().cloned().collect();
        for slot in slots {
            slot.upkeep.idle().await;
        }
    }

    pub(crate) fn checkpoint_interval(&self) -> u64 {
        if self.checkpoint_interval == 0 { CHECKPOINT_INTERVAL } else { self.checkpoint_interval }
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        // Nothing is left half-done in the map by a panic.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn slot(&self, table: &str) -> Arc<Slot> {
        Arc::clone(self.slots().entry(table.to_owned()).or_default())
    }

    pub(crate) async fn open_target(
        &self,
        target: &Target,
        app_id: &str,
        expected: &TargetExpectation,
        adopt: bool,
    ) -> Result<TargetStatus> {
        self.storage.probe().await?;
        let definition = Definition::of(target)?;
        let slot = self.slot(&target.path);
        let mut held = slot.table.lock().await;
        *held = None;
        let table = self.opened(&definition, target, app_id, expected, adopt).await?;
        slot.check_statistics(&definition, &table.0);
        let status = status(&table.0, table.1);
        *held = Some(table.0);
        Ok(status)
    }

    async fn opened(
        &self,
        definition: &Definition,
        target: &Target,
        app_id: &str,
        expected: &TargetExpectation,
        adopt: bool,
    ) -> Result<(Table, Option<i64>)> {
        for _ in 0..RELOADS {
            let Some(mut table) = Table::load(&self.storage, &target.path).await? else {
                match decide::opening(None, expected, adopt) {
                    Opening::Create => self.create(definition, &target.path, app_id).await?,
                    other => return Err(unopened(other, &target.path, None, expected)),
                }
                continue;
            };
            let Some(txn) = table.txn(app_id).await? else { continue };
            let found = Found { id: table.facts.id.clone(), txn, version: table.version };
            match decide::opening(Some(&found), expected, adopt) {
                Opening::Continue => {
                    let new = lacking(definition, &table)?;
                    if new.is_empty() {
                        table.settle(&self.storage).await?;
                        return Ok((table, txn));
                    }
                    evolve::add(&self.storage, &table, new).await?;
                }
                Opening::Adopt => {
                    lacking(definition, &table)?;
                    let claim = entry::claim(&target.path, app_id)?;
                    if let Put::Failed(error) =
                        table.create(&self.storage, table.version + 1, &claim).await
                    {
                        return Err(error);
                    }
                }
                other => return Err(unopened(other, &target.path, Some(&found), expected)),
            }
        }
        Err(restless(&target.path))
    }

    /// Entry 0. Whoever is first makes the table; the others find it.
    async fn create(&self, definition: &Definition, table: &str, app_id: &str) -> Result<()> {
        self.storage.prepare(table).await?;
        let id = uuid::Uuid::new_v4().to_string();
        let bytes = definition.creation(table, &id, app_id)?;
        failpoint::hit_at("create.before", table)?;
        match Table::put(&self.storage, &self.storage.log(table)?, table, 0, bytes).await {
            Put::Failed(error) => Err(error),
            Put::Created(_) | Put::Taken | Put::Unclear => failpoint::hit_at("create.after", table),
        }
    }

    pub(crate) async fn commit_pending(&self, pending: &PendingCommit) -> Result<Committed> {
        self.run(pending, Commit::of(&self.storage, pending)?).await
    }

    async fn run(&self, pending: &PendingCommit, commit: Commit<'_>) -> Result<Committed> {
        let slot = self.slot(&pending.path);
        let mut held = slot.table.lock().await;
        let result = commit.run(&mut held).await;
        if result.is_err() {
            *held = None;
        }
        let committed = result?;
        if let Some(table) = held.as_ref()
            && !committed.replayed
            && !pending.staged.is_empty()
        {
            slot.upkeep.committed(table, self.checkpoint_interval, self.upkeep_runtime.as_ref());
        }
        Ok(committed)
    }

    /// By stepping from the version we know while that is sure to be safe, by listing otherwise.
    async fn newest(&self, path: &str) -> Result<u64> {
        let slot = self.slot(path);
        let mut held = slot.table.lock().await;
        if let Some(table) = held.as_mut() {
            if table.catch_up().await? {
                return Ok(table.version);
            }
            *held = None;
        }
        let Some(table) = Table::load(&self.storage, path).await? else {
            return Err(Error::data_loss(format!("table `{path}` is missing")));
        };
        if table.is_overtaken().await? {
            return Err(restless(path));
        }
        Ok(held.insert(table).version)
    }
}

fn status(table: &Table, txn: Option<i64>) -> TargetStatus {
    // The creating entry's 0 says who made the table; no checkpoint was committed by it.
    let txn = txn.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0).map(CheckpointId);
    TargetStatus { id: table.facts.id.clone(), txn, version: table.version }
}

/// The columns that the table is to get first.
fn lacking(definition: &Definition, table: &Table) -> Result<Vec<StructField>> {
    evolve::missing(&table.name, table.version, definition, &table.facts)
}

fn unopened(
    opening: Opening,
    table: &str,
    found: Option<&Found>,
    expected: &TargetExpectation,
) -> Error {
    let wanted = expected.txn.unwrap_or_default();
    let has = found.and_then(|f| f.txn).unwrap_or(0);
    match opening {
        Opening::Missing => Error::data_loss(format!(
            "table `{table}` is missing though this job has written to it; restore it, or start a new chain with --fresh"
        )),
        Opening::Recreated => recreated(table),
        Opening::Behind => Error::data_loss(format!(
            "table `{table}` holds checkpoint {has} (version {}) where the manifest knows {wanted} (version {}): it \
             was restored or replaced; restore its log, or rewind the checkpoints",
            found.map_or(0, |f| f.version),
            expected.version.unwrap_or(0)
        )),
        _ => Error::config(format!(
            "table `{table}` exists, but no checkpoint of this job knows it; choose another path, or keep its rows \
             and append to it with --adopt-tables"
        )),
    }
}

impl Committer for DeltaCommitter {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn open<'a>(
        &'a self,
        target: &'a Target,
        app_id: &'a str,
        expected: &'a TargetExpectation,
        adopt: bool,
    ) -> BoxFuture<'a, Result<TargetStatus>> {
        async move {
            let status = self.open_target(target, app_id, expected, adopt).await?;
            // A cut may name it, whoever has published that.
            if status.version > 0 || expected.version.is_some() {
                self.slot(&target.path).upkeep.found();
            }
            Ok(status)
        }
        .boxed()
    }

    fn commit<'a>(
        &'a self,
        pending: &'a PendingCommit,
        _checkpoint: &'a Arc<dyn DecidedCheckpoint>,
    ) -> BoxFuture<'a, Result<Committed>> {
        self.commit_pending(pending).boxed()
    }

    fn void<'a>(&'a self, pending: &'a PendingCommit) -> BoxFuture<'a, Result<Committed>> {
        async move { self.run(pending, Commit::void(&self.storage, pending)?).await }.boxed()
    }

    fn how_to_undo(&self, path: &str, version: u64) -> Option<String> {
        // Spark's SQL, in which a backtick within a name is written twice.
        let place = self.storage.place(path).replace('`', "``");
        Some(format!("RESTORE TABLE delta.`{place}` TO VERSION AS OF {version}"))
    }

    fn folder(&self, path: &str) -> Option<PathBuf> {
        self.storage.path(path).ok().flatten()
    }

    fn version<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<u64>> {
        self.newest(path).boxed()
    }

    fn count_rows<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>>> {
        count::rows(&self.storage, path).boxed()
    }

    fn publish_cut<'a>(&'a self, cut: &'a Cut) -> BoxFuture<'a, Result<()>> {
        async move {
            // The versions of a cut that is made up for are those of today: the one that is in may name earlier ones.
            if !self.put_cut(cut).await?.replayed {
                for (table, version) in &cut.versions {
                    self.slot(table).upkeep.published(*version);
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn idle(&self) -> BoxFuture<'_, ()> {
        self.maintained().boxed()
    }
}

impl std::fmt::Debug for DeltaCommitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeltaCommitter")
            .field("root", &self.storage.to_string())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn a_table_below_a_folder_tells_it_and_one_in_an_object_store_has_none() {
        let root = tempfile::tempdir().unwrap();
        let committer = DeltaCommitter::new(root.path()).unwrap();
        assert_eq!(committer.folder("silver/events"), Some(root.path().join("silver/events")));
        assert_eq!(committer.folder("../elsewhere"), None);
        let Ok(Place::Remote(remote)) = "s3://bucket/job".parse() else { panic!("it is a URL") };
        let committer = DeltaCommitter::over(Storage::on(remote, Arc::new(InMemory::new())));
        assert_eq!(committer.folder("silver/events"), None);
    }

    #[test]
    fn the_statement_that_undoes_names_a_table_by_its_place() {
        let undo = |committer: &DeltaCommitter| committer.how_to_undo("gold/kpis", 8).unwrap();
        let committer = DeltaCommitter::new("/data/ward `7`").unwrap();
        let expected = "RESTORE TABLE delta.`/data/ward ``7``/gold/kpis` TO VERSION AS OF 8";
        assert_eq!(undo(&committer), expected);
        let Ok(Place::Remote(remote)) = "s3://bucket/job".parse() else { panic!("it is a URL") };
        let committer = DeltaCommitter::over(Storage::on(remote, Arc::new(InMemory::new())));
        let expected = "RESTORE TABLE delta.`s3://bucket/job/gold/kpis` TO VERSION AS OF 8";
        assert_eq!(undo(&committer), expected);
    }
}
