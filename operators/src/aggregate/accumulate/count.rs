//! How many rows.

use std::sync::Arc;

use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array};
use thalweg_core::Result;

use super::{Accumulator, Layout, Part, Rows, primitive};

/// Rows per group.
#[derive(Debug)]
pub(in super::super) struct Count(pub(super) Part<i64, 1>);

impl Count {
    pub(in super::super) fn new(layout: &mut Layout) -> Self {
        Self(layout.part())
    }
}

impl Accumulator for Count {
    fn update(
        &mut self,
        rows: &mut Rows,
        groups: &[u32],
        _values: Option<&ArrayRef>,
    ) -> Result<()> {
        self.0.each_row(rows, groups, |count, _| *count += 1);
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
        Ok(Arc::new(Int64Array::from_iter_values(self.0.of(rows, groups))))
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self(self.0))
    }
}
