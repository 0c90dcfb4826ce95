//! Columns: what Delta can hold, and how a batch is relabelled to what its files look like.
//!
//! **Shape** The accepted types are those that Delta stores as they are, under protocol (1, 2): booleans, signed
//! integers, floats, UTF-8, binary, dates, decimals, timestamps in microseconds UTC, and lists and structs of these.
//! Nothing is cast: a column of another type is refused when the graph is built.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StructArray, cast::AsArray};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::StructType;
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use thalweg_core::sensitivity::sensitivities;
use thalweg_core::{Error, Result};

use super::values::{self, Rows};

/// Delta's name for a list's inner field.
const ELEMENT: &str = "element";

/// How many columns get minima and maxima in the log.
const INDEXED_COLUMNS: usize = 32;

/// The digits that a floating-point number keeps: statistics of decimals are written by way of one.
const EXACT_DIGITS: u8 = 15;

/// The columns as they are written: marks and other metadata removed, inner fields named as Delta names them.
pub(crate) fn file_schema(table: &str, input: &Schema) -> Result<SchemaRef> {
    let mut seen = BTreeSet::new();
    let fields: Vec<FieldRef> = input
        .fields()
        .iter()
        .map(|field| {
            let name = field.name();
            if name.is_empty()
                || name.contains([' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='])
            {
                return Err(refused(table, name, "has a name that Delta Lake does not allow"));
            }
            if !seen.insert(name.to_lowercase()) {
                return Err(refused(table, name, "exists twice (names are compared without case)"));
            }
            file_field(field, name)
                .map(Arc::new)
                .ok_or_else(|| refused(table, name, "has a type that Delta Lake cannot store"))
        })
        .collect::<Result<_>>()?;
    if fields.is_empty() {
        return Err(Error::graph(format!("table `{table}` needs at least one column")));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The same columns as Delta writes them down.
pub(crate) fn delta_schema(table: &str, file: &Schema) -> Result<StructType> {
    file.try_into_kernel().map_err(|_| {
        Error::graph(format!("the columns of table `{table}` cannot be stored by Delta Lake"))
    })
}

/// The columns of a table that is there, as our files have them.
pub(crate) fn of_table(table: &str, columns: &StructType) -> Result<SchemaRef> {
    let columns: Schema = columns.try_into_arrow().map_err(|_| {
        Error::incompatible(format!("table `{table}` has columns that are not understood here"))
    })?;
    file_schema(table, &columns)
}

/// Columns whose least and greatest values may stand in the log: of simple types, without a mark, not partitioned by. None
/// that shares its name with a field inside of a struct: the writer of statistics tells the two apart by nothing else,
/// and that field may be marked. And no decimal of more digits than it writes exactly: by a minimum that is too great, or a
/// maximum that is too small, readers pass over files that have the row.
pub(crate) fn indexed_columns(input: &Schema, partition_by: &[String]) -> Vec<String> {
    let mut inside = BTreeSet::new();
    for field in input.fields() {
        names_inside(field, &mut inside);
    }
    input
        .fields()
        .iter()
        .filter(|f| sensitivities(f).is_empty() && !partition_by.contains(f.name()))
        .filter(|f| has_exact_bounds(f.data_type()))
        .map(|f| f.name().clone())
        .filter(|name| !inside.contains(name.as_str()))
        .take(INDEXED_COLUMNS)
        .collect()
}

fn has_exact_bounds(data_type: &DataType) -> bool {
    match data_type {
        DataType::Binary => false,
        DataType::Decimal128(digits, _) => *digits <= EXACT_DIGITS,
        simple => !simple.is_nested(),
    }
}

fn names_inside<'a>(field: &'a Field, names: &mut BTreeSet<&'a str>) {
    let DataType::Struct(fields) = field.data_type() else { return };
    for field in fields {
        names.insert(field.name());
        names_inside(field, names);
    }
}

/// Relabels `batch` to `file`, without copying values.
pub(crate) fn conform(
    table: &str,
    batch: &RecordBatch,
    file: &SchemaRef,
    rows: Rows,
) -> Result<RecordBatch> {
    if batch.num_columns() != file.fields().len() {
        return Err(Error::internal(format!(
            "table `{table}` expects {} columns and was handed {}",
            file.fields().len(),
            batch.num_columns()
        )));
    }
    let columns = batch
        .columns()
        .iter()
        .zip(file.fields())
        .map(|(column, field)| fit(table, column, field, rows))
        .collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(Arc::clone(file), columns).map_err(|_| {
        Error::internal(format!("a batch for table `{table}` does not fit its columns"))
    })
}

/// One column as its files have it.
pub(super) fn fit(table: &str, column: &ArrayRef, field: &Field, rows: Rows) -> Result<ArrayRef> {
    let name = field.name();
    if !field.is_nullable() && column.null_count() > 0 {
        return Err(values::unfit(table, name, "must not be null"));
    }
    values::check_times(table, name, column.as_ref(), rows)?;
    relabel(column, field.data_type()).ok_or_else(|| {
        Error::internal(format!(
            "column `{name}` of table `{table}` was handed over with another type"
        ))
    })
}

fn file_field(field: &Field, name: &str) -> Option<Field> {
    Some(Field::new(name, file_type(field.data_type())?, field.is_nullable()))
}

fn file_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32 => data_type.clone(),
        DataType::Decimal128(_, scale) if *scale >= 0 => data_type.clone(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if is_utc(zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DataType::List(inner) => DataType::List(Arc::new(file_field(inner, ELEMENT)?)),
        DataType::Struct(inner) if !inner.is_empty() => DataType::Struct(
            inner.iter().map(|f| file_field(f, f.name())).collect::<Option<Fields>>()?,
        ),
        _ => return None,
    })
}

fn is_utc(zone: &str) -> bool {
    zone.eq_ignore_ascii_case("utc") || zone == "+00:00" || zone == "Z"
}

pub(super) fn relabel(column: &ArrayRef, wanted: &DataType) -> Option<ArrayRef> {
    if column.data_type() == wanted {
        return Some(Arc::clone(column));
    }
    match (column.data_type(), wanted) {
        (DataType::Timestamp(TimeUnit::Microsecond, Some(zone)), DataType::Timestamp(_, to))
            if is_utc(zone) =>
        {
            let column = column.as_primitive::<arrow_array::types::TimestampMicrosecondType>();
            Some(Arc::new(column.clone().with_timezone_opt(to.clone())))
        }
        (DataType::List(_), DataType::List(inner)) => {
            let (_, offsets, values, nulls) = column.as_list::<i32>().clone().into_parts();
            let values = relabel(&values, inner.data_type())?;
            Some(Arc::new(ListArray::try_new(Arc::clone(inner), offsets, values, nulls).ok()?))
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let (_, columns, nulls) = column.as_struct().clone().into_parts();
            let columns = columns
                .iter()
                .zip(fields)
                .map(|(c, f)| relabel(c, f.data_type()))
                .collect::<Option<Vec<_>>>()?;
            Some(Arc::new(StructArray::try_new(fields.clone(), columns, nulls).ok()?))
        }
        _ => None,
    }
}

fn refused(table: &str, column: &str, why: &str) -> Error {
    Error::graph(format!("column `{column}` of table `{table}` {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::types::Int32Type;
    use thalweg_core::ErrorKind;
    use thalweg_core::sensitivity::{Sensitivity, mark};

    #[test]
    fn types_that_would_change_or_need_a_newer_protocol_are_refused() {
        let refused = [
            DataType::UInt64,
            DataType::LargeUtf8,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            DataType::Null,
        ];
        for data_type in refused {
            let schema = Schema::new(vec![Field::new("c", data_type.clone(), true)]);
            let error = file_schema("t", &schema).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidGraph, "{data_type}");
        }
    }

    #[test]
    fn names_differing_only_in_case_are_refused() {
        let field = |name: &str| Field::new(name, DataType::Int32, true);
        assert!(file_schema("t", &Schema::new(vec![field("a"), field("A")])).is_err());
        assert!(file_schema("t", &Schema::new(vec![field("a b")])).is_err());
    }

    #[test]
    fn marked_columns_lose_their_mark_and_get_no_minimum_in_the_log() {
        let name = mark(Field::new("name", DataType::Utf8, true), [Sensitivity::PhiName]);
        let input = Schema::new(vec![name, Field::new("n", DataType::Int64, false)]);
        assert!(file_schema("t", &input).unwrap().field(0).metadata().is_empty());
        assert_eq!(indexed_columns(&input, &[]), ["n"]);
    }

    #[test]
    fn a_column_with_the_name_of_a_field_of_a_struct_gets_no_minimum_in_the_log() {
        let number = |name: &str| Field::new(name, DataType::Int64, true);
        let inner = DataType::Struct(vec![mark(number("id"), [Sensitivity::PhiId])].into());
        let outer = DataType::Struct(vec![Field::new("who", inner, true)].into());
        let person = Field::new("person", outer, true);
        let input = Schema::new(vec![number("id"), person, number("n")]);
        assert_eq!(indexed_columns(&input, &[]), ["n"]);
    }

    #[test]
    fn a_decimal_that_statistics_would_round_gets_no_minimum_in_the_log() {
        let decimal = |name: &str, digits| Field::new(name, DataType::Decimal128(digits, 2), true);
        let input = Schema::new(vec![decimal("short", 15), decimal("long", 16), decimal("x", 38)]);
        assert_eq!(indexed_columns(&input, &[]), ["short"]);
    }

    #[test]
    fn lists_are_relabelled_to_deltas_element_without_copying() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None]), None]);
        let input = Schema::new(vec![Field::new("l", list.data_type().clone(), true)]);
        let file = file_schema("t", &input).unwrap();
        let batch = RecordBatch::try_new(Arc::new(input), vec![Arc::new(list)]).unwrap();
        let conformed = conform("t", &batch, &file, Rows::New).unwrap();
        assert_eq!(conformed.num_rows(), 2);
        assert!(matches!(file.field(0).data_type(), DataType::List(f) if f.name() == ELEMENT));
    }

    #[test]
    fn a_null_where_none_may_be_names_the_column_only() {
        let open = Arc::new(Schema::new(vec![Field::new("c", DataType::Int32, true)]));
        let strict = Arc::new(Schema::new(vec![Field::new("c", DataType::Int32, false)]));
        let column = arrow_array::Int32Array::from(vec![Some(4711), None]);
        let batch = RecordBatch::try_new(open, vec![Arc::new(column)]).unwrap();
        let error = conform("t", &batch, &strict, Rows::New).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRecord);
        assert!(!error.to_string().contains("4711"));
    }
}
