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

/// Collects what one call emits, in order.
#[derive(Default)]
pub struct Collector {
    emitted: Vec<(Option<&'static str>, RecordBatch)>,
    late: u64,
    dropped: u64,
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

    /// Counts rows that go nowhere, on purpose: nobody can count them downstream.
    pub fn drop_rows(&mut self, rows: u64) {
        self.dropped += rows;
    }

    /// Takes the number of rows dropped.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Takes what was emitted: `None` is the main output.
    pub fn take(&mut self) -> Vec<(Option<&'static str>, RecordBatch)> {
        std::mem::take(&mut self.emitted)
    }

    /// Counts rows that came too late and are in no output: this number is all that is told of them.
    pub fn leave_out_late(&mut self, rows: u64) {
        self.late += rows;
    }

    /// Takes the number of rows that were left out because they came too late.
    pub fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Collector({} batches)", self.emitted.len())
    }
}
