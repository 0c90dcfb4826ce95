//! Rows at which a limit is crossed for long enough, and rows at which it clears.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, SchemaRef};
use thalweg_core::operator::{
    Collector, Context, LeftOut, OpenContext, Operator, OperatorFactory, StateBlob, StateChunk,
};
use thalweg_core::record::ColumnName;
use thalweg_core::state::KeyTable;
use thalweg_core::time::micros;
use thalweg_core::{Error, Result};

use super::Limit;
use super::ahead::Ahead;
use super::input::{Columns, Watched};
use crate::alert::{Policy, Severity, Slot, State};
use crate::batch;

/// The column that says which of the two a row is.
pub const RAISED: &str = "raised";

const STATE_VERSION: u16 = 1;

/// Watches one numeric column per key.
///
/// **Shape**: of the input, the rows at which the limit has been crossed for `persist_for` (`raised` is true) and those
/// at which it clears again (false), in turn per key; the columns are the input's and `raised`. Nulls and NaN are no
/// readings.
///
/// **Time**: event time. The reading that confirms a crossed limit raises it; silence raises nothing. A reading older
/// than the newest of its key changes nothing; so a clock that is ahead mutes its key, unless [`Threshold::ahead`] says what
/// is too far.
///
/// **State**: a few bytes per key, for ever.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::operator::OperatorFactory;
/// use thalweg_core::record::ColumnName;
/// use thalweg_operators::detect::{Limit, Threshold};
/// let hot = Threshold::new(["machine"], ColumnName("at"), ColumnName("celsius"), Limit::at_least(90.0).clears_at(80.0))
///     .persist_for(Duration::from_secs(10));
/// assert_eq!(hot.describe(), "threshold celsius at least 90, clear at 80, for 10s, by machine");
/// ```
#[derive(Debug, Clone)]
pub struct Threshold {
    watched: Watched,
    limit: Limit,
    persist_for: Duration,
}

impl Threshold {
    /// `limit` on `column` for each value of `keys`, which must be those that the stream is grouped by.
    pub fn new(
        keys: impl IntoIterator<Item = &'static str>,
        event_time: impl Into<ColumnName>,
        column: impl Into<ColumnName>,
        limit: Limit,
    ) -> Self {
        let watched = Watched::new(keys, event_time, column);
        Self { watched, limit, persist_for: Duration::ZERO }
    }

    /// How long the limit must stay crossed. Default: the first reading raises it.
    #[must_use]
    pub fn persist_for(mut self, persist_for: Duration) -> Self {
        self.persist_for = persist_for;
        self
    }

    /// Rows that claim to have happened more than `limit` after their `arrival`, a column of times, are not looked at, and
    /// counted as dropped. One whose arrival is null is believed. Default: all are.
    #[must_use]
    pub fn ahead(mut self, arrival: impl Into<ColumnName>, limit: Duration) -> Self {
        self.watched.ahead = Some(Ahead { arrival: arrival.into(), limit });
        self
    }
}

impl OperatorFactory for Threshold {
    fn describe(&self) -> String {
        let (column, keys) = (self.watched.column.0, self.watched.keys.join(", "));
        let (limit, seconds) = (self.limit, self.persist_for.as_secs_f64());
        format!("threshold {column} {limit}, for {seconds}s, by {keys}")
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        self.watched.find(input)?;
        if !self.limit.is_possible() {
            return Err(Error::graph(format!(
                "the limit of `{}` must clear on its good side ({})",
                self.watched.column.0, self.limit
            )));
        }
        self.watched.with_added(input, [Field::new(RAISED, DataType::Boolean, false)])
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        let input = &context.input_schema;
        Ok(Box::new(Watching {
            columns: self.watched.find(input)?,
            schema: self.output_schema(input)?,
            limit: self.limit,
            policy: Policy { persist_for: micros(self.persist_for), escalate_after: None },
            slots: KeyTable::new(STATE_VERSION, context.max_parallelism),
        }))
    }
}

struct Watching {
    columns: Columns,
    schema: SchemaRef,
    limit: Limit,
    policy: Policy,
    slots: KeyTable<Box<[u8]>, Slot>,
}

impl Watching {
    /// Whether the limit is raised or cleared by this reading.
    fn judge(&mut self, hash: u64, key: Box<[u8]>, (at, value): (i64, f64)) -> Option<bool> {
        let mut entry = self.slots.entry(hash, key);
        let fact = self.limit.judge(value).fact(at, Severity::Warning);
        let change = entry.value().advance(&self.policy, fact)?;
        match change.state {
            State::Firing => Some(true),
            State::Resolved if change.fired_at.is_some() => Some(false),
            _ => None,
        }
    }
}

impl Operator for Watching {
    fn process(
        &mut self,
        batch: RecordBatch,
        context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let mut readings = self.columns.read(&batch, context.open)?;
        let keys = std::mem::take(&mut readings.keys);
        let told = keys.into_iter().enumerate().map(|(row, (hash, key))| {
            readings.of(row).and_then(|reading| self.judge(hash, key, reading))
        });
        let told: BooleanArray = told.collect();
        out.leave_out(LeftOut { dropped: readings.ahead(), ..LeftOut::default() });
        let changes = told.iter().map(|raised| Some(raised.is_some())).collect();
        let all: Vec<ArrayRef> =
            batch.columns().iter().cloned().chain([Arc::new(told) as _]).collect();
        let (columns, rows) = batch::filter_columns(&all, &changes)?;
        out.emit(batch::assemble(&self.schema, columns, rows)?);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<StateChunk>> {
        Ok(self.slots.snapshot())
    }

    fn restore(&mut self, blobs: Vec<StateBlob>) -> Result<()> {
        self.slots.restore(blobs)
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use arrow_array::{Float64Array, Int64Array, TimestampMicrosecondArray};
    use proptest::prelude::*;
    use thalweg_core::ErrorKind;
    use thalweg_core::testing::OperatorHarness;

    use super::*;
    use crate::fixture::Instance;

    fn hot() -> Threshold {
        let limit = Limit::at_least(90.0).clears_at(80.0);
        Threshold::new(["machine"], ColumnName("at"), ColumnName("celsius"), limit)
            .persist_for(Duration::from_micros(10))
    }

    type Row = (i64, i64, Option<f64>);

    fn batch(rows: &[Row]) -> RecordBatch {
        let times: TimestampMicrosecondArray = rows.iter().map(|r| Some(r.1)).collect();
        let columns: [(&str, ArrayRef); 3] = [
            ("machine", Arc::new(rows.iter().map(|r| Some(r.0)).collect::<Int64Array>())),
            ("at", Arc::new(times.with_timezone("UTC"))),
            ("celsius", Arc::new(rows.iter().map(|r| r.2).collect::<Float64Array>())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true))).unwrap()
    }

    /// Machine, time and whether raised, of what was emitted.
    fn taken(harness: &mut OperatorHarness) -> Vec<(i64, i64, bool)> {
        let mut found = Vec::new();
        for (_, batch) in harness.take() {
            let ids = batch.column(0).as_primitive::<Int64Type>();
            let times =
                batch.column(1).as_primitive::<arrow_array::types::TimestampMicrosecondType>();
            let raised = batch.column_by_name(RAISED).unwrap().as_boolean();
            found.extend(
                (0..batch.num_rows()).map(|i| (ids.value(i), times.value(i), raised.value(i))),
            );
        }
        found
    }

    fn harness(parallelism: u32) -> OperatorHarness {
        let input = batch(&[]).schema();
        OperatorHarness::new(Arc::new(hot()), input, ["machine"], parallelism).unwrap()
    }

    #[test]
    fn a_limit_is_raised_once_when_confirmed_and_cleared_once() {
        let mut harness = harness(1);
        harness
            .push(&batch(&[
                (1, 0, Some(95.0)),
                (1, 5, Some(85.0)),
                (2, 5, Some(95.0)),
                (1, 10, Some(91.0)),
                (1, 11, None),
                (1, 12, Some(99.0)),
                (2, 12, Some(79.0)),
                (1, 13, Some(81.0)),
                (1, 9, Some(20.0)),
                (1, 14, Some(80.0)),
            ]))
            .unwrap();
        assert_eq!(taken(&mut harness), [(1, 10, true), (1, 14, false)]);
    }

    #[test]
    fn what_is_no_number_confirms_nothing() {
        let mut harness = harness(1);
        harness.push(&batch(&[(1, 0, Some(95.0)), (1, 20, Some(f64::NAN))])).unwrap();
        assert!(taken(&mut harness).is_empty());
        harness.push(&batch(&[(1, 15, Some(91.0))])).unwrap();
        assert_eq!(taken(&mut harness), [(1, 15, true)]);
    }

    #[test]
    fn a_clock_that_is_ahead_mutes_nobody_and_its_rows_are_counted() {
        let rows = [
            (1, 500, Some(20.0)),
            (1, 101, None),
            (1, 0, Some(95.0)),
            (1, 10, Some(95.0)),
            // No further than may be.
            (1, 110, Some(20.0)),
            // Nothing is known of its arrival.
            (1, 800, Some(95.0)),
            (1, 120, Some(95.0)),
        ];
        let arrivals = [0_i64, 0, 0, 10, 10].map(Some).into_iter().chain([None, Some(120)]);
        let arrivals: ArrayRef = Arc::new(arrivals.collect::<TimestampMicrosecondArray>());
        let plain = batch(&rows);
        let names = plain.schema_ref().fields().iter().map(|field| field.name().as_str());
        let columns = names.zip(plain.columns().iter().cloned()).chain([("arrival", arrivals)]);
        let arrived = columns.map(|(name, column)| (name, column, true));
        let arrived = RecordBatch::try_from_iter_with_nullable(arrived).unwrap();

        let watched = hot().ahead(ColumnName("arrival"), Duration::from_micros(100));
        let mut instance = Instance::new(&watched, &arrived.schema());
        let emitted = instance.process(&arrived).unwrap();
        let [(None, told)] = emitted.as_slice() else { panic!("{} batches", emitted.len()) };
        let raised = told.column_by_name(RAISED).unwrap().as_boolean();
        assert_eq!(raised, &BooleanArray::from(vec![true, false]));
        assert_eq!(instance.dropped(), 2);
    }

    #[test]
    fn what_is_pending_survives_a_restore_at_another_parallelism() {
        let mut harness = harness(2);
        let pending: Vec<Row> = (0..20).map(|machine| (machine, 0, Some(95.0))).collect();
        harness.push(&batch(&pending)).unwrap();
        harness.snapshot_and_restore(3).unwrap();
        let confirmed: Vec<Row> = (0..20).map(|machine| (machine, 10, Some(95.0))).collect();
        harness.push(&batch(&confirmed)).unwrap();
        let mut found = taken(&mut harness);
        found.sort_unstable();
        assert_eq!(found, (0..20).map(|machine| (machine, 10, true)).collect::<Vec<_>>());
    }

    #[test]
    fn a_stream_grouped_by_other_columns_is_refused() {
        let rows: Vec<Row> = (0..64).map(|machine| (machine, machine + 1000, Some(9.0))).collect();
        let harness = |parallelism| {
            let input = batch(&[]).schema();
            OperatorHarness::new(Arc::new(hot()), input, ["at"], parallelism).unwrap()
        };
        let error = harness(2).push(&batch(&rows)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGraph);
        harness(1).push(&batch(&rows)).unwrap();
    }

    #[test]
    fn an_input_that_cannot_be_watched_does_not_build() {
        let input = batch(&[]).schema();
        let limit = Limit::at_least(1.0);
        for wrong in [
            Threshold::new(["machine"], ColumnName("at"), ColumnName("kelvin"), limit),
            Threshold::new(["machine"], ColumnName("at"), ColumnName("at"), limit),
            Threshold::new(["machine"], ColumnName("celsius"), ColumnName("celsius"), limit),
            Threshold::new(["unknown"], ColumnName("at"), ColumnName("celsius"), limit),
            Threshold { limit: limit.clears_at(2.0), ..hot() },
            hot().ahead(ColumnName("celsius"), Duration::ZERO),
        ] {
            assert!(wrong.output_schema(&input).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn batch_cuts_and_restores_do_not_show(
            rows in proptest::collection::vec((0..4_i64, 0..60_i64, 70.0..100.0_f64), 1..80),
            cut in 0..80_usize,
        ) {
            let rows: Vec<Row> = rows.into_iter().map(|(key, at, v)| (key, at, Some(v))).collect();
            let mut whole = harness(1);
            whole.push(&batch(&rows)).unwrap();
            let mut expected = taken(&mut whole);

            let (first, second) = rows.split_at(cut % rows.len());
            let mut pieces = harness(2);
            pieces.push(&batch(first)).unwrap();
            pieces.snapshot_and_restore(3).unwrap();
            pieces.push(&batch(second)).unwrap();
            let mut found = taken(&mut pieces);
            expected.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(expected, found);
        }
    }
}
