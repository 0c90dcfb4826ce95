//! Key groups: the unit in which keyed state is stored and moved.
//!
//! The hash is XXH3-64 over a canonical encoding of the key, so that a key falls into the same group in every
//! build, on every platform and after every upgrade (golden vectors in the tests). It is never Arrow's or a hash
//! map's own hash, which may change from release to release.

mod decode;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, StringArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, Result};

pub use decode::key_columns;

/// Number of a key group: `0 .. max_parallelism`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyGroup(pub u16);

/// The key groups that one subtask owns: `start .. end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGroupRange {
    /// First group.
    pub start: u16,
    /// One past the last group.
    pub end: u16,
}

impl KeyGroupRange {
    /// The range of subtask `index` out of `parallelism`: the ranges of all subtasks partition the groups.
    ///
    /// ```
    /// use thalweg_core::key::KeyGroupRange;
    /// let ranges: Vec<_> = (0..3).map(|i| KeyGroupRange::of_subtask(i, 3, 128)).collect();
    /// assert_eq!(ranges.iter().map(|r| r.end - r.start).sum::<u16>(), 128);
    /// assert_eq!(ranges[0].end, ranges[1].start);
    /// ```
    pub fn of_subtask(index: u32, parallelism: u32, max_parallelism: u16) -> Self {
        let (i, p, m) =
            (u64::from(index), u64::from(parallelism.max(1)), u64::from(max_parallelism));
        Self { start: (i * m).div_ceil(p) as u16, end: ((i + 1) * m).div_ceil(p) as u16 }
    }

    /// Whether the group belongs to this range.
    pub fn contains(self, group: KeyGroup) -> bool {
        (self.start..self.end).contains(&group.0)
    }
}

/// The subtask that owns a group; the inverse of [`KeyGroupRange::of_subtask`].
pub fn subtask_of(group: KeyGroup, parallelism: u32, max_parallelism: u16) -> u32 {
    (u64::from(group.0) * u64::from(parallelism) / u64::from(max_parallelism.max(1))) as u32
}

/// The group of a key's hash.
pub fn key_group_of(hash: u64, max_parallelism: u16) -> KeyGroup {
    KeyGroup((hash % u64::from(max_parallelism.max(1))) as u16)
}

/// The hash of the key with no columns.
pub const EMPTY_KEY_HASH: u64 = 0x2d06_8005_38d3_94c2;

/// Calls `visit(row, canonical bytes)` for each row's key, the bytes being valid for the call only.
///
/// Encoding of a value: a tag byte (0 null, 1 integer, 2 text, 3 boolean), then 8 bytes little endian, or a text's
/// length in 4 bytes and the text, or one byte. Integers and timestamps of every width encode alike. The same bytes
/// are stored in checkpoints: they never change.
///
/// # Errors
/// [`crate::ErrorKind::InvalidGraph`] for a column type that cannot be a key (floating point, nested).
pub fn for_each_key(
    columns: &[ArrayRef],
    rows: usize,
    mut visit: impl FnMut(usize, &[u8]),
) -> Result<()> {
    let columns = columns.iter().map(KeyColumn::new).collect::<Result<Vec<_>>>()?;
    let mut bytes = Vec::with_capacity(64);
    for row in 0..rows {
        bytes.clear();
        for column in &columns {
            column.encode(row, &mut bytes);
        }
        visit(row, &bytes);
    }
    Ok(())
}

/// The stable hash of a key's canonical bytes.
pub fn hash_key(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Stable hashes of the keys that `columns` spell, a row each.
///
/// # Errors
/// As [`for_each_key`].
pub fn hash_keys(columns: &[ArrayRef], rows: usize, hashes: &mut Vec<u64>) -> Result<()> {
    hashes.clear();
    hashes.reserve(rows);
    if let [column] = columns
        && let KeyColumn::Int64(values, nulls) = KeyColumn::new(column)?
        && nulls.is_none_or(|nulls| nulls.null_count() == 0)
    {
        hashes.extend(values.iter().take(rows).map(|value| hash_integer(*value)));
        return Ok(());
    }
    for_each_key(columns, rows, |_, bytes| hashes.push(hash_key(bytes)))
}

/// The hash of a single integer, without a detour through a vector: most keys are one.
#[inline]
fn hash_integer(value: i64) -> u64 {
    let mut bytes = [INTEGER; 9];
    if let Some(tail) = bytes.last_chunk_mut() {
        *tail = value.to_le_bytes();
    }
    xxh3_64(&bytes)
}

/// Tag of an integer's encoding.
const INTEGER: u8 = 1;

enum KeyColumn<'a> {
    Int64(&'a [i64], Option<&'a NullBuffer>),
    Int32(&'a [i32], Option<&'a NullBuffer>),
    Text(&'a StringArray),
    Boolean(&'a BooleanArray),
}

impl<'a> KeyColumn<'a> {
    fn new(column: &'a ArrayRef) -> Result<Self> {
        Ok(match column.data_type() {
            DataType::Int64 => {
                Self::Int64(column.as_primitive::<Int64Type>().values(), column.nulls())
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => Self::Int64(
                column.as_primitive::<TimestampMicrosecondType>().values(),
                column.nulls(),
            ),
            DataType::Int32 => {
                Self::Int32(column.as_primitive::<Int32Type>().values(), column.nulls())
            }
            DataType::Utf8 => Self::Text(column.as_string()),
            DataType::Boolean => Self::Boolean(column.as_boolean()),
            other => {
                return Err(Error::graph(format!("a column of type {other} cannot be a key")));
            }
        })
    }

    fn encode(&self, row: usize, bytes: &mut Vec<u8>) {
        let mut integer = |value: Option<i64>, nulls: Option<&NullBuffer>| match value {
            Some(value) if nulls.is_none_or(|n| n.is_valid(row)) => {
                bytes.push(INTEGER);
                bytes.extend_from_slice(&value.to_le_bytes());
            }
            _ => bytes.push(0),
        };
        match self {
            Self::Int64(values, nulls) => integer(values.get(row).copied(), *nulls),
            Self::Int32(values, nulls) => integer(values.get(row).map(|v| i64::from(*v)), *nulls),
            Self::Text(array) if array.is_valid(row) => {
                let text = array.value(row).as_bytes();
                bytes.push(2);
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
                bytes.extend_from_slice(text);
            }
            Self::Boolean(array) if array.is_valid(row) => {
                bytes.extend_from_slice(&[3, u8::from(array.value(row))]);
            }
            Self::Text(_) | Self::Boolean(_) => bytes.push(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::Int64Array;

    use super::*;

    #[test]
    fn hashes_are_the_ones_that_stored_checkpoints_rely_on() {
        let mut hashes = Vec::new();
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(3428), Some(-1), None]));
        let names: ArrayRef =
            Arc::new(StringArray::from(vec![Some("vitals"), Some(""), None, None]));
        hash_keys(&[Arc::clone(&ids)], 4, &mut hashes).unwrap();
        let by_id = hashes.clone();
        hash_keys(&[names], 4, &mut hashes).unwrap();
        let by_name = hashes.clone();
        let groups: Vec<u16> =
            by_id.iter().chain(&by_name).map(|h| key_group_of(*h, 128).0).collect();
        assert_eq!(groups, GOLDEN_GROUPS);
        assert_eq!(hash_key(&[]), EMPTY_KEY_HASH);
    }

    const GOLDEN_GROUPS: [u16; 8] = [0, 124, 12, 91, 32, 106, 91, 91];

    proptest::proptest! {
        #[test]
        fn a_single_integer_hashes_like_its_bytes(values in proptest::collection::vec(proptest::num::i64::ANY, 1..50)) {
            let column: ArrayRef = Arc::new(Int64Array::from(values.clone()));
            let mut hashes = Vec::new();
            hash_keys(&[Arc::clone(&column)], values.len(), &mut hashes).unwrap();
            let mut expected = Vec::new();
            for_each_key(&[column], values.len(), |_, bytes| expected.push(hash_key(bytes))).unwrap();
            proptest::prop_assert_eq!(hashes, expected);
        }

        #[test]
        fn every_group_has_exactly_one_owner(p in 1u32..40, m in 40u16..1000, g in 0u16..1000) {
            let g = KeyGroup(g % m);
            let owner = subtask_of(g, p, m);
            for i in 0..p {
                proptest::prop_assert_eq!(KeyGroupRange::of_subtask(i, p, m).contains(g), i == owner);
            }
        }
    }
}
