//! The phase before the exchange: sums up what a subtask sees, so that few rows travel and a key that most rows share
//! does not load one subtask with all of them.
//!
//! It keeps nothing across a barrier: what it has summed up goes downstream in front of it (P24). Where summing up does
//! not pay, because nearly every row has a group of its own, rows pass as they are, and it is tried again later.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use thalweg_core::element::Watermark;
use thalweg_core::operator::{Collector, Context, LeftOut, OpenContext, Operator, OperatorFactory};
use thalweg_core::time::{EventTime, earliest, latest};
use thalweg_core::watermark::ROW_WATERMARK;
use thalweg_core::window::TumblingEventTimeWindows;
use thalweg_core::{Error, Result};

use super::Aggregate;
use super::plan::{Plan, RowColumns};
use super::store::WindowStore;
use crate::lateness::Lateness;

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
        let judged = self.judged(input)?;
        Ok(Plan::of_rows(&self.aggregate, &judged)?.0.partial)
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        let judged = self.judged(&context.input_schema)?;
        let (plan, columns) = Plan::of_rows(&self.aggregate, &judged)?;
        let undecided = context.input_schema.index_of(ROW_WATERMARK).is_ok();
        let lateness = undecided.then(|| self.lateness().create(context)).transpose()?;
        let plan = Arc::new(plan);
        Ok(Box::new(Partial {
            lateness,
            told: false,
            panes: plan.windows.panes(),
            keys: plan.key_fields.len(),
            columns,
            limit_groups: self.aggregate.limit_groups,
            limit_bytes: self.aggregate.limit_bytes,
            store: WindowStore::new(Arc::clone(&plan))?,
            plan,
            gain: Gain::default(),
            starts: Vec::new(),
        }))
    }
}

impl PartialFactory {
    fn lateness(&self) -> Lateness {
        let Aggregate { event_time, windows, allowed_lateness, .. } = self.aggregate.as_ref();
        let allowed = u64::try_from(*allowed_lateness).unwrap_or(0);
        Lateness::new(*event_time, *windows, Duration::from_micros(allowed))
    }

    /// The columns once lateness is decided.
    fn judged(&self, input: &SchemaRef) -> Result<SchemaRef> {
        let undecided = input.index_of(ROW_WATERMARK).is_ok();
        if undecided { self.lateness().output_schema(input) } else { Ok(Arc::clone(input)) }
    }
}

/// Rows that are summed up before it is judged what that has brought, unless fewer fill the memory.
const JUDGED_ROWS: usize = 16_384;
/// For how many times the judged rows others pass.
const PASSED: usize = 32;

/// What summing up brings.
#[derive(Debug, Default)]
struct Gain {
    /// Summed up since the last judgement, and what became of them.
    rows: usize,
    groups: usize,
    /// That pass before it is tried again.
    passing: usize,
}

impl Gain {
    /// Decides for the next rows; `enough` rows are needed to.
    fn judge(&mut self, enough: usize) {
        if self.rows < enough {
            return;
        }
        if self.groups > self.rows / 2 {
            self.passing = self.rows.saturating_mul(PASSED);
        }
        (self.rows, self.groups) = (0, 0);
    }
}

struct Partial {
    plan: Arc<Plan>,
    /// Where nobody upstream has decided: late rows are left out and counted, which is said once.
    lateness: Option<Box<dyn Operator>>,
    told: bool,
    panes: TumblingEventTimeWindows,
    keys: usize,
    columns: RowColumns,
    limit_groups: usize,
    limit_bytes: usize,
    store: WindowStore,
    gain: Gain,
    /// Of the last batch, by row; kept for its memory.
    starts: Vec<EventTime>,
}

impl Partial {
    /// The rows that may still enter their windows, if any.
    fn on_time(
        &mut self,
        batch: RecordBatch,
        context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<Option<RecordBatch>> {
        let Some(lateness) = &mut self.lateness else { return Ok(Some(batch)) };
        let mut judged = Collector::default();
        lateness.process(batch, context, &mut judged)?;
        let mut on_time = None;
        for (tag, rows) in judged.take() {
            if tag.is_none() {
                on_time = Some(rows);
                continue;
            }
            self.leave_out(rows.num_rows(), out);
        }
        Ok(on_time)
    }

    fn leave_out(&mut self, rows: usize, out: &mut Collector) {
        out.leave_out(LeftOut { late: rows as u64, ..LeftOut::default() });
        if !self.told {
            self.told = true;
            tracing::warn!(
                "late rows are left out and counted; put `Lateness` with the window's own settings before it to keep them"
            );
        }
    }

    /// The rows whose windows are open here. An operator in between may have lost what lateness is decided by, `Lateness`
    /// may have decided by other windows, and nothing is decided about rows of a stream without event time that joined
    /// others. Of all others none is closed here: event time is ahead of no split.
    fn open_rows(
        &mut self,
        rows: &RecordBatch,
        watermark: Watermark,
        out: &mut Collector,
    ) -> Result<RecordBatch> {
        let is_open = |start: &EventTime| !self.plan.pane_is_closed(*start, watermark.0);
        let open: BooleanArray = self.starts.iter().map(|start| Some(is_open(start))).collect();
        self.starts.retain(is_open);
        let all = rows.num_rows();
        let rows = filter_record_batch(rows, &open)
            .map_err(|_| Error::internal("rows of an aggregate cannot be filtered"))?;
        self.leave_out(all - rows.num_rows(), out);
        Ok(rows)
    }

    /// The columns that are read, of the rows whose keys are all there; the others are counted.
    fn rows(&self, batch: &RecordBatch, out: &mut Collector) -> Result<RecordBatch> {
        let changed = |_| Error::internal("an aggregate was given other columns than planned");
        let rows = batch.project(&self.columns.columns).map_err(changed)?;
        let mut keyed: Option<NullBuffer> = None;
        for key in rows.columns().iter().skip(1).take(self.keys) {
            keyed = NullBuffer::union(keyed.as_ref(), key.nulls());
        }
        match keyed.filter(|keyed| keyed.null_count() > 0) {
            None => Ok(rows),
            Some(keyed) => {
                let null_key = keyed.null_count() as u64;
                out.leave_out(LeftOut { null_key, ..LeftOut::default() });
                let keyed = BooleanArray::new(keyed.into_inner(), None);
                filter_record_batch(&rows, &keyed).map_err(changed)
            }
        }
    }

    /// Everything goes downstream.
    fn flush(&mut self, out: &mut Collector) -> Result<()> {
        self.gain.groups += self.store.emit_partials(EventTime::MAX, out)?;
        self.gain.judge(self.limit_groups.min(JUDGED_ROWS));
        Ok(())
    }

    /// The start of each row's window, and the first of them.
    fn assign(&mut self, times: &[EventTime]) -> Option<EventTime> {
        self.starts.clear();
        let (first, last) = (earliest(times)?, latest(times)?);
        // Neighbours mostly share a window, and comparing is cheaper than dividing; so do whole batches.
        let mut window = self.panes.window_of(first);
        let first = window.start;
        if window.contains(last) {
            self.starts.resize(times.len(), first);
            return Some(first);
        }
        self.starts.reserve(times.len());
        for time in times {
            if !window.contains(*time) {
                window = self.panes.window_of(*time);
            }
            self.starts.push(window.start);
        }
        Some(first)
    }
}

impl Operator for Partial {
    fn process(
        &mut self,
        batch: RecordBatch,
        context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let Some(batch) = self.on_time(batch, context, out)? else { return Ok(()) };
        let mut rows = self.rows(&batch, out)?;
        let times = rows
            .columns()
            .first()
            .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>())
            .filter(|times| times.null_count() == 0)
            .ok_or_else(|| Error::internal("a row without an event time reached an aggregate"))?;
        let Some(first) = self.assign(times.values()) else { return Ok(()) };
        if self.plan.pane_is_closed(first, context.watermark.0) {
            rows = self.open_rows(&rows, context.watermark, out)?;
        }
        let keys: Vec<ArrayRef> =
            rows.columns().iter().skip(1).take(self.keys).map(Arc::clone).collect();
        let values = self.columns.values.iter().map(|at| at.and_then(|at| rows.columns().get(at)));
        let count = self.starts.len();
        if self.gain.passing > 0 {
            self.gain.passing = self.gain.passing.saturating_sub(count);
            out.emit(self.store.pass(&self.starts, &keys, values)?);
            return Ok(());
        }
        self.store.update(&self.starts, &keys, values)?;
        self.gain.rows += count;
        if self.store.len() > self.limit_groups || self.store.bytes() > self.limit_bytes {
            self.flush(out)?;
        }
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        self.gain.groups += self.store.emit_partials(watermark.0, out)?;
        Ok(())
    }

    fn before_barrier(&mut self, _context: &Context<'_>, out: &mut Collector) -> Result<()> {
        self.flush(out)
    }
}
