//! Where tables live: a folder or a prefix of an object store, and the stores through which they are touched.
//!
//! On a folder everything that a name promises is synced (P20). On an object store a PUT that was answered is durable,
//! so there is nothing to sync; what an unanswered one did is unclear, and its sender reads.

use std::fmt;
use std::path::{Component, Path as FsPath, PathBuf};
use std::sync::Arc;

use deltalake::DeltaTable;
use deltalake::logstore::{LogStoreRef, StorageConfig, commit_uri_from_version, default_logstore};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use thalweg_core::{Error, ErrorKind, Result, durable};
use thalweg_objects::{Access, Place, Remote};
use tokio::sync::OnceCell;
use url::Url;

use super::failure;
use super::store::{self, DurableStore};
use super::table::{self, Table};

/// Wraps a store: how tests stall it, fill its disk or lose its answers.
type Decorator = dyn Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Send + Sync;

/// The root and its stores. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Storage {
    root: Root,
    /// For the log: every write is durable when it returns.
    log: Arc<dyn ObjectStore>,
    /// For data files, which are synced together when an epoch is closed.
    data: Arc<dyn ObjectStore>,
    /// Whether conditional put has been tried.
    probed: Arc<OnceCell<()>>,
}

#[derive(Clone)]
enum Root {
    Folder(Arc<FsPath>),
    Remote(Remote),
}

impl Storage {
    pub(crate) fn folder(root: &FsPath) -> Result<Self> {
        let root = std::path::absolute(root)
            .map_err(|e| Error::config("the folder of Delta tables has no path").with_source(e))?;
        Ok(Self {
            log: Arc::new(DurableStore::new(&root)),
            data: Arc::new(LocalFileSystem::new()),
            root: Root::Folder(Arc::from(root)),
            probed: Arc::default(),
        })
    }

    pub(crate) fn at(place: &Place, access: &Access) -> Result<Self> {
        let remote = match place {
            Place::Folder(folder) => return Self::folder(folder),
            Place::Remote(remote) => remote,
        };
        let store = remote.open(access)?;
        Ok(Self {
            log: Arc::clone(&store),
            data: store,
            root: Root::Remote(remote.clone()),
            probed: Arc::default(),
        })
    }

    /// `store` in the place of the one that `remote` names.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn on(remote: Remote, store: Arc<dyn ObjectStore>) -> Self {
        let log = Arc::clone(&store);
        Self { log, data: store, root: Root::Remote(remote), probed: Arc::default() }
    }

    pub(crate) fn decorated(self, decorate: &Decorator) -> Self {
        Self { log: decorate(self.log), data: decorate(self.data), ..self }
    }

    /// An answer that never came says nothing here; on a folder a failed write is a failed write.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self.root, Root::Remote(_))
    }

    /// Tries conditional put once, before the first table is opened (P9). A folder needs hard links, which whoever
    /// keeps the checkpoints beside the tables has tried.
    pub(crate) async fn probe(&self) -> Result<()> {
        let Root::Remote(remote) = &self.root else { return Ok(()) };
        let probe = async || {
            thalweg_objects::probe(self.log.as_ref(), &remote.prefix(), &remote.to_string()).await
        };
        self.probed.get_or_try_init(probe).await.copied()
    }

    /// The log of `table`, whether it exists or not.
    pub(crate) fn log(&self, table: &str) -> Result<LogStoreRef> {
        let (url, prefix) = (self.url(table)?, self.prefix(table)?);
        let prefixed = Arc::new(PrefixStore::new(Arc::clone(&self.log), prefix));
        Ok(default_logstore(prefixed, Arc::clone(&self.log), &url, &StorageConfig::default()))
    }

    /// The newest version of `table`, or the one that is given, with all its files; `None` when there is no such table.
    /// For tools: it reads the whole log.
    pub(crate) async fn load(
        &self,
        table: &str,
        version: Option<u64>,
    ) -> Result<Option<DeltaTable>> {
        let log = self.log(table)?;
        let exists = log.is_delta_table_location().await;
        if !exists.map_err(|e| failure::storage("look for the log", table, &e))? {
            return Ok(None);
        }
        let mut loaded = DeltaTable::new(log);
        let done = match version {
            None => loaded.load().await,
            Some(version) => loaded.load_version(version).await,
        };
        match done {
            Ok(()) => Ok(Some(loaded)),
            Err(e) => {
                let error = failure::log("read the log", table, &e);
                match version {
                    Some(version) if error.kind() == ErrorKind::Corrupt => {
                        Err(self.gone(table, version).await.unwrap_or(error))
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Says so where it is the version that is not there, and not the log that is damaged.
    async fn gone(&self, table: &str, version: u64) -> Option<Error> {
        let newest = Table::load(self, table).await.ok()??;
        if version > newest.version {
            return Some(Error::config(format!(
                "there is no version {version} of table `{table}`: its newest is {}",
                newest.version
            )));
        }
        let entry = table::tag(newest.log(), table, version).await.ok()?;
        entry.is_none().then(|| {
            Error::config(format!(
                "version {version} of table `{table}` cannot be read any more: its log entry was removed, as those are that \
                 are older than delta.logRetentionDuration; read a later version"
            ))
        })
    }

    /// A store for the data files of `table`, rooted at its folder.
    pub(crate) fn data(&self, table: &str) -> Result<Arc<dyn ObjectStore>> {
        Ok(Arc::new(PrefixStore::new(Arc::clone(&self.data), self.prefix(table)?)))
    }

    /// Makes room for `table`, durably.
    pub(crate) async fn prepare(&self, table: &str) -> Result<()> {
        let Some(folder) = self.path(table)? else { return Ok(()) };
        store::blocking(move || durable::create_folders(&folder))
            .await
            .map_err(|e| failure::storage("create the folder", table, &e))
    }

    /// Makes data files of `table` (names relative to it) and the folders above them durable.
    pub(crate) async fn sync(&self, table: &str, names: Vec<String>) -> Result<()> {
        let (Root::Folder(root), Some(folder)) = (&self.root, self.path(table)?) else {
            return Ok(());
        };
        let files = names.into_iter().map(|name| folder.join(name)).collect();
        store::sync_all(files, root).await.map_err(|e| failure::storage("sync a file", table, &e))
    }

    /// Makes the log of `table` up to an entry that we found durable: whoever wrote it may have been cut off before it
    /// was (P20).
    pub(crate) async fn settle(&self, table: &str, version: u64) -> Result<()> {
        let (Root::Folder(root), Some(folder)) = (&self.root, self.path(table)?) else {
            return Ok(());
        };
        let (root, file) =
            (Arc::clone(root), folder.join(commit_uri_from_version(Some(version)).as_ref()));
        let sync = move || {
            if file.exists() {
                return durable::sync_file(&file, &root);
            }
            file.parent().map_or(Ok(()), durable::sync_folder)
        };
        store::blocking(sync).await.map_err(|e| failure::storage("sync the log", table, &e))
    }

    /// The folder of `table`, when it is one.
    pub(crate) fn path(&self, table: &str) -> Result<Option<PathBuf>> {
        check_path(table)?;
        match &self.root {
            Root::Folder(root) => Ok(Some(root.join(table))),
            Root::Remote(_) => Ok(None),
        }
    }

    /// Where `table` is, as people and other engines name it: an absolute path, or a URL without credentials.
    pub(crate) fn place(&self, table: &str) -> String {
        match &self.root {
            Root::Folder(root) => root.join(table).display().to_string(),
            Root::Remote(remote) => remote.join(table).to_string(),
        }
    }

    /// Where `table` is in the stores.
    fn prefix(&self, table: &str) -> Result<Path> {
        check_path(table)?;
        match &self.root {
            Root::Folder(root) => {
                Path::from_absolute_path(root.join(table)).map_err(|_| bad_path(table))
            }
            Root::Remote(remote) => Ok(remote.join(table).prefix()),
        }
    }

    fn url(&self, table: &str) -> Result<Url> {
        match &self.root {
            Root::Folder(root) => {
                Url::from_directory_path(root.join(table)).map_err(|()| bad_path(table))
            }
            Root::Remote(remote) => {
                // With a slash at the end it is a folder for whoever joins names to it.
                let mut url = remote.join(table).url().clone();
                url.set_path(&format!("{}/", url.path()));
                Ok(url)
            }
        }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Storage").field(&self.to_string()).finish()
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Root::Folder(root) => root.display().fmt(f),
            Root::Remote(remote) => remote.fmt(f),
        }
    }
}

/// A table's path is relative and stays below the root.
pub(crate) fn check_path(table: &str) -> Result<()> {
    let plain = |c: Component<'_>| match c {
        Component::Normal(name) => name.to_str().is_some_and(is_plain),
        _ => false,
    };
    let path = FsPath::new(table);
    if table.is_empty() || !path.components().all(plain) { Err(bad_path(table)) } else { Ok(()) }
}

/// Characters that stand for themselves in paths, URLs and object stores; readers skip names with `_` or `.` first.
fn is_plain(name: &str) -> bool {
    !name.starts_with(['_', '.'])
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn bad_path(table: &str) -> Error {
    Error::graph(format!(
        "the path of table `{table}` must be relative, of names that start with a letter or digit and hold only \
         a-z A-Z 0-9 . _ -"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_the_root_or_needs_encoding_is_refused() {
        for good in ["events", "silver/events", "a-b/c_d/e.f"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["", "/abs", "../up", "a/../b", "_delta_log", "a/.hidden", "a b", "ä", "a%20b"]
        {
            assert!(check_path(bad).is_err(), "{bad}");
        }
    }
}
