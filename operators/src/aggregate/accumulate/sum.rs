//! The sum as floating point; null without a value.

use std::sync::Arc;

use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, Float64Array};
use thalweg_core::Result;

use super::{Accumulator, Slots, floats, primitive};

/// Sum per group.
#[derive(Debug, Default)]
pub(in super::super) struct Sum(Slots<Option<f64>>);

fn add(sum: &mut Option<f64>, value: f64) {
    if !value.is_nan() {
        *sum = Some(sum.map_or(value, |sum| sum + value));
    }
}

impl Accumulator for Sum {
    fn grow(&mut self, groups: usize) {
        self.0.grow(groups);
    }

    fn update(&mut self, groups: &[u32], values: Option<&ArrayRef>) -> Result<()> {
        let (values, nulls) = floats(values)?;
        self.0.each(groups, &values, nulls, add);
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let sums = primitive::<Float64Type>(state, 0)?;
        // Infinities that cancel make a NaN, which is a result here and no value to pass over.
        self.0.each(groups, sums.values(), sums.nulls(), |sum, more| {
            *sum = Some(sum.map_or(more, |sum| sum + more));
        });
        Ok(())
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(self.0.of(groups).copied().collect::<Float64Array>()))
    }

    fn clear(&mut self, groups: &[u32]) {
        self.0.clear(groups);
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self(self.0.share()))
    }
}
