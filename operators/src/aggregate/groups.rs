//! Which group a row belongs to: window and key, interned to a dense number that the accumulators index by.
//!
//! All open windows share one table, so a batch that touches many windows costs no more than one that touches a
//! single one. A window that is taken out gives its numbers back. Equal input gives equal numbers: no order here
//! depends on a hash map's.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use thalweg_core::time::EventTime;
use thalweg_core::{Error, Result};

use super::columns::GroupColumns;
use super::keys::{KeyColumn, KeyValues};

/// The groups of all open windows.
#[derive(Debug)]
pub(super) struct GroupTable {
    index: HashTable<Entry>,
    pub(super) columns: GroupColumns,
    /// The groups of each open window, in the order in which they were met.
    windows: BTreeMap<EventTime, Vec<u32>>,
    free: Vec<u32>,
    text_bytes: usize,
}

/// Half a hash is enough to place an entry again when the index grows, and to pass over nearly all others.
#[derive(Debug)]
struct Entry {
    mixed: u32,
    group: u32,
}

/// A key's stable hash and its window in one: the product's high half carries what the aligned start lacks in low
/// bits.
#[inline]
fn mix(hash: u64, start: EventTime) -> u32 {
    let spread = start.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = hash ^ spread ^ (spread >> 32);
    (mixed ^ (mixed >> 32)) as u32
}

/// What the index goes by: it takes the place from the low bits and a tag from the highest.
#[inline]
fn place(mixed: u32) -> u64 {
    u64::from(mixed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl GroupTable {
    pub(super) fn new(keys: Vec<KeyColumn>) -> Self {
        Self {
            index: HashTable::new(),
            columns: GroupColumns::new(keys),
            windows: BTreeMap::new(),
            free: Vec::new(),
            text_bytes: 0,
        }
    }

    /// Finds or makes the group of each row: `starts` its window, `hashes` its key's stable hash, `values` the key.
    pub(super) fn intern(
        &mut self,
        starts: &[EventTime],
        hashes: &[u64],
        values: &[KeyValues<'_>],
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        groups.clear();
        groups.reserve(starts.len());
        // Rows come in runs when there are few keys; with no key all are one run.
        let mut last: Option<(u64, u32)> = None;
        for (row, (start, hash)) in starts.iter().copied().zip(hashes.iter().copied()).enumerate() {
            if let Some((h, group)) = last
                && h == hash
                && self.columns.is(group, start, values, row)
            {
                groups.push(group);
                continue;
            }
            let mixed = mix(hash, start);
            let found = self.index.find(place(mixed), |entry| {
                entry.mixed == mixed && self.columns.is(entry.group, start, values, row)
            });
            let group = match found {
                Some(entry) => entry.group,
                None => self.insert(start, hash, values, row)?,
            };
            groups.push(group);
            last = Some((hash, group));
        }
        Ok(())
    }

    fn insert(
        &mut self,
        start: EventTime,
        hash: u64,
        values: &[KeyValues<'_>],
        row: usize,
    ) -> Result<u32> {
        let group = match self.free.pop() {
            Some(group) => group,
            None => u32::try_from(self.columns.slots())
                .map_err(|_| Error::internal("an aggregate holds more than 2^32 groups"))?,
        };
        self.text_bytes += self.columns.set(group, start, hash, values, row);
        let mixed = mix(hash, start);
        self.index.insert_unique(place(mixed), Entry { mixed, group }, |entry| place(entry.mixed));
        self.windows.entry(start).or_default().push(group);
        Ok(group)
    }

    /// Groups in use.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// One past the highest number ever given.
    pub(super) fn slots(&self) -> usize {
        self.columns.slots()
    }

    /// Roughly the memory that the table takes.
    pub(super) fn bytes(&self) -> usize {
        self.slots() * (36 + 16 * self.columns.width()) + self.text_bytes
    }

    /// Takes out the windows for which `is_closed` says so of their start, which must be a prefix of time. Their
    /// groups come by window and key and stay readable until [`Self::release`].
    pub(super) fn take(&mut self, is_closed: impl Fn(EventTime) -> bool) -> Vec<u32> {
        let mut taken = Vec::new();
        while let Some(window) = self.windows.first_entry()
            && is_closed(*window.key())
        {
            let mut groups = window.remove();
            groups.sort_unstable_by(|a, b| self.columns.compare(*a, *b));
            taken.append(&mut groups);
        }
        taken
    }

    /// Gives the numbers of groups that were taken out back.
    pub(super) fn release(&mut self, groups: &[u32]) {
        for group in groups {
            let Some((start, hash)) = self.columns.name(*group) else { continue };
            let found = self.index.find_entry(place(mix(hash, start)), |e| e.group == *group);
            if let Ok(entry) = found {
                entry.remove();
                self.free.push(*group);
            }
            self.text_bytes -= self.columns.clear(*group);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringArray};
    use arrow_schema::DataType;

    use super::*;

    fn table() -> GroupTable {
        GroupTable::new(vec![KeyColumn::new(&DataType::Utf8).unwrap()])
    }

    /// Interns rows of window and key, all keys with the same hash.
    fn intern(table: &mut GroupTable, rows: &[(i64, &str)]) -> Vec<u32> {
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.1)));
        let values = [KeyValues::new(&keys).unwrap()];
        let starts: Vec<i64> = rows.iter().map(|r| r.0).collect();
        let mut groups = Vec::new();
        table.intern(&starts, &vec![7; rows.len()], &values, &mut groups).unwrap();
        groups
    }

    #[test]
    fn keys_of_one_hash_and_windows_of_one_key_are_apart() {
        let rows = [(0, "ab"), (0, "ba"), (10, "ab"), (0, "ab"), (0, "ba"), (10, "ba"), (10, "ab")];
        assert_eq!(intern(&mut table(), &rows), [0, 1, 2, 0, 1, 3, 2]);
    }

    #[test]
    fn numbers_and_memory_of_taken_windows_are_used_again() {
        let mut table = table();
        for start in 0..100 {
            intern(&mut table, &[(start, "a longer text"), (start, "b")]);
            let taken = table.take(|s| s <= start);
            assert_eq!(taken.len(), 2);
            table.release(&taken);
            assert_eq!((table.len(), table.slots(), table.text_bytes), (0, 2, 0));
        }
    }

    #[test]
    fn windows_are_taken_in_order_and_sorted_by_key() {
        let mut table = table();
        intern(&mut table, &[(10, "b"), (0, "z"), (20, "a"), (10, "a"), (0, "y")]);
        assert_eq!(table.take(|start| start <= 10), [4, 1, 3, 0]);
        table.release(&[4, 1, 3, 0]);
        let open: Vec<_> = table.columns.by_key_group(1).concat();
        assert_eq!(open, [2]);
    }
}
