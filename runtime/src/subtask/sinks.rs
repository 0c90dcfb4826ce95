//! The sink writers of one subtask.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::RecordBatch;
use thalweg_core::connector::sink::{BoxFuture, SinkWriter, Staged};
use thalweg_core::{CheckpointId, OperatorUid, Result};

use crate::metrics::NodeMetrics;

/// A writer and whose it is.
pub(crate) struct SinkSlot {
    pub(crate) uid: OperatorUid,
    pub(crate) writer: Box<dyn SinkWriter>,
    pub(crate) metrics: Arc<NodeMetrics>,
}

impl SinkSlot {
    pub(crate) async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.metrics.rows_in.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        let written = self.writer.write(batch).await;
        written.map_err(|e| e.at(format!("sink `{}`", self.uid)))
    }

    pub(crate) fn close_epoch(
        &mut self,
        checkpoint: CheckpointId,
    ) -> BoxFuture<'static, Result<(OperatorUid, Staged)>> {
        let uid = self.uid.clone();
        let closing = self.writer.close_epoch(checkpoint);
        Box::pin(async move {
            match closing.await {
                Ok(staged) => Ok((uid, staged)),
                Err(error) => Err(error.at(format!("sink `{uid}`"))),
            }
        })
    }
}
