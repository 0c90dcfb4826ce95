//! The key values of groups: a plain vector per key column, so that they leave as Arrow arrays and no row format is
//! ever stored. A key has no nulls; rows with one never get here.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray};
use arrow_schema::DataType;
use thalweg_core::{Error, Result};

/// Whether a column of this type can be a key of an aggregate.
pub(super) fn is_key_type(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int64 | DataType::Int32 | DataType::Utf8 | DataType::Boolean)
}

/// One key column of a batch.
#[derive(Debug)]
pub(super) enum KeyValues<'a> {
    Int64(&'a [i64]),
    Int32(&'a [i32]),
    Text(&'a StringArray),
    Boolean(&'a BooleanArray),
}

impl<'a> KeyValues<'a> {
    pub(super) fn new(column: &'a ArrayRef) -> Result<Self> {
        if column.null_count() > 0 {
            return Err(Error::internal("a null among the keys of an aggregate"));
        }
        Ok(match column.data_type() {
            DataType::Int64 => Self::Int64(column.as_primitive::<Int64Type>().values()),
            DataType::Int32 => Self::Int32(column.as_primitive::<Int32Type>().values()),
            DataType::Utf8 => Self::Text(column.as_string()),
            DataType::Boolean => Self::Boolean(column.as_boolean()),
            _ => return Err(Error::internal("a key column of an aggregate changed its type")),
        })
    }
}

/// One key column of all groups, by group.
#[derive(Debug)]
pub(super) enum KeyColumn {
    Int64(Vec<i64>),
    Int32(Vec<i32>),
    Text(Vec<Box<str>>),
    Boolean(Vec<bool>),
}

impl KeyColumn {
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Int64 => Self::Int64(Vec::new()),
            DataType::Int32 => Self::Int32(Vec::new()),
            DataType::Utf8 => Self::Text(Vec::new()),
            DataType::Boolean => Self::Boolean(Vec::new()),
            other => return Err(Error::graph(format!("a column of type {other} cannot be a key"))),
        })
    }

    /// Gives `group` the key of `row`; returns the bytes it takes beside the vector.
    pub(super) fn set(&mut self, group: usize, values: &KeyValues<'_>, row: usize) -> usize {
        match (self, values) {
            (Self::Int64(own), KeyValues::Int64(v)) => put(own, group, v.get(row).copied()),
            (Self::Int32(own), KeyValues::Int32(v)) => put(own, group, v.get(row).copied()),
            (Self::Boolean(own), KeyValues::Boolean(v)) => put(own, group, Some(v.value(row))),
            (Self::Text(own), KeyValues::Text(v)) => {
                put(own, group, Some(v.value(row).into()));
                return v.value(row).len();
            }
            _ => {}
        }
        0
    }

    /// Whether `group` has the key of `row`.
    #[inline]
    pub(super) fn is(&self, group: usize, values: &KeyValues<'_>, row: usize) -> bool {
        match (self, values) {
            (Self::Int64(own), KeyValues::Int64(v)) => own.get(group) == v.get(row),
            (Self::Int32(own), KeyValues::Int32(v)) => own.get(group) == v.get(row),
            (Self::Text(own), KeyValues::Text(v)) => {
                own.get(group).is_some_and(|own| **own == *v.value(row))
            }
            (Self::Boolean(own), KeyValues::Boolean(v)) => own.get(group) == Some(&v.value(row)),
            _ => false,
        }
    }

    /// Numbers by size, texts by their bytes, false before true.
    pub(super) fn compare(&self, a: usize, b: usize) -> Ordering {
        match self {
            Self::Int64(own) => own.get(a).cmp(&own.get(b)),
            Self::Int32(own) => own.get(a).cmp(&own.get(b)),
            Self::Text(own) => own.get(a).cmp(&own.get(b)),
            Self::Boolean(own) => own.get(a).cmp(&own.get(b)),
        }
    }

    /// The keys of `groups`, in their order.
    pub(super) fn array(&self, groups: &[u32]) -> ArrayRef {
        match self {
            Self::Int64(own) => Arc::new(Int64Array::from_iter_values(pick(own, groups).copied())),
            Self::Int32(own) => Arc::new(Int32Array::from_iter_values(pick(own, groups).copied())),
            Self::Text(own) => Arc::new(StringArray::from_iter_values(pick(own, groups))),
            Self::Boolean(own) => {
                Arc::new(BooleanArray::from(pick(own, groups).copied().collect::<Vec<_>>()))
            }
        }
    }

    /// Forgets the key of a group that is gone; returns the bytes that this frees.
    pub(super) fn clear(&mut self, group: usize) -> usize {
        match self {
            Self::Text(own) => own.get_mut(group).map_or(0, |text| std::mem::take(text).len()),
            Self::Int64(_) | Self::Int32(_) | Self::Boolean(_) => 0,
        }
    }
}

/// Groups are numbered densely, so a new one is at most one past the end.
fn put<T: Default>(own: &mut Vec<T>, group: usize, value: Option<T>) {
    let value = value.unwrap_or_default();
    match own.get_mut(group) {
        Some(slot) => *slot = value,
        None => own.push(value),
    }
}

fn pick<'a, T>(own: &'a [T], groups: &'a [u32]) -> impl Iterator<Item = &'a T> {
    groups.iter().filter_map(|group| own.get(*group as usize))
}
