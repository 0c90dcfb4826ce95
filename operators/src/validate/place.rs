//! Where a row came from, for errors: never what it holds.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, BooleanArray, RecordBatch};

/// Partition and offset of a row, when the batch comes from a source of messages. It is the one at `position` among those
/// that are marked.
pub(super) fn of_marked(
    batch: &RecordBatch,
    marked: &BooleanArray,
    position: usize,
) -> Option<String> {
    let row = marked.values().set_indices().nth(position)?;
    let partitions = batch.column_by_name("partition")?.as_primitive_opt::<Int32Type>()?;
    let offsets = batch.column_by_name("offset")?.as_primitive_opt::<Int64Type>()?;
    let known = partitions.is_valid(row) && offsets.is_valid(row);
    known.then(|| format!("partition {}, offset {}", partitions.value(row), offsets.value(row)))
}
