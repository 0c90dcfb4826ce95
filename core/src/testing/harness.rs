//! Runs the parallel instances of one operator by hand.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;

use crate::element::Watermark;
use crate::key::{KeyGroupRange, hash_keys, key_group_of, subtask_of};
use crate::operator::{Collector, Context, OpenContext, Operator, Promised, SharedFactory};
use crate::{Error, OperatorUid, Result, SubtaskIndex};

const MAX_PARALLELISM: u16 = 128;

/// One operator at some parallelism; rows are routed by key as the runtime would, and what comes out is held against what was
/// promised as there.
pub struct OperatorHarness {
    factory: SharedFactory,
    promised: Promised,
    input: SchemaRef,
    keys: Vec<&'static str>,
    instances: Vec<(OpenContext, Box<dyn Operator>)>,
    watermark: Watermark,
    emitted: Vec<(Option<&'static str>, RecordBatch)>,
}

impl std::fmt::Debug for OperatorHarness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OperatorHarness({} instances)", self.instances.len())
    }
}

impl OperatorHarness {
    /// `parallelism` fresh instances; `keys` routes rows (none: everything to the owner of the empty key).
    pub fn new(
        factory: SharedFactory,
        input: SchemaRef,
        keys: impl IntoIterator<Item = &'static str>,
        parallelism: u32,
    ) -> Result<Self> {
        let mut harness = Self {
            promised: Promised::of(&*factory, &input)?,
            factory,
            input,
            keys: keys.into_iter().collect(),
            instances: Vec::new(),
            watermark: Watermark::MIN,
            emitted: Vec::new(),
        };
        harness.instances = harness.create(parallelism)?;
        Ok(harness)
    }

    fn create(&self, parallelism: u32) -> Result<Vec<(OpenContext, Box<dyn Operator>)>> {
        (0..parallelism)
            .map(|index| {
                let context = OpenContext {
                    uid: OperatorUid::new("under-test")?,
                    subtask: SubtaskIndex(index),
                    parallelism,
                    max_parallelism: MAX_PARALLELISM,
                    key_groups: KeyGroupRange::of_subtask(index, parallelism, MAX_PARALLELISM),
                    input_schema: Arc::clone(&self.input),
                };
                Ok((context.clone(), self.factory.create(context)?))
            })
            .collect()
    }

    /// Pushes rows, each to the instance that owns its key.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let parallelism = self.instances.len() as u32;
        let columns: Vec<ArrayRef> =
            self.keys.iter().filter_map(|k| batch.column_by_name(k).map(Arc::clone)).collect();
        let mut hashes = Vec::new();
        hash_keys(&columns, batch.num_rows(), &mut hashes)?;
        for (index, (open, operator)) in self.instances.iter_mut().enumerate() {
            let mine: arrow_array::BooleanArray = hashes
                .iter()
                .map(|h| {
                    let owner =
                        subtask_of(key_group_of(*h, MAX_PARALLELISM), parallelism, MAX_PARALLELISM);
                    Some(owner as usize == index)
                })
                .collect();
            let part = arrow_select::filter::filter_record_batch(batch, &mine)
                .map_err(|_| Error::internal("a mask of another length"))?;
            if part.num_rows() > 0 {
                let mut out = Collector::default();
                operator.process(part, &Context { watermark: self.watermark, open }, &mut out)?;
                take(&self.promised, &mut out, &mut self.emitted)?;
            }
        }
        Ok(())
    }

    /// Advances event time on every instance; in front of the end of time what is buffered comes out, as in a job.
    pub fn watermark(&mut self, watermark: Watermark) -> Result<()> {
        if watermark == Watermark::MAX {
            self.flush()?;
        }
        self.watermark = watermark;
        for (open, operator) in &mut self.instances {
            let mut out = Collector::default();
            operator.on_watermark(watermark, &Context { watermark, open }, &mut out)?;
            take(&self.promised, &mut out, &mut self.emitted)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        for (open, operator) in &mut self.instances {
            let mut out = Collector::default();
            operator.before_barrier(&Context { watermark: self.watermark, open }, &mut out)?;
            take(&self.promised, &mut out, &mut self.emitted)?;
        }
        Ok(())
    }

    /// The operator is another one from the next restore on: as in a run with other settings.
    pub fn change_to(&mut self, factory: SharedFactory) {
        self.factory = factory;
    }

    /// Takes a checkpoint and goes on from it with new instances at another parallelism.
    pub fn snapshot_and_restore(&mut self, parallelism: u32) -> Result<()> {
        self.flush()?;
        let mut blobs = Vec::new();
        for (_, operator) in &mut self.instances {
            for chunk in operator.snapshot()? {
                blobs.extend(chunk.to_blob()?);
            }
        }
        self.promised = Promised::of(&*self.factory, &self.input)?;
        self.instances = self.create(parallelism)?;
        for (open, operator) in &mut self.instances {
            let own =
                blobs.iter().filter(|b| open.key_groups.contains(b.key_group)).cloned().collect();
            operator.restore(own)?;
        }
        Ok(())
    }

    /// What was emitted since the last call: `None` is the main output.
    pub fn take(&mut self) -> Vec<(Option<&'static str>, RecordBatch)> {
        std::mem::take(&mut self.emitted)
    }
}

/// Takes what was emitted, if it is what was promised.
fn take(
    promised: &Promised,
    out: &mut Collector,
    emitted: &mut Vec<(Option<&'static str>, RecordBatch)>,
) -> Result<()> {
    for (tag, batch) in out.take() {
        promised.check(tag, &batch)?;
        emitted.push((tag, batch));
    }
    Ok(())
}
