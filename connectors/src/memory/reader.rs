//! Reads the splits of one subtask from memory, in turn.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use thalweg_core::Result;
use thalweg_core::connector::source::{Polled, SourceReader, Split, SplitBatch};

use super::input::{Input, Shared};
use super::lock;

/// The reader of [`super::MemorySource`].
pub(super) struct MemoryReader {
    shared: Arc<Shared>,
    splits: Vec<Split>,
    /// Whose turn it is.
    turn: usize,
}

impl MemoryReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, splits: Vec::new(), turn: 0 }
    }
}

/// The next split from `turn` on that has rows, and those rows.
fn next_rows(input: &Input, splits: &[Split], turn: usize) -> Option<(usize, RecordBatch)> {
    let count = splits.len();
    (0..count).map(|i| (turn + i) % count).find_map(|at| {
        let split = splits.get(at)?;
        Some((at, input.rows_at(&split.id, split.position)?))
    })
}

fn is_exhausted(input: &Input, splits: &[Split]) -> bool {
    input.is_closed() && splits.iter().all(|s| input.is_over(&s.id, s.position))
}

impl SourceReader for MemoryReader {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        self.splits.extend(splits);
        Ok(())
    }

    fn poll(&mut self, max_wait: Duration) -> Result<Polled> {
        let (splits, turn) = (&self.splits, self.turn);
        let idle = |input: &mut Input| {
            input.errors.is_empty()
                && next_rows(input, splits, turn).is_none()
                && !is_exhausted(input, splits)
        };
        let guard = lock(&self.shared.input);
        let (mut input, _) = self
            .shared
            .changed
            .wait_timeout_while(guard, max_wait, idle)
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = input.errors.pop_front() {
            return Err(error);
        }
        let Some((at, batch)) = next_rows(&input, splits, turn) else {
            let exhausted = is_exhausted(&input, splits);
            return Ok(if exhausted { Polled::Exhausted } else { Polled::Nothing });
        };
        drop(input);
        self.turn = at + 1;
        let Some(split) = self.splits.get_mut(at) else { return Ok(Polled::Nothing) };
        let first = split.position;
        split.position += batch.num_rows() as i64;
        let next_positions = (first + 1..=split.position).collect();
        Ok(Polled::Rows(SplitBatch { split: split.id.clone(), batch, next_positions }))
    }
}
