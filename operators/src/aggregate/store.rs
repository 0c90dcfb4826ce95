//! Groups and their accumulators together: the state of one phase on one subtask.
//!
//! What a snapshot keeps of it are columns and rows alone, shared: no index, and nothing that is copied before it changes.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, PrimitiveArray, RecordBatch, TimestampMicrosecondArray,
};
use arrow_schema::Field;
use arrow_select::filter::filter_record_batch;
use thalweg_core::key::{EMPTY_KEY_HASH, hash_keys};
use thalweg_core::operator::{Collector, OpenContext};
use thalweg_core::time::EventTime;
use thalweg_core::{Error, Result};

use super::accumulate::{Accumulator, Counted};
use super::columns::GroupColumns;
use super::groups::GroupTable;
use super::keys::{KeyColumn, KeyValues, local_hashes};
use super::plan::Plan;
use super::rows::{Layout, Rows, SharedRows};

/// Most rows in one emitted batch.
const EMITTED_ROWS: usize = 8192;
/// From this many groups on the memory is given back when the last window is gone.
const KEPT_SLOTS: usize = 4096;

/// All open groups of a phase.
#[derive(Debug)]
pub(super) struct WindowStore {
    plan: Arc<Plan>,
    groups: GroupTable,
    /// What the accumulators keep in few words, by group.
    kept: Rows,
    accumulators: Vec<Box<dyn Accumulator>>,
    /// Of the last batch, by row; kept for their memory.
    hashes: Vec<u64>,
    rows: Vec<u32>,
}

impl WindowStore {
    pub(super) fn new(plan: Arc<Plan>) -> Result<Self> {
        let keys = plan.key_fields.iter().map(|f| KeyColumn::new(f.data_type()));
        let groups = GroupTable::new(keys.collect::<Result<_>>()?);
        let mut layout = Layout::default();
        let mut accumulators: Vec<Box<dyn Accumulator>> = Vec::with_capacity(plan.calls.len());
        for call in &plan.calls {
            let count = call.counted_by.and_then(|at| accumulators.get(at)?.values_counted());
            accumulators.push(match count {
                Some(count) => Box::new(Counted::by(count)),
                None => call.function.accumulator(&call.state, &mut layout)?,
            });
        }
        let kept = Rows::new(&layout);
        Ok(Self { plan, groups, kept, accumulators, hashes: Vec::new(), rows: Vec::new() })
    }

    /// Finds the groups of rows; `hash` gives hashes of their keys, of one kind in all of a store's life.
    fn intern(
        &mut self,
        starts: &[EventTime],
        keys: &[ArrayRef],
        hash: impl FnOnce(&[KeyValues<'_>], &mut Vec<u64>) -> Result<()>,
    ) -> Result<()> {
        let values = keys.iter().map(KeyValues::new).collect::<Result<Vec<_>>>()?;
        hash(&values, &mut self.hashes)?;
        self.groups.intern(starts, &self.hashes, &values, &mut self.rows)?;
        self.grow(self.groups.slots());
        Ok(())
    }

    fn grow(&mut self, groups: usize) {
        self.kept.grow(groups);
        for accumulator in &mut self.accumulators {
            accumulator.grow(groups);
        }
    }

    /// Empties groups.
    fn clear(&mut self, groups: &[u32]) {
        self.kept.clear(groups);
        for accumulator in &mut self.accumulators {
            accumulator.clear(groups);
        }
    }

    /// Adds rows: `starts` their windows, `keys` without nulls, `values` per aggregate.
    pub(super) fn update<'a>(
        &mut self,
        starts: &[EventTime],
        keys: &[ArrayRef],
        values: impl Iterator<Item = Option<&'a ArrayRef>>,
    ) -> Result<()> {
        let integers = match keys {
            [key] => key.as_primitive_opt::<Int64Type>().filter(|k| k.null_count() == 0),
            _ => None,
        };
        if let Some(keys) = integers {
            self.groups.intern_integers(starts, keys.values(), &mut self.rows)?;
            self.grow(self.groups.slots());
        } else {
            self.intern(starts, keys, |values, hashes| {
                local_hashes(values, starts.len(), hashes);
                Ok(())
            })?;
        }
        for (accumulator, values) in self.accumulators.iter_mut().zip(values) {
            accumulator.update(&mut self.kept, &self.rows, values)?;
        }
        Ok(())
    }

    /// Adds rows as [`Self::emit_partials`] gives them: each to all windows that its pane lies in. Their keys must be those
    /// of the instance `open`: a snapshot has the groups of no others.
    pub(super) fn merge_panes(&mut self, batch: &RecordBatch, open: &OpenContext) -> Result<()> {
        let windows = self.plan.windows;
        let panes = Self::starts(batch)?.values();
        self.merge_into(panes, batch)?;
        open.check_keys(self.hashes.iter().copied())?;
        for back in 1..windows.overlap() {
            let starts = panes.iter().map(|pane| windows.start_before(*pane, back));
            if let Some(starts) = starts.clone().collect::<Option<Vec<_>>>() {
                self.merge_into(&starts, batch)?;
                continue;
            }
            // At the beginning of all time some windows are none.
            let inside: BooleanArray = starts.clone().map(|start| Some(start.is_some())).collect();
            let rows = filter_record_batch(batch, &inside)
                .map_err(|_| Error::internal("partial rows of an aggregate cannot be filtered"))?;
            self.merge_into(&starts.flatten().collect::<Vec<_>>(), &rows)?;
        }
        Ok(())
    }

    /// Adds rows as a snapshot gave them, each to its window.
    pub(super) fn merge(&mut self, batch: &RecordBatch) -> Result<()> {
        self.merge_into(Self::starts(batch)?.values(), batch)
    }

    fn merge_into(&mut self, starts: &[EventTime], batch: &RecordBatch) -> Result<()> {
        let changed = || Error::internal("partial rows of an aggregate with other columns");
        let (keys, mut rest) = batch
            .columns()
            .get(1..)
            .and_then(|c| c.split_at_checked(self.plan.key_fields.len()))
            .ok_or_else(changed)?;
        // These decide in which key group a group is stored.
        self.intern(starts, keys, |_, hashes| {
            if keys.is_empty() {
                hashes.clear();
                hashes.resize(starts.len(), EMPTY_KEY_HASH);
                return Ok(());
            }
            hash_keys(keys, starts.len(), hashes)
        })?;
        for (accumulator, call) in self.accumulators.iter_mut().zip(&self.plan.calls) {
            let state = rest.split_off(..call.state.len()).ok_or_else(changed)?;
            accumulator.merge(&mut self.kept, &self.rows, state)?;
        }
        Ok(())
    }

    /// The windows of partial rows.
    pub(super) fn starts(batch: &RecordBatch) -> Result<&PrimitiveArray<TimestampMicrosecondType>> {
        batch
            .columns()
            .first()
            .and_then(|c| c.as_any().downcast_ref())
            .ok_or_else(|| Error::internal("partial rows of an aggregate without their window"))
    }

    /// `groups` as partial rows.
    fn partials(&self, groups: &[u32]) -> Result<RecordBatch> {
        partials(&self.plan, &self.groups.columns, &self.kept, &self.accumulators, groups)
    }

    /// `groups` as rows of results.
    fn results(&self, groups: &[u32]) -> Result<RecordBatch> {
        let starts = self.groups.columns.starts(groups);
        let windows = self.plan.windows;
        let ends: PrimitiveArray<TimestampMicrosecondType> =
            starts.unary(|start| windows.window_at(start).end);
        let mut columns: Vec<ArrayRef> =
            vec![Arc::new(starts), Arc::new(ends.with_timezone("UTC"))];
        columns.extend(self.groups.columns.key_arrays(groups));
        for accumulator in &self.accumulators {
            columns.push(accumulator.evaluate(&self.kept, groups)?);
        }
        RecordBatch::try_new(Arc::clone(&self.plan.results), columns)
            .map_err(|_| Error::internal("an aggregate made results of another shape"))
    }

    /// Rows as partial rows of their own, which takes that no group is in use.
    pub(super) fn pass<'a>(
        &mut self,
        starts: &[EventTime],
        keys: &[ArrayRef],
        values: impl Iterator<Item = Option<&'a ArrayRef>>,
    ) -> Result<RecordBatch> {
        let rows = u32::try_from(starts.len())
            .map_err(|_| Error::internal("a batch of more than 2^32 rows"))?;
        self.rows.clear();
        self.rows.extend(0..rows);
        let starts = TimestampMicrosecondArray::from_iter_values(starts.iter().copied());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(starts.with_timezone("UTC"))];
        columns.extend(keys.iter().cloned());
        self.grow(self.rows.len());
        for (accumulator, values) in self.accumulators.iter_mut().zip(values) {
            accumulator.update(&mut self.kept, &self.rows, values)?;
            columns.extend(accumulator.state(&self.kept, &self.rows)?);
            accumulator.clear(&self.rows);
        }
        self.kept.clear(&self.rows);
        self.plan.partial_rows(columns)
    }

    /// Emits and forgets the windows that are closed at `watermark` as partial rows; returns how many.
    pub(super) fn emit_partials(&mut self, watermark: i64, out: &mut Collector) -> Result<usize> {
        self.emit(watermark, out, |_, groups| groups.to_vec(), Self::partials)
    }

    /// Emits and forgets the windows that are closed at `watermark` as results, by window and key.
    pub(super) fn emit_results(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        self.emit(watermark, out, GroupColumns::sorted, Self::results).map(drop)
    }

    fn emit(
        &mut self,
        watermark: i64,
        out: &mut Collector,
        order: impl Fn(&GroupColumns, &[u32]) -> Vec<u32>,
        rows: impl Fn(&Self, &[u32]) -> Result<RecordBatch>,
    ) -> Result<usize> {
        let plan = Arc::clone(&self.plan);
        let taken = self.groups.take(|start| plan.is_closed(start, watermark));
        let ordered = taken.iter().flat_map(|groups| order(&self.groups.columns, groups));
        let ordered: Vec<u32> = ordered.collect();
        for groups in ordered.chunks(EMITTED_ROWS) {
            out.emit(rows(self, groups)?);
        }
        if self.groups.len() == ordered.len() && self.groups.slots() > KEPT_SLOTS {
            *self = Self::new(plan)?;
            return Ok(ordered.len());
        }
        for groups in taken.iter().rev() {
            self.groups.release(groups);
            self.clear(groups);
        }
        Ok(ordered.len())
    }

    /// Groups in use.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// As it is now, whatever becomes of this: a reference per page.
    pub(super) fn share(&mut self) -> SharedWindows {
        SharedWindows {
            plan: Arc::clone(&self.plan),
            columns: self.groups.columns.share(),
            kept: self.kept.share(),
            accumulators: self.accumulators.iter_mut().map(|a| a.share()).collect(),
        }
    }

    /// Roughly the memory taken.
    pub(super) fn bytes(&self) -> usize {
        let fixed = self.kept.row_bytes() * self.groups.slots();
        let heap: usize = self.accumulators.iter().map(|a| a.heap_bytes()).sum();
        self.groups.bytes() + fixed + heap
    }

    /// Whether `fields` are those of partial rows, whatever their marks.
    pub(super) fn stores<'a>(&self, mut fields: impl Iterator<Item = &'a Field>) -> bool {
        let own = self.plan.partial.fields();
        own.iter().all(|own| {
            fields
                .next()
                .is_some_and(|f| f.name() == own.name() && f.data_type() == own.data_type())
        }) && fields.next().is_none()
    }
}

/// All open groups as of one instant.
#[derive(Debug)]
pub(super) struct SharedWindows {
    plan: Arc<Plan>,
    columns: GroupColumns,
    kept: SharedRows,
    accumulators: Vec<Box<dyn Accumulator>>,
}

impl SharedWindows {
    /// The groups in use by key group, windows ascending within one.
    pub(super) fn by_key_group(&self, max_parallelism: u16) -> Vec<Vec<u32>> {
        self.columns.by_key_group(max_parallelism)
    }

    /// `groups` as partial rows.
    pub(super) fn partials(&self, groups: &[u32]) -> Result<RecordBatch> {
        partials(&self.plan, &self.columns, &self.kept.rows, &self.accumulators, groups)
    }
}

fn partials(
    plan: &Plan,
    columns: &GroupColumns,
    kept: &Rows,
    accumulators: &[Box<dyn Accumulator>],
    groups: &[u32],
) -> Result<RecordBatch> {
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(columns.starts(groups))];
    arrays.extend(columns.key_arrays(groups));
    for accumulator in accumulators {
        arrays.extend(accumulator.state(kept, groups)?);
    }
    plan.partial_rows(arrays)
}
