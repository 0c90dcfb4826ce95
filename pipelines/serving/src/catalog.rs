//! Which Delta tables there are, and their newest version at the moment somebody asks.
//!
//! A table that is asked for is looked at then: its log is listed from the version that is known, which costs a listing
//! of a few names. What has been committed before a query is in the query's answer. Which files a version has is kept, so
//! that a commit is read once and not by every query behind it, for as long as the log entry of that version is the same:
//! a table that was made anew has the same numbers again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::catalog::TableProvider;
use deltalake::delta_datafusion::DeltaScanNext;
use deltalake::kernel::Snapshot;
use deltalake::logstore::{LogStoreRef, StorageConfig, commit_uri_from_version, default_logstore};
use deltalake::table::state::DeltaTableState;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt};
use thalweg_core::{Error, Result};
use thalweg_objects::{Access, Place};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use url::Url;

use crate::elsewhere::Elsewhere;

/// The tables below a folder or a prefix of an object store, by the names that queries use.
pub struct Catalog {
    root: Place,
    store: Arc<dyn ObjectStore>,
    tables: BTreeMap<String, Table>,
}

struct Table {
    /// Below the root.
    path: String,
    seen: Mutex<Option<Seen>>,
    /// Whether one has been seen.
    present: AtomicBool,
}

/// The newest version of a table that has been seen, with its files.
#[derive(Clone)]
struct Seen {
    state: DeltaTableState,
    /// Which object its log entry is; `None`: it had been cleaned.
    entry: Option<String>,
}

impl Catalog {
    /// The tables below `root`; `tables` are names for queries and paths. A table need not exist yet. They are read by the
    /// threads of `storage`, a runtime that does nothing else.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: the object store cannot be reached with this build or these
    /// variables.
    pub fn new<'a>(
        root: &Place,
        access: &Access,
        tables: impl IntoIterator<Item = (&'a str, &'a str)>,
        storage: Handle,
    ) -> Result<Self> {
        let (root, store): (Place, Arc<dyn ObjectStore>) = match root {
            Place::Folder(folder) => {
                let folder = std::path::absolute(folder)
                    .map_err(|_| Error::config("the folder of the tables has no path"))?;
                (Place::Folder(folder), Arc::new(LocalFileSystem::new()))
            }
            Place::Remote(remote) => (root.clone(), remote.open(access)?),
        };
        let store = Arc::new(Elsewhere::new(store, storage));
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
        if let Some(known) = seen.clone()
            && let Some(now) = next(name, log, known).await?
        {
            return Ok(Some(seen.insert(now).state.clone()));
        }
        // Not seen yet, or another table stands there now, or none.
        *seen = None;
        if !log.is_delta_table_location().await.map_err(|_| unreadable(name))? {
            return Ok(None);
        }
        let state = DeltaTableState::try_new(log.as_ref(), None).await;
        let state = state.map_err(|_| unreadable(name))?;
        let entry = entry(name, log, state.version()).await?;
        Ok(Some(seen.insert(Seen { state, entry }).state.clone()))
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

/// What `known` has become; `None`: it cannot be gone on from there.
async fn next(name: &str, log: &LogStoreRef, known: Seen) -> Result<Option<Seen>> {
    let Seen { mut state, entry: before } = known;
    let version = state.version();
    if before.is_none() || state.update(log.as_ref(), None).await.is_err() {
        return Ok(None);
    }
    let newest = entry(name, log, state.version()).await?;
    // Looked for last: what was found before it is of its table.
    let is_same = entry(name, log, version).await? == before;
    Ok(is_same.then_some(Seen { state, entry: newest }))
}

/// Which object the log entry of a version is; `None`: it is not there.
async fn entry(name: &str, log: &LogStoreRef, version: u64) -> Result<Option<String>> {
    match log.object_store(None).head(&commit_uri_from_version(Some(version))).await {
        Ok(found) => Ok(found.e_tag.or_else(|| Some(found.size.to_string()))),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(_) => Err(unreadable(name)),
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

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::runtime::Builder;

    use super::*;

    /// A log of one entry: a table without rows.
    fn make(folder: &FsPath, column: &str) {
        let log = folder.join("t/_delta_log");
        fs::create_dir_all(&log).unwrap();
        let entry = format!(
            r#"{{"protocol":{{"minReaderVersion":1,"minWriterVersion":2}}}}
{{"metaData":{{"id":"{column}","format":{{"provider":"parquet","options":{{}}}},"schemaString":"{{\"type\":\"struct\",\"fields\":[{{\"name\":\"{column}\",\"type\":\"long\",\"nullable\":true,\"metadata\":{{}}}}]}}","partitionColumns":[],"configuration":{{}},"createdTime":0}}}}
"#
        );
        fs::write(log.join(format!("{:020}.json", 0)), entry).unwrap();
    }

    #[test]
    fn a_table_that_is_made_anew_is_another_one_and_one_that_is_deleted_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let runtime =
            || Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (queries, storage) = (runtime(), runtime());
        let place = Place::Folder(folder.path().to_owned());
        let access = Access::from_environment();
        let catalog =
            Catalog::new(&place, &access, [("t", "t")], storage.handle().clone()).unwrap();
        let column = || {
            let table = queries.block_on(catalog.open("t", None)).unwrap();
            table.map(|table| table.schema().field(0).name().clone())
        };
        assert_eq!(column(), None);
        make(folder.path(), "first");
        assert_eq!(column().as_deref(), Some("first"));
        assert_eq!(column().as_deref(), Some("first"));
        // Its only version has the number of the other one's, and another length.
        fs::remove_dir_all(folder.path().join("t")).unwrap();
        make(folder.path(), "another");
        assert_eq!(column().as_deref(), Some("another"));
        fs::remove_dir_all(folder.path().join("t")).unwrap();
        assert_eq!(column(), None);
    }
}
