//! A disk that is full now and then: stores of tables and checkpoints that answer ENOSPC.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result as StoreResult,
};
use thalweg_core::{Result, error};
use thalweg_runtime::{CheckpointStorage, Created};

use crate::told::note;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = StoreResult<T>> + Send + 'a>>;

/// Told for each write that finds no room.
pub(crate) const FULL: &str = "the disk is full";
/// ENOSPC on Linux.
const NO_SPACE: i32 = 28;

/// Counts writes, and says which of them find no room.
#[derive(Debug)]
pub(crate) struct Disk {
    writes: AtomicU64,
    /// The first write that fails; after it as many succeed before the next few fail.
    every: u64,
}

/// Writes in a row that find no room.
const FULL_FOR: u64 = 3;

impl Disk {
    pub(crate) fn full_every(writes: u64) -> Arc<Self> {
        Arc::new(Self { writes: AtomicU64::new(0), every: writes.max(FULL_FOR + 1) })
    }

    fn write(&self) -> std::io::Result<()> {
        let n = self.writes.fetch_add(1, Ordering::Relaxed);
        if n >= self.every && n % self.every < FULL_FOR {
            note(FULL);
            return Err(std::io::Error::from_raw_os_error(NO_SPACE));
        }
        Ok(())
    }
}

/// Checkpoints on such a disk.
#[derive(Debug)]
pub(crate) struct FullCheckpoints {
    pub(crate) inner: Arc<dyn CheckpointStorage>,
    pub(crate) disk: Arc<Disk>,
}

impl CheckpointStorage for FullCheckpoints {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Created {
        match self.disk.write() {
            Ok(()) => self.inner.create(name, bytes),
            Err(full) => Created::Failed(error::io(format!("write {name}"), full)),
        }
    }

    fn sync(&self, name: &str) -> Result<()> {
        self.inner.sync(name)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.inner.read(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.inner.list(folder)
    }

    fn delete(&self, name: &str) -> Result<()> {
        self.inner.delete(name)
    }
}

/// Tables on such a disk.
#[derive(Debug)]
pub(crate) struct FullStore {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) disk: Arc<Disk>,
}

impl FullStore {
    fn write(&self) -> StoreResult<()> {
        let full = |e| StoreError::Generic { store: "FullStore", source: Box::new(e) };
        self.disk.write().map_err(full)
    }
}

impl fmt::Display for FullStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FullStore({})", self.inner)
    }
}

/// The methods are written as `async_trait` would expand them.
impl ObjectStore for FullStore {
    fn put_opts<'life0, 'life1, 'async_trait>(
        &'life0 self,
        location: &'life1 Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Boxed<'async_trait, PutResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        async move {
            self.write()?;
            self.inner.put_opts(location, payload, opts).await
        }
        .boxed()
    }

    fn put_multipart_opts<'life0, 'life1, 'async_trait>(
        &'life0 self,
        location: &'life1 Path,
        opts: PutMultipartOptions,
    ) -> Boxed<'async_trait, Box<dyn MultipartUpload>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        async move {
            self.write()?;
            self.inner.put_multipart_opts(location, opts).await
        }
        .boxed()
    }

    fn get_opts<'life0, 'life1, 'async_trait>(
        &'life0 self,
        location: &'life1 Path,
        options: GetOptions,
    ) -> Boxed<'async_trait, GetResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        self.inner.get_opts(location, options)
    }

    fn get_ranges<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        location: &'life1 Path,
        ranges: &'life2 [Range<u64>],
    ) -> Boxed<'async_trait, Vec<bytes::Bytes>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        self.inner.get_ranges(location, ranges)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_delimiter<'life0, 'life1, 'async_trait>(
        &'life0 self,
        prefix: Option<&'life1 Path>,
    ) -> Boxed<'async_trait, ListResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        self.inner.list_with_delimiter(prefix)
    }

    fn copy_opts<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        from: &'life1 Path,
        to: &'life2 Path,
        options: CopyOptions,
    ) -> Boxed<'async_trait, ()>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        self.inner.copy_opts(from, to, options)
    }
}
