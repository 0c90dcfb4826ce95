//! Groups and their accumulators together: the state of one phase on one subtask.
//!
//! What a snapshot keeps of it are the columns alone, shared: no index, and nothing that is copied before it changes.

use std::sync::Arc;

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, PrimitiveArray, RecordBatch};
use arrow_schema::Field;
use thalweg_core::key::{EMPTY_KEY_HASH, hash_keys};
use thalweg_core::operator::Collector;
use thalweg_core::time::EventTime;
use thalweg_core::{Error, Result};

use super::accumulate::Accumulator;
use super::columns::GroupColumns;
use super::groups::GroupTable;
use super::keys::{KeyColumn, KeyValues};
use super::plan::Plan;

/// Most rows in one emitted batch.
const EMITTED_ROWS: usize = 8192;
/// From this many groups on the memory is given back when the last window is gone.
const KEPT_SLOTS: usize = 4096;

/// All open groups of a phase.
#[derive(Debug)]
pub(super) struct WindowStore {
    plan: Arc<Plan>,
    groups: GroupTable,
    accumulators: Vec<Box<dyn Accumulator>>,
    /// Of the last batch, by row; kept for their memory.
    hashes: Vec<u64>,
    rows: Vec<u32>,
}

impl WindowStore {
    pub(super) fn new(plan: Arc<Plan>) -> Result<Self> {
        let keys = plan.key_fields.iter().map(|f| KeyColumn::new(f.data_type()));
        let groups = GroupTable::new(keys.collect::<Result<_>>()?);
        let accumulators = plan.calls.iter().map(|c| c.function.accumulator(&c.state));
        let accumulators = accumulators.collect::<Result<_>>()?;
        Ok(Self { plan, groups, accumulators, hashes: Vec::new(), rows: Vec::new() })
    }

    fn intern(&mut self, starts: &[EventTime], keys: &[ArrayRef]) -> Result<()> {
        if keys.is_empty() {
            self.hashes.clear();
            self.hashes.resize(starts.len(), EMPTY_KEY_HASH);
        } else {
            hash_keys(keys, starts.len(), &mut self.hashes)?;
        }
        let values = keys.iter().map(KeyValues::new).collect::<Result<Vec<_>>>()?;
        self.groups.intern(starts, &self.hashes, &values, &mut self.rows)?;
        for accumulator in &mut self.accumulators {
            accumulator.grow(self.groups.slots());
        }
        Ok(())
    }

    /// Adds rows: `starts` their windows, `keys` without nulls, `values` per aggregate.
    pub(super) fn update<'a>(
        &mut self,
        starts: &[EventTime],
        keys: &[ArrayRef],
        values: impl Iterator<Item = Option<&'a ArrayRef>>,
    ) -> Result<()> {
        self.intern(starts, keys)?;
        for (accumulator, values) in self.accumulators.iter_mut().zip(values) {
            accumulator.update(&self.rows, values)?;
        }
        Ok(())
    }

    /// Adds rows as [`Self::emit_partials`] gives them.
    pub(super) fn merge(&mut self, batch: &RecordBatch) -> Result<()> {
        let changed = || Error::internal("partial rows of an aggregate with other columns");
        let starts = Self::starts(batch)?;
        let (keys, mut rest) = batch
            .columns()
            .get(1..)
            .and_then(|c| c.split_at_checked(self.plan.key_fields.len()))
            .ok_or_else(changed)?;
        self.intern(starts.values(), keys)?;
        for (accumulator, call) in self.accumulators.iter_mut().zip(&self.plan.calls) {
            let state = rest.split_off(..call.state.len()).ok_or_else(changed)?;
            accumulator.merge(&self.rows, state)?;
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
        partials(&self.plan, &self.groups.columns, &self.accumulators, groups)
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
            columns.push(accumulator.evaluate(groups)?);
        }
        RecordBatch::try_new(Arc::clone(&self.plan.results), columns)
            .map_err(|_| Error::internal("an aggregate made results of another shape"))
    }

    /// Emits and forgets the windows that are closed at `watermark` as partial rows.
    pub(super) fn emit_partials(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        self.emit(watermark, out, Self::partials)
    }

    /// Emits and forgets the windows that are closed at `watermark` as results, by window and key.
    pub(super) fn emit_results(&mut self, watermark: i64, out: &mut Collector) -> Result<()> {
        self.emit(watermark, out, Self::results)
    }

    fn emit(
        &mut self,
        watermark: i64,
        out: &mut Collector,
        rows: impl Fn(&Self, &[u32]) -> Result<RecordBatch>,
    ) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let taken = self.groups.take(|start| plan.is_closed(start, watermark));
        for groups in taken.chunks(EMITTED_ROWS) {
            out.emit(rows(self, groups)?);
        }
        self.groups.release(&taken);
        for accumulator in &mut self.accumulators {
            accumulator.clear(&taken);
        }
        if self.groups.len() == 0 && self.groups.slots() > KEPT_SLOTS {
            *self = Self::new(plan)?;
        }
        Ok(())
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
            accumulators: self.accumulators.iter_mut().map(|a| a.share()).collect(),
        }
    }

    /// Roughly the memory taken.
    pub(super) fn bytes(&self) -> usize {
        let fixed: usize = 24 * self.accumulators.len() * self.groups.slots();
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
    accumulators: Vec<Box<dyn Accumulator>>,
}

impl SharedWindows {
    /// The groups in use by key group, windows ascending within one.
    pub(super) fn by_key_group(&self, max_parallelism: u16) -> Vec<Vec<u32>> {
        self.columns.by_key_group(max_parallelism)
    }

    /// `groups` as partial rows.
    pub(super) fn partials(&self, groups: &[u32]) -> Result<RecordBatch> {
        partials(&self.plan, &self.columns, &self.accumulators, groups)
    }
}

fn partials(
    plan: &Plan,
    columns: &GroupColumns,
    accumulators: &[Box<dyn Accumulator>],
    groups: &[u32],
) -> Result<RecordBatch> {
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(columns.starts(groups))];
    arrays.extend(columns.key_arrays(groups));
    for accumulator in accumulators {
        arrays.extend(accumulator.state(groups)?);
    }
    RecordBatch::try_new(Arc::clone(&plan.partial), arrays)
        .map_err(|_| Error::internal("an aggregate made partial rows of another shape"))
}
