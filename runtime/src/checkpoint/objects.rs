//! Checkpoints on an object store: a PUT that is answered is durable, and a listing shows it.
//!
//! There is no lock, neither a file nor a table: two processes that run one job meet at a manifest, which only one of
//! them can create (P5, P6). The requests run on a small runtime of their own, so that the blocking calls of
//! [`CheckpointStorage`] may come from any thread.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use thalweg_core::{Error, Result, error};
use thalweg_objects::{Access, Remote, failed, probe};
use tokio::runtime::{Handle, Runtime, RuntimeFlavor};

use super::storage::{CheckpointStorage, Created};

/// A prefix of an object store.
pub struct ObjectStorage {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// For people.
    place: String,
    /// `None` only while it is being dropped.
    runtime: Option<Runtime>,
}

impl ObjectStorage {
    /// Opens a place and probes it for create-if-absent (P9).
    ///
    /// # Errors
    /// The place cannot be reached or lacks conditional put, or this build lacks its feature.
    pub fn open(place: &Remote, access: &Access) -> Result<Self> {
        Self::over(place.open(access)?, place.prefix(), place.to_string())
    }

    /// Opens a place for reading, without the probe: for `checkpoints list` beside a running job.
    ///
    /// # Errors
    /// This build lacks the place's feature, or a variable is wrong.
    pub fn open_read_only(place: &Remote, access: &Access) -> Result<Self> {
        Self::unprobed(place.open(access)?, place.prefix(), place.to_string())
    }

    /// As [`ObjectStorage::open`], over any store; `place` is for people.
    ///
    /// # Errors
    /// As [`ObjectStorage::open`].
    pub fn over(store: Arc<dyn ObjectStore>, prefix: Path, place: String) -> Result<Self> {
        let storage = Self::unprobed(store, prefix, place)?;
        let (store, prefix, place) =
            (Arc::clone(&storage.store), storage.prefix.clone(), storage.place.clone());
        storage.wait(async move { probe(store.as_ref(), &prefix, &place).await })??;
        Ok(storage)
    }

    fn unprobed(store: Arc<dyn ObjectStore>, prefix: Path, place: String) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("thalweg-objects")
            .enable_all()
            .build()
            .map_err(|e| error::io("start the thread of the object store", e))?;
        Ok(Self { store, prefix, place, runtime: Some(runtime) })
    }

    /// Runs `work` on the runtime of this store and blocks until it is done.
    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let lost = || Error::internal(format!("a request to {} ended early", self.place));
        let runtime = self.runtime.as_ref().ok_or_else(lost)?;
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        runtime.spawn(async move { drop(tell.send(work.await)) });
        let answer = || told.recv().map_err(|_| lost());
        // A worker of the caller's runtime hands its other tasks over before it blocks.
        match Handle::try_current().map(|caller| caller.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(answer),
            _ => answer(),
        }
    }

    fn at(&self, name: &str) -> Path {
        let parts = name.split('/').filter(|part| !part.is_empty());
        parts.fold(self.prefix.clone(), Path::join)
    }

    fn told(&self, what: &str, name: &str, error: &StoreError) -> Error {
        let name = if name.is_empty() { "objects" } else { name };
        failed(format!("{what} {name} in {}", self.place), error)
    }
}

impl CheckpointStorage for ObjectStorage {
    fn describe(&self) -> String {
        self.place.clone()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Created {
        let (store, path, payload) = (Arc::clone(&self.store), self.at(name), bytes.to_vec());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = async move { store.put_opts(&path, payload.into(), options).await };
        match self.wait(put) {
            Ok(Ok(_)) => Created::Yes,
            Ok(Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. })) => {
                Created::Exists
            }
            Ok(Err(error)) => Created::Unknown(self.told("write", name, &error)),
            Err(error) => Created::Unknown(error),
        }
    }

    /// What can be read is durable.
    fn sync(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let (store, path) = (Arc::clone(&self.store), self.at(name));
        let read = async move {
            match store.get(&path).await {
                Err(StoreError::NotFound { .. }) => Ok(None),
                found => found?.bytes().await.map(|bytes| Some(bytes.to_vec())),
            }
        };
        self.wait(read)?.map_err(|e| self.told("read", name, &e))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let (store, path) = (Arc::clone(&self.store), self.at(folder));
        let list = async move { store.list_with_delimiter(Some(&path)).await };
        let listed = self.wait(list)?.map_err(|e| self.told("list", folder, &e))?;
        let name = |object: object_store::ObjectMeta| object.location.filename().map(str::to_owned);
        Ok(listed.objects.into_iter().filter_map(name).collect())
    }

    fn delete(&self, name: &str) -> Result<()> {
        let (store, path) = (Arc::clone(&self.store), self.at(name));
        match self.wait(async move { store.delete(&path).await })? {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.told("delete", name, &error)),
        }
    }
}

impl Drop for ObjectStorage {
    fn drop(&mut self) {
        // A runtime that is dropped inside another one panics; nothing of ours is under way.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for ObjectStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectStorage").field(&self.place).finish()
    }
}
