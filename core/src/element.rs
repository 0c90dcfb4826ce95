//! What travels on an edge.
//!
//! Grammar of one channel: `(Batch | Watermark)* Barrier`, repeated. A watermark never falls.

use arrow_array::{Array, ArrayRef, RecordBatch};

use crate::CheckpointId;
use crate::time::EventTime;

/// The promise that no row with an event time below it follows that counts as on time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(pub EventTime);

impl Watermark {
    /// Before anything is known.
    pub const MIN: Self = Self(EventTime::MIN);
    /// The end of time: a bounded input has been read to its end.
    pub const MAX: Self = Self(EventTime::MAX);
}

/// What a checkpoint is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BarrierKind {
    /// Processing goes on behind it.
    Periodic,
    /// The job stops behind it and can be resumed; nothing is flushed.
    Stop,
    /// The final watermark precedes it, so every window has fired; the job is finished (P21).
    Final,
}

/// Separates the records of checkpoint `id` from those of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// The checkpoint that the records before it belong to.
    pub id: CheckpointId,
    /// What follows it.
    pub kind: BarrierKind,
}

/// One thing on a channel between subtasks.
#[derive(Clone)]
pub enum StreamElement {
    /// Rows. Never empty.
    Batch(RecordBatch),
    /// Event time has advanced.
    Watermark(Watermark),
    /// Checkpoint boundary.
    Barrier(Barrier),
}

impl StreamElement {
    /// Rows it carries.
    pub fn rows(&self) -> usize {
        if let Self::Batch(batch) = self { batch.num_rows() } else { 0 }
    }

    /// How many rows of at most `bytes` it is as large as, at least as many as it carries.
    pub fn rows_of(&self, bytes: usize) -> usize {
        let Self::Batch(batch) = self else { return 0 };
        let rows = batch.num_rows();
        // What they are in tells most of the time, and costs nothing.
        if batch.get_array_memory_size() / bytes <= rows {
            return rows;
        }
        rows.max(bytes_of(batch) / bytes)
    }
}

/// Bytes that hold the rows of a batch, whatever else is in the memory that they are in.
pub fn bytes_of(batch: &RecordBatch) -> usize {
    let size = |column: &ArrayRef| {
        let slice = column.to_data().get_slice_memory_size();
        slice.unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(size).sum()
}

impl std::fmt::Debug for StreamElement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // Never the values: see the crate's privacy rule.
            Self::Batch(batch) => write!(f, "Batch({} rows)", batch.num_rows()),
            Self::Watermark(w) => write!(f, "Watermark({})", w.0),
            Self::Barrier(b) => write!(f, "{b:?}"),
        }
    }
}
