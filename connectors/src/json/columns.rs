//! Collects the values of one column. The builders are used again for every batch.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{
    BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_schema::DataType;

use super::object::Value;
use super::{is_event_time, parse_time};
use crate::calendar::EVENT;

#[derive(Debug)]
pub(super) enum ColumnBuilder {
    Int64(Int64Builder),
    Int32(Int32Builder),
    Float64(Float64Builder),
    Utf8(StringBuilder),
    Boolean(BooleanBuilder),
    EventTime(TimestampMicrosecondBuilder),
}

impl ColumnBuilder {
    /// `None` for a type that JSON cannot fill.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Int64 => Self::Int64(Int64Builder::new()),
            DataType::Int32 => Self::Int32(Int32Builder::new()),
            DataType::Float64 => Self::Float64(Float64Builder::new()),
            DataType::Utf8 => Self::Utf8(StringBuilder::new()),
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            time if is_event_time(time) => {
                Self::EventTime(TimestampMicrosecondBuilder::new().with_timezone("UTC"))
            }
            _ => return None,
        })
    }

    /// Appends a value, or null and `false` if it is of another kind.
    pub(super) fn append(&mut self, value: &Value<'_>) -> bool {
        let null = *value == Value::Null;
        match (self, value) {
            (Self::Int64(column), Value::Int(n)) => column.append_value(*n),
            (Self::Int32(column), Value::Int(n)) => {
                let n = i32::try_from(*n).ok();
                column.append_option(n);
                return n.is_some();
            }
            (Self::Float64(column), Value::Float(n)) => column.append_value(*n),
            (Self::Float64(column), Value::Int(n)) => column.append_value(*n as f64),
            (Self::Utf8(column), Value::Text(text)) => column.append_value(text),
            (Self::Boolean(column), Value::Bool(is)) => column.append_value(*is),
            (Self::EventTime(column), Value::Text(text)) => {
                let time = parse_time(text).filter(|time| EVENT.has_micros(*time));
                column.append_option(time);
                return time.is_some();
            }
            (column, _) => {
                column.append_null();
                return null;
            }
        }
        true
    }

    fn append_null(&mut self) {
        match self {
            Self::Int64(column) => column.append_null(),
            Self::Int32(column) => column.append_null(),
            Self::Float64(column) => column.append_null(),
            Self::Utf8(column) => column.append_null(),
            Self::Boolean(column) => column.append_null(),
            Self::EventTime(column) => column.append_null(),
        }
    }

    /// The column; leaves the builder empty.
    pub(super) fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Int64(column) => Arc::new(column.finish()),
            Self::Int32(column) => Arc::new(column.finish()),
            Self::Float64(column) => Arc::new(column.finish()),
            Self::Utf8(column) => Arc::new(column.finish()),
            Self::Boolean(column) => Arc::new(column.finish()),
            Self::EventTime(column) => Arc::new(column.finish()),
        }
    }
}
