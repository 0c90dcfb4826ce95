//! The phase behind the exchange: merges partial rows and emits each window once, when event time has passed it.
//!
//! Rows leave by window and key, so equal input gives equal output whatever the order in which partial rows came.

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use thalweg_core::element::Watermark;
use thalweg_core::key::{EMPTY_KEY_HASH, KeyGroup, hash_keys, key_group_of};
use thalweg_core::operator::{
    Collector, Context, LeftOut, OpenContext, Operator, OperatorFactory, StateBlob, StateChunk,
};
use thalweg_core::time::{EventTime, earliest};
use thalweg_core::{Error, Result};

use super::Aggregate;
use super::plan::Plan;
use super::snapshot::{CHUNK, Snapshots};
use super::store::WindowStore;

/// Makes the phase behind the exchange. See [`Aggregate::merge`].
#[derive(Debug, Clone)]
pub struct MergeFactory {
    pub(super) aggregate: Arc<Aggregate>,
}

impl OperatorFactory for MergeFactory {
    fn describe(&self) -> String {
        self.aggregate.describe()
    }

    fn needs_event_time(&self) -> bool {
        true
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(Plan::of_partials(&self.aggregate, input)?.results)
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        let plan = Arc::new(Plan::of_partials(&self.aggregate, &context.input_schema)?);
        Ok(Box::new(Merge {
            store: WindowStore::new(Arc::clone(&plan))?,
            plan,
            fired: Watermark::MIN.0,
            restored: Vec::new(),
            snapshots: Snapshots::default(),
            open: context,
        }))
    }
}

#[derive(Debug)]
struct Merge {
    plan: Arc<Plan>,
    store: WindowStore,
    /// Every window that is closed at this watermark has been emitted.
    fired: EventTime,
    /// Per key group, as of the restore, up to which end windows had been emitted; instances may have been apart. Sorted.
    restored: Vec<(KeyGroup, EventTime)>,
    snapshots: Snapshots,
    open: OpenContext,
}

/// The end that a key group was restored with.
fn restored(ends: &[(KeyGroup, EventTime)], group: KeyGroup) -> EventTime {
    let at = ends.binary_search_by_key(&group, |(group, _)| *group);
    at.ok().and_then(|at| ends.get(at)).map_or(EventTime::MIN, |(_, end)| *end)
}

impl Merge {
    /// The rows whose windows are open. A window is emitted once: rows for one that was must not come (lateness was decided
    /// upstream). Behind a restore they may: whoever judges by the watermark where he is has not heard of it yet, and whoever
    /// allows more lateness than the run before still takes them. They are partial rows that are counted then, each of one
    /// row at least.
    fn open_rows(&self, batch: RecordBatch, out: &mut Collector) -> Result<RecordBatch> {
        let starts = WindowStore::starts(&batch)?.values();
        let Some(first) = earliest(starts) else { return Ok(batch) };
        if self.plan.pane_is_closed(first, self.fired) {
            return Err(Error::internal(
                "rows came for a window that had been emitted: window handling is wrong",
            ));
        }
        let furthest = self.restored.iter().map(|(_, end)| *end).max();
        if !furthest.is_some_and(|end| self.plan.pane_ends_by(first, end)) {
            return Ok(batch);
        }
        let keys = batch.columns().iter().skip(1).take(self.plan.key_fields.len());
        let keys: Vec<_> = keys.map(Arc::clone).collect();
        let mut hashes = Vec::new();
        hash_keys(&keys, batch.num_rows(), &mut hashes)?;
        let is_open = |(start, hash): (&EventTime, u64)| {
            let group = key_group_of(hash, self.open.max_parallelism);
            Some(!self.plan.pane_ends_by(*start, restored(&self.restored, group)))
        };
        let open: BooleanArray = starts.iter().zip(hashes).map(is_open).collect();
        let late = open.false_count() as u64;
        out.leave_out(LeftOut { late, ..LeftOut::default() });
        filter_record_batch(&batch, &open)
            .map_err(|_| Error::internal("partial rows of an aggregate cannot be filtered"))
    }
}

impl Operator for Merge {
    fn process(
        &mut self,
        batch: RecordBatch,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let batch = self.open_rows(batch, out)?;
        self.snapshots.forget();
        self.store.merge_panes(&batch, &self.open)
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        if watermark.0 > self.fired {
            self.snapshots.forget();
            self.fired = watermark.0;
        }
        self.store.emit_results(self.fired, out)
    }

    fn snapshot(&mut self) -> Result<Vec<StateChunk>> {
        let OpenContext { key_groups, max_parallelism, .. } = self.open;
        // Without keys there is one key group that ever has a window.
        let no_key = self.plan.key_fields.is_empty();
        let only = no_key.then(|| key_group_of(EMPTY_KEY_HASH, max_parallelism));
        let fired = self.plan.closed_end(self.fired);
        let emitted = |group: KeyGroup| match only {
            Some(only) if only != group => EventTime::MIN,
            _ => fired.max(restored(&self.restored, group)),
        };
        Ok(self.snapshots.take(&mut self.store, &self.plan, emitted, key_groups, max_parallelism))
    }

    fn restore(&mut self, blobs: Vec<StateBlob>) -> Result<()> {
        for blob in blobs {
            if blob.name != CHUNK {
                return Err(Error::incompatible("unknown state of an aggregate in the checkpoint"));
            }
            if !self.open.key_groups.contains(blob.key_group) {
                return Err(Error::internal("an aggregate was handed state of another subtask"));
            }
            let emitted = Snapshots::restore(&mut self.store, &self.plan, &blob.bytes)?;
            self.restored.push((blob.key_group, emitted));
        }
        self.restored.sort_unstable();
        // Of several ends of a group the last counts; sorted, it is behind the others.
        self.restored.reverse();
        self.restored.dedup_by_key(|(group, _)| *group);
        self.restored.reverse();
        Ok(())
    }
}
