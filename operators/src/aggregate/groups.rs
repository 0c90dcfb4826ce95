//! Which group a row belongs to: window and key, interned to a dense number that the accumulators index by.
//!
//! Every open window has an index of its own, which goes with it; its groups give their numbers back. Equal input gives
//! equal numbers: no order here depends on a hash map's.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use thalweg_core::time::EventTime;
use thalweg_core::{Error, Result};

use super::columns::GroupColumns;
use super::keys::{KeyColumn, KeyValues, local_hash};
use super::latest::{Latest, WindowNumber};

/// The groups of all open windows.
#[derive(Debug)]
pub(super) struct GroupTable {
    windows: BTreeMap<EventTime, Window>,
    /// Of the window that was opened last.
    opened: WindowNumber,
    pub(super) columns: GroupColumns,
    numbers: Numbers,
    latest: Latest,
}

/// Which numbers are given out.
#[derive(Debug, Default)]
struct Numbers {
    free: Vec<u32>,
    /// Groups in use.
    used: usize,
    text_bytes: usize,
}

/// A row whose group is looked for.
struct Wanted<'a> {
    start: EventTime,
    hash: u64,
    values: &'a [KeyValues<'a>],
    row: usize,
}

/// Rows beside each other whose windows are one. Mostly they all are, which one pass tells that stops for nothing.
fn runs(starts: &[EventTime]) -> impl Iterator<Item = &[EventTime]> {
    let first = starts.first().copied().unwrap_or_default();
    let differing = starts.iter().fold(0, |differing, start| differing | (start ^ first));
    let (whole, parted) = if differing == 0 { (starts, &[][..]) } else { (&[][..], starts) };
    let whole = Some(whole).filter(|whole| !whole.is_empty());
    whole.into_iter().chain(parted.chunk_by(|a, b| a == b))
}

/// The groups of one open window.
#[derive(Debug, Default)]
struct Window {
    /// No other window's; 0 until the first of its keys is looked for among the latest.
    number: WindowNumber,
    index: HashTable<Entry>,
    /// In the order in which they were met.
    groups: Vec<u32>,
}

/// Half a hash is enough to place an entry again when the index grows, and to pass over nearly all others.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u32,
    group: u32,
}

impl Entry {
    #[inline]
    fn half(hash: u64) -> u32 {
        (hash ^ (hash >> 32)) as u32
    }

    /// What the index goes by: it takes the place from the low bits and a tag from the highest.
    #[inline]
    fn place(hash: u32) -> u64 {
        u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl GroupTable {
    pub(super) fn new(keys: Vec<KeyColumn>) -> Self {
        Self {
            windows: BTreeMap::new(),
            opened: 0,
            columns: GroupColumns::new(keys),
            numbers: Numbers::default(),
            latest: Latest::default(),
        }
    }

    /// Finds or makes the group of each row: `starts` its window, `hashes` a hash of its key, `values` the key.
    pub(super) fn intern(
        &mut self,
        starts: &[EventTime],
        hashes: &[u64],
        values: &[KeyValues<'_>],
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        groups.clear();
        groups.reserve(starts.len());
        let mut rows = hashes.iter().copied().enumerate();
        for run in runs(starts) {
            let Some(start) = run.first().copied() else { continue };
            let window = self.windows.entry(start).or_default();
            // Rows come in runs when there are few keys; with no key all are one run.
            let mut last: Option<(u64, u32)> = None;
            for (row, hash) in rows.by_ref().take(run.len()) {
                if let Some((h, group)) = last
                    && h == hash
                    && self.columns.is(group, values, row)
                {
                    groups.push(group);
                    continue;
                }
                let wanted = Wanted { start, hash, values, row };
                let group = window.find_or_add(&wanted, &mut self.columns, &mut self.numbers)?;
                groups.push(group);
                last = Some((hash, group));
            }
        }
        Ok(())
    }

    /// As [`Self::intern`] by [`local_hash`], for keys that are one integer each: the groups of the latest keys are found
    /// without the index.
    pub(super) fn intern_integers(
        &mut self,
        starts: &[EventTime],
        keys: &[i64],
        groups: &mut Vec<u32>,
    ) -> Result<()> {
        groups.clear();
        groups.resize(starts.len(), 0);
        let values = &[KeyValues::Int64(keys)];
        let (mut rest, mut found, mut from) = (keys, groups.as_mut_slice(), 0);
        for run in runs(starts) {
            let (Some(start), Some(keys), Some(found)) = (
                run.first().copied(),
                rest.split_off(..run.len()),
                found.split_off_mut(..run.len()),
            ) else {
                return Err(Error::internal("an aggregate was given fewer keys than windows"));
            };
            if self.opened == WindowNumber::MAX {
                self.number_anew();
            }
            let window = self.windows.entry(start).or_default();
            if window.number == 0 {
                self.opened += 1;
                window.number = self.opened;
            }
            let number = window.number;
            for ((row, key), found) in (from..).zip(keys.iter().copied()).zip(found) {
                if let Some(group) = self.latest.get(number, key) {
                    *found = group;
                    continue;
                }
                let wanted = Wanted { start, hash: local_hash(0, key), values, row };
                *found = window.find_or_add(&wanted, &mut self.columns, &mut self.numbers)?;
                self.latest.put(number, key, *found);
            }
            from += run.len();
        }
        Ok(())
    }

    /// All numbers of windows have been given: none of them may mean two.
    fn number_anew(&mut self) {
        self.latest.clear();
        self.windows.values_mut().for_each(|window| window.number = 0);
        self.opened = 0;
    }

    /// Groups in use.
    pub(super) fn len(&self) -> usize {
        self.numbers.used
    }

    /// One past the highest number ever given.
    pub(super) fn slots(&self) -> usize {
        self.columns.slots()
    }

    /// Roughly the memory that the table takes.
    pub(super) fn bytes(&self) -> usize {
        self.slots() * (36 + 16 * self.columns.width()) + self.numbers.text_bytes
    }

    /// Takes out the windows for which `is_closed` says so of their start, which must be a prefix of time: the groups
    /// of each, windows ascending, as they were met. They stay readable until [`Self::release`].
    pub(super) fn take(&mut self, is_closed: impl Fn(EventTime) -> bool) -> Vec<Vec<u32>> {
        let mut taken = Vec::new();
        while let Some(window) = self.windows.first_entry()
            && is_closed(*window.key())
        {
            taken.push(window.remove().groups);
        }
        taken
    }

    /// Gives the numbers of groups that were taken out back, the first of them to be given out first again.
    pub(super) fn release(&mut self, groups: &[u32]) {
        for group in groups.iter().rev() {
            self.numbers.text_bytes -= self.columns.clear(*group);
        }
        self.numbers.free.extend(groups.iter().rev());
        self.numbers.used -= groups.len();
    }
}

impl Window {
    #[inline]
    fn find_or_add(
        &mut self,
        wanted: &Wanted<'_>,
        columns: &mut GroupColumns,
        numbers: &mut Numbers,
    ) -> Result<u32> {
        let Wanted { start, hash, values, row } = *wanted;
        let half = Entry::half(hash);
        let found = self.index.find(Entry::place(half), |entry| {
            entry.hash == half && columns.is(entry.group, values, row)
        });
        if let Some(entry) = found {
            return Ok(entry.group);
        }
        let group = match numbers.free.pop() {
            Some(group) => group,
            None => u32::try_from(columns.slots())
                .map_err(|_| Error::internal("an aggregate holds more than 2^32 groups"))?,
        };
        numbers.used += 1;
        numbers.text_bytes += columns.set(group, start, hash, values, row);
        self.add(Entry { hash: half, group });
        Ok(group)
    }

    fn add(&mut self, entry: Entry) {
        self.groups.push(entry.group);
        self.index.insert_unique(Entry::place(entry.hash), entry, |e| Entry::place(e.hash));
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
            assert_eq!(taken, [[0, 1]]);
            table.release(&taken[0]);
            assert_eq!((table.len(), table.slots(), table.numbers.text_bytes), (0, 2, 0));
        }
    }

    #[test]
    fn windows_and_their_keys_are_apart_when_all_numbers_have_been_given() {
        let mut table = GroupTable::new(vec![KeyColumn::new(&DataType::Int64).unwrap()]);
        let mut groups = Vec::new();
        let mut intern = |table: &mut GroupTable, starts: &[i64], keys: &[i64]| {
            table.intern_integers(starts, keys, &mut groups).unwrap();
            groups.clone()
        };
        assert_eq!(intern(&mut table, &[0], &[0]), [0]);
        table.opened = WindowNumber::MAX;
        assert_eq!(intern(&mut table, &[10, 0], &[0, 0]), [1, 0]);
        table.opened = WindowNumber::MAX - 1;
        assert_eq!(intern(&mut table, &[20, 20, 0], &[0, 5, 0]), [2, 3, 0]);
        let more = intern(&mut table, &[30, 0, 0, 10, 20, 30], &[0, 0, 5, 0, 0, 0]);
        assert_eq!(more, [4, 0, 5, 1, 2, 4]);
        let taken = table.take(|start| start == 0);
        table.release(&taken[0]);
        // The group of a key that is gone is another's now, also where the key comes again.
        assert_eq!(intern(&mut table, &[40, 0, 10], &[9, 0, 0]), [0, 5, 1]);
    }

    #[test]
    fn windows_are_taken_in_order_and_sorted_by_key() {
        let mut table = table();
        intern(&mut table, &[(10, "b"), (0, "z"), (20, "a"), (10, "a"), (0, "y")]);
        let taken = table.take(|start| start <= 10);
        assert_eq!(taken, [[1, 4], [0, 3]]);
        let sorted: Vec<_> = taken.iter().map(|groups| table.columns.sorted(groups)).collect();
        assert_eq!(sorted, [[4, 1], [3, 0]]);
        for groups in &taken {
            table.release(groups);
        }
        let open: Vec<_> = table.columns.by_key_group(1).concat();
        assert_eq!(open, [2]);
    }
}
