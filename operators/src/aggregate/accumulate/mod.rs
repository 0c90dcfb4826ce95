//! What is remembered per group for one aggregate of one column.
//!
//! An accumulator is mergeable (its state leaves and enters as Arrow columns, in any order and any number of pieces)
//! and forgets groups that have been emitted. Values that are null or NaN do not count.

mod count;
mod deviation;
mod distinct;
mod extreme;
mod mean;
mod percentile;
mod sum;
mod values;

use std::borrow::Cow;
use std::fmt::Debug;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use thalweg_core::{Error, Result};

pub(super) use count::Count;
pub(super) use deviation::Deviation;
pub(super) use distinct::{Distinct, item as distinct_item};
pub(super) use extreme::{Extreme, Greatest, Least};
pub(super) use mean::Mean;
pub(super) use percentile::Percentile;
pub(super) use sum::Sum;
pub(super) use values::{Counted, Values};

use super::rows::{Kept, Layout, Part, Rows};

/// State of one aggregate for every group: a part of each group's row, or what it keeps itself where that is no few words.
pub(super) trait Accumulator: Send + Sync + Debug {
    /// Makes room beside the rows for groups `0..groups`, new ones empty.
    fn grow(&mut self, _groups: usize) {}

    /// Adds each row's value to its group; `values` is `None` for an aggregate that needs none.
    fn update(&mut self, rows: &mut Rows, groups: &[u32], values: Option<&ArrayRef>) -> Result<()>;

    /// Adds state that [`Self::state`] gave to the groups of its rows.
    fn merge(&mut self, rows: &mut Rows, groups: &[u32], state: &[ArrayRef]) -> Result<()>;

    /// The state of `groups`, in their order.
    fn state(&self, rows: &Rows, groups: &[u32]) -> Result<Vec<ArrayRef>>;

    /// The results of `groups`, in their order.
    fn evaluate(&self, rows: &Rows, groups: &[u32]) -> Result<ArrayRef>;

    /// Where it has the number of its values in each row, if it counts them.
    fn values_counted(&self) -> Option<Part<i64, 1>> {
        None
    }

    /// Empties `groups` beside their rows.
    fn clear(&mut self, _groups: &[u32]) {}

    /// As it is now beside the rows, whatever becomes of this.
    fn share(&mut self) -> Box<dyn Accumulator>;

    /// Roughly the memory taken beside the rows.
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl<T: Kept<N>, const N: usize> Part<T, N> {
    /// Calls `add` with the group's value and the row's, of every row that has one.
    #[inline]
    fn each_value<V: Copy>(
        self,
        rows: &mut Rows,
        groups: &[u32],
        values: &[V],
        nulls: Option<&NullBuffer>,
        mut add: impl FnMut(&mut T, V),
    ) {
        let add = |kept: &mut T, row: usize| {
            if let Some(value) = values.get(row) {
                add(kept, *value);
            }
        };
        match nulls.filter(|nulls| nulls.null_count() > 0) {
            None => self.each_row(rows, groups, add),
            Some(nulls) => {
                let valid = nulls.valid_indices().take(nulls.len() - nulls.null_count());
                self.each(rows, valid.filter_map(|row| Some((*groups.get(row)?, row))), add);
            }
        }
    }

    /// Calls `add` with the group's value and the number of every row.
    #[inline]
    fn each_row(self, rows: &mut Rows, groups: &[u32], add: impl FnMut(&mut T, usize)) {
        self.each(rows, groups.iter().copied().zip(0..), add);
    }
}

fn wrong_column() -> Error {
    Error::internal("an aggregate was given a column of another type than it was planned for")
}

/// Whether [`floats`] can read it.
pub(super) fn is_numeric(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Float64 | DataType::Int64 | DataType::Int32)
}

/// Numbers as `f64`: borrowed if they are, else converted a column at a time.
fn floats(values: Option<&ArrayRef>) -> Result<(Cow<'_, [f64]>, Option<&NullBuffer>)> {
    let values = values.ok_or_else(wrong_column)?;
    let numbers = match values.data_type() {
        DataType::Float64 => Cow::Borrowed(&**values.as_primitive::<Float64Type>().values()),
        DataType::Int64 => {
            values.as_primitive::<Int64Type>().values().iter().map(|v| *v as f64).collect()
        }
        DataType::Int32 => {
            values.as_primitive::<Int32Type>().values().iter().map(|v| f64::from(*v)).collect()
        }
        _ => return Err(wrong_column()),
    };
    Ok((numbers, values.nulls()))
}

/// One state column.
fn primitive<T: ArrowPrimitiveType>(state: &[ArrayRef], at: usize) -> Result<&PrimitiveArray<T>> {
    state.get(at).and_then(|c| c.as_primitive_opt::<T>()).ok_or_else(wrong_column)
}
