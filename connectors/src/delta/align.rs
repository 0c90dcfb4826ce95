//! Rows of any file of a table as rows of the table as it is now.
//!
//! Columns have names, not places: since a file was written others may have added a column, put columns into another
//! order, or written the rows into another file. A column that a file lacks is null in all of its rows.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StructArray, new_null_array};
use arrow_schema::{DataType, Field, SchemaRef};
use thalweg_core::{Error, Result};

use super::schema;
use super::values::Rows;

/// `batch` with the columns of `table`, found by their names.
pub(super) fn align(table: &str, batch: &RecordBatch, columns: &SchemaRef) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| -> Result<ArrayRef> {
        let found = match batch.column_by_name(field.name()) {
            Some(found) => named(found, field.data_type()).ok_or_else(|| {
                Error::incompatible(format!(
                    "column `{}` of table `{table}` has another type in one of its files: rewrite them",
                    field.name()
                ))
            })?,
            None => new_null_array(field.data_type(), batch.num_rows()),
        };
        schema::fit(table, &found, field, Rows::Kept)
    };
    let aligned = columns.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(columns), aligned)
        .map_err(|_| Error::internal(format!("rows of table `{table}` do not fit its columns")))
}

/// The same values as `wanted`, fields inside of it found by their names, too.
fn named(column: &ArrayRef, wanted: &DataType) -> Option<ArrayRef> {
    match (column.data_type(), wanted) {
        (DataType::List(_), DataType::List(element)) => {
            let (_, offsets, values, nulls) = column.as_list::<i32>().clone().into_parts();
            let values = named(&values, element.data_type())?;
            Some(Arc::new(ListArray::try_new(Arc::clone(element), offsets, values, nulls).ok()?))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let rows = column.as_struct();
            let field = |field: &Arc<Field>| match rows.column_by_name(field.name()) {
                Some(found) => named(found, field.data_type()),
                None => Some(new_null_array(field.data_type(), rows.len())),
            };
            let columns = fields.iter().map(field).collect::<Option<Vec<_>>>()?;
            let nulls = rows.nulls().cloned();
            Some(Arc::new(StructArray::try_new(fields.clone(), columns, nulls).ok()?))
        }
        _ => schema::relabel(column, wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::types::Int32Type;
    use arrow_array::{Int32Array, StringArray};
    use arrow_schema::Schema;
    use thalweg_core::ErrorKind;

    fn text(name: &str) -> Field {
        Field::new(name, DataType::Utf8, true)
    }

    fn texts(values: [&str; 2]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    #[test]
    fn columns_are_told_by_their_names_and_missing_ones_are_null() {
        let file = Schema::new(vec![text("b"), text("gone"), text("a")]);
        let values = vec![texts(["b1", "b2"]), texts(["g1", "g2"]), texts(["a1", "a2"])];
        let batch = RecordBatch::try_new(Arc::new(file), values).unwrap();
        let number = Field::new("n", DataType::Int32, true);
        let now: SchemaRef = Arc::new(Schema::new(vec![text("a"), number, text("b")]));
        let rows = align("t", &batch, &now).unwrap();
        assert_eq!(rows.schema(), now);
        assert_eq!(rows.column(0), &texts(["a1", "a2"]));
        assert_eq!(rows.column(1).null_count(), 2);
        assert_eq!(rows.column(2), &texts(["b1", "b2"]));
    }

    #[test]
    fn fields_inside_of_structs_and_lists_are_too() {
        let file = vec![Arc::new(text("b")), Arc::new(text("a"))];
        let values = vec![texts(["b1", "b2"]), texts(["a1", "a2"])];
        let pairs: ArrayRef = Arc::new(StructArray::new(file.into(), values, None));
        let lists: ArrayRef = {
            let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>([
                Some([Some(0)]),
                Some([Some(1)]),
            ]);
            let (_, offsets, _, nulls) = numbers.into_parts();
            let item = Arc::new(Field::new("item", pairs.data_type().clone(), true));
            Arc::new(ListArray::new(item, offsets, pairs, nulls))
        };
        let file = Schema::new(vec![Field::new("l", lists.data_type().clone(), true)]);
        let batch = RecordBatch::try_new(Arc::new(file), vec![lists]).unwrap();
        let inner = DataType::Struct(vec![text("a"), text("new"), text("b")].into());
        let list = DataType::List(Arc::new(Field::new("element", inner, true)));
        let now: SchemaRef = Arc::new(Schema::new(vec![Field::new("l", list, true)]));
        let rows = align("t", &batch, &now).unwrap();
        let pairs = rows.column(0).as_list::<i32>().values().as_struct();
        assert_eq!(pairs.column(0), &texts(["a1", "a2"]));
        assert_eq!(pairs.column(1).null_count(), 2);
        assert_eq!(pairs.column(2), &texts(["b1", "b2"]));
    }

    #[test]
    fn what_cannot_be_said_in_the_tables_columns_is_an_error() {
        let number: ArrayRef = Arc::new(Int32Array::from(vec![4711]));
        let batch = RecordBatch::try_from_iter([("a", number)]).unwrap();
        let now: SchemaRef = Arc::new(Schema::new(vec![text("a")]));
        let error = align("t", &batch, &now).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IncompatibleState);
        let now: SchemaRef = Arc::new(Schema::new(vec![Field::new("b", DataType::Utf8, false)]));
        let error = align("t", &batch, &now).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRecord);
        assert!(!error.to_string().contains("4711"));
    }
}
