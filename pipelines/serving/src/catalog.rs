//! Which Delta tables there are, and their newest version at the moment somebody asks.
//!
//! A table that is asked for is looked at then: its log is listed from the version that is known, which costs a listing
//! of a few names. What has been committed before a query is in the query's answer. Which files a version has is kept, so
//! that a commit is read once and not by every query behind it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::catalog::TableProvider;
use deltalake::delta_datafusion::DeltaScanNext;
use deltalake::kernel::Snapshot;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake::table::state::DeltaTableState;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use thalweg_core::{Error, Result};
use thalweg_objects::{Access, Place};
use tokio::sync::Mutex;
use url::Url;

/// The tables below a folder or a prefix of an object store, by the names that queries use.
pub struct Catalog {
    root: Place,
    store: Arc<dyn ObjectStore>,
    tables: BTreeMap<String, Table>,
}

struct Table {
    /// Below the root.
    path: String,
    /// The newest version that has been seen, with its files.
    seen: Mutex<Option<DeltaTableState>>,
    /// Whether one has been seen.
    present: AtomicBool,
}

impl Catalog {
    /// The tables below `root`; `tables` are names for queries and paths. A table need not exist yet.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: the object store cannot be reached with this build or these
    /// variables.
    pub fn new<'a>(
        root: &Place,
        access: &Access,
        tables: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        let (root, store): (Place, Arc<dyn ObjectStore>) = match root {
            Place::Folder(folder) => {
                let folder = std::path::absolute(folder)
                    .map_err(|_| Error::config("the folder of the tables has no path"))?;
                (Place::Folder(folder), Arc::new(LocalFileSystem::new()))
            }
            Place::Remote(remote) => (root.clone(), remote.open(access)?),
        };
        let table = |path: &str| Table {
            path: path.to_owned(),
            seen: Mutex::default(),
            present: AtomicBool::new(false),
        };
        let tables =
            tables.into_iter().map(|(name, path)| (name.to_owned(), table(path))).collect();
        Ok(Self { root, store, tables })
    }

    /// The names of tables that have been seen to exist.
    pub fn present(&self) -> impl Iterator<Item = &str> {
        let present = self.tables.iter().filter(|(_, table)| table.present.load(Ordering::Relaxed));
        present.map(|(name, _)| name.as_str())
    }

    /// A version of the table called `name`, the newest when `version` is `None`. `None`: there is no such table, or
    /// not yet.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: there is no such version;
    /// [`thalweg_core::ErrorKind::Transient`]: the table's log cannot be read.
    pub async fn open(
        &self,
        name: &str,
        version: Option<u64>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(table) = self.tables.get(name) else { return Ok(None) };
        let log = self.log(&table.path)?;
        let newest = self.newest(name, table, &log).await?;
        table.present.store(newest.is_some(), Ordering::Relaxed);
        let Some(newest) = newest else { return Ok(None) };
        let rows = DeltaScanNext::builder().with_log_store(Arc::clone(&log));
        let rows = match version {
            Some(version) if version > newest.version() => return Err(no_version(name, version)),
            Some(version) if version < newest.version() => {
                let older = Snapshot::try_new(log.as_ref(), Some(version)).await;
                rows.with_snapshot(older.map_err(|_| no_version(name, version))?)
            }
            _ => rows.with_eager_snapshot(newest.snapshot().clone()),
        };
        rows.await.map(Some).map_err(|_| unreadable(name))
    }

    /// The newest version, read anew only as far as it is new.
    async fn newest(
        &self,
        name: &str,
        table: &Table,
        log: &LogStoreRef,
    ) -> Result<Option<DeltaTableState>> {
        let mut seen = table.seen.lock().await;
        // A copy of references: a query that is called off here leaves behind what was known.
        if let Some(mut state) = seen.clone()
            && state.update(log.as_ref(), None).await.is_ok()
        {
            return Ok(Some(seen.insert(state).clone()));
        }
        // Not seen yet, or another table stands there now.
        *seen = None;
        if !log.is_delta_table_location().await.map_err(|_| unreadable(name))? {
            return Ok(None);
        }
        let state = DeltaTableState::try_new(log.as_ref(), None).await;
        Ok(Some(seen.insert(state.map_err(|_| unreadable(name))?).clone()))
    }

    fn log(&self, path: &str) -> Result<LogStoreRef> {
        let bad = || Error::config(format!("table path {path} is no path"));
        let (url, prefix) = match &self.root {
            Place::Folder(folder) => {
                let folder: &FsPath = &folder.join(path);
                let url = Url::from_directory_path(folder).map_err(|()| bad())?;
                (url, Path::from_absolute_path(folder).map_err(|_| bad())?)
            }
            Place::Remote(remote) => {
                let place = remote.join(path);
                // With a slash at the end it is a folder for whoever joins names to it.
                let mut url = place.url().clone();
                url.set_path(&format!("{}/", url.path()));
                (url, place.prefix())
            }
        };
        let prefixed = Arc::new(PrefixStore::new(Arc::clone(&self.store), prefix));
        Ok(default_logstore(prefixed, Arc::clone(&self.store), &url, &StorageConfig::default()))
    }
}

/// The libraries' texts can quote what they read.
fn unreadable(name: &str) -> Error {
    Error::transient(format!("table {name} cannot be read: its log or its place is unreachable"))
}

fn no_version(name: &str, version: u64) -> Error {
    Error::config(format!("there is no version {version} of table {name}"))
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("root", &self.root.to_string())
            .field("tables", &self.tables.len())
            .finish_non_exhaustive()
    }
}
