//! Tests of both phases together: a small job of several partial and merging instances, run by hand.

mod behaviour;
mod columns;
mod recomputation;
mod storage;

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use thalweg_core::key::{KeyGroupRange, hash_keys, key_group_of, subtask_of};
use thalweg_core::operator::{
    Collector, Context, LeftOut, OpenContext, Operator, OperatorFactory, StateBlob,
};
use thalweg_core::record::{Boolean, Column, Float64, Int32, Int64, Timestamp, Utf8};
use thalweg_core::{OperatorUid, Result, SubtaskIndex, Watermark};

use super::Aggregate;

pub(super) const TIME: Column<Timestamp> = Column::required("event_time");
pub(super) const KIND: Column<Utf8> = Column::nullable("kind");
pub(super) const WARD: Column<Int32> = Column::nullable("ward");
pub(super) const OXYGEN: Column<Boolean> = Column::nullable("oxygen");
pub(super) const PATIENT: Column<Int64> = Column::nullable("patient");
pub(super) const VALUE: Column<Float64> = Column::nullable("value");
pub(super) const SMALL: Column<Int32> = Column::nullable("small");

pub(super) const MAX_PARALLELISM: u16 = 16;

/// One input row.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    pub(super) time: i64,
    pub(super) kind: Option<&'static str>,
    pub(super) ward: Option<i32>,
    pub(super) oxygen: Option<bool>,
    pub(super) patient: Option<i64>,
    pub(super) value: Option<f64>,
    pub(super) small: Option<i32>,
}

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        TIME.field(),
        KIND.field(),
        WARD.field(),
        OXYGEN.field(),
        PATIENT.field(),
        VALUE.field(),
        SMALL.field(),
    ]))
}

pub(super) fn batch(rows: &[Row]) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.time));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.with_timezone("UTC")),
        Arc::new(rows.iter().map(|r| r.kind).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.ward).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|r| r.oxygen).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|r| r.patient).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.value).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|r| r.small).collect::<Int32Array>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

pub(super) fn tumbling(micros: u64) -> Aggregate {
    Aggregate::tumbling(TIME, Duration::from_micros(micros))
}

pub(super) fn sliding(size: u64, slide: u64) -> Aggregate {
    Aggregate::sliding(TIME, Duration::from_micros(size), Duration::from_micros(slide))
}

struct Instance {
    open: OpenContext,
    left_out: LeftOut,
    operator: Box<dyn Operator>,
}

impl Instance {
    fn call(
        &mut self,
        watermark: Watermark,
        call: impl FnOnce(&mut dyn Operator, &Context<'_>, &mut Collector) -> Result<()>,
    ) -> Result<Vec<RecordBatch>> {
        let mut out = Collector::default();
        let context = Context { watermark, open: &self.open };
        call(self.operator.as_mut(), &context, &mut out)?;
        let LeftOut { late, null_key, .. } = out.take_left_out();
        self.left_out.late += late;
        self.left_out.null_key += null_key;
        Ok(out.take().into_iter().map(|(_, batch)| batch).collect())
    }
}

/// Both phases with the exchange between them.
pub(super) struct Job {
    aggregate: Aggregate,
    partials: Vec<Instance>,
    merges: Vec<Instance>,
    watermark: Watermark,
    pub(super) exchanged: usize,
    pub(super) results: Vec<RecordBatch>,
}

fn instances(factory: &dyn OperatorFactory, input: &SchemaRef, parallelism: u32) -> Vec<Instance> {
    (0..parallelism)
        .map(|index| {
            let open = OpenContext {
                uid: OperatorUid::new("under-test").unwrap(),
                subtask: SubtaskIndex(index),
                parallelism,
                max_parallelism: MAX_PARALLELISM,
                key_groups: KeyGroupRange::of_subtask(index, parallelism, MAX_PARALLELISM),
                input_schema: Arc::clone(input),
            };
            let operator = factory.create(open.clone()).unwrap();
            Instance { operator, open, left_out: LeftOut::default() }
        })
        .collect()
}

impl Job {
    pub(super) fn new(aggregate: Aggregate, partials: u32, merges: u32) -> Self {
        let mut job = Self {
            aggregate,
            partials: Vec::new(),
            merges: Vec::new(),
            watermark: Watermark::MIN,
            exchanged: 0,
            results: Vec::new(),
        };
        job.deploy(partials, merges);
        job
    }

    fn deploy(&mut self, partials: u32, merges: u32) {
        let partial = self.aggregate.partial();
        let between = partial.output_schema(&schema()).unwrap();
        self.partials = instances(&partial, &schema(), partials);
        self.merges = instances(&self.aggregate.merge(), &between, merges);
    }

    /// Rows that were left out as late.
    pub(super) fn late(&self) -> u64 {
        self.partials.iter().chain(&self.merges).map(|instance| instance.left_out.late).sum()
    }

    /// Rows that were left out for want of a key.
    pub(super) fn null_key(&self) -> u64 {
        self.partials.iter().chain(&self.merges).map(|instance| instance.left_out.null_key).sum()
    }

    /// Pushes rows into one of the partial instances.
    pub(super) fn push(&mut self, partial: usize, rows: &[Row]) -> Result<()> {
        let at = partial % self.partials.len();
        let emitted = self.partials[at]
            .call(self.watermark, |o, context, out| o.process(batch(rows), context, out))?;
        self.exchange(emitted)
    }

    /// Routes partial rows by key.
    pub(super) fn exchange(&mut self, batches: Vec<RecordBatch>) -> Result<()> {
        let parallelism = self.merges.len() as u32;
        for batch in batches {
            self.exchanged += batch.num_rows();
            let keys: Vec<ArrayRef> = self
                .aggregate
                .key_columns()
                .iter()
                .map(|k| Arc::clone(batch.column_by_name(k).unwrap()))
                .collect();
            let mut hashes = Vec::new();
            hash_keys(&keys, batch.num_rows(), &mut hashes).unwrap();
            for (index, merge) in self.merges.iter_mut().enumerate() {
                let owner =
                    |h| subtask_of(key_group_of(h, MAX_PARALLELISM), parallelism, MAX_PARALLELISM);
                let mine: BooleanArray =
                    hashes.iter().map(|h| Some(owner(*h) as usize == index)).collect();
                let part = filter_record_batch(&batch, &mine).unwrap();
                if part.num_rows() > 0 {
                    let emitted = merge
                        .call(self.watermark, |o, context, out| o.process(part, context, out))?;
                    self.results.extend(emitted);
                }
            }
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, watermark: i64) -> Result<()> {
        self.watermark = self.watermark.max(Watermark(watermark));
        let watermark = self.watermark;
        for at in 0..self.partials.len() {
            let emitted = self.partials[at]
                .call(watermark, |o, context, out| o.on_watermark(watermark, context, out))?;
            self.exchange(emitted)?;
        }
        for merge in &mut self.merges {
            let emitted =
                merge.call(watermark, |o, context, out| o.on_watermark(watermark, context, out))?;
            self.results.extend(emitted);
        }
        Ok(())
    }

    /// What a checkpoint would store of the merging phase.
    pub(super) fn checkpoint(&mut self) -> Result<Vec<StateBlob>> {
        for at in 0..self.partials.len() {
            let emitted = self.partials[at]
                .call(self.watermark, |o, context, out| o.before_barrier(context, out))?;
            self.exchange(emitted)?;
            assert!(self.partials[at].operator.snapshot()?.is_empty());
        }
        let mut blobs = Vec::new();
        for merge in &mut self.merges {
            for chunk in merge.operator.snapshot()? {
                assert!(merge.open.key_groups.contains(chunk.key_group));
                blobs.extend(chunk.to_blob()?);
            }
        }
        Ok(blobs)
    }

    pub(super) fn restore(
        &mut self,
        blobs: &[StateBlob],
        partials: u32,
        merges: u32,
    ) -> Result<()> {
        self.deploy(partials, merges);
        for merge in &mut self.merges {
            let groups = merge.open.key_groups;
            let own = blobs.iter().filter(|b| groups.contains(b.key_group)).cloned().collect();
            merge.operator.restore(own)?;
        }
        Ok(())
    }

    /// The results so far, a text per row: `start..end key… value…`.
    pub(super) fn table(&self) -> Vec<String> {
        self.results.iter().flat_map(table).collect()
    }
}

/// A text per row.
pub(super) fn table(batch: &RecordBatch) -> Vec<String> {
    (0..batch.num_rows())
        .map(|row| {
            let cells = batch.columns().iter().map(|column| cell(column, row));
            cells.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

fn cell(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "-".to_owned();
    }
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Timestamp(..) => {
            column.as_primitive::<TimestampMicrosecondType>().value(row).to_string()
        }
        other => other.to_string(),
    }
}
