//! `format` and `pg_size_pretty`, by which clients make names and sizes readable.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Signature, SimpleScalarUDF, Volatility};

use super::super::failure::Told;
use super::keywords::is_keyword;

/// Both of them.
pub(super) fn formats() -> [ScalarUDF; 2] {
    let values = Signature::variadic_any(Volatility::Immutable);
    let size = Signature::exact(vec![DataType::Int64], Volatility::Immutable);
    [
        function("format", values, texts, formatted),
        function(
            "pg_size_pretty",
            size,
            |values| Ok(Arc::clone(values)),
            |arguments, row| Ok(pretty(arguments, row)),
        ),
    ]
}

/// A function that makes a text of each row.
fn function(
    name: &str,
    signature: Signature,
    prepare: fn(&ArrayRef) -> Result<ArrayRef>,
    call: fn(&[ArrayRef], usize) -> Result<Option<String>, Told>,
) -> ScalarUDF {
    let call = move |arguments: &[ColumnarValue]| -> Result<ColumnarValue> {
        let is_one = arguments.iter().all(|one| matches!(one, ColumnarValue::Scalar(_)));
        let arguments = ColumnarValue::values_to_arrays(arguments)?;
        let arguments = arguments.iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let rows = arguments.first().map_or(0, Array::len);
        let texts = (0..rows).map(|row| call(&arguments, row));
        let texts = texts.collect::<Result<StringArray, Told>>();
        let texts = texts.map_err(|told| DataFusionError::External(Box::new(told)))?;
        Ok(if is_one {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(texts))
        })
    };
    let text = DataType::Utf8;
    ScalarUDF::from(SimpleScalarUDF::new_with_signature(name, signature, text, Arc::new(call)))
}

/// Values as texts, booleans as `PostgreSQL` writes them.
fn texts(values: &ArrayRef) -> Result<ArrayRef> {
    let Some(booleans) = values.as_boolean_opt() else { return Ok(cast(values, &DataType::Utf8)?) };
    let texts = booleans.iter().map(|one| one.map(|is_true| if is_true { "t" } else { "f" }));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

fn formatted(arguments: &[ArrayRef], row: usize) -> Result<Option<String>, Told> {
    let text = |array: &ArrayRef| {
        let texts = array.as_string_opt::<i32>()?;
        texts.is_valid(row).then(|| texts.value(row).to_owned())
    };
    let texts: Vec<Option<String>> = arguments.iter().map(text).collect();
    match texts.as_slice() {
        [Some(pattern), values @ ..] => format_text(pattern, values).map(Some),
        _ => Ok(None),
    }
}

/// `%s` is a value as it is, `%I` a name, `%L` a literal, `%%` a percent sign; `%2$s` is the second value.
fn format_text(pattern: &str, values: &[Option<String>]) -> Result<String, Told> {
    let mut text = String::new();
    let mut next = 0;
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('%') {
        text.push_str(before);
        let (at, behind) = placed(behind).unwrap_or((next, behind));
        let mut letters = behind.chars();
        let kind = letters.next();
        rest = letters.as_str();
        if kind == Some('%') {
            text.push('%');
            continue;
        }
        next = at + 1;
        let value = values.get(at);
        let value = value.ok_or_else(|| Told::new("22023", "format has too few values"))?;
        match (kind, value) {
            (Some('s'), Some(value)) => text.push_str(value),
            (Some('s'), None) => {}
            (Some('I'), Some(name)) => text.push_str(&identifier(name)),
            (Some('I'), None) => return Err(Told::new("22004", "a name in format is null")),
            (Some('L'), Some(value)) => text.push_str(&literal(value)),
            (Some('L'), None) => text.push_str("NULL"),
            _ => return Err(Told::new("22023", "format only knows %s, %I, %L, %% and %1$s")),
        }
    }
    text.push_str(rest);
    Ok(text)
}

/// Which value is meant by `2$`, and what stands behind it.
fn placed(behind: &str) -> Option<(usize, &str)> {
    let (number, behind) = behind.split_once('$')?;
    Some((number.parse::<usize>().ok()?.checked_sub(1)?, behind))
}

fn identifier(name: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    if name.starts_with(is_plain)
        && name.chars().all(|letter| is_plain(letter) || letter.is_ascii_digit())
        && !is_keyword(name)
    {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(value: &str) -> String {
    let quoted = format!("'{}'", value.replace('\'', "''"));
    if value.contains('\\') { format!("E{}", quoted.replace('\\', "\\\\")) } else { quoted }
}

fn pretty(arguments: &[ArrayRef], row: usize) -> Option<String> {
    let sizes = arguments.first()?.as_primitive_opt::<Int64Type>()?;
    sizes.is_valid(row).then(|| readable(sizes.value(row)))
}

/// As `PostgreSQL` rounds it.
fn readable(bytes: i64) -> String {
    if bytes.unsigned_abs() < 10 << 10 {
        return format!("{bytes} bytes");
    }
    // Halves of a unit, to be rounded.
    let mut halves = bytes / 512;
    let rounded = |halves: i64| halves / 2 + halves % 2;
    for unit in ["kB", "MB", "GB", "TB"] {
        if halves.unsigned_abs() < (20 << 10) - 1 {
            return format!("{} {unit}", rounded(halves));
        }
        halves /= 1024;
    }
    format!("{} PB", rounded(halves))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{BooleanArray, Int64Array, NullArray};

    use super::*;

    #[test]
    fn texts_are_put_together_as_postgres_does() {
        let texts = |values: &[&str]| -> Vec<Option<String>> {
            values.iter().map(|value| Some((*value).to_owned())).collect()
        };
        for (pattern, values, expected) in [
            ("%s", vec!["int8"], "int8"),
            ("%I.%I", vec!["public", "A \"b\""], "public.\"A \"\"b\"\"\""),
            ("100%% of %L", vec!["it's \\"], "100% of E'it''s \\\\'"),
            ("%2$s %s %1$s", vec!["a", "b", "c"], "b c a"),
            ("%I %I %I", vec!["order", "name", "Order"], "\"order\" name \"Order\""),
            ("plain", vec![], "plain"),
        ] {
            assert_eq!(format_text(pattern, &texts(&values)).unwrap(), expected, "{pattern}");
        }
        assert_eq!(format_text("%s|%L", &[None, None]).unwrap(), "|NULL");
        for (pattern, code) in
            [("%s", "22023"), ("%", "22023"), ("%10s", "22023"), ("%0$s", "22023")]
        {
            assert_eq!(format_text(pattern, &[]).unwrap_err().code, code, "{pattern}");
        }
        assert_eq!(format_text("%I", &[None]).unwrap_err().code, "22004");
        assert_eq!(format_text("%x", &texts(&["a"])).unwrap_err().code, "22023");
    }

    #[test]
    fn values_are_texts_as_postgres_writes_them() {
        let written = |values: ArrayRef| {
            let texts = texts(&values).unwrap();
            texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        };
        let booleans = BooleanArray::from(vec![Some(true), None, Some(false)]);
        let expected = [Some("t".to_owned()), None, Some("f".to_owned())];
        assert_eq!(written(Arc::new(booleans)), expected);
        assert_eq!(written(Arc::new(Int64Array::from(vec![7]))), [Some("7".to_owned())]);
        assert_eq!(written(Arc::new(NullArray::new(1))), [None]);
    }

    #[test]
    fn sizes_are_rounded_as_postgres_does() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (10_239, "10239 bytes"),
            (-10_240, "-10 kB"),
            (10_752, "11 kB"),
            (10_485_247, "10239 kB"),
            (10_485_248, "10 MB"),
            (i64::MAX, "8192 PB"),
        ] {
            assert_eq!(readable(bytes), expected, "{bytes}");
        }
    }
}
