//! The least or the greatest value, of the column's own type; null without a value.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use thalweg_core::Result;

use super::{Accumulator, Slots, primitive, wrong_column};

/// A type whose values have a least one.
pub(in super::super) trait Comparable: ArrowPrimitiveType + Debug {
    /// The value as it is compared and kept; `None` for one that does not count.
    fn value(native: Self::Native) -> Option<Self::Native>;
}

impl Comparable for Float64Type {
    #[inline]
    fn value(native: f64) -> Option<f64> {
        // Adding zero turns -0 into 0: which of the two came first must not show.
        (!native.is_nan()).then_some(native + 0.0)
    }
}

impl Comparable for Int64Type {
    #[inline]
    fn value(native: i64) -> Option<i64> {
        Some(native)
    }
}

impl Comparable for Int32Type {
    #[inline]
    fn value(native: i32) -> Option<i32> {
        Some(native)
    }
}

/// Which of two values stays.
pub(in super::super) trait Side: Debug + Send + 'static {
    /// Whether `new` replaces `old`.
    fn replaces<T: PartialOrd>(new: T, old: T) -> bool;
}

/// The least value stays.
#[derive(Debug)]
pub(in super::super) struct Least;

impl Side for Least {
    #[inline]
    fn replaces<T: PartialOrd>(new: T, old: T) -> bool {
        new < old
    }
}

/// The greatest value stays.
#[derive(Debug)]
pub(in super::super) struct Greatest;

impl Side for Greatest {
    #[inline]
    fn replaces<T: PartialOrd>(new: T, old: T) -> bool {
        new > old
    }
}

/// Least or greatest value per group.
#[derive(Debug)]
pub(in super::super) struct Extreme<T: Comparable, S> {
    slots: Slots<Option<T::Native>>,
    side: PhantomData<fn() -> S>,
}

impl<T: Comparable, S> Default for Extreme<T, S> {
    fn default() -> Self {
        Self { slots: Slots::default(), side: PhantomData }
    }
}

impl<T: Comparable, S: Side> Extreme<T, S> {
    fn add(&mut self, groups: &[u32], values: &PrimitiveArray<T>) {
        self.slots.each(groups, values.values(), values.nulls(), |slot, value| {
            if let Some(value) = T::value(value)
                && slot.is_none_or(|old| S::replaces(value, old))
            {
                *slot = Some(value);
            }
        });
    }
}

impl<T: Comparable, S: Side> Accumulator for Extreme<T, S> {
    fn grow(&mut self, groups: usize) {
        self.slots.grow(groups);
    }

    fn update(&mut self, groups: &[u32], values: Option<&ArrayRef>) -> Result<()> {
        let values = values.and_then(|v| v.as_primitive_opt::<T>()).ok_or_else(wrong_column)?;
        self.add(groups, values);
        Ok(())
    }

    fn merge(&mut self, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.add(groups, primitive::<T>(state, 0)?);
        Ok(())
    }

    fn state(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(groups)?])
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        let values = self.slots.of(groups).copied();
        Ok(Arc::new(values.collect::<PrimitiveArray<T>>()))
    }

    fn clear(&mut self, groups: &[u32]) {
        self.slots.clear(groups);
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self { slots: self.slots.share(), side: PhantomData })
    }
}
