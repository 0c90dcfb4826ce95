//! Spreads the rows of a batch over the subtasks of the next task.

use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use thalweg_core::graph::Partitioning;
use thalweg_core::key::{hash_keys, key_group_of, subtask_of};
use thalweg_core::{Error, Result};

/// One sender's view of an exchange.
#[derive(Debug)]
pub(crate) struct Partitioner {
    partitioning: Partitioning,
    targets: u32,
    max_parallelism: u16,
    turn: u32,
}

impl Partitioner {
    /// `turn` spreads the starting points of several senders.
    pub(crate) fn new(
        partitioning: Partitioning,
        targets: u32,
        max_parallelism: u16,
        turn: u32,
    ) -> Self {
        Self { partitioning, targets: targets.max(1), max_parallelism, turn }
    }

    /// Target and rows, each target at most once; row order is kept within a target.
    pub(crate) fn split(&mut self, batch: RecordBatch) -> Result<Vec<(usize, RecordBatch)>> {
        if self.targets == 1 {
            return Ok(vec![(0, batch)]);
        }
        match &self.partitioning {
            Partitioning::Hash(columns) => self.by_key(&batch, columns),
            Partitioning::Forward | Partitioning::Rebalance => {
                self.turn = (self.turn + 1) % self.targets;
                Ok(vec![(self.turn as usize, batch)])
            }
        }
    }

    fn by_key(&self, batch: &RecordBatch, columns: &[String]) -> Result<Vec<(usize, RecordBatch)>> {
        let keys: Vec<ArrayRef> = columns
            .iter()
            .map(|c| {
                let missing = || Error::internal(format!("a batch lacks key column `{c}`"));
                batch.column_by_name(c).cloned().ok_or_else(missing)
            })
            .collect::<Result<_>>()?;
        let mut hashes = Vec::new();
        hash_keys(&keys, batch.num_rows(), &mut hashes)?;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.targets as usize];
        for (row, hash) in (0_u32..).zip(hashes) {
            let group = key_group_of(hash, self.max_parallelism);
            let target = subtask_of(group, self.targets, self.max_parallelism);
            if let Some(rows) = rows.get_mut(target as usize) {
                rows.push(row);
            }
        }
        rows.into_iter()
            .enumerate()
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(target, rows)| {
                let taken = take_record_batch(batch, &UInt32Array::from(rows))
                    .map_err(|_| Error::internal("rows could not be taken by index"))?;
                Ok((target, taken))
            })
            .collect()
    }
}
