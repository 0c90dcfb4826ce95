//! How many rows.

use std::sync::Arc;

use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array};
use thalweg_core::Result;

use super::{Accumulator, Slots, primitive};

/// Rows per group.
#[derive(Debug, Default)]
pub(in super::super) struct Count(Slots<i64>);

impl Accumulator for Count {
    fn grow(&mut self, groups: usize) {
        self.0.grow(groups);
    }

    fn update(&mut self, groups: &[u32], _values: Option<&ArrayRef>) -> Result<()> {
        self.0.each_row(groups, |count, _| *count += 1);
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let counts = primitive::<Int64Type>(state, 0)?;
        self.0.each(groups, counts.values(), None, |count, more| *count = count.wrapping_add(more));
        Ok(())
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from_iter_values(self.0.of(groups).copied())))
    }

    fn clear(&mut self, groups: &[u32]) {
        self.0.clear(groups);
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self(self.0.share()))
    }
}
