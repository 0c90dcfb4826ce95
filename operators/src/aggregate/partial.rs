//! The phase before the exchange: sums up what a subtask sees, so that few rows travel and a key that most rows share
//! does not load one subtask with all of them.
//!
//! It keeps nothing across a barrier: what it has summed up goes downstream in front of it (P24).

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use thalweg_core::element::Watermark;
use thalweg_core::operator::{Collector, Context, OpenContext, Operator, OperatorFactory};
use thalweg_core::time::EventTime;
use thalweg_core::window::{TimeWindow, TumblingEventTimeWindows};
use thalweg_core::{Error, Result};

use super::Aggregate;
use super::plan::{Plan, RowColumns};
use super::store::WindowStore;

/// Makes the phase before the exchange. See [`Aggregate::partial`].
#[derive(Debug, Clone)]
pub struct PartialFactory {
    pub(super) aggregate: Arc<Aggregate>,
}

impl OperatorFactory for PartialFactory {
    fn describe(&self) -> String {
        format!("partial {}", self.aggregate.describe())
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(Plan::of_rows(&self.aggregate, input)?.0.partial)
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        let (plan, columns) = Plan::of_rows(&self.aggregate, &context.input_schema)?;
        Ok(Box::new(Partial {
            windows: plan.windows,
            keys: plan.key_fields.len(),
            columns,
            limit_groups: self.aggregate.limit_groups,
            limit_bytes: self.aggregate.limit_bytes,
            store: WindowStore::new(Arc::new(plan))?,
            starts: Vec::new(),
        }))
    }
}

#[derive(Debug)]
struct Partial {
    windows: TumblingEventTimeWindows,
    keys: usize,
    columns: RowColumns,
    limit_groups: usize,
    limit_bytes: usize,
    store: WindowStore,
    /// Of the last batch, by row; kept for its memory.
    starts: Vec<EventTime>,
}

impl Partial {
    /// The columns that are read, of the rows whose keys are all there.
    fn rows(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let changed = |_| Error::internal("an aggregate was given other columns than planned");
        let rows = batch.project(&self.columns.columns).map_err(changed)?;
        let mut keyed: Option<NullBuffer> = None;
        for key in rows.columns().iter().skip(1).take(self.keys) {
            keyed = NullBuffer::union(keyed.as_ref(), key.nulls());
        }
        match keyed.filter(|keyed| keyed.null_count() > 0) {
            None => Ok(rows),
            Some(keyed) => {
                let keyed = BooleanArray::new(keyed.into_inner(), None);
                filter_record_batch(&rows, &keyed).map_err(changed)
            }
        }
    }

    /// The start of each row's window.
    fn assign(&mut self, times: &[EventTime]) {
        self.starts.clear();
        self.starts.reserve(times.len());
        // Neighbours mostly share a window, and comparing is cheaper than dividing.
        let mut window = TimeWindow { start: 0, end: 0 };
        for time in times {
            if !window.contains(*time) {
                window = self.windows.window_of(*time);
            }
            self.starts.push(window.start);
        }
    }
}

impl Operator for Partial {
    fn process(
        &mut self,
        batch: RecordBatch,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let rows = self.rows(&batch)?;
        let times = rows
            .columns()
            .first()
            .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>())
            .filter(|times| times.null_count() == 0)
            .ok_or_else(|| Error::internal("a row without an event time reached an aggregate"))?;
        self.assign(times.values());
        let keys: Vec<ArrayRef> =
            rows.columns().iter().skip(1).take(self.keys).map(Arc::clone).collect();
        let values = self.columns.values.iter().map(|at| at.and_then(|at| rows.columns().get(at)));
        self.store.update(&self.starts, &keys, values)?;
        if self.store.groups.len() > self.limit_groups || self.store.bytes() > self.limit_bytes {
            self.store.emit_partials(EventTime::MAX, out)?;
        }
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        self.store.emit_partials(watermark.0, out)
    }

    fn before_barrier(&mut self, _context: &Context<'_>, out: &mut Collector) -> Result<()> {
        self.store.emit_partials(EventTime::MAX, out)
    }
}
