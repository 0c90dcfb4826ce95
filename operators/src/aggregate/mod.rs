//! Windowed aggregates in two phases: partial results per subtask, merged behind an exchange by key.
//!
//! Groups are numbered densely; windows and keys are columns by that number, and what is counted per group stands in one row.
//! State enters and leaves as Arrow columns, so the phases, the checkpoint and a restore at another parallelism all speak
//! the same rows. Lateness is decided by [`crate::lateness`] upstream, or, where nobody did, in front of
//! the first phase, by the same rule; late rows are then left out and counted.

mod accumulate;
mod columns;
mod function;
mod groups;
mod keys;
mod latest;
mod merge;
mod page;
mod pages;
mod partial;
mod plan;
mod rows;
mod snapshot;
mod spare;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::graph::WindowFunction;
use thalweg_core::operator::OperatorFactory;
use thalweg_core::record::ColumnName;
use thalweg_core::time::micros;
use thalweg_core::window::{SlidingEventTimeWindows, WindowAssigner};

use function::Function;
pub use merge::MergeFactory;
pub use partial::PartialFactory;
pub use plan::{WINDOW_END, WINDOW_START};

/// A windowed aggregate: windows, keys, and one column per function.
///
/// **Shape**: the result has [`WINDOW_START`] and [`WINDOW_END`] (timestamps in µs, UTC, never null), the key columns,
/// then one column per function in the order in which they were added: `Int64` for counts, the column's own type for
/// min and max, `Float64` for all else; null where a group has no value. One row per window and key that occurs; rows
/// with a null in any column of the key are left out, and counted ([`thalweg_core::operator::LeftOut::null_key`]). Values
/// that are null or NaN do not count. Keys may be `Utf8`, `Int64`, `Int32` or `Boolean`; values `Float64`, `Int64` or
/// `Int32`, for distinct counts `Int64` or `Utf8`, and for counts of values all that there is.
///
/// **Time**: a window is emitted once, when the watermark reaches its end plus the allowed lateness; windows ascend,
/// rows within one are sorted by key. Sliding windows are summed up by pane in front of the exchange and by window behind
/// it; a row is late once the first of its windows has closed. Where a later run of a chain of checkpoints allows more
/// lateness, rows of windows that had been emitted are late all the same; another size or slide is refused there.
///
/// **State**: the merging phase keeps 8 to 24 bytes per open group and function, all distinct values of a distinct
/// count (10 to 20 bytes each for integers), and about 1.2 kB per percentile; a window's state goes when it is
/// emitted, and a checkpoint remembers by key group up to where that was, in some fifty bytes. The partial phase keeps nothing
/// across a checkpoint.
///
/// **Errors**: a column that is missing or has the wrong type is [`thalweg_core::ErrorKind::InvalidGraph`].
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use arrow_schema::Schema;
/// use thalweg_core::operator::OperatorFactory;
/// use thalweg_core::record::{Column, Float64, Int64, Timestamp, Utf8};
/// use thalweg_operators::aggregate::Aggregate;
///
/// const TIME: Column<Timestamp> = Column::required("event_time");
/// const KIND: Column<Utf8> = Column::required("event_type");
/// const PATIENT: Column<Int64> = Column::required("patient_id");
/// const HEART_RATE: Column<Float64> = Column::nullable("heart_rate");
///
/// let by_minute = Aggregate::tumbling(TIME, Duration::from_secs(60))
///     .by(KIND)
///     .count("events")
///     .count_distinct(PATIENT, "patients")
///     .mean(HEART_RATE, "heart_rate_mean")
///     .count_values(HEART_RATE, "heart_rate_readings");
///
/// let fields = [TIME.field(), KIND.field(), PATIENT.field(), HEART_RATE.field()];
/// let between = by_minute.partial().output_schema(&Arc::new(Schema::new(fields.to_vec())))?;
/// let result = by_minute.merge().output_schema(&between)?;
/// let names: Vec<_> = result.fields().iter().map(|f| f.name().as_str()).collect();
/// assert_eq!(
///     names,
///     [
///         "window_start", "window_end", "event_type",
///         "events", "patients", "heart_rate_mean", "heart_rate_readings",
///     ]
/// );
/// # Ok::<(), thalweg_core::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "an aggregate does nothing until its two phases are put into a graph"]
pub struct Aggregate {
    event_time: ColumnName,
    windows: SlidingEventTimeWindows,
    allowed_lateness: i64,
    keys: Vec<ColumnName>,
    calls: Vec<Call>,
    limit_groups: usize,
    limit_bytes: usize,
}

#[derive(Debug, Clone)]
struct Call {
    function: Function,
    column: Option<ColumnName>,
    output: String,
}

impl Aggregate {
    /// Over tumbling windows of `size` by `event_time`.
    pub fn tumbling(event_time: impl Into<ColumnName>, size: Duration) -> Self {
        Self::sliding(event_time, size, size)
    }

    /// Over windows of `size` by `event_time`, one every `slide`.
    pub fn sliding(event_time: impl Into<ColumnName>, size: Duration, slide: Duration) -> Self {
        Self {
            event_time: event_time.into(),
            windows: SlidingEventTimeWindows::of(size, slide),
            allowed_lateness: 0,
            keys: Vec::new(),
            calls: Vec::new(),
            limit_groups: 64 * 1024,
            limit_bytes: 64 << 20,
        }
    }

    /// For `stream.key_by(…).window(…).aggregate(uid, &…)`, where the stream says keys and windows.
    pub fn over(event_time: impl Into<ColumnName>) -> Self {
        Self::tumbling(event_time, Duration::ZERO)
    }

    /// Adds a key column. Without any there is one group per window.
    pub fn by(mut self, column: impl Into<ColumnName>) -> Self {
        self.keys.push(column.into());
        self
    }

    /// Keeps windows open for this much longer; the same as given to [`crate::lateness::Lateness`]. Default: zero.
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.allowed_lateness = micros(lateness);
        self
    }

    /// Most groups that the partial phase sums up before it passes them on. Default: 65,536.
    pub fn partial_groups(mut self, groups: usize) -> Self {
        self.limit_groups = groups;
        self
    }

    /// Most memory, roughly, in which the partial phase sums up. Default: 64 MiB.
    pub fn partial_bytes(mut self, bytes: usize) -> Self {
        self.limit_bytes = bytes;
        self
    }

    fn call(
        mut self,
        function: Function,
        column: Option<ColumnName>,
        output: impl Into<String>,
    ) -> Self {
        self.calls.push(Call { function, column, output: output.into() });
        self
    }

    /// Number of rows.
    pub fn count(self, output: impl Into<String>) -> Self {
        self.call(Function::Count, None, output)
    }

    /// Number of values of `column`: of rows in which it is neither null nor NaN, `COUNT(column)` in SQL. Behind a mean of
    /// the same column, of which it is the weight, it takes neither time nor state, and may be new to a checkpoint's windows.
    pub fn count_values(self, column: impl Into<ColumnName>, output: impl Into<String>) -> Self {
        self.call(Function::CountValues, Some(column.into()), output)
    }

    /// Number of distinct values of `column`, exactly.
    pub fn count_distinct(self, column: impl Into<ColumnName>, output: impl Into<String>) -> Self {
        self.call(Function::CountDistinct, Some(column.into()), output)
    }

    /// Sum of `column`.
    pub fn sum(self, column: impl Into<ColumnName>, output: impl Into<String>) -> Self {
        self.call(Function::Sum, Some(column.into()), output)
    }

    /// Arithmetic mean of `column`.
    pub fn mean(self, column: impl Into<ColumnName>, output: impl Into<String>) -> Self {
        self.call(Function::Mean, Some(column.into()), output)
    }

    /// Least value of `column`.
    pub fn min(self, column: impl Into<ColumnName>, output: impl Into<String>) -> Self {
        self.call(Function::Min, Some(column.into()), output)
    }

    /// Greatest value of `column`.
    pub fn max(self, column: impl Into<ColumnName>, output: impl Into<String>) -> Self {
        self.call(Function::Max, Some(column.into()), output)
    }

    /// Sample standard deviation of `column`; null with fewer than two values.
    pub fn stddev(self, column: impl Into<ColumnName>, output: impl Into<String>) -> Self {
        self.call(Function::StdDev, Some(column.into()), output)
    }

    /// The value below which the share `quantile` (0 to 1) of `column`'s values lies: within 1 % of that of rank
    /// `⌊quantile·(n-1)⌋`, and never outside the values that there are. Magnitudes below 1e-9 are taken for zero, and
    /// infinite values are left out. Where magnitudes are more than a factor of 1e17 apart, the smallest are lumped together.
    pub fn percentile(
        self,
        column: impl Into<ColumnName>,
        quantile: f64,
        output: impl Into<String>,
    ) -> Self {
        self.call(Function::Percentile(quantile), Some(column.into()), output)
    }

    /// The columns by which the rows between the phases are exchanged; none means one subtask gets them all.
    pub fn key_columns(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.0).collect()
    }

    /// The phase before the exchange.
    pub fn partial(&self) -> PartialFactory {
        PartialFactory { aggregate: Arc::new(self.clone()) }
    }

    /// The phase behind the exchange by [`Self::key_columns`].
    pub fn merge(&self) -> MergeFactory {
        MergeFactory { aggregate: Arc::new(self.clone()) }
    }

    fn describe(&self) -> String {
        let calls: Vec<String> = self
            .calls
            .iter()
            .map(|call| match call.column {
                Some(column) => format!("{} {}", call.function.name(), column.0),
                None => call.function.name().to_owned(),
            })
            .collect();
        let keys = self.key_columns().join(", ");
        let by = if keys.is_empty() { String::new() } else { format!(" by {keys}") };
        format!("{} aggregate{by}: {}", self.windows.describe(), calls.join(", "))
    }

    fn within(&self, keys: &[&'static str], windows: SlidingEventTimeWindows) -> Self {
        let keys = keys.iter().copied().map(ColumnName).collect();
        Self { windows, keys, ..self.clone() }
    }
}

impl WindowFunction for Aggregate {
    fn partial(
        &self,
        keys: &[&'static str],
        windows: SlidingEventTimeWindows,
    ) -> Box<dyn OperatorFactory> {
        Box::new(self.within(keys, windows).partial())
    }

    fn merge(
        &self,
        keys: &[&'static str],
        windows: SlidingEventTimeWindows,
    ) -> Box<dyn OperatorFactory> {
        Box::new(self.within(keys, windows).merge())
    }
}
