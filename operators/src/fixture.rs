//! What the tests of this crate share: batches in few words, and an operator run by hand.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{Field, Schema, SchemaRef};
use thalweg_core::key::KeyGroupRange;
use thalweg_core::operator::{Collector, Context, OpenContext, OperatorFactory};
use thalweg_core::sensitivity::{Sensitivity, mark};
use thalweg_core::{Error, OperatorUid, Result, SubtaskIndex, Watermark};

/// A column of a test batch: name, values, marks.
pub(crate) type TestColumn<'a> = (&'a str, ArrayRef, &'a [Sensitivity]);

/// A batch whose columns all may be null.
pub(crate) fn batch(columns: &[TestColumn<'_>]) -> RecordBatch {
    let field = |(name, values, marks): &TestColumn<'_>| {
        mark(Field::new(*name, values.data_type().clone(), true), marks.iter().copied())
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let values = columns.iter().map(|(_, values, _)| Arc::clone(values)).collect();
    RecordBatch::try_new(Arc::new(schema), values).unwrap()
}

/// A column of text.
pub(crate) fn texts(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// A column of anything.
pub(crate) fn values<A: Array + 'static>(array: impl Into<A>) -> ArrayRef {
    Arc::new(array.into())
}

/// What each column of a schema is called.
pub(crate) fn names(schema: &Schema) -> Vec<&str> {
    schema.fields().iter().map(|f| f.name().as_str()).collect()
}

fn open(input: SchemaRef) -> OpenContext {
    OpenContext {
        uid: OperatorUid::new("under-test").unwrap(),
        subtask: SubtaskIndex(0),
        parallelism: 1,
        max_parallelism: 128,
        key_groups: KeyGroupRange::of_subtask(0, 1, 128),
        input_schema: input,
    }
}

/// One instance of an operator.
pub(crate) struct Instance {
    open: OpenContext,
    operator: Box<dyn thalweg_core::operator::Operator>,
    promised: Vec<(Option<&'static str>, SchemaRef)>,
    dropped: u64,
}

impl Instance {
    pub(crate) fn new(factory: &impl OperatorFactory, input: &SchemaRef) -> Self {
        let mut promised = vec![(None, factory.output_schema(input).unwrap())];
        for side in factory.side_outputs(input).unwrap() {
            promised.push((Some(side.tag), side.schema));
        }
        let open = open(Arc::clone(input));
        Self { operator: factory.create(open.clone()).unwrap(), open, promised, dropped: 0 }
    }

    /// Rows dropped on purpose so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Processes a batch; every batch that comes out has the columns that were promised.
    pub(crate) fn process(
        &mut self,
        batch: &RecordBatch,
    ) -> Result<Vec<(Option<&'static str>, RecordBatch)>> {
        let context = Context { watermark: Watermark::MIN, open: &self.open };
        let mut out = Collector::default();
        self.operator.process(batch.clone(), &context, &mut out)?;
        self.dropped += out.take_left_out().dropped;
        let emitted = out.take();
        for (tag, batch) in &emitted {
            let (_, schema) = self.promised.iter().find(|(t, _)| t == tag).unwrap();
            assert_eq!(batch.schema_ref(), schema, "what came out is what was promised");
        }
        Ok(emitted)
    }
}

/// Runs one batch through a fresh instance and returns the main output, of which there is one batch.
pub(crate) fn apply(factory: &impl OperatorFactory, batch: &RecordBatch) -> RecordBatch {
    let emitted = Instance::new(factory, &batch.schema()).process(batch).unwrap();
    let [(None, output)] = emitted.as_slice() else { panic!("{} batches", emitted.len()) };
    output.clone()
}

/// Why a graph with this operator behind these columns does not build.
#[track_caller]
pub(crate) fn refusal(factory: &impl OperatorFactory, input: &RecordBatch) -> String {
    let error: Error = factory.output_schema(&input.schema()).unwrap_err();
    assert_eq!(error.kind(), thalweg_core::ErrorKind::InvalidGraph);
    assert!(
        factory.create(open(input.schema())).is_err(),
        "such an instance cannot be made either"
    );
    error.to_string()
}
