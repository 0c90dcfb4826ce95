//! What a generator's user provides: rows as a pure function of their index.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use thalweg_core::Result;

/// Rows as a pure function of their index: asked again, it answers the same.
pub trait RowGenerator: Send + Sync {
    /// The columns.
    fn schema(&self) -> SchemaRef;

    /// The rows `from..to`. Any cut yields the same rows: `batch(0, 9)` is `batch(0, 4)` followed by `batch(4, 9)`.
    fn batch(&self, from: u64, to: u64) -> Result<RecordBatch>;

    /// What the rows depend on besides the index, a seed for example: a checkpoint is only continued with the same.
    fn identity(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

impl<G: RowGenerator + ?Sized> RowGenerator for Arc<G> {
    fn schema(&self) -> SchemaRef {
        (**self).schema()
    }

    fn batch(&self, from: u64, to: u64) -> Result<RecordBatch> {
        (**self).batch(from, to)
    }

    fn identity(&self) -> BTreeMap<String, String> {
        (**self).identity()
    }
}

/// A [`RowGenerator`] out of a function; see [`from_fn`].
pub struct FromFn<F> {
    schema: SchemaRef,
    rows: F,
}

/// Makes a generator of a function from a range of indices to the rows of that range.
pub fn from_fn<F>(schema: SchemaRef, rows: F) -> FromFn<F>
where
    F: Fn(u64, u64) -> Result<RecordBatch> + Send + Sync,
{
    FromFn { schema, rows }
}

impl<F> RowGenerator for FromFn<F>
where
    F: Fn(u64, u64) -> Result<RecordBatch> + Send + Sync,
{
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn batch(&self, from: u64, to: u64) -> Result<RecordBatch> {
        (self.rows)(from, to)
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FromFn({} columns)", self.schema.fields().len())
    }
}
