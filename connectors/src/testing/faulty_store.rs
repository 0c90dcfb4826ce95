//! An object store whose requests a test may meet: it counts them, and decides what becomes of writes.

use std::fmt;
use std::future::{Future, ready};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryFutureExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use thalweg_core::connector::sink::BoxFuture;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What becomes of a write.
#[derive(Debug)]
pub enum Verdict {
    /// It is done.
    Pass,
    /// It is not done, and this is the answer.
    Refuse(Error),
    /// It is done, and this is the answer. Of uploads in parts the beginning passes.
    Lose(Error),
    /// It is done after so long, whether whoever asked for it still waits or not. Uploads in parts begin at once.
    Late(Duration),
}

/// Who meets the requests.
pub trait Faults: Send + Sync + 'static {
    /// Something is about to be written to `location`.
    fn write<'a>(&'a self, location: &'a Path) -> BoxFuture<'a, Verdict>;

    /// An object is about to be read.
    fn read(&self) {}

    /// Waits before something is read, listed or deleted; an error is the answer then.
    fn ask(&self) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }

    /// Names are about to be listed.
    fn list(&self) {}
}

/// `inner`, whose requests `faults` meets.
pub fn faulty(inner: Arc<dyn ObjectStore>, faults: Arc<dyn Faults>) -> Arc<dyn ObjectStore> {
    Arc::new(FaultyStore { inner, faults })
}

struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Arc<dyn Faults>,
}

impl FaultyStore {
    /// What `list` gives, once the faults have let it.
    fn asked(
        &self,
        list: impl FnOnce() -> BoxStream<'static, Result<ObjectMeta>> + Send + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let faults = Arc::clone(&self.faults);
        let listed = async move { faults.ask().await.map(|()| list()) };
        listed.try_flatten_stream().boxed()
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

/// The methods are written as `async_trait` would expand them.
impl ObjectStore for FaultyStore {
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
            match self.faults.write(location).await {
                Verdict::Pass => self.inner.put_opts(location, payload, opts).await,
                Verdict::Refuse(error) => Err(error),
                Verdict::Lose(error) => {
                    self.inner.put_opts(location, payload, opts).await?;
                    Err(error)
                }
                Verdict::Late(delay) => {
                    let (inner, location) = (Arc::clone(&self.inner), location.clone());
                    let arrival = tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        inner.put_opts(&location, payload, opts).await
                    });
                    arrival.await.unwrap_or_else(|source| Err(Error::JoinError { source }))
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
            match self.faults.write(location).await {
                Verdict::Refuse(error) => Err(error),
                Verdict::Pass | Verdict::Lose(_) | Verdict::Late(_) => {
                    self.inner.put_multipart_opts(location, opts).await
                }
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
        self.faults.read();
        async move {
            self.faults.ask().await?;
            self.inner.get_opts(location, options).await
        }
        .boxed()
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
        async move {
            self.faults.ask().await?;
            self.inner.get_ranges(location, ranges).await
        }
        .boxed()
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (inner, faults) = (Arc::clone(&self.inner), Arc::clone(&self.faults));
        let remove = move |location: Result<Path>| {
            let (inner, faults) = (Arc::clone(&inner), Arc::clone(&faults));
            async move {
                let location = location?;
                faults.ask().await?;
                inner.delete(&location).await?;
                Ok(location)
            }
        };
        locations.then(remove).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.faults.list();
        let inner = Arc::clone(&self.inner);
        let prefix = prefix.cloned();
        self.asked(move || inner.list(prefix.as_ref()))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.faults.list();
        let inner = Arc::clone(&self.inner);
        let (prefix, offset) = (prefix.cloned(), offset.clone());
        self.asked(move || inner.list_with_offset(prefix.as_ref(), &offset))
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
        self.faults.list();
        async move {
            self.faults.ask().await?;
            self.inner.list_with_delimiter(prefix).await
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
        self.inner.copy_opts(from, to, options)
    }
}
