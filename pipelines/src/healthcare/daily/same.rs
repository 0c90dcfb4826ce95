//! Whether two sets of gold rows say the same, but for the last bits of their means.

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_ord::sort::{SortColumn, lexsort_to_indices};
use arrow_schema::{DataType, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use thalweg_core::{Error, Result};

/// How far apart two numbers may be, relatively: sums of another order differ in their last bits.
const TOLERANCE: f64 = 1e-9;

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
    use std::sync::Arc;

    use arrow_array::{Float64Array, StringArray};

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
}
