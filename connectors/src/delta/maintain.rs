//! Maintenance of tables, for tools and schedules: beside a running job of this or another process, or without one.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use futures::FutureExt;
use object_store::ObjectStore;
use thalweg_core::Result;
use thalweg_core::connector::sink::PendingCommit;
use thalweg_core::record::{Column, Timestamp};
use thalweg_core::time::EventTime;
use thalweg_objects::{Access, Place};

use super::overwrite::{self, Overwritten};
use super::storage::Storage;
use super::table::Table;
use super::{active, compact, failure, maintenance, named, vacuum};

/// The least retention that is safe beside a running job: longer than any file of it waits for its manifest.
pub const SAFE_RETENTION: Duration = Duration::from_hours(1);

/// Looks after the Delta tables below one folder.
///
/// It shares nothing with a [`super::DeltaCommitter`] but the tables' logs, where it is one writer among others: no
/// commit ever waits for it. Nothing but [`DeltaMaintenance::overwrite`] changes a row, and dropping any of its futures
/// is as safe as a crash. They want a multi-thread tokio runtime.
///
/// ```
/// use thalweg_connectors::delta::{Compaction, DeltaMaintenance, Vacuum};
/// # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// # let folder = tempfile::tempdir()?;
/// let tables = DeltaMaintenance::new(folder.path())?;
/// let merged = tables.compact("silver/events", &Compaction::default()).await?;
/// assert_eq!((merged.files_before, merged.merges), (0, 0), "there is no such table yet");
/// // Files that a manifest waits to commit are never removed: whoever vacuums says which they are.
/// let pending = || Ok(Vec::new());
/// tables.vacuum("silver/events", &Vacuum::default(), &pending).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct DeltaMaintenance {
    storage: Storage,
}

/// How to merge small files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    /// What files may grow to. Default: the table's `delta.targetFileSize`, or 128 MiB.
    pub target_bytes: Option<u64>,
    /// Fewer files are not worth a rewrite; at least 2. Default: 8.
    pub min_files: usize,
    /// Only count. Default: no.
    pub dry_run: bool,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { target_bytes: None, min_files: 8, dry_run: false }
    }
}

/// What merging did to one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Files of the newest version before.
    pub files_before: u64,
    /// And after; what a job appended meanwhile is not counted.
    pub files_after: u64,
    /// Their bytes before.
    pub bytes_before: u64,
    /// And after; of a dry run the same as before.
    pub bytes_after: u64,
    /// Log entries that put one file in the place of several.
    pub merges: u64,
    /// Merges given up because someone else was first.
    pub abandoned: u64,
    /// Why the table, or some files of it, were left as they are, in one line.
    pub skipped: Option<String>,
}

/// Which files to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vacuum {
    /// How long a removed file can still be read by older versions, and how long one that nobody knows is kept.
    /// Default: 7 days.
    pub retention: Duration,
    /// Accept a retention below [`SAFE_RETENTION`], only while nobody writes; and remove, too, what only readers of published
    /// cuts need. Default: no.
    pub force: bool,
    /// Only count. Default: no.
    pub dry_run: bool,
}

impl Default for Vacuum {
    fn default() -> Self {
        Self { retention: Duration::from_hours(7 * 24), force: false, dry_run: false }
    }
}

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why the table's folder was left as it is, in one line.
    pub skipped: Option<String>,
}

/// What was done to a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogUpkeep {
    /// The version of the log checkpoint that was written.
    pub checkpoint: Option<u64>,
    /// Expired files of the log that were removed.
    pub removed: u64,
}

impl DeltaMaintenance {
    /// Serves the tables below `root`.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] when `root` is empty.
    pub fn new(root: impl AsRef<Path>) -> Result<Self> {
        Ok(Self { storage: Storage::folder(root.as_ref())? })
    }

    /// Serves the tables below `place`, a folder or a prefix of an object store.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] when this build lacks the place's feature, or a variable is wrong.
    pub fn at(place: &Place, access: &Access) -> Result<Self> {
        Ok(Self { storage: Storage::at(place, access)? })
    }

    /// Whether there is a table at `table`.
    ///
    /// # Errors
    /// The place cannot be read.
    pub async fn is_table(&self, table: &str) -> Result<bool> {
        let found = self.storage.log(table)?.is_delta_table_location().await;
        found.map_err(|e| failure::storage("look for the log", table, &e))
    }

    /// Puts `decorate` around the stores of log and data: fault injection.
    #[must_use]
    pub fn decorate_stores(
        mut self,
        decorate: impl Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Send + Sync + 'static,
    ) -> Self {
        self.storage = self.storage.decorated(&decorate);
        self
    }

    /// Merges small files of `table`, each bin by a log entry of its own that changes no data. Rows keep their order
    /// within a file. The old files stay for older versions until they are vacuumed.
    ///
    /// # Errors
    /// A file cannot be read or written; the table is as it was, up to bins that were merged before.
    pub async fn compact(&self, table: &str, options: &Compaction) -> Result<Compacted> {
        compact::compact(&self.storage, table, options).await
    }

    /// Puts `rows` in the place of the rows of `table` whose `column` lies in `range`, µs, by one log entry, beside a
    /// running job, too: what it appends meanwhile outside of `range` stays. Every row of `rows` must lie in `range`.
    /// Rows in it that others append meanwhile are replaced as well. Columns are told by their names: one that the table
    /// has and `rows` have not is null in them.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::Transient`] when others changed the same files or added rows that may lie in `range`
    /// meanwhile, several times: the table is as it was. [`thalweg_core::ErrorKind::InvalidConfig`] for a table whose rows
    /// must not be replaced, and for `rows` of which one lies outside of `range` or has no time.
    pub async fn overwrite(
        &self,
        table: &str,
        column: Column<Timestamp>,
        range: Range<EventTime>,
        rows: &[RecordBatch],
    ) -> Result<Overwritten> {
        overwrite::overwrite(&self.storage, table, column.name(), range, rows).await
    }

    /// Writes a checkpoint of the table's log unless its newest version has one, and removes expired entries: none that a
    /// reader of a job's newest published cut needs.
    ///
    /// # Errors
    /// The log cannot be read or written.
    pub async fn checkpoint_log(&self, table: &str) -> Result<LogUpkeep> {
        active::steadily(|| self.look_after_log(table).boxed()).await
    }

    async fn look_after_log(&self, table: &str) -> Result<LogUpkeep> {
        let mut done = LogUpkeep::default();
        let Some(table) = Table::load(&self.storage, table).await? else { return Ok(done) };
        let (log, name, version) = (table.log(), &table.name, table.version);
        if version > 0 && table.last_checkpoint().await? != Some(version) {
            maintenance::checkpoint(log, name, version).await?;
            done.checkpoint = Some(version);
        }
        if let Some(retention) = table.retention() {
            let named = named::versions(&self.storage, name, retention).await?;
            let kept = named.first().map_or(version, |named| version.min(*named));
            done.removed = maintenance::clean(log, name, kept, Some(retention)).await? as u64;
        }
        Ok(done)
    }

    /// Removes data files below `table` that neither a version younger than the retention names nor one of a job's newest
    /// published cut, except those that `pending` says a manifest waits to commit. Files of other kinds stay, and so does
    /// everything below a table that uses what is not understood here, deletion vectors say. `pending` is called right before files are removed and must read the manifests
    /// anew; an error of it stops the vacuum.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] for a retention that is not safe or that the table cannot keep.
    pub async fn vacuum(
        &self,
        table: &str,
        options: &Vacuum,
        pending: &(dyn Fn() -> Result<Vec<PendingCommit>> + Send + Sync),
    ) -> Result<Vacuumed> {
        vacuum::vacuum(&self.storage, table, options, pending).await
    }
}
