//! The way back from canonical bytes to columns, for what is told of a key when no row of it is at hand.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, TimeUnit};

use super::INTEGER;
use crate::{Error, Result};

/// A value of a key column.
enum Value<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Boolean(bool),
}

/// The columns of `types` that `keys` were made of by [`super::for_each_key`], a row each.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] for bytes that are no key of such columns, [`crate::ErrorKind::InvalidGraph`] for a
/// column type that cannot be a key.
pub fn key_columns(keys: &[&[u8]], types: &[DataType]) -> Result<Vec<ArrayRef>> {
    let mut rest = keys.to_vec();
    let mut columns = Vec::with_capacity(types.len());
    for data_type in types {
        let values = rest.iter_mut().map(take).collect::<Option<Vec<_>>>().ok_or_else(damaged)?;
        columns.push(column(&values, data_type)?);
    }
    if rest.iter().all(|bytes| bytes.is_empty()) { Ok(columns) } else { Err(damaged()) }
}

/// The next value, which `bytes` then begin behind.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<Value<'a>> {
    let (tag, rest) = bytes.split_first()?;
    let (value, rest) = match *tag {
        0 => (Value::Null, rest),
        INTEGER => {
            let (value, rest) = rest.split_first_chunk::<8>()?;
            (Value::Integer(i64::from_le_bytes(*value)), rest)
        }
        2 => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            (Value::Text(std::str::from_utf8(text).ok()?), rest)
        }
        3 => {
            let (value, rest) = rest.split_first()?;
            (Value::Boolean(*value != 0), rest)
        }
        _ => return None,
    };
    *bytes = rest;
    Some(value)
}

fn damaged() -> Error {
    Error::corrupt("a key in the state is damaged")
}

fn column(values: &[Value<'_>], data_type: &DataType) -> Result<ArrayRef> {
    let integers = || {
        values.iter().map(|value| match value {
            Value::Integer(value) => Ok(Some(*value)),
            Value::Null => Ok(None),
            _ => Err(damaged()),
        })
    };
    Ok(match data_type {
        DataType::Int64 => Arc::new(integers().collect::<Result<Int64Array>>()?),
        DataType::Int32 => {
            let narrow = |value: Result<Option<i64>>| {
                value?.map(i32::try_from).transpose().map_err(|_| damaged())
            };
            Arc::new(integers().map(narrow).collect::<Result<Int32Array>>()?)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let times = integers().collect::<Result<TimestampMicrosecondArray>>()?;
            Arc::new(times.with_timezone_opt(zone.clone()))
        }
        DataType::Utf8 => {
            let texts = values.iter().map(|value| match value {
                Value::Text(text) => Ok(Some(*text)),
                Value::Null => Ok(None),
                _ => Err(damaged()),
            });
            Arc::new(texts.collect::<Result<StringArray>>()?)
        }
        DataType::Boolean => {
            let booleans = values.iter().map(|value| match value {
                Value::Boolean(value) => Ok(Some(*value)),
                Value::Null => Ok(None),
                _ => Err(damaged()),
            });
            Arc::new(booleans.collect::<Result<BooleanArray>>()?)
        }
        other => return Err(Error::graph(format!("a column of type {other} cannot be a key"))),
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;
    use proptest::prelude::*;

    use super::*;
    use crate::ErrorKind;
    use crate::key::for_each_key;

    fn bytes(columns: &[ArrayRef], rows: usize) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        for_each_key(columns, rows, |_, bytes| keys.push(bytes.to_vec())).unwrap();
        keys
    }

    proptest! {
        #[test]
        fn keys_become_the_columns_that_they_were_made_of(
            rows in proptest::collection::vec(
                (any::<Option<i64>>(), any::<Option<i32>>(), any::<Option<String>>(), any::<Option<bool>>()),
                0..20,
            ),
        ) {
            let times: TimestampMicrosecondArray = rows.iter().map(|row| row.0).collect();
            let columns: Vec<ArrayRef> = vec![
                Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
                Arc::new(rows.iter().map(|row| row.1).collect::<Int32Array>()),
                Arc::new(rows.iter().map(|row| row.2.as_deref()).collect::<StringArray>()),
                Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>()),
                Arc::new(times.with_timezone("UTC")),
            ];
            let types: Vec<DataType> = columns.iter().map(|c| c.data_type().clone()).collect();
            let keys = bytes(&columns, rows.len());
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(key_columns(&keys, &types).unwrap(), columns);
        }
    }

    #[test]
    fn bytes_of_other_columns_are_refused() {
        let names: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let keys = bytes(&[names], 1);
        let key = keys.first().unwrap();
        for (key, types) in [
            (&key[..key.len() - 1], vec![DataType::Utf8]),
            (&key[..], vec![]),
            (&key[..], vec![DataType::Utf8, DataType::Utf8]),
            (&[9_u8][..], vec![DataType::Int64]),
        ] {
            let error = key_columns(&[key], &types).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        let beyond: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX]));
        let yes: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        let [beyond, yes] = [beyond, yes].map(|column| bytes(&[column], 1).remove(0));
        for (key, data_type) in [
            (key, DataType::Int64),
            (key, DataType::Timestamp(TimeUnit::Microsecond, None)),
            (key, DataType::Boolean),
            (&yes, DataType::Utf8),
            (&yes, DataType::Int32),
            (&beyond, DataType::Utf8),
            (&beyond, DataType::Int32),
        ] {
            let error = key_columns(&[key.as_slice()], &[data_type]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        let error = key_columns(&[], &[DataType::Float64]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGraph);
    }
}
