//! Rules over columns, evaluated to one bit per rule and row. Pure: a batch in, bits out.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, BooleanArray, RecordBatch};
use arrow_buffer::BooleanBuffer;
use arrow_schema::{DataType, Schema};
use thalweg_core::{Error, Result};

use crate::batch;

pub(super) type Check = dyn Fn(&RecordBatch) -> Result<BooleanArray> + Send + Sync;

/// A condition that every valid row meets, and what to call its violation.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) code: &'static str,
    pub(super) condition: Condition,
}

#[derive(Clone)]
pub(super) enum Condition {
    Required(&'static str),
    InRange(&'static str, RangeInclusive<f64>),
    OneOf(&'static str, Vec<String>),
    Check(Arc<Check>),
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required(column) => write!(f, "Required({column})"),
            Self::InRange(column, range) => write!(f, "InRange({column}, {range:?})"),
            Self::OneOf(column, values) => write!(f, "OneOf({column}, {values:?})"),
            Self::Check(_) => f.write_str("Check"),
        }
    }
}

impl Rule {
    /// The column that cannot be null behind this rule.
    pub(super) fn required_column(&self) -> Option<&'static str> {
        match self.condition {
            Condition::Required(column) => Some(column),
            _ => None,
        }
    }

    /// Finds the rule's column and checks that the rule makes sense there.
    pub(super) fn bind(&self, input: &Schema) -> Result<Bound> {
        let test = match &self.condition {
            Condition::Required(column) => Test::Required(batch::index_of(input, column)?),
            Condition::InRange(column, range) => {
                let index = batch::index_of(input, column)?;
                let number = Number::of(batch::field_of(input, column)?.data_type())
                    .ok_or_else(|| Error::graph(format!("column `{column}` is no number")))?;
                // NaN and the infinities are outside of every range.
                let (low, high) = (range.start().max(f64::MIN), range.end().min(f64::MAX));
                if range.start().is_nan() || range.end().is_nan() || low > high {
                    return Err(Error::graph(format!(
                        "the range {} of column `{column}` is empty: {range:?}",
                        self.code
                    )));
                }
                Test::InRange { index, number, low, high }
            }
            Condition::OneOf(column, values) => {
                if *batch::field_of(input, column)?.data_type() != DataType::Utf8 {
                    return Err(Error::graph(format!("column `{column}` is no text")));
                }
                Test::OneOf(batch::index_of(input, column)?, values.clone())
            }
            Condition::Check(check) => Test::Check(Arc::clone(check)),
        };
        Ok(Bound { code: self.code, test })
    }
}

/// A rule that knows where its column is.
pub(super) struct Bound {
    code: &'static str,
    test: Test,
}

enum Test {
    Required(usize),
    InRange { index: usize, number: Number, low: f64, high: f64 },
    OneOf(usize, Vec<String>),
    Check(Arc<Check>),
}

#[derive(Clone, Copy)]
enum Number {
    Float64,
    Int64,
    Int32,
}

impl Number {
    fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Float64 => Some(Self::Float64),
            DataType::Int64 => Some(Self::Int64),
            DataType::Int32 => Some(Self::Int32),
            _ => None,
        }
    }
}

/// Which rows violate a rule.
pub(super) struct Violation {
    pub(super) code: &'static str,
    /// Whether the rule is that a column be there.
    pub(super) is_missing: bool,
    /// A bit per row.
    pub(super) rows: BooleanBuffer,
}

/// Evaluates every rule on every row and returns those rules that some row violates, in the order of `rules`.
pub(super) fn evaluate(rules: &[Bound], batch: &RecordBatch) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for rule in rules {
        if let Some(rows) = rule.test.violated(batch)?
            && rows.count_set_bits() > 0
        {
            let is_missing = matches!(rule.test, Test::Required(_));
            violations.push(Violation { code: rule.code, is_missing, rows });
        }
    }
    Ok(violations)
}

impl Test {
    /// The rows in violation, or nothing when that is plain to see without looking at each.
    fn violated(&self, batch: &RecordBatch) -> Result<Option<BooleanBuffer>> {
        match self {
            Self::Required(index) => Ok(batch::column(batch, *index)?.nulls().map(|n| !n.inner())),
            Self::InRange { index, number, low, high } => {
                let column = batch::column(batch, *index)?;
                let rows = match number {
                    Number::Float64 => outside::<Float64Type>(column, |v| v, *low, *high),
                    Number::Int64 => outside::<Int64Type>(column, |v| v as f64, *low, *high),
                    Number::Int32 => outside::<Int32Type>(column, f64::from, *low, *high),
                };
                rows.map(|rows| Some(where_valid(rows, column)))
            }
            Self::OneOf(index, values) => {
                let column = batch::column(batch, *index)?;
                let texts = column.as_string_opt::<i32>().ok_or_else(changed)?;
                let rows = BooleanBuffer::collect_bool(texts.len(), |row| {
                    let text = texts.value(row);
                    values.iter().all(|allowed| allowed != text)
                });
                Ok(Some(where_valid(rows, column)))
            }
            Self::Check(check) => {
                let answer = check(batch)?;
                if answer.len() != batch.num_rows() {
                    return Err(Error::graph("a check answered for another number of rows"));
                }
                Ok(Some(match answer.nulls() {
                    None => answer.values().clone(),
                    Some(nulls) => answer.values() & nulls.inner(),
                }))
            }
        }
    }
}

fn outside<T: ArrowPrimitiveType>(
    column: &ArrayRef,
    to_float: impl Fn(T::Native) -> f64,
    low: f64,
    high: f64,
) -> Result<BooleanBuffer> {
    let values = column.as_primitive_opt::<T>().ok_or_else(changed)?.values();
    Ok(BooleanBuffer::collect_bool(values.len(), |row| {
        values.get(row).is_some_and(|value| {
            let value = to_float(*value);
            // Written so that NaN, which compares to nothing, is outside.
            !(low <= value && value <= high)
        })
    }))
}

/// A null has no value that could violate anything.
fn where_valid(rows: BooleanBuffer, column: &ArrayRef) -> BooleanBuffer {
    match column.nulls() {
        None => rows,
        Some(nulls) => &rows & nulls.inner(),
    }
}

fn changed() -> Error {
    Error::internal("a column of another type than its schema says")
}

#[cfg(test)]
mod tests;
