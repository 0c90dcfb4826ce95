//! The arithmetic mean as a count and a sum; null without a value.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, Int64Array};
use thalweg_core::Result;

use super::{Accumulator, Kept, Layout, Part, Rows, floats, primitive};

/// Count and sum per group, side by side.
#[derive(Debug)]
pub(in super::super) struct Mean(Part<Slot, 2>);

impl Mean {
    pub(in super::super) fn new(layout: &mut Layout) -> Self {
        Self(layout.part())
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    count: i64,
    sum: f64,
}

impl Kept<2> for Slot {
    #[inline]
    fn from_words([count, sum]: [u64; 2]) -> Self {
        Self { count: count.cast_signed(), sum: f64::from_bits(sum) }
    }

    #[inline]
    fn into_words(self) -> [u64; 2] {
        [self.count.cast_unsigned(), self.sum.to_bits()]
    }
}

impl Accumulator for Mean {
    fn update(&mut self, rows: &mut Rows, groups: &[u32], values: Option<&ArrayRef>) -> Result<()> {
        let (values, nulls) = floats(values)?;
        self.0.each_value(rows, groups, &values, nulls, |slot, value| {
            if !value.is_nan() {
                slot.count += 1;
                slot.sum += value;
            }
        });
        Ok(())
    }

    fn merge(&mut self, rows: &mut Rows, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let counts = primitive::<Int64Type>(state, 0)?.values();
        let sums = primitive::<Float64Type>(state, 1)?.values();
        self.0.each_row(rows, groups, |slot, row| {
            if let (Some(count), Some(sum)) = (counts.get(row), sums.get(row)) {
                slot.count = slot.count.wrapping_add(*count);
                slot.sum += sum;
            }
        });
        Ok(())
    }

    fn state(&self, rows: &Rows, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            Arc::new(Int64Array::from_iter_values(self.0.of(rows, groups).map(|slot| slot.count))),
            Arc::new(Float64Array::from_iter_values(self.0.of(rows, groups).map(|slot| slot.sum))),
        ])
    }

    fn evaluate(&self, rows: &Rows, groups: &[u32]) -> Result<ArrayRef> {
        let means = self.0.of(rows, groups).map(|s| (s.count > 0).then(|| s.sum / s.count as f64));
        Ok(Arc::new(means.collect::<Float64Array>()))
    }

    fn values_counted(&self) -> Option<Part<i64, 1>> {
        Some(self.0.first_word())
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self(self.0))
    }
}
