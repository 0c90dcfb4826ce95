//! Where a row came from, for errors: never what it holds.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, BooleanArray, RecordBatch};

/// Partition and offset of the first of the rows that are marked, when the batch comes from a source of messages.
pub(super) fn of_first(batch: &RecordBatch, marked: &BooleanArray) -> Option<String> {
    let row = marked.values().set_indices().next()?;
    let partitions = batch.column_by_name("partition")?.as_primitive_opt::<Int32Type>()?;
    let offsets = batch.column_by_name("offset")?.as_primitive_opt::<Int64Type>()?;
    let known = partitions.is_valid(row) && offsets.is_valid(row);
    known.then(|| format!("partition {}, offset {}", partitions.value(row), offsets.value(row)))
}
