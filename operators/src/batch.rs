//! What every operator does with schemas and batches, with errors of our own: Arrow's like to quote.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow_select::filter::FilterBuilder;
use thalweg_core::{Error, Result};

/// A batch of exactly `schema`, which is also how a batch gets the marks that its graph promised.
pub(crate) fn assemble(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|_| {
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        Error::internal(format!(
            "{rows} rows do not fit the promised columns ({}): their number, types, lengths or nulls differ",
            names.join(", ")
        ))
    })
}

/// The column at `index` of the input schema.
pub(crate) fn column(batch: &RecordBatch, index: usize) -> Result<&ArrayRef> {
    batch
        .columns()
        .get(index)
        .ok_or_else(|| Error::internal("a batch has fewer columns than its schema"))
}

/// The columns at `indices` of the input schema.
pub(crate) fn columns(batch: &RecordBatch, indices: &[usize]) -> Result<Vec<ArrayRef>> {
    indices.iter().map(|i| column(batch, *i).map(Arc::clone)).collect()
}

/// Where a column of the input is.
pub(crate) fn index_of(schema: &Schema, column: &str) -> Result<usize> {
    schema.index_of(column).map_err(|_| {
        Error::graph(format!("column `{column}` is not in the input ({})", names(schema)))
    })
}

/// A column of the input.
pub(crate) fn field_of<'a>(schema: &'a Schema, column: &str) -> Result<&'a FieldRef> {
    let index = index_of(schema, column)?;
    schema.fields().get(index).ok_or_else(|| Error::internal("a schema lost a column"))
}

/// Refuses a column by which rows cannot be put into windows. One without a time is in none of them, and must have gone
/// elsewhere before.
pub(crate) fn check_event_time(field: &Field) -> Result<()> {
    let name = field.name();
    if !matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) {
        return Err(Error::graph(format!(
            "event-time column `{name}` must be a timestamp in microseconds"
        )));
    }
    if field.is_nullable() {
        return Err(Error::graph(format!(
            "event-time column `{name}` may be null: make it required in front (`Validate::required`)"
        )));
    }
    Ok(())
}

/// The names of all columns, for messages.
fn names(schema: &Schema) -> String {
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    names.join(", ")
}

/// The rows where `keep` is true, and how many they are; null counts as false.
pub(crate) fn filter_columns(
    columns: &[ArrayRef],
    keep: &BooleanArray,
) -> Result<(Vec<ArrayRef>, usize)> {
    if columns.iter().any(|c| c.len() != keep.len()) {
        return Err(Error::internal("a mask of another length than its batch"));
    }
    let predicate = FilterBuilder::new(keep).optimize().build();
    let filter = |column: &ArrayRef| {
        predicate.filter(column).map_err(|_| Error::internal("a column cannot be filtered"))
    };
    Ok((columns.iter().map(filter).collect::<Result<_>>()?, predicate.count()))
}
