//! The writer of one subtask for sinks that stage: it hands batches over, tasks on the I/O runtime encode them.
//!
//! Each epoch has its own task, queue and storage. Closing an epoch closes its queue, so the task drains it, makes
//! durable and describes what it stored, while the next epoch's task already takes batches. Three things are bounded:
//! the bytes that wait to be encoded over all epochs, the batches in a queue, and the epochs that are not finished.
//! Dropping the writer abandons the open epoch: what it stored is never described, so nobody will ever name it.

use std::pin::pin;
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;
use futures::FutureExt;
use thalweg_core::connector::sink::{BoxFuture, IoHandle, SinkWriter, Staged};
use thalweg_core::element::bytes_of;
use thalweg_core::{CheckpointId, Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Batches in the queue of one epoch.
const QUEUED_BATCHES: usize = 64;
/// Epochs that are open or being closed.
const UNFINISHED_EPOCHS: usize = 3;
/// Bytes that one permit stands for.
const PERMIT_BYTES: usize = 1_024;

/// How one sink stages the rows of an epoch.
pub(crate) trait Stager: Send + Sync + 'static {
    /// For messages: ``table `silver/events` ``.
    fn target(&self) -> &str;

    /// Brings a batch into the form that is staged; cheap.
    fn conform(&self, batch: RecordBatch) -> Result<RecordBatch>;

    /// Begins an epoch.
    fn begin(&self, checkpoint: CheckpointId) -> Box<dyn OpenEpoch + '_>;
}

/// What is staged of one epoch. Dropping it abandons it.
pub(crate) trait OpenEpoch: Send {
    /// Encodes a conformed batch.
    fn write<'a>(&'a mut self, batch: &'a RecordBatch) -> BoxFuture<'a, Result<()>>;

    /// Makes all of it durable and describes it.
    fn close<'a>(self: Box<Self>) -> BoxFuture<'a, Result<Staged>>
    where
        Self: 'a;
}

/// Writes the rows of one subtask.
pub(crate) struct EpochWriter {
    stager: Arc<dyn Stager>,
    /// The checkpoint of the open epoch.
    checkpoint: CheckpointId,
    io: IoHandle,
    room: Arc<Semaphore>,
    permits: usize,
    unfinished: Arc<Semaphore>,
    /// The first failure of any task: from then on every call fails.
    failed: Arc<OnceLock<(ErrorKind, String)>>,
    epoch: Option<Epoch>,
}

/// The caller's end of an open epoch. `end` is dropped before the queue is closed: that is how the task tells an
/// abandoned epoch from a closed one.
struct Epoch {
    end: oneshot::Sender<()>,
    batches: mpsc::Sender<(RecordBatch, OwnedSemaphorePermit)>,
    staged: oneshot::Receiver<Result<Staged>>,
}

impl EpochWriter {
    pub(crate) fn new(
        stager: impl Stager,
        first: CheckpointId,
        io: IoHandle,
        buffer_bytes: usize,
    ) -> Self {
        let permits = (buffer_bytes / PERMIT_BYTES).clamp(1, u32::MAX as usize / 2);
        Self {
            stager: Arc::new(stager),
            checkpoint: first,
            io,
            room: Arc::new(Semaphore::new(permits)),
            permits,
            unfinished: Arc::new(Semaphore::new(UNFINISHED_EPOCHS)),
            failed: Arc::default(),
            epoch: None,
        }
    }

    async fn hand_over(&mut self, batch: RecordBatch) -> Result<()> {
        self.check()?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = self.stager.conform(batch)?;
        let cost = (bytes_of(&batch) / PERMIT_BYTES).clamp(1, self.permits);
        let room = acquire(&self.room, cost as u32).await?;
        self.check()?;
        if self.epoch.is_none() {
            let slot = acquire(&self.unfinished, 1).await?;
            self.epoch = Some(self.open(slot));
        }
        if let Some(epoch) = &self.epoch
            && epoch.batches.send((batch, room)).await.is_err()
        {
            return Err(self.reason().await);
        }
        Ok(())
    }

    fn open(&self, slot: OwnedSemaphorePermit) -> Epoch {
        let (end, ended) = oneshot::channel();
        let (batches, queue) = mpsc::channel(QUEUED_BATCHES);
        let (tell, staged) = oneshot::channel();
        let (stager, failed) = (Arc::clone(&self.stager), Arc::clone(&self.failed));
        let checkpoint = self.checkpoint;
        self.io.spawn(async move {
            let result = run(stager.as_ref(), checkpoint, queue, ended).await;
            if let Err(error) = &result {
                // The first failure is kept; later ones are its consequences.
                failed.get_or_init(|| (error.kind(), error.to_string()));
            }
            // Nobody listens when the writer was dropped.
            drop(tell.send(result));
            drop(slot);
        });
        Epoch { end, batches, staged }
    }

    /// Why the task of the open epoch takes no more batches.
    async fn reason(&mut self) -> Error {
        match self.epoch.take() {
            Some(epoch) => match epoch.staged.await {
                Ok(Err(error)) => error,
                _ => self.check().err().unwrap_or_else(|| lost(self.stager.target())),
            },
            None => lost(self.stager.target()),
        }
    }

    fn check(&self) -> Result<()> {
        match self.failed.get() {
            Some((kind, message)) => Err(Error::new(*kind, message.clone())),
            None => Ok(()),
        }
    }
}

impl SinkWriter for EpochWriter {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<()>> {
        self.hand_over(batch).boxed()
    }

    fn close_epoch(&mut self, checkpoint: CheckpointId) -> BoxFuture<'static, Result<Staged>> {
        if checkpoint != self.checkpoint {
            let (due, target) = (self.checkpoint, self.stager.target());
            let error =
                Error::internal(format!("checkpoint {checkpoint} of {target} where {due} was due"));
            return std::future::ready(Err(error)).boxed();
        }
        self.checkpoint = checkpoint.next();
        let Some(Epoch { end, batches, staged }) = self.epoch.take() else {
            return std::future::ready(self.check().map(|()| Staged::default())).boxed();
        };
        if end.send(()).is_err() {
            tracing::debug!(target = %self.stager.target(), "epoch had failed before it was closed");
        }
        drop(batches);
        let target = self.stager.target().to_owned();
        async move { staged.await.unwrap_or_else(|_| Err(lost(&target))) }.boxed()
    }
}

/// The life of one epoch's task.
async fn run(
    stager: &dyn Stager,
    checkpoint: CheckpointId,
    queue: mpsc::Receiver<(RecordBatch, OwnedSemaphorePermit)>,
    ended: oneshot::Receiver<()>,
) -> Result<Staged> {
    let abandoned = async {
        if ended.await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    let stage = stage(stager.begin(checkpoint), queue);
    let (mut abandoned, mut stage) = (pin!(abandoned), pin!(stage));
    tokio::select! {
        biased;
        () = &mut abandoned => Ok(Staged::default()),
        staged = &mut stage => staged,
    }
}

async fn stage(
    mut epoch: Box<dyn OpenEpoch + '_>,
    mut queue: mpsc::Receiver<(RecordBatch, OwnedSemaphorePermit)>,
) -> Result<Staged> {
    while let Some((batch, room)) = queue.recv().await {
        epoch.write(&batch).await?;
        drop(room);
    }
    epoch.close().await
}

async fn acquire(semaphore: &Arc<Semaphore>, permits: u32) -> Result<OwnedSemaphorePermit> {
    let permit = Arc::clone(semaphore).acquire_many_owned(permits).await;
    permit.map_err(|_| Error::internal("a writer's limit was closed"))
}

fn lost(target: &str) -> Error {
    Error::internal(format!("the task that writes {target} ended early"))
}
