//! An aggregate resolved against the columns it meets, before anything runs.
//!
//! Between the phases a row is `[window_start, keys…, state columns…]`; the same columns are stored in checkpoints.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thalweg_core::window::{SlidingEventTimeWindows, WindowAssigner};
use thalweg_core::{Error, Result};

use super::function::Function;
use super::keys::is_key_type;
use super::{Aggregate, Call};
use crate::batch::check_event_time;

/// Start of the window, its first µs.
pub const WINDOW_START: &str = "window_start";
/// End of the window, the first µs behind it.
pub const WINDOW_END: &str = "window_end";

/// What both phases know.
#[derive(Debug)]
pub(super) struct Plan {
    /// Panes in front of the exchange, windows behind it.
    pub(super) windows: SlidingEventTimeWindows,
    pub(super) allowed_lateness: i64,
    pub(super) calls: Vec<PlannedCall>,
    pub(super) key_fields: Vec<Field>,
    /// Columns between the phases.
    pub(super) partial: SchemaRef,
    /// Columns of the results.
    pub(super) results: SchemaRef,
}

/// One aggregate and its state columns.
#[derive(Debug)]
pub(super) struct PlannedCall {
    pub(super) function: Function,
    pub(super) state: Vec<Field>,
    /// Which of the calls before it counts the same values anyway: there is no other state then.
    pub(super) counted_by: Option<usize>,
}

/// Where the phase before the exchange finds what it reads, as positions among `columns`.
#[derive(Debug)]
pub(super) struct RowColumns {
    /// Columns of the input that are read at all: event time, the keys, then the values.
    pub(super) columns: Vec<usize>,
    /// Per aggregate, the position of its values among `columns`.
    pub(super) values: Vec<Option<usize>>,
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The field called `name`, if it is one of few columns with that name: exactly one.
fn find<'a>(schema: &'a Schema, name: &str) -> Result<(usize, &'a Field)> {
    schema
        .column_with_name(name)
        .ok_or_else(|| Error::graph(format!("aggregated column `{name}` is not in the input")))
}

/// The mean, among the calls before the one at `at`, that has the number of its values in its state.
fn counted_by(calls: &[Call], at: usize) -> Option<usize> {
    let call = calls.get(at).filter(|call| call.function == Function::CountValues)?;
    let is_it = |other: &Call| other.function == Function::Mean && other.column == call.column;
    calls.iter().take(at).position(is_it)
}

impl Plan {
    /// The plan for rows as they come from upstream.
    pub(super) fn of_rows(aggregate: &Aggregate, input: &Schema) -> Result<(Self, RowColumns)> {
        let (time_at, time) = find(input, aggregate.event_time.0)?;
        check_event_time(time)?;
        let start =
            Field::new(WINDOW_START, timestamp(), false).with_metadata(time.metadata().clone());
        let mut columns = vec![time_at];
        let mut keys = Vec::new();
        for key in &aggregate.keys {
            let (at, field) = find(input, key.0)?;
            columns.push(at);
            keys.push(field.clone().with_nullable(false));
        }
        let mut calls = Vec::new();
        let mut values = Vec::new();
        for (at, call) in aggregate.calls.iter().enumerate() {
            let counted_by = counted_by(&aggregate.calls, at);
            let mut of = None;
            let mut field = None;
            if let Some(column) = call.column {
                let (at, found) = find(input, column.0)?;
                call.function.check(found)?;
                field = Some(found);
                // A column that several aggregates share is taken once.
                let known = columns.iter().position(|known| *known == at);
                of = Some(known.unwrap_or(columns.len()));
                if known.is_none() {
                    columns.push(at);
                }
            }
            values.push(of);
            let state = match counted_by {
                None => call.function.state_fields(&call.output, field),
                Some(_) => Vec::new(),
            };
            calls.push(PlannedCall { function: call.function, state, counted_by });
        }
        let panes = aggregate.windows.panes().into();
        Ok((Self::new(aggregate, panes, start, keys, calls)?, RowColumns { columns, values }))
    }

    /// The plan for what the phase before the exchange emits.
    pub(super) fn of_partials(aggregate: &Aggregate, input: &Schema) -> Result<Self> {
        let other = || Error::graph("the input of a merge is not what its partial phase emits");
        let fields: Vec<Field> = input.fields().iter().map(|f| f.as_ref().clone()).collect();
        let (start, mut rest) = fields.split_first().ok_or_else(other)?;
        let keys = rest.split_off(..aggregate.keys.len()).ok_or_else(other)?;
        let names = aggregate.keys.iter().map(|k| k.0);
        if *start.data_type() != timestamp() || !keys.iter().map(Field::name).eq(names) {
            return Err(other());
        }
        let mut calls = Vec::new();
        for (at, call) in aggregate.calls.iter().enumerate() {
            let counted_by = counted_by(&aggregate.calls, at);
            let width = if counted_by.is_some() { 0 } else { call.function.width() };
            let state = rest.split_off(..width).ok_or_else(other)?;
            if width > 0 && !call.function.owns(&call.output, state) {
                return Err(other());
            }
            let (function, state) = (call.function, state.to_vec());
            calls.push(PlannedCall { function, state, counted_by });
        }
        if !rest.is_empty() {
            return Err(other());
        }
        Self::new(aggregate, aggregate.windows, start.clone(), keys.to_vec(), calls)
    }

    fn new(
        aggregate: &Aggregate,
        windows: SlidingEventTimeWindows,
        start: Field,
        key_fields: Vec<Field>,
        calls: Vec<PlannedCall>,
    ) -> Result<Self> {
        aggregate.windows.check()?;
        if let Some(key) = key_fields.iter().find(|f| !is_key_type(f.data_type())) {
            return Err(Error::graph(format!(
                "column `{}` of type {} cannot be a key",
                key.name(),
                key.data_type()
            )));
        }
        let end =
            Field::new(WINDOW_END, timestamp(), false).with_metadata(start.metadata().clone());
        let mut partial = vec![start.clone()];
        let mut results = vec![start, end];
        partial.extend(key_fields.iter().cloned());
        results.extend(key_fields.iter().cloned());
        for (planned, call) in calls.iter().zip(&aggregate.calls) {
            partial.extend(planned.state.iter().cloned());
            results.push(planned.function.result_field(&call.output, &planned.state));
        }
        for columns in [&results, &partial] {
            let mut names = BTreeSet::new();
            if let Some(twice) = columns.iter().find(|f| !names.insert(f.name())) {
                return Err(Error::graph(format!(
                    "an aggregate would emit two columns called `{}`",
                    twice.name()
                )));
            }
        }
        Ok(Self {
            windows,
            allowed_lateness: aggregate.allowed_lateness,
            calls,
            key_fields,
            partial: Arc::new(Schema::new(partial)),
            results: Arc::new(Schema::new(results)),
        })
    }

    /// A batch of the columns between the phases.
    pub(super) fn partial_rows(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        RecordBatch::try_new(Arc::clone(&self.partial), columns)
            .map_err(|_| Error::internal("an aggregate made partial rows of another shape"))
    }

    /// Whether nothing more can enter the window that starts at `start` once event time has reached `watermark`.
    pub(super) fn is_closed(&self, start: i64, watermark: i64) -> bool {
        self.windows.window_at(start).closes_at(self.allowed_lateness) <= watermark
    }

    /// The end of the last windows that are closed at `watermark`. A checkpoint tells how far windows were emitted by this and
    /// not by the watermark: the lateness that is allowed may be another one in the next run, the ends are the same.
    pub(super) fn closed_end(&self, watermark: i64) -> i64 {
        // At the end of time all are, whatever is allowed.
        if watermark == i64::MAX {
            return i64::MAX;
        }
        watermark.saturating_sub(self.allowed_lateness)
    }

    /// Whether the first window of the pane that starts at `start` ends at `end` or before.
    pub(super) fn pane_ends_by(&self, start: i64, end: i64) -> bool {
        self.windows.panes().window_at(start).end <= end
    }

    /// Whether the first window of the pane that starts at `start` is closed, as of [`Self::is_closed`].
    pub(super) fn pane_is_closed(&self, start: i64, watermark: i64) -> bool {
        self.windows.panes().window_at(start).closes_at(self.allowed_lateness) <= watermark
    }
}
