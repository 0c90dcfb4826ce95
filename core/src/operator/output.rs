//! Where an operator puts its rows.

use std::marker::PhantomData;

use arrow_array::RecordBatch;

/// Names a side output and the type of its records.
///
/// ```
/// use thalweg_core::operator::OutputTag;
/// struct Reading;
/// const LATE: OutputTag<Reading> = OutputTag::new("late");
/// assert_eq!(LATE.name(), "late");
/// ```
pub struct OutputTag<R> {
    name: &'static str,
    record: PhantomData<fn() -> R>,
}

impl<R> OutputTag<R> {
    /// A tag; its name is unique among an operator's outputs.
    pub const fn new(name: &'static str) -> Self {
        Self { name, record: PhantomData }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<R> std::fmt::Debug for OutputTag<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OutputTag({})", self.name)
    }
}

/// Rows that are in no output: these numbers are all that is told of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// They came too late.
    pub late: u64,
    /// Somebody asked for them to be dropped.
    pub dropped: u64,
    /// A column of their key is null, and an aggregate has no group for them.
    pub null_key: u64,
}

/// Collects what one call emits, in order.
#[derive(Default)]
pub struct Collector {
    emitted: Vec<(Option<&'static str>, RecordBatch)>,
    left_out: LeftOut,
}

impl Collector {
    /// Emits rows to the main output; empty batches vanish.
    pub fn emit(&mut self, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.emitted.push((None, batch));
        }
    }

    /// Emits rows to the side output called `tag`.
    pub fn side_output(&mut self, tag: &'static str, batch: RecordBatch) {
        if batch.num_rows() > 0 {
            self.emitted.push((Some(tag), batch));
        }
    }

    /// Takes what was emitted: `None` is the main output.
    pub fn take(&mut self) -> Vec<(Option<&'static str>, RecordBatch)> {
        std::mem::take(&mut self.emitted)
    }

    /// Counts rows that go nowhere: nobody can count them downstream.
    pub fn leave_out(&mut self, rows: LeftOut) {
        self.left_out.late += rows.late;
        self.left_out.dropped += rows.dropped;
        self.left_out.null_key += rows.null_key;
    }

    /// Takes the numbers of rows left out.
    pub fn take_left_out(&mut self) -> LeftOut {
        std::mem::take(&mut self.left_out)
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Collector({} batches)", self.emitted.len())
    }
}
