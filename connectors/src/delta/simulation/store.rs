//! The object store as one process sees it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result,
};

use super::step::{Refusal, aged};
use super::world::{Fault, World};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

const LOG: &str = "tables/events/_delta_log";

pub(super) fn log() -> Path {
    Path::from(LOG)
}

pub(super) fn hint() -> Path {
    Path::from(format!("{LOG}/_last_checkpoint"))
}

pub(super) fn entry(version: u64) -> Path {
    Path::from(format!("{LOG}/{version:020}.json"))
}

/// The version of a file of the log whose name ends on `suffix`.
fn version_of(location: &Path, suffix: &str) -> Option<u64> {
    let name = location.as_ref().strip_prefix(LOG)?.strip_prefix('/')?.strip_suffix(suffix)?;
    if name.len() == 20 { name.parse().ok() } else { None }
}

pub(super) fn no_answer() -> Error {
    Error::Generic { store: "simulated", source: "no answer".into() }
}

#[derive(Debug, Clone)]
pub(super) struct SimStore {
    pub(super) world: Arc<World>,
    pub(super) process: u64,
}

impl SimStore {
    /// Arrives at the store after a while, whether its sender still waits for it or not.
    async fn send(
        self,
        location: Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let version = version_of(&location, ".json");
        if let Some(version) = version {
            self.world.audit_put(self.process, version);
        }
        let fault = self.world.touch(self.process, 1);
        let (delay, back) =
            (self.world.delay(if version.is_some() { 10 } else { 100 }), self.world.delay(100));
        let arrival = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            self.arrive(location, payload, opts, fault).await
        });
        let answer = arrival.await.map_err(|_| no_answer())?;
        tokio::time::sleep(back).await;
        answer
    }

    async fn arrive(
        self,
        location: Path,
        payload: PutPayload,
        opts: PutOptions,
        fault: Fault,
    ) -> Result<PutResult> {
        let version = version_of(&location, ".json");
        let is_late = self.world.inner().dead.contains(&self.process);
        self.world.count(|c| c.late += u64::from(is_late));
        if fault == Fault::Conflict && version.is_some() {
            self.world.count(|c| c.conflicts += 1);
            let (path, source) = (location.to_string(), "a conflict".into());
            return Err(Error::Precondition { path, source });
        }
        if fault == Fault::Before {
            return Err(no_answer());
        }
        let answer = self.store(&location, payload, opts).await;
        if fault == Fault::After {
            let lost = version.is_some() && answer.is_ok();
            self.world.count(|c| c.lost_answers += u64::from(lost));
            return Err(no_answer());
        }
        answer
    }

    /// The effect.
    pub(super) async fn store(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let bytes = Bytes::from(payload.clone());
        let answer = self.world.objects.put_opts(location, payload, opts).await?;
        if let Some(version) = version_of(location, ".json") {
            self.world.created(self.process, version, bytes);
        }
        let checkpoint = version_of(location, ".checkpoint.parquet");
        let mut inner = self.world.inner();
        inner.checkpoint = inner.checkpoint.max(checkpoint);
        drop(inner);
        Ok(answer)
    }

    /// Creates an entry, at once.
    pub(super) async fn create(&self, version: u64, bytes: Bytes) -> Result<PutResult> {
        let opts = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        self.store(&entry(version), bytes.into(), opts).await
    }

    async fn ask(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.world.touch(self.process, 2);
        self.world.dawdle().await;
        if matches!(fault, Fault::Before | Fault::After) {
            return Err(no_answer());
        }
        let head = options.head;
        let found = self.world.objects.get_opts(location, options).await;
        if let Some(version) = version_of(location, ".json").filter(|_| head) {
            let looked = Some((version, found.is_ok()));
            self.world.inner().seen.entry(self.process).or_default().looked = looked;
        }
        found
    }

    async fn list_slowly(self, prefix: Path) -> Vec<Result<ObjectMeta>> {
        let fault = self.world.touch(self.process, 3);
        self.world.dawdle().await;
        if matches!(fault, Fault::Before | Fault::After) {
            return vec![Err(no_answer())];
        }
        self.world.names(&prefix).into_iter().map(Ok).collect()
    }

    async fn remove(self, location: Path) -> Result<Path> {
        let fault = self.world.touch(self.process, 4);
        self.world.dawdle().await;
        if fault == Fault::Before {
            return Err(no_answer());
        }
        self.world.objects.delete(&location).await?;
        let removed = version_of(&location, ".json").is_some();
        self.world.count(|c| c.removed += u64::from(removed));
        if fault == Fault::After { Err(no_answer()) } else { Ok(location) }
    }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

/// The methods are written as `async_trait` would expand them.
impl ObjectStore for SimStore {
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
            if self.world.is_here() {
                return self.clone().send(location.clone(), payload, opts).await;
            }
            let hints = matches!(&self.world.inner().step, Some(s) if s.refusal == Refusal::Hints);
            if hints && *location == hint() {
                return Err(no_answer());
            }
            self.store(location, payload, opts).await
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
        self.world.objects.put_multipart_opts(location, opts)
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
        async move {
            let mut found = if self.world.is_here() {
                self.ask(location, options).await?
            } else {
                self.read(location, options).await?
            };
            found.meta = aged(found.meta);
            Ok(found)
        }
        .boxed()
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let remove = move |location: Result<Path>| {
            let store = store.clone();
            async move { store.remove(location?).await }
        };
        locations.then(remove).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned().unwrap_or_default();
        if !self.world.is_here() {
            return stream::iter(self.names(&prefix)).boxed();
        }
        stream::once(self.clone().list_slowly(prefix)).flat_map(stream::iter).boxed()
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
        self.world.objects.list_with_delimiter(prefix)
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
        self.world.objects.copy_opts(from, to, options)
    }
}
