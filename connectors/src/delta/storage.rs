//! Where tables live: a root folder, and the stores through which it is touched.

use std::fmt;
use std::path::{Component, Path as FsPath, PathBuf};
use std::sync::Arc;

use deltalake::DeltaTableBuilder;
use deltalake::logstore::LogStoreRef;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use thalweg_core::{Error, Result};
use url::Url;

use super::failure;
use super::store::{self, DurableStore};

/// Wraps a store: how tests stall it, fill its disk or lose its answers.
type Decorator = dyn Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Send + Sync;

/// The root folder and its stores. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Storage {
    root: Arc<FsPath>,
    /// For the log: every write is durable when it returns.
    log: Arc<dyn ObjectStore>,
    /// For data files, which are synced together when an epoch is closed.
    data: Arc<dyn ObjectStore>,
}

impl Storage {
    pub(crate) fn new(root: &FsPath) -> Result<Self> {
        let root = std::path::absolute(root)
            .map_err(|e| Error::config("the folder of Delta tables has no path").with_source(e))?;
        Ok(Self {
            log: Arc::new(DurableStore::new(&root)),
            data: Arc::new(LocalFileSystem::new()),
            root: Arc::from(root),
        })
    }

    pub(crate) fn decorated(self, decorate: &Decorator) -> Self {
        Self { root: self.root, log: decorate(self.log), data: decorate(self.data) }
    }

    pub(crate) fn root(&self) -> &FsPath {
        &self.root
    }

    /// The folder of `table`.
    pub(crate) fn folder(&self, table: &str) -> Result<PathBuf> {
        check_path(table)?;
        Ok(self.root.join(table))
    }

    /// The log of `table`, whether it exists or not.
    pub(crate) fn log(&self, table: &str) -> Result<LogStoreRef> {
        let url = self.url(table)?;
        DeltaTableBuilder::from_url(url.clone())
            .and_then(|b| b.with_storage_backend(Arc::clone(&self.log), url).build_storage())
            .map_err(|e| failure::storage("open the log", table, &e))
    }

    /// A store for the data files of `table`, rooted at its folder.
    pub(crate) fn data(&self, table: &str) -> Result<Arc<dyn ObjectStore>> {
        let prefix = object_store::path::Path::from_absolute_path(self.folder(table)?)
            .map_err(|_| bad_path(table))?;
        Ok(Arc::new(PrefixStore::new(Arc::clone(&self.data), prefix)))
    }

    /// Makes data files of `table` (names relative to it) and the folders above them durable.
    pub(crate) async fn sync(&self, table: &str, names: Vec<String>) -> Result<()> {
        let folder = self.folder(table)?;
        let files = names.into_iter().map(|name| folder.join(name)).collect();
        store::sync_all(files, &self.root)
            .await
            .map_err(|e| failure::storage("sync a file", table, &e))
    }

    fn url(&self, table: &str) -> Result<Url> {
        Url::from_directory_path(self.folder(table)?).map_err(|()| bad_path(table))
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Storage").field(&self.root).finish()
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
