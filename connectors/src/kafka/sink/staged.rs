//! Messages that wait in the checkpoint for their transaction.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use futures::FutureExt;
use thalweg_core::connector::sink::{BoxFuture, Staged};
use thalweg_core::connector::staging::{DecidedCheckpoint, StagedBytes, StagingArea};
use thalweg_core::{CheckpointId, Error, Result};

use super::messages::{MessageFormat, schema};
use crate::background;
use crate::epoch_writer::{OpenEpoch, Stager};

/// Bytes of messages in one part: what is held in memory at a time, here and at the commit.
const PART_BYTES: usize = 4 << 20;

/// Stages the messages of one subtask.
pub(super) struct StagedMessages {
    format: MessageFormat,
    area: Arc<dyn StagingArea>,
    shown: String,
}

impl StagedMessages {
    pub(super) fn new(format: MessageFormat, area: Arc<dyn StagingArea>) -> Self {
        let shown = format!("topic `{}`", format.topic());
        Self { format, area, shown }
    }
}

impl Stager for StagedMessages {
    fn target(&self) -> &str {
        &self.shown
    }

    fn conform(&self, batch: RecordBatch) -> Result<RecordBatch> {
        Ok(batch)
    }

    fn begin(&self, checkpoint: CheckpointId) -> Box<dyn OpenEpoch + '_> {
        Box::new(Parts {
            stager: self,
            checkpoint,
            waiting: Vec::new(),
            bytes: 0,
            staged: Staged::default(),
        })
    }
}

/// The parts of one epoch.
struct Parts<'a> {
    stager: &'a StagedMessages,
    checkpoint: CheckpointId,
    waiting: Vec<RecordBatch>,
    bytes: usize,
    staged: Staged,
}

impl Parts<'_> {
    async fn store(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let (waiting, area) = (std::mem::take(&mut self.waiting), Arc::clone(&self.stager.area));
        let (checkpoint, part) = (self.checkpoint, self.staged.items.len() as u32);
        self.bytes = 0;
        let put = move || area.put(checkpoint, part, &pack(&waiting)?);
        let stored = background::blocking("staging messages", put).await??;
        self.staged.items.push(stored.to_item());
        Ok(())
    }
}

impl OpenEpoch for Parts<'_> {
    fn write<'a>(&'a mut self, batch: &'a RecordBatch) -> BoxFuture<'a, Result<()>> {
        async move {
            let messages = self.stager.format.encode(batch)?;
            self.bytes += messages.get_array_memory_size();
            self.staged.rows += messages.num_rows() as u64;
            self.waiting.push(messages);
            if self.bytes >= PART_BYTES { self.store().await } else { Ok(()) }
        }
        .boxed()
    }

    fn close<'a>(mut self: Box<Self>) -> BoxFuture<'a, Result<Staged>>
    where
        Self: 'a,
    {
        async move {
            self.store().await?;
            Ok(self.staged)
        }
        .boxed()
    }
}

pub(super) fn pack(batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let failed = |_| Error::internal("messages cannot be packed");
    let mut writer = StreamWriter::try_new(Vec::new(), &schema()).map_err(failed)?;
    for batch in batches {
        writer.write(batch).map_err(failed)?;
    }
    writer.into_inner().map_err(failed)
}

/// The batches of messages of one part. Blocking.
pub(super) fn unpack(
    checkpoint: &dyn DecidedCheckpoint,
    part: &StagedBytes,
) -> Result<Vec<RecordBatch>> {
    let bytes = checkpoint.read(part)?;
    let damaged = |_| Error::corrupt(format!("the messages in {} are damaged", part.path));
    let reader = StreamReader::try_new(bytes.as_slice(), None).map_err(damaged)?;
    reader.map(|batch| batch.map_err(damaged)).collect()
}
