//! Times of data files, whatever their writers wrote them as: microseconds, UTC.
//!
//! Delta allows three forms. Ours is a 64-bit number of microseconds; Spark writes 96 bits unless it is told otherwise, and
//! may be told to write milliseconds. Arrow reads the first of these two as nanoseconds, for which years behind 2262 are
//! too far, and the second as it is.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit as ParquetUnit, Type as PhysicalType};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

/// The columns as a file with times of 96 bits is to be read, if it is one; `columns`: as Arrow would read them.
pub(super) fn hint(file: &SchemaDescriptor, columns: &Schema) -> Option<SchemaRef> {
    let mut leaves = file.columns().iter();
    if !leaves.any(|leaf| leaf.physical_type() == PhysicalType::INT96) {
        return None;
    }
    // To Arrow nanoseconds in 64 bits look the same, and the hint would change what they mean. No Delta table has them.
    if file.columns().iter().any(|leaf| is_local_nanos(leaf)) {
        return None;
    }
    let fields = columns.fields().iter().map(|field| in_utc(field));
    Some(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

fn is_local_nanos(column: &ColumnDescriptor) -> bool {
    match column.logical_type_ref() {
        Some(LogicalType::Timestamp(time)) => {
            time.unit == ParquetUnit::NANOS && !time.is_adjusted_to_u_t_c
        }
        _ => false,
    }
}

fn in_utc(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, None) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DataType::List(inner) => DataType::List(Arc::new(in_utc(inner))),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| in_utc(field)).collect())
        }
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(in_utc(entries)), *sorted),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}

/// Whether the numbers that statistics tell of a column are microseconds, UTC.
pub(super) fn are_micros(column: &ColumnDescriptor) -> bool {
    match column.logical_type_ref() {
        Some(LogicalType::Timestamp(time)) => {
            time.unit == ParquetUnit::MICROS && time.is_adjusted_to_u_t_c
        }
        Some(_) => false,
        None => column.converted_type() == ConvertedType::TIMESTAMP_MICROS,
    }
}

/// `batch` with microseconds in the place of milliseconds, but for those inside of lists and structs.
pub(super) fn in_micros(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| is_millis(field.data_type())) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().map(micros_of).collect::<Result<Vec<_>, _>>()?;
    let fields = schema
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| Field::clone(field).with_data_type(column.data_type().clone()));
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)
}

fn is_millis(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Millisecond, Some(_)))
}

fn micros_of(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !is_millis(column.data_type()) {
        return Ok(Arc::clone(column));
    }
    let too_far = || ArrowError::ComputeError("a time is too far for microseconds".to_owned());
    let millis = column.as_primitive::<TimestampMillisecondType>();
    let micros: TimestampMicrosecondArray =
        millis.try_unary(|time| time.checked_mul(1_000).ok_or_else(too_far))?;
    Ok(Arc::new(micros.with_timezone("UTC")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::TimestampMillisecondArray;
    use parquet::schema::parser::parse_message_type;

    fn file(columns: &str) -> SchemaDescriptor {
        let message = format!("message schema {{ {columns} }}");
        SchemaDescriptor::new(Arc::new(parse_message_type(&message).unwrap()))
    }

    fn nanos(name: &str) -> Field {
        Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, None), true)
    }

    #[test]
    fn only_times_of_96_bits_are_read_otherwise_than_arrow_would() {
        let columns = Schema::new(vec![nanos("t"), Field::new("n", DataType::Int64, true)]);
        let hinted = hint(&file("OPTIONAL INT96 t; OPTIONAL INT64 n;"), &columns).unwrap();
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(hinted.field(0), &nanos("t").with_data_type(micros));
        assert_eq!(hinted.field(1), columns.field(1));
        let columns = Schema::new(vec![nanos("t"), nanos("n")]);
        for others in [
            "OPTIONAL INT64 t (TIMESTAMP_MICROS); OPTIONAL INT64 n;",
            "OPTIONAL INT96 t; OPTIONAL INT64 n (TIMESTAMP(NANOS,false));",
        ] {
            assert_eq!(hint(&file(others), &columns), None, "{others}");
        }
    }

    #[test]
    fn statistics_are_microseconds_where_the_column_is() {
        let are = |column: &str| are_micros(&file(&format!("REQUIRED {column};")).column(0));
        assert!(are("INT64 t (TIMESTAMP_MICROS)") && are("INT64 t (TIMESTAMP(MICROS,true))"));
        for other in [
            "INT64 t",
            "INT96 t",
            "INT64 t (TIMESTAMP_MILLIS)",
            "INT64 t (TIMESTAMP(MILLIS,true))",
            "INT64 t (TIMESTAMP(NANOS,true))",
            "INT64 t (TIMESTAMP(MICROS,false))",
        ] {
            assert!(!are(other), "{other}");
        }
    }

    #[test]
    fn a_time_that_is_too_far_for_microseconds_is_no_other_time() {
        let batch = |time| {
            let millis = TimestampMillisecondArray::from(vec![None, Some(time)]);
            let millis: ArrayRef = Arc::new(millis.with_timezone("UTC"));
            RecordBatch::try_from_iter([("t", millis)]).unwrap()
        };
        let micros = TimestampMicrosecondArray::from(vec![None, Some(-1_000)]).with_timezone("UTC");
        let micros: ArrayRef = Arc::new(micros);
        assert_eq!(in_micros(batch(-1)).unwrap().column(0), &micros);
        assert!(in_micros(batch(i64::MAX)).is_err());
    }
}
