//! The least or the greatest value, of the column's own type; null without a value.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use thalweg_core::Result;

use super::{Accumulator, Kept, Layout, Part, Rows, primitive, wrong_column};

/// A type whose values have a least one.
pub(in super::super) trait Comparable:
    ArrowPrimitiveType<Native: Kept<1>> + Debug
{
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
    part: Part<Option<T::Native>, 2>,
    side: PhantomData<fn() -> S>,
}

impl<T: Comparable, S: Side> Extreme<T, S> {
    pub(in super::super) fn new(layout: &mut Layout) -> Self {
        Self { part: layout.part(), side: PhantomData }
    }

    fn add(&self, rows: &mut Rows, groups: &[u32], values: &PrimitiveArray<T>) {
        self.part.each_value(rows, groups, values.values(), values.nulls(), |slot, value| {
            if let Some(value) = T::value(value)
                && slot.is_none_or(|old| S::replaces(value, old))
            {
                *slot = Some(value);
            }
        });
    }
}

impl<T: Comparable, S: Side> Accumulator for Extreme<T, S> {
    fn update(&mut self, rows: &mut Rows, groups: &[u32], values: Option<&ArrayRef>) -> Result<()> {
        let values = values.and_then(|v| v.as_primitive_opt::<T>()).ok_or_else(wrong_column)?;
        self.add(rows, groups, values);
        Ok(())
    }

    fn merge(&mut self, rows: &mut Rows, groups: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.add(rows, groups, primitive::<T>(state, 0)?);
        Ok(())
    }

    fn state(&self, rows: &Rows, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(rows, groups)?])
    }

    fn evaluate(&self, rows: &Rows, groups: &[u32]) -> Result<ArrayRef> {
        let values = self.part.of(rows, groups);
        Ok(Arc::new(values.collect::<PrimitiveArray<T>>()))
    }

    fn share(&mut self) -> Box<dyn Accumulator> {
        Box::new(Self { part: self.part, side: PhantomData })
    }
}
