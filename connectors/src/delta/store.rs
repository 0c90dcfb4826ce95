//! An object store on a local folder whose writes survive a power cut (P20).
//!
//! `object_store` writes, links and renames without syncing. This decorator creates conditionally by
//! [`thalweg_core::durable::create_new`] (write, sync, link, sync the folder) and syncs file and folders after every
//! other change. Reading, listing and deleting are passed on; temporary names are not listed.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, Result, UploadPart,
};
use thalweg_core::durable;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// How many files are synced at the same time.
const CONCURRENT_SYNCS: usize = 16;

/// A [`LocalFileSystem`] rooted at `/` whose writes below `root` are on the disk when they return.
#[derive(Debug, Clone)]
pub struct DurableStore {
    files: LocalFileSystem,
    root: Arc<FsPath>,
}

impl DurableStore {
    /// Guards everything below `root`, an absolute path. Folders above it are taken to be durable.
    pub fn new(root: impl AsRef<FsPath>) -> Self {
        Self { files: LocalFileSystem::new(), root: Arc::from(root.as_ref()) }
    }

    async fn sync(&self, location: &Path) -> Result<()> {
        let (path, root) = (self.files.path_to_filesystem(location)?, Arc::clone(&self.root));
        blocking(move || durable::sync_file(&path, &root)).await.map_err(|e| local(location, e))
    }

    async fn put(&self, location: &Path, bytes: Bytes, create: bool) -> Result<PutResult> {
        let path = self.files.path_to_filesystem(location)?;
        let write = if create { durable::create_new } else { durable::replace };
        blocking(move || write(&path, &bytes)).await.map_err(|e| local(location, e))?;
        let e_tag = self.files.head(location).await?.e_tag;
        Ok(PutResult { e_tag, version: None })
    }
}

/// Syncs `files`, then every folder above them up to `root`, each once.
pub(crate) async fn sync_all(files: Vec<PathBuf>, root: &FsPath) -> io::Result<()> {
    let mut folders = BTreeSet::new();
    for file in &files {
        let above = file.ancestors().skip(1).take_while(|folder| folder.starts_with(root));
        folders.extend(above.map(FsPath::to_path_buf));
    }
    for paths in [files, folders.into_iter().collect()] {
        futures::stream::iter(paths)
            .map(|path| blocking(move || durable::sync_folder(&path)))
            .buffer_unordered(CONCURRENT_SYNCS)
            .try_collect::<Vec<()>>()
            .await?;
    }
    Ok(())
}

/// Runs blocking work beside the runtime's own threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn local(location: &Path, error: io::Error) -> Error {
    let path = location.to_string();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: Box::new(error) },
        io::ErrorKind::NotFound => Error::NotFound { path, source: Box::new(error) },
        _ => Error::Generic { store: "DurableStore", source: Box::new(error) },
    }
}

fn is_listed(meta: &ObjectMeta) -> bool {
    meta.location.filename().is_none_or(|name| !name.starts_with(durable::TEMPORARY_PREFIX))
}

impl fmt::Display for DurableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableStore({})", self.root.display())
    }
}

/// The methods are written as `async_trait` would expand them.
impl ObjectStore for DurableStore {
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
        match opts.mode {
            PutMode::Create => self.put(location, payload.into(), true).boxed(),
            PutMode::Overwrite => self.put(location, payload.into(), false).boxed(),
            PutMode::Update(_) => self.files.put_opts(location, payload, opts),
        }
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
            let upload = self.files.put_multipart_opts(location, opts).await?;
            let (store, location) = (self.clone(), location.clone());
            Ok(Box::new(DurableUpload { upload, store, location }) as Box<dyn MultipartUpload>)
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
        self.files.get_opts(location, options)
    }

    fn get_ranges<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        location: &'life1 Path,
        ranges: &'life2 [Range<u64>],
    ) -> Boxed<'async_trait, Vec<Bytes>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        self.files.get_ranges(location, ranges)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix).try_filter(|m| std::future::ready(is_listed(m))).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.files.list_with_offset(prefix, offset);
        listed.try_filter(|m| std::future::ready(is_listed(m))).boxed()
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
        async move {
            let mut listed = self.files.list_with_delimiter(prefix).await?;
            listed.objects.retain(is_listed);
            Ok(listed)
        }
        .boxed()
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
        async move {
            self.sync(from).await?;
            self.files.copy_opts(from, to, options).await?;
            self.sync(to).await
        }
        .boxed()
    }

    fn rename_opts<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        from: &'life1 Path,
        to: &'life2 Path,
        options: RenameOptions,
    ) -> Boxed<'async_trait, ()>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        async move {
            self.sync(from).await?;
            self.files.rename_opts(from, to, options).await?;
            self.sync(to).await
        }
        .boxed()
    }
}

/// A multipart upload whose completed file is synced.
#[derive(Debug)]
struct DurableUpload {
    upload: Box<dyn MultipartUpload>,
    store: DurableStore,
    location: Path,
}

impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    fn complete<'life0, 'async_trait>(&'life0 mut self) -> Boxed<'async_trait, PutResult>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        async move {
            let result = self.upload.complete().await?;
            self.store.sync(&self.location).await?;
            Ok(result)
        }
        .boxed()
    }

    fn abort<'life0, 'async_trait>(&'life0 mut self) -> Boxed<'async_trait, ()>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        self.upload.abort()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(folder: &tempfile::TempDir, name: &str) -> Path {
        Path::from_absolute_path(folder.path().join(name)).unwrap()
    }

    fn create() -> PutOptions {
        PutOptions { mode: PutMode::Create, ..PutOptions::default() }
    }

    #[tokio::test]
    async fn the_second_creation_of_a_name_fails_and_leaves_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableStore::new(folder.path());
        let name = at(&folder, "log/1.json");
        let first = store.put_opts(&name, "one".into(), create()).await.unwrap();
        let second = store.put_opts(&name, "two".into(), create()).await.unwrap_err();
        assert!(matches!(second, Error::AlreadyExists { .. }));
        let stands = store.get_opts(&name, GetOptions::default()).await.unwrap();
        assert_eq!(stands.meta.e_tag, first.e_tag);
        assert_eq!(stands.bytes().await.unwrap(), "one");
    }

    #[tokio::test]
    async fn temporary_names_are_not_listed_and_renames_and_uploads_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let store = DurableStore::new(folder.path());
        std::fs::write(folder.path().join(".tmp-1-1"), b"half").unwrap();
        let mut upload = store
            .put_multipart_opts(&at(&folder, "a"), PutMultipartOptions::default())
            .await
            .unwrap();
        upload.put_part("part".into()).await.unwrap();
        upload.complete().await.unwrap();
        store.rename(&at(&folder, "a"), &at(&folder, "b/c")).await.unwrap();
        let prefix = Path::from_absolute_path(folder.path()).unwrap();
        let listed: Vec<_> = store.list(Some(&prefix)).try_collect().await.unwrap();
        assert_eq!(listed.len(), 1);
        assert!(listed[0].location.as_ref().ends_with("b/c"));
        assert!(store.list_with_delimiter(Some(&prefix)).await.unwrap().objects.is_empty());
    }
}
