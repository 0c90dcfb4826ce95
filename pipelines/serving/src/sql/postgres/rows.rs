//! Rows as the protocol has them. The library writes most values; here is what it would write otherwise than `PostgreSQL`:
//! nulls among intervals, infinite numbers as texts, and times in zones that are not whole hours from UTC.

use std::sync::Arc;

use arrow_pg::encoder::encode_value;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo};
use pgwire::error::PgWireResult;
use pgwire::messages::data::DataRow;

use super::dialect::UTC;

/// So many digits of a number have room in the library's own.
const DIGITS: u8 = 28;

/// Whether the library can write all values of a type. Within others it panics over those that it cannot.
pub(super) fn is_writable(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_writable_inside(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| {
            // A null among them would be no time at all.
            !matches!(field.data_type(), DataType::Interval(_))
                && is_writable_inside(field.data_type())
        }),
        DataType::Dictionary(_, value) => is_writable(value),
        _ => true,
    }
}

fn is_writable_inside(data_type: &DataType) -> bool {
    match data_type {
        DataType::FixedSizeBinary(_)
        | DataType::Float16
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::Map(..)
        | DataType::Union(..)
        | DataType::RunEndEncoded(..) => false,
        DataType::Decimal128(digits, scale) => *digits <= DIGITS && *scale >= 0,
        DataType::Dictionary(_, value) => is_writable_inside(value),
        other => is_writable(other),
    }
}

/// The rows of a batch, one after another.
pub(super) fn encoded(
    fields: &Arc<Vec<FieldInfo>>,
    batch: &RecordBatch,
) -> Result<impl Iterator<Item = PgWireResult<DataRow>> + use<>, ArrowError> {
    let columns = batch.schema_ref().fields().iter().zip(batch.columns());
    let columns: Vec<(FieldRef, ArrayRef)> =
        columns.map(|(field, array)| in_utc(field, array)).collect::<Result<_, _>>()?;
    let fields = Arc::clone(fields);
    let mut encoder = DataRowEncoder::new(Arc::clone(&fields));
    Ok((0..batch.num_rows()).map(move |row| -> PgWireResult<DataRow> {
        for ((field, array), told) in columns.iter().zip(fields.iter()) {
            write(&mut encoder, field, array, row, told)?;
        }
        Ok(encoder.take_row())
    }))
}

fn write(
    encoder: &mut DataRowEncoder,
    field: &Field,
    array: &ArrayRef,
    row: usize,
    told: &FieldInfo,
) -> PgWireResult<()> {
    if array.is_null(row) {
        return encoder.encode_field(&None::<i8>);
    }
    if told.format() == FieldFormat::Text
        && let Some(text) = infinite(array, row)
    {
        return encoder.encode_field(&text);
    }
    encode_value(encoder, array, row, field, told)
}

/// What `PostgreSQL` calls a number without end.
fn infinite(array: &ArrayRef, row: usize) -> Option<&'static str> {
    let number = match array.data_type() {
        DataType::Float32 => f64::from(array.as_primitive_opt::<Float32Type>()?.value(row)),
        DataType::Float64 => array.as_primitive_opt::<Float64Type>()?.value(row),
        _ => return None,
    };
    if !number.is_infinite() {
        return None;
    }
    Some(if number > 0.0 { "Infinity" } else { "-Infinity" })
}

/// A column with its times in UTC, which is the session's zone: the same times.
fn in_utc(field: &FieldRef, array: &ArrayRef) -> Result<(FieldRef, ArrayRef), ArrowError> {
    let Some(data_type) = moved(field.data_type()) else {
        return Ok((Arc::clone(field), Arc::clone(array)));
    };
    let array = cast(array, &data_type)?;
    Ok((Arc::new(field.as_ref().clone().with_data_type(data_type)), array))
}

/// A type with its times in UTC; `None`: it has none in another zone.
fn moved(data_type: &DataType) -> Option<DataType> {
    let item = |item: &FieldRef| {
        let data_type = moved(item.data_type())?;
        Some(Arc::new(item.as_ref().clone().with_data_type(data_type)))
    };
    Some(match data_type {
        DataType::Timestamp(unit, Some(zone)) if !["UTC", UTC].contains(&zone.as_ref()) => {
            DataType::Timestamp(*unit, Some(UTC.into()))
        }
        DataType::List(field) => DataType::List(item(field)?),
        DataType::LargeList(field) => DataType::LargeList(item(field)?),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(item(field)?, *size),
        DataType::Struct(fields) if fields.iter().any(|field| item(field).is_some()) => {
            let fields =
                fields.iter().map(|field| item(field).unwrap_or_else(|| Arc::clone(field)));
            DataType::Struct(fields.collect())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use arrow_pg::datatypes::arrow_schema_to_pg_fields;
    use datafusion::arrow::array::{
        Float64Array, IntervalMonthDayNanoArray, TimestampMicrosecondArray,
    };
    use datafusion::arrow::datatypes::IntervalMonthDayNanoType;
    use pgwire::api::portal::Format;

    use super::*;

    /// The values of a column as texts; what is null has none.
    fn told(array: ArrayRef) -> Vec<Option<String>> {
        let batch = RecordBatch::try_from_iter_with_nullable([("a", array, true)]).unwrap();
        let fields = arrow_schema_to_pg_fields(&batch.schema(), &Format::UnifiedText, None);
        let rows = encoded(&Arc::new(fields.unwrap()), &batch).unwrap();
        let text = |row: PgWireResult<DataRow>| {
            let data = row.unwrap().data;
            let (length, text) = data.split_at(4);
            let is_null = length == (-1_i32).to_be_bytes();
            (!is_null).then(|| String::from_utf8(text.to_vec()).unwrap())
        };
        rows.map(text).collect()
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    #[test]
    fn a_null_among_intervals_is_null() {
        let day = IntervalMonthDayNanoType::make_value(0, 1, 0);
        let told = told(Arc::new(IntervalMonthDayNanoArray::from(vec![Some(day), None])));
        assert!(told[0].as_ref().is_some_and(|text| text.contains("1 day")), "{told:?}");
        assert_eq!(told[1], None);
    }

    #[test]
    fn numbers_without_end_have_the_names_that_postgres_gives_them() {
        let numbers = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.5];
        assert_eq!(
            told(Arc::new(Float64Array::from(numbers.to_vec()))),
            some(&["Infinity", "-Infinity", "NaN", "0.5"])
        );
    }

    #[test]
    fn a_time_is_the_same_in_each_zone() {
        let told_in = |zone: &str| {
            let times = TimestampMicrosecondArray::from(vec![1_700_000_000_000_000]);
            told(Arc::new(times.with_timezone(zone)))
        };
        let utc = told_in("+00:00");
        let text = utc[0].as_ref().unwrap();
        assert!(text.starts_with("2023-11-14 22:13:20") && text.ends_with("+00"), "{text}");
        for zone in ["+05:30", "-03:30"] {
            assert_eq!(told_in(zone), utc, "{zone}");
        }
    }

    #[test]
    fn what_the_library_would_panic_over_is_not_written() {
        let list = |data_type| DataType::List(Arc::new(Field::new("a", data_type, true)));
        let of = |data_type| DataType::Struct(vec![Field::new("a", data_type, true)].into());
        for inside in [
            DataType::FixedSizeBinary(16),
            DataType::Decimal128(29, 0),
            DataType::Decimal128(5, -2),
        ] {
            assert!(is_writable(&inside));
            assert!(!is_writable(&list(inside.clone())) && !is_writable(&of(inside.clone())));
            assert!(!is_writable(&of(list(inside.clone()))) && !is_writable(&list(of(inside))));
        }
        assert!(is_writable(&list(of(DataType::Decimal128(28, 2)))));
    }
}
