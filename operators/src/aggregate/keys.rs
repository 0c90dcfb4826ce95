//! The key values of groups: plain values per key column, so that they leave as Arrow arrays and no row format is
//! ever stored. A key has no nulls; rows with one never get here.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray};
use arrow_schema::DataType;
use thalweg_core::{Error, Result};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::pages::Pages;

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

/// A hash of an integer that is good for this process only, and cheaper than the one that is stored.
#[inline]
pub(super) fn local_hash(seed: u64, value: i64) -> u64 {
    let spread = u128::from(seed ^ value.cast_unsigned() ^ 0x2d35_8dcc_aa6c_78a5)
        .wrapping_mul(0x8bb8_4b93_962e_acc9_9e37_79b9_7f4a_7c15);
    (spread as u64) ^ ((spread >> 64) as u64)
}

/// As [`local_hash`] of each row's key.
pub(super) fn local_hashes(keys: &[KeyValues<'_>], rows: usize, hashes: &mut Vec<u64>) {
    hashes.clear();
    hashes.resize(rows, 0);
    for key in keys {
        let all = hashes.iter_mut();
        match key {
            KeyValues::Int64(v) => all.zip(*v).for_each(|(hash, v)| *hash = local_hash(*hash, *v)),
            KeyValues::Int32(v) => {
                all.zip(*v).for_each(|(hash, v)| *hash = local_hash(*hash, (*v).into()));
            }
            KeyValues::Text(v) => all.enumerate().for_each(|(row, hash)| {
                *hash = xxh3_64_with_seed(v.value(row).as_bytes(), *hash);
            }),
            KeyValues::Boolean(v) => all.enumerate().for_each(|(row, hash)| {
                *hash = local_hash(*hash, v.value(row).into());
            }),
        }
    }
}

/// One key column of all groups, by group.
#[derive(Debug)]
pub(super) enum KeyColumn {
    Int64(Pages<i64>),
    Int32(Pages<i32>),
    Text(Pages<Box<str>>),
    Boolean(Pages<bool>),
}

impl KeyColumn {
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Int64 => Self::Int64(Pages::default()),
            DataType::Int32 => Self::Int32(Pages::default()),
            DataType::Utf8 => Self::Text(Pages::default()),
            DataType::Boolean => Self::Boolean(Pages::default()),
            other => return Err(Error::graph(format!("a column of type {other} cannot be a key"))),
        })
    }

    /// Gives `group` the key of `row`; returns the bytes it takes beside its place.
    pub(super) fn set(&mut self, group: usize, values: &KeyValues<'_>, row: usize) -> usize {
        match (self, values) {
            (Self::Int64(own), KeyValues::Int64(v)) => {
                own.set(group, v.get(row).copied().unwrap_or_default());
            }
            (Self::Int32(own), KeyValues::Int32(v)) => {
                own.set(group, v.get(row).copied().unwrap_or_default());
            }
            (Self::Boolean(own), KeyValues::Boolean(v)) => own.set(group, v.value(row)),
            (Self::Text(own), KeyValues::Text(v)) => {
                own.set(group, v.value(row).into());
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

    /// What sorts like the key, as far as it goes.
    pub(super) fn prefix(&self, group: usize) -> u64 {
        let integer = |value: i64| value.cast_unsigned() ^ (1 << 63);
        match self {
            Self::Int64(own) => own.get(group).map_or(0, |value| integer(*value)),
            Self::Int32(own) => own.get(group).map_or(0, |value| integer((*value).into())),
            Self::Boolean(own) => own.get(group).map_or(0, |value| u64::from(*value)),
            Self::Text(own) => own.get(group).map_or(0, |text| {
                let bytes = text.bytes().chain(std::iter::repeat(0)).take(8);
                bytes.fold(0, |prefix, byte| prefix << 8 | u64::from(byte))
            }),
        }
    }

    /// The keys of `groups`, in their order.
    pub(super) fn array(&self, groups: &[u32]) -> ArrayRef {
        match self {
            Self::Int64(own) => Arc::new(Int64Array::from_iter_values(own.of(groups).copied())),
            Self::Int32(own) => Arc::new(Int32Array::from_iter_values(own.of(groups).copied())),
            Self::Text(own) => Arc::new(StringArray::from_iter_values(own.of(groups))),
            Self::Boolean(own) => {
                Arc::new(BooleanArray::from(own.of(groups).copied().collect::<Vec<_>>()))
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

    /// As it is now, whatever becomes of this.
    pub(super) fn share(&mut self) -> Self {
        match self {
            Self::Int64(own) => Self::Int64(own.share()),
            Self::Int32(own) => Self::Int32(own.share()),
            Self::Text(own) => Self::Text(own.share()),
            Self::Boolean(own) => Self::Boolean(own.share()),
        }
    }
}
