//! Whether two sets of gold rows say the same, but for the last bits of their means.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_ord::sort::{SortColumn, lexsort_to_indices};
use arrow_schema::{DataType, Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use thalweg_core::{Error, Result};

/// How far apart two numbers may be, relatively: sums of another order differ in their last bits.
const TOLERANCE: f64 = 1e-9;

/// The rows of a table as one batch of the columns of `schema`, in the order of `keys`. In rows from before there was a column
/// it is null, whether or not it may be now.
pub(super) fn found(
    schema: &SchemaRef,
    batches: Vec<RecordBatch>,
    keys: &[&str],
) -> Result<RecordBatch> {
    let nullable = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
    let schema: SchemaRef = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    let filled = |batch: RecordBatch| -> Result<RecordBatch> {
        let mut fields = batch.schema().fields().to_vec();
        let mut columns = batch.columns().to_vec();
        for field in schema.fields() {
            if batch.column_by_name(field.name()).is_none() {
                fields.push(Arc::clone(field));
                columns.push(new_null_array(field.data_type(), batch.num_rows()));
            }
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|_| Error::internal("rows of gold cannot be given a column"))
    };
    let filled: Vec<RecordBatch> = batches.into_iter().map(filled).collect::<Result<_>>()?;
    ordered(&schema, filled, keys)
}

/// The rows as one batch of the columns of `schema`, in the order of `keys`. A day of them is large: no copy lives on.
pub(super) fn ordered(
    schema: &SchemaRef,
    batches: Vec<RecordBatch>,
    keys: &[&str],
) -> Result<RecordBatch> {
    let failed = || Error::internal("rows of gold cannot be put in order");
    let batches: Vec<RecordBatch> = batches
        .into_iter()
        .map(|batch| {
            let named = |name: &String| batch.column_by_name(name).cloned().ok_or_else(failed);
            let columns: Vec<ArrayRef> =
                schema.fields().iter().map(|f| named(f.name())).collect::<Result<_>>()?;
            RecordBatch::try_new(SchemaRef::clone(schema), columns).map_err(|_| failed())
        })
        .collect::<Result<_>>()?;
    let all = concat_batches(schema, &batches).map_err(|_| failed())?;
    drop(batches);
    let keys: Vec<SortColumn> = keys
        .iter()
        .filter_map(|key| all.column_by_name(key))
        .map(|values| SortColumn { values: ArrayRef::clone(values), options: None })
        .collect();
    let order = lexsort_to_indices(&keys, None).map_err(|_| failed())?;
    take_record_batch(&all, &order).map_err(|_| failed())
}

/// Whether both, in order, hold the same rows.
pub(super) fn same(a: &RecordBatch, b: &RecordBatch) -> bool {
    a.num_rows() == b.num_rows()
        && a.num_columns() == b.num_columns()
        && a.columns().iter().zip(b.columns()).all(|(a, b)| same_column(a, b))
}

fn same_column(a: &ArrayRef, b: &ArrayRef) -> bool {
    if (a.data_type(), b.data_type()) != (&DataType::Float64, &DataType::Float64) {
        return a.as_ref() == b.as_ref();
    }
    let close = |(a, b): (Option<f64>, Option<f64>)| match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
        (None, None) => true,
        _ => false,
    };
    a.as_primitive::<Float64Type>().iter().zip(b.as_primitive::<Float64Type>().iter()).all(close)
}

#[cfg(test)]
mod tests {
    use arrow_array::{Float64Array, Int64Array, StringArray};
    use arrow_schema::Field;

    use super::*;

    fn batch(rows: &[(&str, Option<f64>)]) -> RecordBatch {
        let keys: ArrayRef = Arc::new(rows.iter().map(|r| Some(r.0)).collect::<StringArray>());
        let means: ArrayRef = Arc::new(rows.iter().map(|r| r.1).collect::<Float64Array>());
        let batch =
            RecordBatch::try_from_iter_with_nullable([("key", keys, true), ("mean", means, true)]);
        let batch = batch.unwrap();
        let parts = vec![batch.slice(0, 1), batch.slice(1, rows.len() - 1)];
        ordered(&batch.schema(), parts, &["key"]).unwrap()
    }

    #[test]
    fn order_and_last_bits_do_not_matter_and_all_else_does() {
        let rows = batch(&[("a", Some(0.1 + 0.2)), ("b", None)]);
        assert!(same(&rows, &batch(&[("b", None), ("a", Some(0.3))])));
        for other in [
            batch(&[("a", Some(0.3001)), ("b", None)]),
            batch(&[("a", Some(0.3)), ("b", Some(0.0))]),
            batch(&[("a", Some(0.3)), ("c", None)]),
            batch(&[("a", Some(0.3)), ("b", None), ("b", None)]),
        ] {
            assert!(!same(&rows, &other));
        }
    }

    #[test]
    fn rows_from_before_there_was_a_column_differ_from_those_that_have_it() {
        let old = batch(&[("a", Some(0.3)), ("b", None)]);
        let readings = |counts: [i64; 2]| -> RecordBatch {
            let mut fields = old.schema().fields().to_vec();
            fields.push(Arc::new(Field::new("readings", DataType::Int64, false)));
            let mut columns = old.columns().to_vec();
            columns.push(Arc::new(Int64Array::from(counts.to_vec())));
            RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
        };
        let new = readings([3, 0]);
        let right = ordered(&new.schema(), vec![new.clone()], &["key"]).unwrap();
        assert!(!right.schema().field(2).is_nullable());
        let read = |batches| found(&new.schema(), batches, &["key"]).unwrap();
        assert!(same(&read(vec![new.clone()]), &right));
        assert!(!same(&read(vec![readings([2, 0])]), &right));
        assert!(!same(&read(vec![old.clone()]), &right));
        // A day that was written partly before and partly since.
        let mixed = read(vec![new.slice(0, 1), old.slice(1, 1)]);
        assert_eq!((mixed.num_rows(), mixed.column(2).null_count()), (2, 1));
        assert!(!same(&mixed, &right));
    }
}
