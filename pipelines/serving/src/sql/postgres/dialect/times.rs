//! `to_char`, `to_date` and `to_timestamp` by a template of `PostgreSQL`'s. The library has functions of these names, whose
//! templates are those of `strftime`; without a template they are as good.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::NaiveDateTime;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, StringArray, TimestampNanosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::super::failure::Told;
use super::super::functions::like_arguments;
use super::readers::Reader;
use super::templates::Template;
use super::zones::UTC;

/// Those of the library, with `PostgreSQL`'s templates.
pub(in super::super) fn templated(
    library: &HashMap<String, Arc<ScalarUDF>>,
) -> impl Iterator<Item = Arc<ScalarUDF>> {
    let all = [("to_char", To::Text), ("to_date", To::Day), ("to_timestamp", To::Time)];
    all.into_iter().filter_map(move |(name, to)| {
        let library = Arc::clone(library.get(name)?);
        let signature = match to {
            // What it does not take is told in words of ours.
            To::Text => Signature::any(2, Volatility::Immutable),
            To::Day | To::Time => library.signature().clone(),
        };
        Some(Arc::new(ScalarUDF::from(Templated { library, signature, to })))
    })
}

/// What a call makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum To {
    Text,
    Day,
    Time,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Templated {
    library: Arc<ScalarUDF>,
    signature: Signature,
    to: To,
}

impl ScalarUDFImpl for Templated {
    fn name(&self) -> &str {
        self.library.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        if self.to != To::Text {
            return self.library.inner().return_type(types);
        }
        match types.first() {
            Some(DataType::Timestamp(..) | DataType::Date32 | DataType::Date64) => {}
            Some(other) if other.is_string() || other.is_null() => {}
            _ => return Err(no_time().into()),
        }
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.len() != 2 {
            return self.library.invoke_with_args(args);
        }
        let [value, template] = args.args.as_slice() else { return Err(no_time().into()) };
        let has_zone = !matches!(value.data_type(), DataType::Timestamp(_, None));
        let wanted = match self.to {
            To::Text => DataType::Timestamp(TimeUnit::Microsecond, None),
            To::Day | To::Time => DataType::Utf8,
        };
        let arguments = [value.cast_to(&wanted, None)?, template.cast_to(&DataType::Utf8, None)?];
        let arrays = ColumnarValue::values_to_arrays(&arguments)?;
        let [values, templates] = arrays.as_slice() else { return Err(no_time().into()) };
        let templates = templates.as_string_opt::<i32>().ok_or_else(no_time)?;
        let made = match self.to {
            To::Text => written(values, templates, has_zone)?,
            To::Day => days(values, templates)?,
            To::Time => cast(&times(values, templates)?, args.return_type())?,
        };
        like_arguments(&arguments, made)
    }
}

fn written(times: &ArrayRef, templates: &StringArray, has_zone: bool) -> Result<ArrayRef> {
    let times = times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(no_time)?;
    let texts = each(templates, Template::parse, |row, template: &Template| {
        let time = times.is_valid(row).then(|| times.value_as_datetime(row).ok_or_else(too_far));
        Ok(time.transpose()?.map(|time| template.write(time, has_zone)))
    })?;
    Ok(Arc::new(StringArray::from(texts)))
}

fn days(texts: &ArrayRef, templates: &StringArray) -> Result<ArrayRef> {
    let days = read(texts, templates, |time| Ok(Date32Type::from_naive_date(time.date())))?;
    Ok(Arc::new(Date32Array::from(days)))
}

fn times(texts: &ArrayRef, templates: &StringArray) -> Result<TimestampNanosecondArray> {
    let nanos = |time: NaiveDateTime| time.and_utc().timestamp_nanos_opt().ok_or_else(too_far);
    let times = read(texts, templates, nanos)?;
    Ok(TimestampNanosecondArray::from(times).with_timezone(UTC))
}

/// What `make` makes of the time that each text says.
fn read<V>(
    texts: &ArrayRef,
    templates: &StringArray,
    make: impl Fn(NaiveDateTime) -> Result<V, Told>,
) -> Result<Vec<Option<V>>> {
    let texts = texts.as_string_opt::<i32>().ok_or_else(no_time)?;
    let values = each(
        templates,
        |text| Template::parse(text)?.reader(),
        |row, reader: &Reader| {
            let time = texts.is_valid(row).then(|| reader.read(texts.value(row)).ok_or_else(other));
            time.transpose()?.map(&make).transpose()
        },
    );
    Ok(values?)
}

/// Makes a value for each row, by its template, which is taken apart once while it stays the same.
fn each<T, V>(
    templates: &StringArray,
    apart: impl Fn(&str) -> Result<T, Told>,
    make: impl Fn(usize, &T) -> Result<Option<V>, Told>,
) -> Result<Vec<Option<V>>, Told> {
    let mut last: Option<(&str, T)> = None;
    let mut made = Vec::with_capacity(templates.len());
    for row in 0..templates.len() {
        if templates.is_null(row) {
            made.push(None);
            continue;
        }
        let text = templates.value(row);
        if last.as_ref().is_none_or(|(known, _)| *known != text) {
            last = Some((text, apart(text)?));
        }
        if let Some((_, template)) = &last {
            made.push(make(row, template)?);
        }
    }
    Ok(made)
}

fn no_time() -> Told {
    Told::new(
        "0A000",
        "templates are of times here: numbers become texts by CAST, and round before it",
    )
}

fn other() -> Told {
    Told::new("22007", "a text is not a time as its template has it")
}

fn too_far() -> Told {
    Told::new("22008", "a time is too far away")
}
