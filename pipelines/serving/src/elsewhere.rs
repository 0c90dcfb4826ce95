//! A store whose work is done elsewhere: by another runtime than that of whoever asks.
//!
//! Reading a log of Delta blocks a thread of its runtime until what it reads is there, and reading a file needs such a thread,
//! too, on the runtime where it is asked for. Whoever gives up leaves the blocked thread behind. When those that wait have
//! taken all threads, nothing is read any more, and all of them wait for ever: so reading and waiting have threads apart.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::runtime::Handle;
use tokio::task::JoinError;

/// Reads from a store by the threads of a runtime. What writes goes to the store as it is: nobody here does.
#[derive(Debug, Clone)]
pub(crate) struct Elsewhere {
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
}

impl Elsewhere {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, runtime: Handle) -> Self {
        Self { store, runtime }
    }

    fn listed(
        &self,
        listing: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let runtime = self.runtime.clone();
        let all = async move { done(&runtime, listing.try_collect::<Vec<_>>()).await };
        stream::once(all).map_ok(|all| stream::iter(all).map(Ok::<_, Error>)).try_flatten().boxed()
    }
}

/// What comes of `work`, by the threads of `runtime`.
async fn done<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let failed =
        |source: JoinError| Error::Generic { store: "Elsewhere", source: Box::new(source) };
    runtime.spawn(work).await.map_err(failed)?
}

/// What was found, without a file: that would be read by whoever asked.
async fn read(found: GetResult, is_head: bool) -> Result<GetResult> {
    if !matches!(found.payload, GetResultPayload::File(..)) {
        return Ok(found);
    }
    let (meta, range) = (found.meta.clone(), found.range.clone());
    let attributes = found.attributes.clone();
    let bytes = if is_head { Bytes::new() } else { found.bytes().await? };
    let payload = GetResultPayload::Stream(stream::once(ready(Ok(bytes))).boxed());
    Ok(GetResult { payload, meta, range, attributes })
}

#[async_trait]
impl ObjectStore for Elsewhere {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (store, location) = (Arc::clone(&self.store), location.clone());
        let get = async move {
            let is_head = options.head;
            read(store.get_opts(&location, options).await?, is_head).await
        };
        done(&self.runtime, get).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (store, location) = (Arc::clone(&self.store), location.clone());
        let ranges = ranges.to_vec();
        done(&self.runtime, async move { store.get_ranges(&location, &ranges).await }).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.store.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.store.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (store, prefix) = (Arc::clone(&self.store), prefix.cloned());
        let list = async move { store.list_with_delimiter(prefix.as_ref()).await };
        done(&self.runtime, list).await
    }

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.store)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use object_store::ObjectStoreExt;
    use object_store::local::LocalFileSystem;
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    /// What takes longer on the busiest machine does not happen any more.
    const PATIENCE: Duration = Duration::from_mins(1);

    fn runtime() -> Runtime {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).max_blocking_threads(1).enable_all().build().unwrap()
    }

    #[test]
    fn what_blocks_all_threads_until_it_has_read_reads() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("00.json"), "entry").unwrap();
        let files: Arc<dyn ObjectStore> =
            Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
        let (asking, reading) = (runtime(), runtime());
        let store = Elsewhere::new(files, reading.handle().clone());
        let (done, over) = channel();
        let handle = asking.handle().clone();
        // As the log of a table is read: by a thread that blocks, of which there is one.
        asking.spawn_blocking(move || {
            let (told, hear) = channel();
            handle.spawn(async move {
                let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
                let location = &listed.first().unwrap().location;
                let meta = store.head(location).await.unwrap();
                let bytes = store.get(location).await.unwrap().bytes().await.unwrap();
                let ranges = store.get_ranges(location, &[0..1, 1..3]).await.unwrap();
                told.send((meta.size, bytes, ranges)).unwrap();
            });
            done.send(hear.recv()).unwrap();
        });
        let read = over.recv_timeout(PATIENCE);
        asking.shutdown_background();
        reading.shutdown_background();
        let (size, bytes, ranges) = read.expect("nothing was read").unwrap();
        assert_eq!((size, bytes.as_ref()), (5, b"entry".as_slice()));
        assert_eq!(ranges, [b"e".as_slice(), b"nt"]);
    }
}
