//! An approximate percentile: a `DDSketch` per group, exactly mergeable, so that how rows were split among subtasks does
//! not show in the result.
//!
//! Source: Masson, Rim and Lee, "`DDSketch`: a fast and fully-mergeable quantile sketch with relative-error
//! guarantees", VLDB 2019. What it promises stands at [`crate::aggregate::Aggregate::percentile`]; magnitudes that are lumped
//! together are those beyond 2048 bins.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryArray, Float64Array};
use sketches_ddsketch::{Config, DDSketch};
use thalweg_core::{Error, Result};

use super::super::pages::Pages;
use super::{Accumulator, Rows, floats, wrong_column};

/// A sketch starts with 128 bins of 8 bytes and its head.
const SKETCH_BYTES: usize = 1200;

/// Sketch per group.
pub(in super::super) struct Percentile {
    quantile: f64,
    /// Behind references, so that a snapshot copies none that does not change.
    sketches: Pages<Option<Arc<DDSketch>>>,
    live: usize,
}

impl std::fmt::Debug for Percentile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Percentile({}, {} sketches)", self.quantile, self.live)
    }
}

impl Percentile {
    pub(in super::super) fn new(quantile: f64) -> Self {
        Self { quantile, sketches: Pages::default(), live: 0 }
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

    fn update(
        &mut self,
        _rows: &mut Rows,
        groups: &[u32],
        values: Option<&ArrayRef>,
    ) -> Result<()> {
        let (values, nulls) = floats(values)?;
        let live = &mut self.live;
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        self.sketches.each_row(groups, |slot, row| {
            let value = values.get(row).copied().unwrap_or(f64::NAN);
            if value.is_finite() && nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                let sketch = slot.get_or_insert_with(|| {
                    *live += 1;
                    Arc::new(DDSketch::new(Config::defaults()))
                });
                Arc::make_mut(sketch).add(value);
            }
        });
        Ok(())
    }

    fn merge(&mut self, _rows: &mut Rows, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
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
                outcome = Arc::make_mut(sketch).merge(&other).map_err(|_| unreadable());
            } else {
                *live += 1;
                *slot = Some(Arc::new(other));
            }
        });
        outcome
    }

    fn state(&self, _rows: &Rows, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        let sketches = self.sketches.of(groups).map(|s| s.as_ref().map(|s| s.to_java_bytes()));
        Ok(vec![Arc::new(sketches.collect::<BinaryArray>())])
    }

    fn evaluate(&self, _rows: &Rows, groups: &[u32]) -> Result<ArrayRef> {
        let results = self.sketches.of(groups).map(|s| s.as_ref().and_then(|s| self.result(s)));
        Ok(Arc::new(results.collect::<Float64Array>()))
    }

    fn clear(&mut self, groups: &[u32]) {
        self.live -= self.sketches.of(groups).filter(|s| s.is_some()).count();
        self.sketches.clear(groups);
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self { quantile: self.quantile, sketches: self.sketches.share(), live: self.live })
    }

    fn heap_bytes(&self) -> usize {
        self.live * SKETCH_BYTES + size_of::<usize>() * self.sketches.len()
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Float64Type;
    use proptest::prelude::*;

    use super::super::Layout;
    use super::*;

    fn column(values: &[f64]) -> ArrayRef {
        Arc::new(Float64Array::from(values.to_vec()))
    }

    fn no_rows() -> Rows {
        Rows::new(&Layout::default())
    }

    fn sketch(quantile: f64, values: &[f64]) -> Percentile {
        let mut percentile = Percentile::new(quantile);
        percentile.grow(1);
        let groups = vec![0; values.len()];
        percentile.update(&mut no_rows(), &groups, Some(&column(values))).unwrap();
        percentile
    }

    fn result(percentile: &Percentile) -> Option<f64> {
        let results = percentile.evaluate(&no_rows(), &[0]).unwrap();
        let results = results.as_primitive::<Float64Type>();
        results.is_valid(0).then(|| results.value(0))
    }

    #[test]
    fn damaged_sketches_are_corrupt() {
        for bytes in [&b""[..], b"\x00", b"\xff\xff\xff", b"\x02"] {
            let column: ArrayRef = Arc::new(BinaryArray::from_vec(vec![bytes]));
            let error = sketch(0.5, &[1.0]).merge(&mut no_rows(), &[0], &[column]).unwrap_err();
            assert_eq!(error.kind(), thalweg_core::ErrorKind::Corrupt);
        }
    }

    proptest! {
        #[test]
        fn any_magnitudes_survive_any_merge(
            values in proptest::collection::vec(prop_oneof![any::<f64>(), -9.0..9.0], 1..100),
            cut in 0usize..100,
            quantile in 0.0..=1.0,
        ) {
            let whole = sketch(quantile, &values);
            let (a, b) = values.split_at(cut % values.len());
            let mut merged = sketch(quantile, a);
            let state = sketch(quantile, b).state(&no_rows(), &[0]).unwrap();
            merged.merge(&mut no_rows(), &[0], &state).unwrap();
            let ends = |p: &Percentile| p.sketches.get(0).unwrap().as_ref().map(|s| (s.count(), s.min(), s.max()));
            prop_assert_eq!(ends(&whole), ends(&merged));
            let finite = || values.iter().copied().filter(|v| v.is_finite());
            prop_assert_eq!(result(&merged).is_some(), finite().next().is_some());
            if let Some(result) = result(&merged) {
                prop_assert!(finite().any(|v| v <= result) && finite().any(|v| v >= result));
            }
        }

        #[test]
        fn the_bound_holds_and_cuts_do_not_show(
            mut values in proptest::collection::vec(prop_oneof![-1e4..1e4, 1e-3..1.0, Just(0.0)], 1..200),
            cut in 0usize..200,
            quantile in 0.0..=1.0,
        ) {
            let whole = result(&sketch(quantile, &values));
            let (a, b) = values.split_at(cut % values.len());
            let mut merged = sketch(quantile, a);
            let state = sketch(quantile, b).state(&no_rows(), &[0]).unwrap();
            merged.merge(&mut no_rows(), &[0], &state).unwrap();
            prop_assert_eq!(result(&merged), whole);
            values.sort_by(f64::total_cmp);
            let exact = values[(quantile * (values.len() - 1) as f64) as usize];
            let found = whole.unwrap();
            prop_assert!((found - exact).abs() <= 0.0101 * exact.abs() + 1e-9, "{} {}", found, exact);
        }
    }
}
