//! `current_setting` and `set_config`, by which queries ask for settings and set them.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarUDF, Signature, SimpleScalarUDF, TypeSignature, Volatility,
};

use super::failure::Told;
use super::settings::Settings;

/// Those of a connection.
pub(super) fn functions(settings: &Arc<Settings>) -> [ScalarUDF; 2] {
    let (text, flag) = (DataType::Utf8, DataType::Boolean);
    let exact = |types: &[&DataType]| {
        TypeSignature::Exact(types.iter().map(|&data_type| data_type.clone()).collect())
    };
    let current =
        Signature::one_of(vec![exact(&[&text]), exact(&[&text, &flag])], Volatility::Stable);
    let set = Signature::one_of(vec![exact(&[&text, &text, &flag])], Volatility::Volatile);
    let shown = Arc::clone(settings);
    let current = function("current_setting", current, move |row| {
        let Some(name) = row.text(0) else { return Ok(None) };
        match shown.show(&name.to_lowercase()) {
            // Whoever allows it to be missing gets nothing.
            Err(told) if told.code == "42704" && row.flag(1) => Ok(None),
            told => told.map(Some),
        }
    });
    let changed = Arc::clone(settings);
    let set = function("set_config", set, move |row| {
        let Some(name) = row.text(0) else {
            return Err(Told::new("22004", "set_config needs the name of a setting"));
        };
        let name = name.to_lowercase();
        let value = row.text(1).unwrap_or_default();
        changed.set(&name, value, row.flag(2))?;
        Ok(Some(value.to_owned()))
    });
    [current, set]
}

/// The arguments of one call.
pub(super) struct Row<'a> {
    arguments: &'a [ArrayRef],
    at: usize,
}

impl Row<'_> {
    pub(super) fn text(&self, place: usize) -> Option<&str> {
        let texts = self.arguments.get(place)?.as_string_opt::<i32>()?;
        texts.is_valid(self.at).then(|| texts.value(self.at))
    }

    fn flag(&self, place: usize) -> bool {
        let flags = self.arguments.get(place).and_then(|array| array.as_boolean_opt());
        flags.is_some_and(|flags| flags.is_valid(self.at) && flags.value(self.at))
    }
}

/// A function of texts and flags.
pub(super) fn function(
    name: &str,
    signature: Signature,
    call: impl Fn(Row<'_>) -> Result<Option<String>, Told> + Send + Sync + 'static,
) -> ScalarUDF {
    let call = move |arguments: &[ColumnarValue]| -> Result<ColumnarValue, DataFusionError> {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let rows = arrays.first().map_or(0, Array::len);
        let values = (0..rows).map(|at| call(Row { arguments: &arrays, at }));
        let values = values.collect::<Result<StringArray, Told>>()?;
        like_arguments(arguments, Arc::new(values))
    };
    let utf8 = DataType::Utf8;
    ScalarUDF::from(SimpleScalarUDF::new_with_signature(name, signature, utf8, Arc::new(call)))
}

/// What a function answers: to values of its own that stand for all rows, one such value.
pub(super) fn like_arguments(
    arguments: &[ColumnarValue],
    values: ArrayRef,
) -> Result<ColumnarValue, DataFusionError> {
    if arguments.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_))) {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?));
    }
    Ok(ColumnarValue::Array(values))
}
