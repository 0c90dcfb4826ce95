//! An approximate percentile: a `DDSketch` per group, exactly mergeable, so that how rows were split among subtasks does
//! not show in the result.
//!
//! Source: Masson, Rim and Lee, "`DDSketch`: a fast and fully-mergeable quantile sketch with relative-error
//! guarantees", VLDB 2019. The result lies within 1 % of the value of rank `⌊q·(n-1)⌋` and never outside the values
//! seen. Magnitudes below 1e-9 count as zero, infinite ones as the largest finite number; beyond 2048 bins (a ratio
//! of 1e17 between magnitudes) the smallest ones are lumped together.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryArray, Float64Array};
use sketches_ddsketch::{Config, DDSketch};
use thalweg_core::{Error, Result};

use super::{Accumulator, Slots, floats, wrong_column};

/// A sketch starts with 128 bins of 8 bytes and its head.
const SKETCH_BYTES: usize = 1200;

/// Sketch per group.
pub(in super::super) struct Percentile {
    quantile: f64,
    sketches: Slots<Option<Box<DDSketch>>>,
    live: usize,
}

impl std::fmt::Debug for Percentile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Percentile({}, {} sketches)", self.quantile, self.live)
    }
}

impl Percentile {
    pub(in super::super) fn new(quantile: f64) -> Self {
        Self { quantile, sketches: Slots(Vec::new()), live: 0 }
    }

    fn result(&self, sketch: &DDSketch) -> Option<f64> {
        let value = sketch.quantile(self.quantile).ok()??;
        Some(value.max(sketch.min()?).min(sketch.max()?))
    }
}

impl Accumulator for Percentile {
    fn grow(&mut self, groups: usize) {
        self.sketches.grow(groups);
    }

    fn update(&mut self, groups: &[u32], values: Option<&ArrayRef>) -> Result<()> {
        let (values, nulls) = floats(values)?;
        let live = &mut self.live;
        self.sketches.each(groups, &values, nulls, |slot, value| {
            if !value.is_nan() {
                let sketch = slot.get_or_insert_with(|| {
                    *live += 1;
                    Box::new(DDSketch::new(Config::defaults()))
                });
                sketch.add(value.clamp(f64::MIN, f64::MAX));
            }
        });
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        let column =
            state.first().and_then(|c| c.as_binary_opt::<i32>()).ok_or_else(wrong_column)?;
        let unreadable = || Error::corrupt("a stored percentile sketch is damaged");
        let mut outcome = Ok(());
        let live = &mut self.live;
        self.sketches.each_row(groups, |slot, row| {
            if column.is_null(row) || outcome.is_err() {
                return;
            }
            let Ok(other) = DDSketch::from_java_bytes(column.value(row)) else {
                outcome = Err(unreadable());
                return;
            };
            if let Some(sketch) = slot {
                outcome = sketch.merge(&other).map_err(|_| unreadable())
            } else {
                *live += 1;
                *slot = Some(Box::new(other));
            }
        });
        outcome
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let sketches = self.sketches.of(groups).map(|s| s.as_ref().map(|s| s.to_java_bytes()));
        Ok(vec![Arc::new(sketches.collect::<BinaryArray>())])
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let results = self.sketches.of(groups).map(|s| s.as_ref().and_then(|s| self.result(s)));
        Ok(Arc::new(results.collect::<Float64Array>()))
    }

    fn clear(&mut self, groups: &[u32]) {
        self.live -= self.sketches.of(groups).filter(|s| s.is_some()).count();
        self.sketches.clear(groups);
    }

    fn heap_bytes(&self) -> usize {
        self.live * SKETCH_BYTES
    }
}
