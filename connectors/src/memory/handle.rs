//! A test's hand on a memory source while a job reads it.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use thalweg_core::{Error, Result};

use super::input::{Input, Shared};
use super::lock;

/// A test's hand on a [`super::MemorySource`]: every change is seen by waiting readers at once.
#[derive(Debug, Clone)]
pub struct MemorySourceHandle {
    pub(super) schema: SchemaRef,
    pub(super) shared: Arc<Shared>,
}

impl MemorySourceHandle {
    /// Adds a batch to a split, a new one included (which [`Source::discover`](thalweg_core::connector::source::Source::discover) then finds).
    ///
    /// # Errors
    /// `InvalidGraph` when the schema is another or the input is not open.
    pub fn push(&self, split: &str, batch: RecordBatch) -> Result<()> {
        if batch.schema() != self.schema {
            return Err(Error::graph(format!("split `{split}`: a batch has another schema")));
        }
        self.change(|input| {
            if !input.open {
                return Err(Error::graph(format!("split `{split}`: the input has ended")));
            }
            input.splits.entry(split.to_owned()).or_default().push(batch);
            Ok(())
        })
    }

    /// Ends the input: readers are exhausted behind the rows that are there.
    pub fn finish(&self) {
        self.change(|input| input.open = false);
    }

    /// Makes one poll of one reader fail with `error`.
    pub fn fail(&self, error: Error) {
        self.change(|input| input.errors.push_back(error));
    }

    /// Stops all splits where they are, until [`MemorySourceHandle::resume`].
    pub fn pause(&self) {
        self.change(|input| input.paused = true);
    }

    /// Goes on after [`MemorySourceHandle::pause`].
    pub fn resume(&self) {
        self.change(|input| input.paused = false);
    }

    /// Stops a split before row `position`.
    pub fn hold_at(&self, split: &str, position: i64) {
        self.change(|input| {
            input.splits.entry(split.to_owned()).or_default().hold = Some(position);
        });
    }

    /// Goes on with a split that was held.
    pub fn release(&self, split: &str) {
        self.change(|input| {
            if let Some(rows) = input.splits.get_mut(split) {
                rows.hold = None;
            }
        });
    }

    fn change<T>(&self, how: impl FnOnce(&mut Input) -> T) -> T {
        let result = how(&mut lock(&self.shared.input));
        self.shared.changed.notify_all();
        result
    }
}
