//! Lateness, decided once per row and by the row's own split (P22).
//!
//! The source stage wrote beside each row its split's watermark before that row. Judging by it, and not by the
//! watermark that happens to have reached this subtask, makes the set of late rows a function of the input: batch
//! cuts, parallelism and restarts do not show.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, BooleanArray, Int64Array, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use thalweg_core::operator::{
    Collector, Context, OpenContext, Operator, OperatorFactory, OutputTag, SideOutput,
};
use thalweg_core::record::{ColumnName, Untyped};
use thalweg_core::time::{earliest, latest, micros};
use thalweg_core::watermark::ROW_WATERMARK;
use thalweg_core::window::{
    SlidingEventTimeWindows, TimeWindow, TumblingEventTimeWindows, WindowAssigner,
};
use thalweg_core::{Error, Result};

use crate::batch::check_event_time;

/// Rows that came after their window had closed.
pub const LATE: OutputTag<Untyped> = OutputTag::new("late");

/// Parts rows that can still enter their window from those that came too late.
///
/// **Shape**: on-time rows go to the main output, late ones to [`LATE`]; both lose the column
/// [`ROW_WATERMARK`] and keep their order.
///
/// **Time**: a row is late iff its split's watermark before it has reached the end of its window plus the allowed
/// lateness, of the first of its windows where they slide: a row is in all of them or in none. A row of a split without a
/// watermark is on time.
///
/// **Errors**: the graph does not build where the event time may be null: [`crate::Validate::required`] comes first.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::operator::OperatorFactory;
/// use thalweg_core::record::{Column, Timestamp};
/// use thalweg_core::window::TumblingEventTimeWindows;
/// use thalweg_operators::lateness::Lateness;
/// const TIME: Column<Timestamp> = Column::required("event_time");
/// let minutes = TumblingEventTimeWindows::of(Duration::from_secs(60));
/// let lateness = Lateness::new(TIME, minutes, Duration::ZERO);
/// assert_eq!(lateness.describe(), "lateness by event_time, tumbling 60s");
/// ```
#[derive(Debug, Clone)]
pub struct Lateness {
    event_time: ColumnName,
    windows: SlidingEventTimeWindows,
    allowed_lateness: i64,
}

impl Lateness {
    /// Judges rows by the windows of `event_time`.
    pub fn new(
        event_time: impl Into<ColumnName>,
        windows: impl Into<SlidingEventTimeWindows>,
        allowed_lateness: Duration,
    ) -> Self {
        let (event_time, allowed_lateness) = (event_time.into(), micros(allowed_lateness));
        Self { event_time, windows: windows.into(), allowed_lateness }
    }

    fn columns(&self, input: &Schema) -> Result<Columns> {
        let missing =
            |name: &str| Error::graph(format!("column `{name}` is needed to decide lateness"));
        let (time, field) =
            input.column_with_name(self.event_time.0).ok_or_else(|| missing(self.event_time.0))?;
        check_event_time(field)?;
        let (watermark, field) =
            input.column_with_name(ROW_WATERMARK).ok_or_else(|| missing(ROW_WATERMARK))?;
        if *field.data_type() != DataType::Int64 {
            return Err(Error::graph(format!("column `{ROW_WATERMARK}` must be Int64")));
        }
        let kept = (0..input.fields().len()).filter(|at| *at != watermark).collect();
        Ok(Columns { time, watermark, kept })
    }

    fn kept_schema(&self, input: &Schema) -> Result<SchemaRef> {
        self.windows.check()?;
        let kept = input.project(&self.columns(input)?.kept);
        Ok(Arc::new(kept.map_err(|_| Error::internal("a column that was found is gone"))?))
    }
}

#[derive(Debug)]
struct Columns {
    time: usize,
    watermark: usize,
    kept: Vec<usize>,
}

impl OperatorFactory for Lateness {
    fn describe(&self) -> String {
        format!("lateness by {}, {}", self.event_time.0, self.windows.describe())
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        self.kept_schema(input)
    }

    fn side_outputs(&self, input: &SchemaRef) -> Result<Vec<SideOutput>> {
        Ok(vec![SideOutput { tag: LATE.name(), schema: self.kept_schema(input)? }])
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        let columns = self.columns(&context.input_schema)?;
        Ok(Box::new(Judge {
            columns,
            panes: self.windows.panes(),
            allowed_lateness: self.allowed_lateness,
        }))
    }
}

#[derive(Debug)]
struct Judge {
    columns: Columns,
    panes: TumblingEventTimeWindows,
    allowed_lateness: i64,
}

impl Judge {
    /// Which rows are late; `None` when none is.
    fn late(&self, times: &[i64], watermarks: &Int64Array) -> Option<BooleanBuffer> {
        // Mostly none is, and two passes that compare nothing but numbers tell. What stands under a null is some number.
        let (first, furthest) = (earliest(times)?, latest(watermarks.values())?);
        if self.panes.window_of(first).closes_at(self.allowed_lateness) > furthest {
            return None;
        }
        // Neighbours mostly share a window, and comparing is cheaper than dividing.
        let mut window = TimeWindow { start: 0, end: 0 };
        let mut closes_at = 0;
        let mut late_by_values = |(time, watermark): (&i64, &i64)| {
            if !window.contains(*time) {
                window = self.panes.window_of(*time);
                closes_at = window.closes_at(self.allowed_lateness);
            }
            *watermark >= closes_at
        };
        let late: BooleanBuffer =
            times.iter().zip(watermarks.values()).map(&mut late_by_values).collect();
        let late = match watermarks.nulls() {
            Some(known) => &late & known.inner(),
            None => late,
        };
        (late.count_set_bits() > 0).then_some(late)
    }
}

impl Operator for Judge {
    fn process(
        &mut self,
        batch: RecordBatch,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let changed = || Error::internal("lateness was given other columns than planned");
        let columns = batch.columns();
        let times = columns
            .get(self.columns.time)
            .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>())
            .ok_or_else(changed)?;
        let watermarks = columns
            .get(self.columns.watermark)
            .and_then(|c| c.as_primitive_opt::<Int64Type>())
            .ok_or_else(changed)?;
        if times.null_count() > 0 {
            return Err(Error::internal("a row without an event time reached the lateness check"));
        }
        let late = self.late(times.values(), watermarks);
        let rows = batch.project(&self.columns.kept).map_err(|_| changed())?;
        let Some(late) = late else {
            out.emit(rows);
            return Ok(());
        };
        let on_time = BooleanArray::new(!&late, None);
        let late = BooleanArray::new(late, None);
        out.emit(filter_record_batch(&rows, &on_time).map_err(|_| changed())?);
        out.side_output(LATE.name(), filter_record_batch(&rows, &late).map_err(|_| changed())?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, TimestampMicrosecondArray};
    use arrow_schema::Field;
    use proptest::prelude::*;
    use thalweg_core::key::KeyGroupRange;
    use thalweg_core::{ErrorKind, OperatorUid, SubtaskIndex, Watermark};

    use super::*;

    fn lateness(size: u64, allowed: u64) -> Lateness {
        let windows = TumblingEventTimeWindows::of(Duration::from_micros(size));
        Lateness::new(ColumnName("time"), windows, Duration::from_micros(allowed))
    }

    type Rows = [(Option<i64>, Option<i64>)];

    fn batch(rows: &Rows) -> RecordBatch {
        let times: TimestampMicrosecondArray = rows.iter().map(|r| r.0).collect();
        let columns: [(&str, ArrayRef); 3] = [
            (ROW_WATERMARK, Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>())),
            ("time", Arc::new(times.with_timezone("UTC"))),
            ("row", Arc::new(Int64Array::from_iter_values(0..rows.len() as i64))),
        ];
        let columns = columns.map(|(name, column)| (name, column, name != "time"));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    /// The numbers of the rows on time and of those too late.
    fn judge(lateness: &Lateness, rows: &Rows) -> Result<(Vec<i64>, Vec<i64>)> {
        let batch = batch(rows);
        let open = OpenContext {
            uid: OperatorUid::new("lateness")?,
            subtask: SubtaskIndex(0),
            parallelism: 1,
            max_parallelism: 128,
            key_groups: KeyGroupRange::of_subtask(0, 1, 128),
            input_schema: batch.schema(),
        };
        let schema = lateness.output_schema(&batch.schema())?;
        let mut out = Collector::default();
        let context = Context { watermark: Watermark::MAX, open: &open };
        lateness.create(open.clone())?.process(batch, &context, &mut out)?;
        let (mut on_time, mut late) = (Vec::new(), Vec::new());
        for (tag, batch) in out.take() {
            assert_eq!(batch.schema(), schema);
            assert!(tag.is_none_or(|tag| tag == LATE.name()));
            let numbers = batch.column_by_name("row").unwrap().as_primitive::<Int64Type>();
            if tag.is_some() { &mut late } else { &mut on_time }.extend(numbers.values());
        }
        Ok((on_time, late))
    }

    #[test]
    fn a_row_is_late_once_its_splits_watermark_has_passed_its_window_and_lateness() {
        for (allowed, time, watermark, late) in [
            (0, 5, None, false),
            (0, 5, Some(9), false),
            (0, 5, Some(10), true),
            (0, -5, Some(-1), false),
            (0, -5, Some(0), true),
            (3, 5, Some(12), false),
            (3, 5, Some(13), true),
            (0, 10, Some(19), false),
            (0, i64::MIN, Some(i64::MIN), false),
            (0, i64::MIN, Some(i64::MIN + 8), true),
            (u64::MAX, i64::MAX, Some(i64::MAX - 1), false),
            (0, i64::MAX, Some(i64::MAX), true),
        ] {
            let (on_time, too_late) =
                judge(&lateness(10, allowed), &[(Some(time), watermark)]).unwrap();
            assert_eq!((on_time.len(), too_late.len()), if late { (0, 1) } else { (1, 0) });
        }
    }

    #[test]
    fn an_event_time_that_may_be_null_is_refused_before_a_row_comes() {
        let schema = batch(&[]).schema();
        let fields = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let error = lateness(10, 0).output_schema(&schema).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGraph);
        assert!(error.to_string().contains("`time` may be null"), "{error}");
    }

    #[test]
    fn a_stream_that_was_given_no_watermarks_is_refused() {
        let fields = vec![Field::new("time", DataType::Int64, true)];
        let error = lateness(10, 0).output_schema(&Arc::new(Schema::new(fields))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGraph);
        let rows = batch(&[]);
        assert!(lateness(0, 0).output_schema(&rows.schema()).is_err());
        assert_eq!(lateness(10, 0).side_outputs(&rows.schema()).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn batch_cuts_do_not_show(
            rows in proptest::collection::vec((-50i64..50, proptest::option::of(-60i64..60)), 1..60),
            cut in 0usize..60,
            allowed in 0u64..10,
        ) {
            let rows: Vec<_> = rows.into_iter().map(|(time, w)| (Some(time), w)).collect();
            let lateness = lateness(10, allowed);
            let (on_time, late) = judge(&lateness, &rows).unwrap();
            let naive = |row: &(Option<i64>, Option<i64>)| {
                let end = (row.0.unwrap().div_euclid(10) + 1) * 10;
                row.1.is_some_and(|w| w >= end + allowed as i64)
            };
            let expected: Vec<i64> =
                (0..rows.len()).filter(|i| naive(&rows[*i])).map(|i| i as i64).collect();
            prop_assert_eq!(&late, &expected);
            prop_assert_eq!(on_time.len() + late.len(), rows.len());

            let cut = cut % rows.len();
            let (first, second) = rows.split_at(cut);
            let mut pieces = judge(&lateness, first).unwrap().1;
            pieces.extend(judge(&lateness, second).unwrap().1.iter().map(|row| row + cut as i64));
            prop_assert_eq!(late, pieces);
        }
    }
}
