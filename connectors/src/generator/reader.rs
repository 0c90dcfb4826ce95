//! Makes the rows of one subtask's splits, no faster than the rate.

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::connector::source::{Polled, SourceReader, Split, SplitBatch};
use thalweg_core::time::Clock;
use thalweg_core::{Error, Result};

use super::rows::RowGenerator;
use super::source::BLOCK_ROWS;

/// Time's worth of rows that a batch waits for, so that slow rates do not come as batches of one.
const BATCH_SECONDS: f64 = 0.02;
/// Time's worth of rows that may be made up for after a delay.
const BURST_SECONDS: f64 = 1.0;

/// The reader of [`super::GeneratorSource`].
pub(super) struct GeneratorReader<G> {
    rows: Arc<G>,
    clock: Arc<dyn Clock>,
    /// Number of splits of the whole source.
    stride: u64,
    /// Rows per second of each split.
    rate: Option<f64>,
    splits: Vec<Unfinished>,
    /// Rows that may be made now, and when that was last worked out.
    credit: f64,
    credited_at: Option<Duration>,
}

/// A split with rows left.
struct Unfinished {
    id: String,
    position: u64,
    end: u64,
}

impl<G: RowGenerator> GeneratorReader<G> {
    pub(super) fn new(rows: Arc<G>, clock: Arc<dyn Clock>, stride: u64, rate: Option<f64>) -> Self {
        Self { rows, clock, stride, rate, splits: Vec::new(), credit: 0.0, credited_at: None }
    }

    /// How many of `wanted` rows may be made now, after waiting for them a while.
    fn allowance(&mut self, wanted: u64, max_wait: Duration) -> u64 {
        let Some(each) = self.rate else { return wanted };
        let rate = each * self.splits.len() as f64;
        let target = (rate * BATCH_SECONDS).floor().clamp(1.0, wanted as f64);
        self.earn(rate);
        if self.credit < target {
            let wait = ((target - self.credit) / rate).min(max_wait.as_secs_f64());
            std::thread::park_timeout(Duration::from_secs_f64(wait));
            self.earn(rate);
        }
        wanted.min(self.credit as u64)
    }

    fn earn(&mut self, rate: f64) {
        let now = self.clock.monotonic();
        let passed = now.saturating_sub(self.credited_at.replace(now).unwrap_or(now));
        let most = (rate * BURST_SECONDS).max(1.0);
        self.credit = (self.credit + passed.as_secs_f64() * rate).min(most);
    }

    /// The rows `from..to` of one block, checked.
    fn make(&self, id: String, from: u64, to: u64) -> Result<SplitBatch> {
        let batch = self.rows.batch(from, to)?;
        if batch.num_rows() as u64 != to - from || batch.schema() != self.rows.schema() {
            return Err(Error::internal(
                "a row generator returned another number of rows or other columns than asked for",
            ));
        }
        // Only a block's last row has its successor elsewhere.
        let mut next_positions: Vec<i64> = (from as i64 + 1..=to as i64).collect();
        if let Some(last) = next_positions.last_mut() {
            *last = self.after(to - 1) as i64;
        }
        Ok(SplitBatch { split: id, batch, next_positions })
    }

    /// The index behind `row` in its split.
    fn after(&self, row: u64) -> u64 {
        let next = row + 1;
        if next.is_multiple_of(BLOCK_ROWS) { next + (self.stride - 1) * BLOCK_ROWS } else { next }
    }
}

impl<G: RowGenerator> SourceReader for GeneratorReader<G> {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        for split in splits.into_iter().filter(|s| !s.is_finished()) {
            let number = |n: i64| {
                u64::try_from(n)
                    .map_err(|_| Error::corrupt(format!("split `{}` is below 0", split.id)))
            };
            let end = number(split.end.unwrap_or(i64::MAX))?;
            self.splits.push(Unfinished { position: number(split.position)?, end, id: split.id });
        }
        Ok(())
    }

    fn poll(&mut self, max_wait: Duration) -> Result<Polled> {
        // The split that is furthest behind, so that they advance together.
        let Some(at) =
            (0..self.splits.len()).min_by_key(|i| self.splits.get(*i).map(|s| s.position))
        else {
            return Ok(Polled::Exhausted);
        };
        let Some((from, end)) = self.splits.get(at).map(|s| (s.position, s.end)) else {
            return Ok(Polled::Exhausted);
        };
        let block_end = (from / BLOCK_ROWS + 1) * BLOCK_ROWS;
        let rows = self.allowance(end.min(block_end) - from, max_wait);
        if rows == 0 {
            return Ok(Polled::Nothing);
        }
        let Some(id) = self.splits.get(at).map(|s| s.id.clone()) else {
            return Ok(Polled::Exhausted);
        };
        let made = self.make(id, from, from + rows)?;
        self.credit -= if self.rate.is_some() { rows as f64 } else { 0.0 };
        let next = self.after(from + rows - 1);
        if next >= end {
            self.splits.swap_remove(at);
        } else if let Some(split) = self.splits.get_mut(at) {
            split.position = next;
        }
        Ok(Polled::Rows(made))
    }
}
