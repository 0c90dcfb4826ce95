//! The sample standard deviation, numerically stable at any mean; null with fewer than two values.
//!
//! Source: Welford, "Note on a method for calculating corrected sums of squares and products", 1962, for single
//! values; Chan, Golub and `LeVeque`, "Updating formulae and a pairwise algorithm for computing sample variances",
//! 1979, for merging.

use std::sync::Arc;

use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, Int64Array};
use thalweg_core::Result;

use super::{Accumulator, Kept, Layout, Part, Rows, floats, primitive};

/// Count, mean and sum of squared deviations per group.
#[derive(Debug)]
pub(in super::super) struct Deviation(Part<Moments, 3>);

impl Deviation {
    pub(in super::super) fn new(layout: &mut Layout) -> Self {
        Self(layout.part())
    }
}

#[derive(Debug, Clone, Copy)]
struct Moments {
    count: i64,
    mean: f64,
    m2: f64,
}

impl Kept<3> for Moments {
    #[inline]
    fn from_words([count, mean, m2]: [u64; 3]) -> Self {
        let [mean, m2] = [mean, m2].map(f64::from_bits);
        Self { count: count.cast_signed(), mean, m2 }
    }

    #[inline]
    fn into_words(self) -> [u64; 3] {
        [self.count.cast_unsigned(), self.mean.to_bits(), self.m2.to_bits()]
    }
}

impl Moments {
    #[inline]
    fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.m2 += delta * (value - self.mean);
    }

    fn merge(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = other;
            return;
        }
        let count = self.count.wrapping_add(other.count);
        let share = other.count as f64 / count as f64;
        let delta = other.mean - self.mean;
        self.mean += delta * share;
        self.m2 += other.m2 + delta * delta * self.count as f64 * share;
        self.count = count;
    }

    fn deviation(self) -> Option<f64> {
        (self.count > 1).then(|| (self.m2 / (self.count - 1) as f64).sqrt())
    }
}

impl Accumulator for Deviation {
    fn update(&mut self, rows: &mut Rows, groups: &[u32], values: Option<&ArrayRef>) -> Result<()> {
        let (values, nulls) = floats(values)?;
        self.0.each_value(rows, groups, &values, nulls, Moments::add);
        Ok(())
    }

    fn merge(&mut self, rows: &mut Rows, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let counts = primitive::<Int64Type>(state, 0)?.values();
        let means = primitive::<Float64Type>(state, 1)?.values();
        let m2s = primitive::<Float64Type>(state, 2)?.values();
        self.0.each_row(rows, groups, |slot, row| {
            if let (Some(count), Some(mean), Some(m2)) =
                (counts.get(row), means.get(row), m2s.get(row))
            {
                slot.merge(Moments { count: *count, mean: *mean, m2: *m2 });
            }
        });
        Ok(())
    }

    fn state(&self, rows: &Rows, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            Arc::new(Int64Array::from_iter_values(self.0.of(rows, groups).map(|m| m.count))),
            Arc::new(Float64Array::from_iter_values(self.0.of(rows, groups).map(|m| m.mean))),
            Arc::new(Float64Array::from_iter_values(self.0.of(rows, groups).map(|m| m.m2))),
        ])
    }

    fn evaluate(&self, rows: &Rows, groups: &[u32]) -> Result<ArrayRef> {
        let deviations = self.0.of(rows, groups).map(Moments::deviation);
        Ok(Arc::new(deviations.collect::<Float64Array>()))
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self(self.0))
    }
}
