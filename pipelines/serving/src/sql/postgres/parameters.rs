//! The values of parameters. One that a client declares a type for is of that type, another one of the type that the query
//! lets it have, and what has neither is a text as it was sent, an array of texts, or nothing.

use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use arrow_pg::datatypes::df::deserialize_parameters;
use arrow_pg::datatypes::into_pg_type;
use bytes::{Buf, Bytes};
use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::{ParamValues, ScalarValue};
use pgwire::api::Type;
use pgwire::api::portal::{Format, Portal};
use pgwire::api::stmt::StoredStatement;

use super::failure::Told;

/// The values of a portal. `known` are the types that its query lets them have.
pub(super) fn values<S>(
    portal: &Portal<S>,
    known: &[Option<DataType>],
) -> Result<Vec<ScalarValue>, Told> {
    if let Format::Individual(formats) = &portal.parameter_format
        && formats.len() != portal.parameters.len()
    {
        return Err(Told::new("08P01", "there are more or fewer formats than parameters"));
    }
    let value = |(at, bytes): (usize, &Option<Bytes>)| {
        let declared = portal.statement.parameter_types.get(at).cloned().flatten();
        let known = known.get(at).and_then(Option::as_ref);
        let is_binary = portal.parameter_format.is_binary(at);
        // Nothing of the value is told.
        value(declared, known, bytes.as_ref(), is_binary)
            .ok_or_else(|| Told::new("22P02", "a parameter does not have the form of its type"))
    };
    portal.parameters.iter().enumerate().map(value).collect()
}

/// Whether a type is sent as a text, or as one that is nothing else here.
pub(super) fn is_text(declared: &Type) -> bool {
    *declared != Type::UNKNOWN && member(declared).is_none() && arrow(declared).is_none()
}

/// What an array is of.
pub(super) fn member(array: &Type) -> Option<Type> {
    Some(match *array {
        Type::BOOL_ARRAY => Type::BOOL,
        Type::INT2_ARRAY => Type::INT2,
        Type::INT4_ARRAY => Type::INT4,
        Type::INT8_ARRAY => Type::INT8,
        Type::FLOAT4_ARRAY => Type::FLOAT4,
        Type::FLOAT8_ARRAY => Type::FLOAT8,
        Type::NUMERIC_ARRAY => Type::NUMERIC,
        Type::BYTEA_ARRAY => Type::BYTEA,
        Type::DATE_ARRAY => Type::DATE,
        Type::TIME_ARRAY => Type::TIME,
        Type::TIMESTAMP_ARRAY => Type::TIMESTAMP,
        Type::TIMESTAMPTZ_ARRAY => Type::TIMESTAMPTZ,
        Type::INTERVAL_ARRAY => Type::INTERVAL,
        Type::UUID_ARRAY => Type::UUID,
        Type::JSON_ARRAY => Type::JSON,
        Type::JSONB_ARRAY => Type::JSONB,
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY | Type::NAME_ARRAY => {
            Type::TEXT
        }
        _ => return None,
    })
}

/// What the library reads a type as; `None`: we take it for a text.
fn arrow(declared: &Type) -> Option<DataType> {
    Some(match *declared {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 | Type::OID => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::NUMERIC => DataType::Decimal128(DIGITS, 0),
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Nanosecond),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => return None,
    })
}

/// As many as a number can have.
const DIGITS: u8 = 38;

fn value(
    declared: Option<Type>,
    known: Option<&DataType>,
    bytes: Option<&Bytes>,
    is_binary: bool,
) -> Option<ScalarValue> {
    let (data_type, target) = match (declared.filter(|it| *it != Type::UNKNOWN), known) {
        (Some(declared), _) => (declared, None),
        (None, Some(known)) => (into_pg_type(known).ok()?, Some(known)),
        (None, None) => (Type::UNKNOWN, None),
    };
    let Some(bytes) = bytes else {
        return target.map_or(Some(ScalarValue::Null), |known| known.try_into().ok());
    };
    if let Some(member) = member(&data_type) {
        let items = if is_binary { sent(bytes.clone())? } else { written(text(bytes)?)? };
        return list(&member, items, is_binary);
    }
    if data_type == Type::UNKNOWN
        && !is_binary
        && let Some(items) = text(bytes).and_then(written)
    {
        return list(&Type::TEXT, items, is_binary);
    }
    scalar(&data_type, target, bytes, is_binary)
}

fn scalar(
    data_type: &Type,
    target: Option<&DataType>,
    bytes: &Bytes,
    is_binary: bool,
) -> Option<ScalarValue> {
    if arrow(data_type).is_none() {
        return Some(ScalarValue::Utf8(Some(match *data_type {
            Type::UUID if is_binary => uuid(bytes)?,
            // Behind its version.
            Type::JSONB if is_binary => text(bytes.strip_prefix(&[1])?)?.to_owned(),
            _ => text(bytes)?.to_owned(),
        })));
    }
    let statement = StoredStatement::new(String::new(), (), vec![Some(data_type.clone())]);
    let mut portal = Portal::new_cursor(String::new(), Arc::new(statement));
    portal.parameters = vec![Some(bytes.clone())];
    if is_binary {
        portal.parameter_format = Format::UnifiedBinary;
    }
    // The library would round a number with digits behind the point.
    let target = target.filter(|_| *data_type != Type::NUMERIC);
    let ParamValues::List(mut read) = deserialize_parameters(&portal, &[target]).ok()? else {
        return None;
    };
    match read.pop()?.value {
        ScalarValue::Decimal128(Some(value), _, scale) if *data_type == Type::NUMERIC => {
            let digits = value.unsigned_abs().checked_ilog10().map_or(1, |digits| digits + 1);
            let digits = u8::try_from(digits).ok()?.max(scale.unsigned_abs());
            Some(ScalarValue::Decimal128(Some(value), digits, scale))
        }
        other => Some(other),
    }
}

fn list(member: &Type, items: Vec<Option<Bytes>>, is_binary: bool) -> Option<ScalarValue> {
    let mut data_type = arrow(member).unwrap_or(DataType::Utf8);
    let nothing = ScalarValue::try_from(&data_type).ok()?;
    let item = |item: Option<Bytes>| match item {
        Some(bytes) => scalar(member, None, &bytes, is_binary),
        None => Some(nothing.clone()),
    };
    let mut values = items.into_iter().map(item).collect::<Option<Vec<ScalarValue>>>()?;
    if *member == Type::NUMERIC {
        // All have as many digits behind the point.
        let scales = values.iter().map(|value| match value {
            ScalarValue::Decimal128(_, _, scale) => *scale,
            _ => 0,
        });
        data_type = DataType::Decimal128(DIGITS, scales.max().unwrap_or(0));
        let values_of = values.iter().map(|value| value.cast_to(&data_type).ok());
        values = values_of.collect::<Option<_>>()?;
    }
    Some(ScalarValue::List(ScalarValue::new_list_nullable(&values, &data_type)))
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let number = u128::from_be_bytes(bytes.try_into().ok()?);
    let digits = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part));
    Some(parts.into_iter().collect::<Option<Vec<_>>>()?.join("-"))
}

/// The items of an array in binary, which has one dimension.
fn sent(mut bytes: Bytes) -> Option<Vec<Option<Bytes>>> {
    let dimensions = bytes.try_get_i32().ok()?;
    // Whether there are nulls, and of what type the items are.
    bytes.try_get_u64().ok()?;
    let mut items = Vec::new();
    if dimensions == 0 {
        return Some(items);
    }
    let count = bytes.try_get_i32().ok()?;
    // Its first item's number.
    bytes.try_get_i32().ok()?;
    for _ in 0..count {
        let length = usize::try_from(bytes.try_get_i32().ok()?).ok();
        items.push(match length {
            Some(length) if length > bytes.len() => return None,
            Some(length) => Some(bytes.split_to(length)),
            None => None,
        });
    }
    (dimensions == 1 && bytes.is_empty()).then_some(items)
}

/// Those of one that is written as `PostgreSQL` writes it: `{1,NULL,"a, b"}`.
fn written(text: &str) -> Option<Vec<Option<Bytes>>> {
    let mut letters = text.trim().strip_prefix('{')?.chars().peekable();
    let mut items = Vec::new();
    loop {
        skip_spaces(&mut letters);
        match letters.peek()? {
            '}' if items.is_empty() => {
                letters.next();
                break;
            }
            '"' => {
                letters.next();
                items.push(Some(Bytes::from(quoted(&mut letters)?)));
            }
            _ => {
                let (item, is_null) = plain(&mut letters)?;
                items.push((!is_null).then(|| Bytes::from(item)));
            }
        }
        skip_spaces(&mut letters);
        match letters.next()? {
            ',' => {}
            '}' => break,
            _ => return None,
        }
    }
    letters.next().is_none().then_some(items)
}

fn skip_spaces(letters: &mut Peekable<Chars<'_>>) {
    while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
}

/// To the quote that ends it.
fn quoted(letters: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut item = String::new();
    loop {
        match letters.next()? {
            '"' => return Some(item),
            '\\' => item.push(letters.next()?),
            letter => item.push(letter),
        }
    }
}

/// To what comes behind it, and whether it is NULL.
fn plain(letters: &mut Peekable<Chars<'_>>) -> Option<(String, bool)> {
    let mut item = String::new();
    let mut is_escaped = false;
    while let Some(letter) = letters.next_if(|letter| !matches!(letter, ',' | '}')) {
        match letter {
            '{' | '"' => return None,
            '\\' => {
                is_escaped = true;
                item.push(letters.next()?);
            }
            letter => item.push(letter),
        }
    }
    let item = item.trim_end();
    if item.is_empty() {
        return None;
    }
    let is_null = !is_escaped && item.eq_ignore_ascii_case("null");
    Some((item.to_owned(), is_null))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn read(declared: Option<Type>, known: Option<&DataType>, text: &str) -> Option<ScalarValue> {
        value(declared, known, Some(&bytes(text)), false)
    }

    fn texts(items: &[Option<&str>]) -> ScalarValue {
        let items: Vec<ScalarValue> =
            items.iter().map(|item| ScalarValue::Utf8(item.map(str::to_owned))).collect();
        ScalarValue::List(ScalarValue::new_list_nullable(&items, &DataType::Utf8))
    }

    #[test]
    fn a_declared_type_is_not_overruled() {
        let known = DataType::Int64;
        let decimal =
            |value, precision, scale| Some(ScalarValue::Decimal128(Some(value), precision, scale));
        assert_eq!(read(Some(Type::NUMERIC), Some(&known), "2.5"), decimal(25, 2, 1));
        assert_eq!(read(Some(Type::NUMERIC), None, "0.001"), decimal(1, 3, 3));
        assert_eq!(
            read(Some(Type::FLOAT8), Some(&known), "12.5"),
            Some(ScalarValue::Float64(Some(12.5)))
        );
        assert_eq!(read(None, Some(&known), "12"), Some(ScalarValue::Int64(Some(12))));
        assert_eq!(read(None, Some(&known), "12.5"), None);
    }

    #[test]
    fn what_nothing_tells_the_type_of_is_a_text_or_nothing() {
        assert_eq!(value(None, None, None, false), Some(ScalarValue::Null));
        assert_eq!(value(Some(Type::INT4), None, None, true), Some(ScalarValue::Null));
        let known = DataType::Int64;
        assert_eq!(value(None, Some(&known), None, false), Some(ScalarValue::Int64(None)));
        for text in ["it''s", "", "{\"a\": 1}", "{a,}", "{a", "a}", "{{a}}", "{a}b"] {
            let itself = Some(ScalarValue::Utf8(Some(text.to_owned())));
            assert_eq!(read(None, None, text), itself, "{text}");
            assert_eq!(read(Some(Type::VARCHAR), None, text), itself, "{text}");
        }
    }

    #[test]
    fn arrays_are_read_as_postgres_reads_them() {
        let written = r#" { a b ,NULL,"NULL","",  "x, \"y\" }",\NULL,it''s} "#;
        let expected = [
            Some("a b"),
            None,
            Some("NULL"),
            Some(""),
            Some("x, \"y\" }"),
            Some("NULL"),
            Some("it''s"),
        ];
        assert_eq!(read(None, None, written), Some(texts(&expected)));
        assert_eq!(read(Some(Type::TEXT_ARRAY), None, "{}"), Some(texts(&[])));
        assert_eq!(read(Some(Type::TEXT_ARRAY), None, "a"), None);
        let numbers = [Some(150), Some(225), None].map(|v| ScalarValue::Decimal128(v, DIGITS, 2));
        let data_type = DataType::Decimal128(DIGITS, 2);
        let numbers = ScalarValue::List(ScalarValue::new_list_nullable(&numbers, &data_type));
        assert_eq!(read(Some(Type::NUMERIC_ARRAY), None, "{1.5,2.25,NULL}"), Some(numbers));

        let mut binary: Vec<u8> = [1, 1, 23, 2, 1, 4, 7, -1].map(i32::to_be_bytes).concat();
        let numbers = [Some(7), None].map(ScalarValue::Int32);
        let numbers = ScalarValue::List(ScalarValue::new_list_nullable(&numbers, &DataType::Int32));
        let read = |binary: &[u8]| {
            value(Some(Type::INT4_ARRAY), None, Some(&Bytes::copy_from_slice(binary)), true)
        };
        assert_eq!(read(&binary), Some(numbers));
        binary.push(0);
        assert_eq!(read(&binary), None);
        assert_eq!(read(&binary[..30]), None);
    }

    #[test]
    fn a_uuid_in_binary_is_written_as_its_text() {
        let binary = Bytes::copy_from_slice(&0x1234_u128.to_be_bytes());
        let text = "00000000-0000-0000-0000-000000001234".to_owned();
        let read = value(Some(Type::UUID), None, Some(&binary), true);
        assert_eq!(read, Some(ScalarValue::Utf8(Some(text))));
    }
}
