//! How many values: rows in which the column is neither null nor NaN.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Int64Array};
use thalweg_core::Result;

use super::{Accumulator, Layout, Part, Rows, primitive, wrong_column};

/// Values per group, of a column of any type.
#[derive(Debug)]
pub(in super::super) struct Values(Part<i64, 1>);

impl Values {
    pub(in super::super) fn new(layout: &mut Layout) -> Self {
        Self(layout.part())
    }
}

impl Accumulator for Values {
    fn update(&mut self, rows: &mut Rows, groups: &[u32], values: Option<&ArrayRef>) -> Result<()> {
        let values = values.ok_or_else(wrong_column)?;
        if let Some(numbers) = values.as_primitive_opt::<Float64Type>() {
            self.0.each_value(rows, groups, numbers.values(), numbers.nulls(), |count, value| {
                *count += i64::from(!value.is_nan());
            });
            return Ok(());
        }
        // What the values are does not matter: these take no memory.
        let each = vec![(); values.len()];
        let nulls = values.logical_nulls();
        self.0.each_value(rows, groups, &each, nulls.as_ref(), |count, ()| *count += 1);
        Ok(())
    }

    fn merge(&mut self, rows: &mut Rows, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let counts = primitive::<Int64Type>(state, 0)?;
        self.0.each_value(rows, groups, counts.values(), None, |count, more| {
            *count = count.wrapping_add(more);
        });
        Ok(())
    }

    fn state(&self, rows: &Rows, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(rows, groups)?])
    }

    fn evaluate(&self, rows: &Rows, groups: &[u32]) -> Result<ArrayRef> {
        Ok(evaluated(self.0, rows, groups))
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self(self.0))
    }
}

/// The number of values that another aggregate of the same column counts anyway: nothing is done twice, and there is no
/// state but that one's.
#[derive(Debug)]
pub(in super::super) struct Counted(Part<i64, 1>);

impl Counted {
    pub(in super::super) fn by(count: Part<i64, 1>) -> Self {
        Self(count)
    }
}

impl Accumulator for Counted {
    fn update(&mut self, _: &mut Rows, _: &[u32], _: Option<&ArrayRef>) -> Result<()> {
        Ok(())
    }

    fn merge(&mut self, _: &mut Rows, _: &[u32], _: &[ArrayRef]) -> Result<()> {
        Ok(())
    }

    fn state(&self, _: &Rows, _: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(Vec::new())
    }

    fn evaluate(&self, rows: &Rows, groups: &[u32]) -> Result<ArrayRef> {
        Ok(evaluated(self.0, rows, groups))
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self(self.0))
    }
}

fn evaluated(counts: Part<i64, 1>, rows: &Rows, groups: &[u32]) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(counts.of(rows, groups)))
}
