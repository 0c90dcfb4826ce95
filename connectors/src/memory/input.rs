//! What a memory source has to hand on, shared with its readers and handles.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex};

use arrow_array::RecordBatch;
use thalweg_core::Error;

/// What source, handle and readers have in common.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) input: Mutex<Input>,
    pub(super) changed: Condvar,
}

/// All there is to read, and what stands in its way.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) splits: BTreeMap<String, Rows>,
    /// A handle may still add rows.
    pub(super) open: bool,
    pub(super) paused: bool,
    pub(super) errors: VecDeque<Error>,
}

#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Batches with the number of their first row.
    pub(super) batches: Vec<(i64, RecordBatch)>,
    pub(super) count: i64,
    /// No row from this one on is handed on until it is released.
    pub(super) hold: Option<i64>,
}

impl Rows {
    pub(super) fn push(&mut self, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            let first = self.count;
            self.count += batch.num_rows() as i64;
            self.batches.push((first, batch));
        }
    }
}

impl Input {
    /// The rows at `position` of a split that may be read now: the rest of one batch.
    pub(super) fn rows_at(&self, split: &str, position: i64) -> Option<RecordBatch> {
        let rows = self.splits.get(split).filter(|_| !self.paused)?;
        let after = rows.batches.partition_point(|(first, _)| *first <= position);
        let (first, batch) = rows.batches.get(after.checked_sub(1)?)?;
        let end = (first + batch.num_rows() as i64).min(rows.hold.unwrap_or(i64::MAX));
        (position < end)
            .then(|| batch.slice((position - first) as usize, (end - position) as usize))
    }

    /// Whether nothing comes behind `position` any more.
    pub(super) fn is_over(&self, split: &str, position: i64) -> bool {
        !self.open && self.splits.get(split).is_none_or(|rows| position >= rows.count)
    }

    /// Whether nothing comes at all any more that is not there yet.
    pub(super) fn is_closed(&self) -> bool {
        !self.open
    }
}
