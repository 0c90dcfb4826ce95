//! JSON objects, one a message, into the columns of a record.
//!
//! `object` walks a message once and keeps what each known field holds; `columns` appends that, a builder a column. A
//! field of a wrong type spoils itself only, a message that cannot be read is a row of nulls: the codes say which.

mod columns;
mod name;
mod object;
#[cfg(test)]
mod tests;
mod time;

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_schema::{DataType, Field, Fields};
use thalweg_core::connector::decode::{Decoder, Format, Messages};
use thalweg_core::record::{ColumnName, ColumnType, Record, Utf8List};
use thalweg_core::{Error, Result};

use crate::provenance::PROVENANCE;
use columns::ColumnBuilder;
pub use name::{FieldName, read_object};
use object::{Known, Names};
pub use time::parse_time;

/// The column, if a record has it, that says what could not be decoded.
pub const DECODE_ERRORS: &str = "decode_errors";

/// Code of a message that is no JSON.
pub const MALFORMED: &str = "json.malformed";
/// Code of a message that is JSON but no object.
pub const NOT_OBJECT: &str = "json.not_object";
/// Code of a message without a byte.
pub const EMPTY: &str = "message.empty";

/// Decodes JSON objects into the columns of a [`Record`].
///
/// **Shape**: the record's columns without those of the provenance, which sources add themselves. Every column must be
/// optional, since a message may lack it; what is required is for a validating operator to say. Text, integers,
/// floating point and booleans come from JSON values of that kind; an integer also fills a floating-point column, and a zero
/// with a minus sign one of integers, however it is written (`-0.0`, say);
/// [`thalweg_core::record::Micros`] come from ISO 8601 text, as [`parse_time`] reads it, of the years 2 to 9998. Absent is
/// null. Of a field that occurs twice the last one counts; fields that are not in the record are passed over,
/// also those whose name is no text, having half a surrogate pair.
///
/// **Errors**: a column [`DECODE_ERRORS`] (`Option<Vec<String>>`) gets `NAME.type` for a field of another kind and
/// [`MALFORMED`], [`NOT_OBJECT`] or [`EMPTY`] for a message that cannot be read, whose row is null; without that column
/// they are nulls like others. A number too large for floating point is infinite in such a column and makes its message
/// malformed elsewhere.
///
/// ```
/// use arrow_array::{Array, BinaryArray, TimestampMicrosecondArray};
/// use thalweg_connectors::json::JsonFormat;
/// use thalweg_core::connector::decode::{Format, Messages};
/// use thalweg_core::Record;
///
/// #[derive(Record)]
/// # #[allow(dead_code)]
/// struct Reading {
///     sensor: Option<String>,
///     celsius: Option<f64>,
///     decode_errors: Option<Vec<String>>,
/// }
///
/// let format = JsonFormat::of::<Reading>()?;
/// let payloads = BinaryArray::from(vec![br#"{"sensor": "a", "celsius": 21}"#.as_slice(), b"{"]);
/// let arrivals = TimestampMicrosecondArray::from(vec![0, 0]);
/// let columns = format.decoder().decode(Messages { payloads: &payloads, arrivals: &arrivals })?;
/// assert_eq!(columns[0].null_count(), 1);
/// assert_eq!(columns[2].null_count(), 1);
/// # Ok::<(), thalweg_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct JsonFormat {
    fields: Fields,
    /// The JSON name of each field.
    names: Vec<String>,
}

impl JsonFormat {
    /// The columns of `R`, each found under its own name.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidGraph`] for a column that must not be null, or of a type that JSON lacks.
    pub fn of<R: Record>() -> Result<Self> {
        let schema = R::schema();
        let decoded = schema.fields().iter().filter(|f| !PROVENANCE.contains(&f.name().as_str()));
        let fields: Fields = decoded.cloned().collect();
        for field in &fields {
            let name = field.name();
            if !field.is_nullable() {
                return Err(Error::graph(format!(
                    "column `{name}` must be optional: a JSON message may lack it"
                )));
            }
            if !is_codes(field) && ColumnBuilder::of(field.data_type()).is_none() {
                return Err(Error::graph(format!(
                    "column `{name}` has type {}, which cannot come from JSON",
                    field.data_type()
                )));
            }
        }
        let names = fields.iter().map(|f| f.name().clone()).collect();
        Ok(Self { fields, names })
    }

    /// Takes `column` from the JSON field `name`. A field fills one column: where another has this name, that one is told
    /// first which field it is taken from.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidGraph`] where the record has no such column or it comes from no field, and where
    /// another column is taken from this field.
    pub fn from_field(
        mut self,
        column: impl Into<ColumnName>,
        name: impl Into<String>,
    ) -> Result<Self> {
        let ColumnName(column) = column.into();
        let name: String = name.into();
        let mut taken = self.fields.iter().zip(&self.names).filter(|(f, _)| !is_codes(f));
        if let Some((other, _)) = taken.find(|(f, taken)| f.name() != column && **taken == name) {
            return Err(Error::graph(format!(
                "columns `{}` and `{column}` are both taken from the JSON field `{name}`: it fills one column",
                other.name()
            )));
        }
        let mut slots = self.fields.iter().zip(&mut self.names);
        let Some((_, slot)) = slots.find(|(f, _)| f.name() == column && !is_codes(f)) else {
            return Err(Error::graph(format!(
                "column `{column}` is not in the record, or not taken from a JSON field"
            )));
        };
        *slot = name;
        Ok(self)
    }
}

fn is_codes(field: &Field) -> bool {
    field.name() == DECODE_ERRORS && *field.data_type() == Utf8List::data_type()
}

impl Format for JsonFormat {
    fn fields(&self) -> Fields {
        self.fields.clone()
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        let mut names = Vec::new();
        let mut columns = Vec::new();
        for (field, name) in self.fields.iter().zip(&self.names) {
            columns.push(ColumnBuilder::of(field.data_type()));
            // Nothing of the message goes into the column of codes.
            let is_float = *field.data_type() == DataType::Float64;
            let known = Known { name: name.clone(), is_float };
            names.push((!is_codes(field)).then_some(known));
        }
        let code = |known: &Known| format!("{}.type", known.name);
        let codes = names.iter().map(|n| n.as_ref().map(code)).collect();
        Box::new(JsonDecoder {
            names: Names::new(names),
            columns,
            codes,
            errors: ListBuilder::new(StringBuilder::new()),
        })
    }
}

struct JsonDecoder {
    names: Names,
    /// `None` in the place of the codes.
    columns: Vec<Option<ColumnBuilder>>,
    /// By column: what is said when a value has another type.
    codes: Vec<Option<String>>,
    errors: ListBuilder<StringBuilder>,
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, messages: Messages<'_>) -> Result<Vec<ArrayRef>> {
        let mut row = self.names.row();
        for payload in messages.payloads {
            let mut wrong = false;
            if let Err(code) = self.names.read(payload.unwrap_or_default(), &mut row) {
                row.clear();
                self.errors.values().append_value(code);
                wrong = true;
            }
            let values = row.values().iter();
            for ((column, value), code) in self.columns.iter_mut().zip(values).zip(&self.codes) {
                let (Some(column), Some(code)) = (column, code) else { continue };
                if !column.append(value) {
                    self.errors.values().append_value(code);
                    wrong = true;
                }
            }
            self.errors.append(wrong);
        }
        let errors: ArrayRef = Arc::new(self.errors.finish());
        Ok(self
            .columns
            .iter_mut()
            .map(|column| {
                column.as_mut().map_or_else(|| Arc::clone(&errors), ColumnBuilder::finish)
            })
            .collect())
    }
}

/// Arrow's event-time type.
fn is_event_time(data_type: &DataType) -> bool {
    *data_type == thalweg_core::record::Timestamp::data_type()
}
