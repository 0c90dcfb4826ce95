//! The sum as floating point; null without a value.

use std::sync::Arc;

use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, Float64Array};
use thalweg_core::Result;

use super::{Accumulator, Layout, Part, Rows, floats, primitive};

/// Sum per group.
#[derive(Debug)]
pub(in super::super) struct Sum(Part<Option<f64>, 2>);

impl Sum {
    pub(in super::super) fn new(layout: &mut Layout) -> Self {
        Self(layout.part())
    }
}

fn add(sum: &mut Option<f64>, value: f64) {
    if !value.is_nan() {
        *sum = Some(sum.map_or(value, |sum| sum + value));
    }
}

impl Accumulator for Sum {
    fn update(&mut self, rows: &mut Rows, groups: &[u32], values: Option<&ArrayRef>) -> Result<()> {
        let (values, nulls) = floats(values)?;
        self.0.each_value(rows, groups, &values, nulls, add);
        Ok(())
    }

    fn merge(&mut self, rows: &mut Rows, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let sums = primitive::<Float64Type>(state, 0)?;
        // Infinities that cancel make a NaN, which is a result here and no value to pass over.
        self.0.each_value(rows, groups, sums.values(), sums.nulls(), |sum, more| {
            *sum = Some(sum.map_or(more, |sum| sum + more));
        });
        Ok(())
    }

    fn state(&self, rows: &Rows, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(rows, groups)?])
    }

    fn evaluate(&self, rows: &Rows, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(self.0.of(rows, groups).collect::<Float64Array>()))
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self(self.0))
    }
}
