//! A store that misbehaves on request, and counts what is asked of it.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use thalweg_connectors::delta::DeltaCommitter;
use thalweg_core::connector::sink::BoxFuture;
use tokio::sync::Semaphore;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;
type Hook = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// What happens to one write.
pub enum Fault {
    /// It is done, its answer is lost.
    LoseAnswer,
    /// It is not done, and no reason is given.
    Refuse,
    /// It is not done: the disk is full.
    DiskFull,
    /// This is done before it.
    Before(Hook),
    /// It waits until it is released.
    Stall,
}

/// The faults to come, and what was asked of the stores so far. Shared by the stores of log and data.
pub struct Plan {
    log: Mutex<VecDeque<Fault>>,
    data: Mutex<VecDeque<Fault>>,
    stalled: Semaphore,
    released: Semaphore,
    pub lists: AtomicUsize,
    pub calls: AtomicUsize,
}

impl Plan {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            log: Mutex::default(),
            data: Mutex::default(),
            stalled: Semaphore::new(0),
            released: Semaphore::new(0),
            lists: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
        })
    }

    /// For [`DeltaCommitter`]: `Lake::with(plan.apply(), …)`.
    pub fn apply(self: &Arc<Self>) -> impl FnOnce(DeltaCommitter) -> DeltaCommitter + use<> {
        let plan = Arc::clone(self);
        move |committer| committer.decorate_stores(move |inner| plan.around(inner))
    }

    /// A store that follows the plan.
    pub fn around(self: &Arc<Self>, inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(Faulty { inner, plan: Arc::clone(self) })
    }

    pub fn on_log(&self, fault: Fault) {
        self.log.lock().unwrap().push_back(fault);
    }

    pub fn on_data(&self, fault: Fault) {
        self.data.lock().unwrap().push_back(fault);
    }

    /// Waits until a write is stalled.
    pub async fn stalled(&self) {
        self.stalled.acquire().await.unwrap().forget();
    }

    pub fn release(&self) {
        self.released.add_permits(1);
    }

    fn next(&self, location: &Path) -> Option<Fault> {
        let log = location.as_ref().contains("_delta_log/0");
        let data =
            location.as_ref().ends_with(".parquet") && !location.as_ref().contains("_delta_log");
        let queue = if log && location.as_ref().ends_with(".json") {
            &self.log
        } else if data {
            &self.data
        } else {
            return None;
        };
        queue.lock().unwrap().pop_front()
    }

    /// Whether the write goes ahead; `Some` is what its answer becomes.
    async fn meet(&self, location: &Path) -> Met {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.next(location) {
            None => Met::Pass,
            Some(Fault::LoseAnswer) => Met::Lose,
            Some(Fault::Refuse) => Met::Refuse(unclear()),
            Some(Fault::DiskFull) => {
                let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
                Met::Refuse(Error::Generic { store: "test", source: Box::new(full) })
            }
            Some(Fault::Before(hook)) => {
                hook().await;
                Met::Pass
            }
            Some(Fault::Stall) => {
                self.stalled.add_permits(1);
                self.released.acquire().await.unwrap().forget();
                Met::Pass
            }
        }
    }
}

enum Met {
    Pass,
    Lose,
    Refuse(Error),
}

fn unclear() -> Error {
    Error::Generic { store: "test", source: "no answer; secret value".into() }
}

#[derive(Clone)]
struct Faulty {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Plan>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl ObjectStore for Faulty {
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
            match self.plan.meet(location).await {
                Met::Pass => self.inner.put_opts(location, payload, opts).await,
                Met::Refuse(error) => Err(error),
                Met::Lose => {
                    self.inner.put_opts(location, payload, opts).await?;
                    Err(unclear())
                }
            }
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
            match self.plan.meet(location).await {
                Met::Refuse(error) => Err(error),
                _ => self.inner.put_multipart_opts(location, opts).await,
            }
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
        self.plan.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.get_opts(location, options)
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
        self.inner.get_ranges(location, ranges)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.plan.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.plan.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list_with_offset(prefix, offset)
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
        self.plan.lists.fetch_add(1, Ordering::Relaxed);
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
