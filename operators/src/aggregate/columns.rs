//! What is known of a group by its number: its window and its key.

use std::cmp::Ordering;

use arrow_array::{ArrayRef, TimestampMicrosecondArray};
use thalweg_core::key::{KeyGroup, key_group_of};
use thalweg_core::time::EventTime;

use super::keys::{KeyColumn, KeyValues};
use super::pages::Pages;

/// The start of no window: the last instant belongs to the window before it.
const FREE: EventTime = EventTime::MAX;

/// The groups of one key group.
#[derive(Debug, Clone)]
struct Owned {
    groups: Vec<u32>,
    last: EventTime,
    /// By their windows.
    ascending: bool,
}

impl Default for Owned {
    fn default() -> Self {
        Self { groups: Vec::new(), last: EventTime::MIN, ascending: true }
    }
}

impl Owned {
    fn push(&mut self, group: u32, start: EventTime) {
        self.ascending &= self.last <= start;
        self.last = start;
        self.groups.push(group);
    }
}

/// Windows and keys by group.
#[derive(Debug)]
pub(super) struct GroupColumns {
    /// Start of the window; [`FREE`] for a number that is not in use.
    starts: Pages<EventTime>,
    /// Stable hash of the key.
    hashes: Pages<u64>,
    keys: Vec<KeyColumn>,
}

impl GroupColumns {
    pub(super) fn new(keys: Vec<KeyColumn>) -> Self {
        Self { starts: Pages::default(), hashes: Pages::default(), keys }
    }

    /// One past the highest number ever given.
    pub(super) fn slots(&self) -> usize {
        self.starts.len()
    }

    /// Columns that make a key.
    pub(super) fn width(&self) -> usize {
        self.keys.len()
    }

    /// Gives `group` its window and the key of `row`; returns the bytes that its texts take.
    pub(super) fn set(
        &mut self,
        group: u32,
        start: EventTime,
        hash: u64,
        values: &[KeyValues<'_>],
        row: usize,
    ) -> usize {
        let at = group as usize;
        self.starts.set(at, start);
        self.hashes.set(at, hash);
        self.keys.iter_mut().zip(values).map(|(key, values)| key.set(at, values, row)).sum()
    }

    /// Forgets a group; returns the bytes that this frees.
    pub(super) fn clear(&mut self, group: u32) -> usize {
        self.starts.set(group as usize, FREE);
        self.keys.iter_mut().map(|key| key.clear(group as usize)).sum()
    }

    /// Whether its key is that of `row`.
    #[inline]
    pub(super) fn is(&self, group: u32, values: &[KeyValues<'_>], row: usize) -> bool {
        match (self.keys.as_slice(), values) {
            ([key], [values]) => key.is(group as usize, values, row),
            (keys, values) => {
                keys.iter().zip(values).all(|(key, values)| key.is(group as usize, values, row))
            }
        }
    }

    fn compare(&self, a: u32, b: u32) -> Ordering {
        let mut orders = self.keys.iter().map(|key| key.compare(a as usize, b as usize));
        orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// `groups` by key.
    pub(super) fn sorted(&self, groups: &[u32]) -> Vec<u32> {
        // The prefixes stand beside each other; the keys themselves are all over the memory.
        let prefix = |group: u32| self.keys.first().map_or(0, |key| key.prefix(group as usize));
        let mut sorted: Vec<(u64, u32)> = groups.iter().map(|g| (prefix(*g), *g)).collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| self.compare(a.1, b.1)));
        sorted.into_iter().map(|(_, group)| group).collect()
    }

    /// Starts of the windows of `groups`.
    pub(super) fn starts(&self, groups: &[u32]) -> TimestampMicrosecondArray {
        let starts = self.starts.of(groups).copied();
        TimestampMicrosecondArray::from_iter_values(starts).with_timezone("UTC")
    }

    /// The key columns of `groups`.
    pub(super) fn key_arrays(&self, groups: &[u32]) -> impl Iterator<Item = ArrayRef> {
        self.keys.iter().map(|key| key.array(groups))
    }

    /// As it is now, whatever becomes of this.
    pub(super) fn share(&mut self) -> Self {
        Self {
            starts: self.starts.share(),
            hashes: self.hashes.share(),
            keys: self.keys.iter_mut().map(KeyColumn::share).collect(),
        }
    }

    /// The groups in use by key group, windows ascending within one.
    pub(super) fn by_key_group(&self, max_parallelism: u16) -> Vec<Vec<u32>> {
        let mut owned = vec![Owned::default(); usize::from(max_parallelism)];
        let names = self.starts.iter().zip(self.hashes.iter());
        for (group, (start, hash)) in (0_u32..).zip(names) {
            let KeyGroup(key_group) = key_group_of(*hash, max_parallelism);
            if *start != FREE
                && let Some(owned) = owned.get_mut(usize::from(key_group))
            {
                owned.push(group, *start);
            }
        }
        let owned = owned.into_iter().map(|mut owned| {
            // The starts of a key group's groups are all over the memory: not looked at where that can be spared.
            if !owned.ascending {
                owned.groups.sort_by_key(|group| self.starts.get(*group as usize).copied());
            }
            owned.groups
        });
        owned.collect()
    }
}
