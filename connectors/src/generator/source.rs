//! The source over a [`RowGenerator`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use thalweg_core::connector::source::{Source, SourceReader, Split};
use thalweg_core::time::Clock;
use thalweg_core::{Error, Result};

use super::reader::GeneratorReader;
use super::rows::RowGenerator;

/// Rows that one split makes before the next one's turn; also the most in one batch.
pub const BLOCK_ROWS: u64 = 4096;

/// Makes rows up at a chosen rate.
///
/// **Shape**: the columns of the [`RowGenerator`]; every index from 0 to `total` exactly once. Of n splits, split i
/// makes the blocks i, i + n, i + 2n … of [`BLOCK_ROWS`] rows; order is kept within a split.
///
/// **Time**: the rate is that of all splits together and is measured with the clock handed in; rows that could not be
/// handed on are made up for within one second's worth, the rest of the delay is lost.
///
/// **Errors**: a rate that is not a positive number or no splits at all is `InvalidConfig`; another number of splits,
/// total or generator than the checkpoint's is `IncompatibleState`. The rate may change at each start.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{Int64Array, RecordBatch};
/// use arrow_schema::{DataType, Field, Schema};
/// use thalweg_connectors::generator::{GeneratorSource, from_fn};
/// use thalweg_core::connector::source::Source;
/// use thalweg_core::testing::ManualClock;
///
/// let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
/// let rows = from_fn(schema.clone(), move |from, to| {
///     let n = Int64Array::from_iter_values(from as i64..to as i64);
///     Ok(RecordBatch::try_new(schema.clone(), vec![Arc::new(n)]).expect("one column"))
/// });
/// let source = GeneratorSource::new("numbers", rows, Arc::new(ManualClock::at(0)))
///     .splits(2)
///     .rows_per_second(Some(500.0))
///     .total(Some(10_000));
/// assert!(source.is_bounded());
/// assert_eq!(source.start_splits()?.len(), 2);
/// # Ok::<(), thalweg_core::Error>(())
/// ```
pub struct GeneratorSource<G> {
    name: String,
    rows: Arc<G>,
    clock: Arc<dyn Clock>,
    splits: u32,
    rows_per_second: Option<f64>,
    total: Option<u64>,
}

impl<G> Clone for GeneratorSource<G> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            rows: Arc::clone(&self.rows),
            clock: Arc::clone(&self.clock),
            ..*self
        }
    }
}

impl<G> fmt::Debug for GeneratorSource<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratorSource")
            .field("name", &self.name)
            .field("splits", &self.splits)
            .field("rows_per_second", &self.rows_per_second)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl<G: RowGenerator + 'static> GeneratorSource<G> {
    /// An endless source as fast as it is read, in one split. `name` is for people and for the identity.
    pub fn new(name: &str, rows: G, clock: Arc<dyn Clock>) -> Self {
        Self {
            name: name.to_owned(),
            rows: Arc::new(rows),
            clock,
            splits: 1,
            rows_per_second: None,
            total: None,
        }
    }

    /// Splits, the most readers that can share the work. Default 1.
    #[must_use]
    pub fn splits(mut self, splits: u32) -> Self {
        self.splits = splits;
        self
    }

    /// Rows per second of all splits together; `None`, the default, for as fast as they are read.
    #[must_use]
    pub fn rows_per_second(mut self, rate: Option<f64>) -> Self {
        self.rows_per_second = rate;
        self
    }

    /// Rows in all; `None`, the default, for without end.
    #[must_use]
    pub fn total(mut self, rows: Option<u64>) -> Self {
        self.total = rows;
        self
    }

    fn check(&self) -> Result<()> {
        let refuse = |why: &str| Err(Error::config(format!("{}: {why}", self.describe())));
        if self.splits == 0 {
            return refuse("splits must be at least 1");
        }
        if self.rows_per_second.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return refuse("rows per second must be a number above 0");
        }
        if self.total.is_some_and(|total| i64::try_from(total).is_err()) {
            return refuse("the total does not fit into 63 bits");
        }
        Ok(())
    }
}

impl<G: RowGenerator + 'static> Source for GeneratorSource<G> {
    fn describe(&self) -> String {
        format!("generator {}", self.name)
    }

    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn is_bounded(&self) -> bool {
        self.total.is_some()
    }

    fn identity(&self) -> Result<BTreeMap<String, String>> {
        self.check()?;
        let mut identity = self.rows.identity();
        identity.insert("generator".to_owned(), self.name.clone());
        identity.insert("splits".to_owned(), self.splits.to_string());
        let total = self.total.map_or_else(|| "endless".to_owned(), |t| t.to_string());
        identity.insert("total".to_owned(), total);
        Ok(identity)
    }

    fn start_splits(&self) -> Result<Vec<Split>> {
        self.check()?;
        let end = self.total.map(|t| t as i64);
        let split = |i: u32| Split {
            id: format!("{i:010}"),
            position: i64::from(i) * BLOCK_ROWS as i64,
            end,
            properties: BTreeMap::new(),
        };
        Ok((0..self.splits).map(split).collect())
    }

    fn verify(&self, identity: &BTreeMap<String, String>, _restored: &[Split]) -> Result<()> {
        let ours = self.identity()?;
        let differs = |key: &&String| ours.get(*key) != identity.get(*key);
        let Some(key) = ours.keys().chain(identity.keys()).find(differs) else { return Ok(()) };
        let shown = |of: &BTreeMap<String, String>| {
            of.get(key).map_or_else(|| "nothing".to_owned(), |v| format!("`{v}`"))
        };
        Err(Error::incompatible(format!(
            "{}: `{key}` is {} but was {} when the job began; set it back or start a new chain with --fresh",
            self.describe(),
            shown(&ours),
            shown(identity)
        )))
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        self.check()?;
        let rate = self.rows_per_second.map(|rate| rate / f64::from(self.splits));
        let stride = u64::from(self.splits);
        Ok(Box::new(GeneratorReader::new(
            Arc::clone(&self.rows),
            Arc::clone(&self.clock),
            stride,
            rate,
        )))
    }

    fn lag(&self, splits: &[Split]) -> Option<u64> {
        let rest = |split: &Split| {
            let end = u64::try_from(split.end?).ok()?;
            let position = u64::try_from(split.position).ok()?;
            Some(rows_left(position, end, u64::from(self.splits)))
        };
        splits.iter().map(rest).sum()
    }
}

/// Rows of a split from `position` to before `end`: the rest of its block and its share of what follows.
fn rows_left(position: u64, end: u64, splits: u64) -> u64 {
    let mut left = 0;
    let block_end = end.min((position / BLOCK_ROWS + 1) * BLOCK_ROWS);
    left += block_end.saturating_sub(position);
    let next = (position / BLOCK_ROWS + splits) * BLOCK_ROWS;
    if next < end {
        let lap = splits * BLOCK_ROWS;
        let rest = end - next;
        left += rest / lap * BLOCK_ROWS + (rest % lap).min(BLOCK_ROWS);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_left_in_all_splits_are_the_rows_left_in_all() {
        for splits in 1..5_u64 {
            for total in [
                0,
                1,
                BLOCK_ROWS - 1,
                BLOCK_ROWS,
                BLOCK_ROWS + 1,
                5 * BLOCK_ROWS - 7,
                12 * BLOCK_ROWS + 57,
            ] {
                let sum: u64 = (0..splits).map(|i| rows_left(i * BLOCK_ROWS, total, splits)).sum();
                assert_eq!(sum, total, "{splits} splits");
            }
        }
        // The first split of two, 24 rows before its block's end, has the third block and a part of the fifth to come.
        assert_eq!(rows_left(BLOCK_ROWS - 24, 4 * BLOCK_ROWS + 904, 2), 24 + BLOCK_ROWS + 904);
    }
}
