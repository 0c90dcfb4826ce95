//! How many values: rows in which the column is neither null nor NaN.

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef};
use thalweg_core::Result;

use super::{Accumulator, Count, Layout, Part, Rows, wrong_column};

/// Values per group, of a column of any type.
#[derive(Debug)]
pub(in super::super) struct Values(Count);

impl Values {
    pub(in super::super) fn new(layout: &mut Layout) -> Self {
        Self(Count::new(layout))
    }
}

impl Accumulator for Values {
    fn update(&mut self, rows: &mut Rows, groups: &[u32], values: Option<&ArrayRef>) -> Result<()> {
        let values = values.ok_or_else(wrong_column)?;
        if let Some(numbers) = values.as_primitive_opt::<Float64Type>() {
            self.0.0.each_value(rows, groups, numbers.values(), numbers.nulls(), |count, value| {
                *count += i64::from(!value.is_nan());
            });
            return Ok(());
        }
        // What the values are does not matter: these take no memory.
        let each = vec![(); values.len()];
        let nulls = values.logical_nulls();
        self.0.0.each_value(rows, groups, &each, nulls.as_ref(), |count, ()| *count += 1);
        Ok(())
    }

    fn merge(&mut self, rows: &mut Rows, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.0.merge(rows, groups, state)
    }

    fn state(&self, rows: &Rows, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        self.0.state(rows, groups)
    }

    fn evaluate(&self, rows: &Rows, groups: &[u32]) -> Result<ArrayRef> {
        self.0.evaluate(rows, groups)
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self(Count(self.0.0)))
    }
}

/// The number of values that another aggregate of the same column counts anyway: nothing is done twice, and there is no
/// state but that one's.
#[derive(Debug)]
pub(in super::super) struct Counted(Count);

impl Counted {
    pub(in super::super) fn by(count: Part<i64, 1>) -> Self {
        Self(Count(count))
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
        self.0.evaluate(rows, groups)
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self(Count(self.0.0)))
    }
}
