//! State per key for operators that touch it with every row: typed in memory, encoded only into checkpoints.
//!
//! [`super::KeyedStore`] decodes a value whenever it is read, which makes its states independent of each other and its
//! operators short. A table keeps one value of one type per key, and one timer beside it.

use std::collections::hash_map::Entry as Place;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec;
use super::store::twice;
use crate::key::{KeyGroup, key_group_of};
use crate::operator::{StateBlob, StateChunk, StatePayload};
use crate::time::EventTime;
use crate::{Error, Result};

const CHUNK: &str = "table";

/// What a table can hold as a key or as a value.
pub trait Stored: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}
impl<T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Stored for T {}

/// A value per key, in key groups that snapshots share until they are written to again.
///
/// Each key has at most one timer. It may ring too early, never too late: whoever is woken looks at the value, does
/// what is due, and says when to be woken again. So a deadline that moves with every row costs nothing per row.
///
/// ```
/// use thalweg_core::state::KeyTable;
/// let mut table: KeyTable<i64, u32> = KeyTable::new(1, 128);
/// let mut entry = table.entry(7, 42);
/// *entry.value() += 1;
/// entry.wake_at(1_000);
/// let mut woken = Vec::new();
/// table.wake(1_500, |key, count| {
///     woken.push((*key, *count));
///     None // forget the key
/// });
/// assert_eq!(woken, [(42, 1)]);
/// ```
pub struct KeyTable<K, V> {
    version: u16,
    max_parallelism: u16,
    groups: Vec<Arc<Group<K, V>>>,
}

#[derive(Clone)]
struct Group<K, V> {
    version: u16,
    values: HashMap<K, Kept<V>>,
    /// Those in `values`, and some that were moved meanwhile.
    timers: BTreeSet<(EventTime, K)>,
}

#[derive(Clone)]
struct Kept<V> {
    value: V,
    timer: Option<EventTime>,
}

impl<K: Stored + Hash + Ord, V: Stored + Default> KeyTable<K, V> {
    /// An empty table whose values are of `version`, for an operator with so many key groups.
    pub fn new(version: u16, max_parallelism: u16) -> Self {
        let group = || Group { version, values: HashMap::new(), timers: BTreeSet::new() };
        let groups = (0..max_parallelism.max(1)).map(|_| Arc::new(group())).collect();
        Self { version, max_parallelism, groups }
    }

    /// The key's value, made if there is none yet. `hash` is the key's in [`crate::key::hash_keys`]. That the key belongs to
    /// this instance is not looked at: ask [`crate::operator::OpenContext::check_keys`], a batch at a time, or another instance
    /// has what was kept here behind the next restore.
    pub fn entry(&mut self, hash: u64, key: K) -> Entry<'_, K, V> {
        let index = usize::from(key_group_of(hash, self.max_parallelism).0) % self.groups.len();
        let group = Arc::make_mut(&mut self.groups[index]);
        let (key, kept) = match group.values.entry(key.clone()) {
            Place::Occupied(found) => (key, found.into_mut()),
            Place::Vacant(free) => (key, free.insert(Kept { value: V::default(), timer: None })),
        };
        Entry { key, kept, timers: &mut group.timers }
    }

    /// The key's value, if there is one.
    pub fn find(&mut self, hash: u64, key: K) -> Option<Entry<'_, K, V>> {
        let index = usize::from(key_group_of(hash, self.max_parallelism).0);
        let group = self.groups.get_mut(index)?;
        if !group.values.contains_key(&key) {
            return None;
        }
        let group = Arc::make_mut(group);
        let kept = group.values.get_mut(&key)?;
        Some(Entry { key, kept, timers: &mut group.timers })
    }

    /// Wakes every key whose timer is at or before `until`: `act` does all that is due until then, and says when next
    /// or, by `None`, that the key can be forgotten. The order among keys is that of their groups and timers.
    pub fn wake(&mut self, until: EventTime, mut act: impl FnMut(&K, &mut V) -> Option<EventTime>) {
        for group in &mut self.groups {
            if group.timers.first().is_none_or(|(time, _)| *time > until) {
                continue;
            }
            let Group { values, timers, .. } = Arc::make_mut(group);
            while let Some((time, key)) = timers.pop_first() {
                if time > until {
                    timers.insert((time, key));
                    break;
                }
                let Some(kept) = values.get_mut(&key).filter(|k| k.timer == Some(time)) else {
                    continue;
                };
                kept.timer = None;
                match act(&key, &mut kept.value) {
                    None => drop(values.remove(&key)),
                    Some(next) => {
                        // What is due by now has been done: waking again for it would never end. Behind the end of time
                        // nobody is woken.
                        if let Some(later) = until.checked_add(1) {
                            let next = next.max(later);
                            kept.timer = Some(next);
                            timers.insert((next, key));
                        }
                    }
                }
            }
        }
    }

    /// Sets every key's timer to what `due` says: behind a restore, where timers are as they were set by the settings of an
    /// earlier run and might ring too late for those of this one.
    pub fn set_timers(&mut self, due: impl Fn(&V) -> EventTime) {
        for group in self.groups.iter_mut().filter(|group| !group.values.is_empty()) {
            let Group { values, timers, .. } = Arc::make_mut(group);
            let set = values.iter_mut().map(|(key, kept)| {
                let time = due(&kept.value);
                kept.timer = Some(time);
                (time, key.clone())
            });
            *timers = set.collect();
        }
    }

    /// How many keys have a value.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.values.len()).sum()
    }

    /// Whether no key has a value.
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.values.is_empty())
    }

    /// A chunk per key group that holds anything.
    pub fn snapshot(&self) -> Vec<StateChunk> {
        let groups = self.groups.iter().enumerate().filter(|(_, group)| !group.values.is_empty());
        groups
            .map(|(index, group)| StateChunk {
                name: CHUNK,
                key_group: KeyGroup(index as u16),
                payload: Arc::clone(group) as Arc<dyn StatePayload>,
            })
            .collect()
    }

    /// Takes back what [`KeyTable::snapshot`] gave.
    pub fn restore(&mut self, blobs: Vec<StateBlob>) -> Result<()> {
        for blob in blobs {
            if blob.name != CHUNK {
                return Err(Error::incompatible("unknown keyed state in the checkpoint"));
            }
            let rows: Vec<(K, V, Option<EventTime>)> = codec::decode(self.version, &blob.bytes)?;
            let group = self
                .groups
                .get_mut(usize::from(blob.key_group.0))
                .ok_or_else(|| Error::incompatible("the checkpoint has more key groups"))?;
            if !group.values.is_empty() {
                return Err(twice());
            }
            let group = Arc::make_mut(group);
            for (key, value, timer) in rows {
                group.timers.extend(timer.map(|time| (time, key.clone())));
                group.values.insert(key, Kept { value, timer });
            }
        }
        Ok(())
    }
}

impl<K: Stored + Hash + Ord, V: Stored> StatePayload for Group<K, V> {
    fn encode(&self) -> Result<Vec<u8>> {
        let rows = self.values.iter().map(|(key, kept)| Ok((key, &kept.value, kept.timer)));
        let mut bytes = Vec::new();
        codec::encode_each(self.version, self.values.len(), rows, &mut bytes)?;
        Ok(bytes)
    }
}

impl<K, V> fmt::Debug for KeyTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never what it holds: keys and values are about persons.
        write!(f, "KeyTable({} groups)", self.groups.len())
    }
}

/// A key's value and timer.
pub struct Entry<'a, K, V> {
    key: K,
    kept: &'a mut Kept<V>,
    timers: &'a mut BTreeSet<(EventTime, K)>,
}

impl<K: Stored + Ord, V> Entry<'_, K, V> {
    /// The value.
    pub fn value(&mut self) -> &mut V {
        &mut self.kept.value
    }

    /// Whether the key would be woken at `until`.
    pub fn is_due(&self, until: EventTime) -> bool {
        self.kept.timer.is_some_and(|time| time <= until)
    }

    /// Whether no timer is set.
    pub fn sleeps(&self) -> bool {
        self.kept.timer.is_none()
    }

    /// Makes sure that the key is woken at `time` or earlier.
    pub fn wake_at(&mut self, time: EventTime) {
        if self.kept.timer.is_none_or(|set| time < set) {
            self.stop_timer();
            self.kept.timer = Some(time);
            self.timers.insert((time, self.key.clone()));
        }
    }

    /// Takes the timer back.
    pub fn stop_timer(&mut self) {
        if let Some(time) = self.kept.timer.take() {
            self.timers.remove(&(time, self.key.clone()));
        }
    }
}

impl<K, V> fmt::Debug for Entry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry(timer {})", self.kept.timer.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: i64) -> u64 {
        key.unsigned_abs() * 31
    }

    fn table() -> KeyTable<i64, Vec<i64>> {
        KeyTable::new(1, 16)
    }

    fn woken(table: &mut KeyTable<i64, Vec<i64>>, until: EventTime, next: EventTime) -> Vec<i64> {
        let mut keys = Vec::new();
        table.wake(until, |key, _| {
            keys.push(*key);
            Some(next)
        });
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_key_is_woken_once_at_the_earliest_time_that_was_asked_for() {
        let mut table = table();
        for (key, times) in [(1, [30, 10, 20]), (2, [50, 60, 70])] {
            let mut entry = table.entry(hash(key), key);
            for time in times {
                entry.wake_at(time);
            }
        }
        assert!(woken(&mut table, 9, i64::MAX).is_empty());
        assert_eq!(woken(&mut table, 10, 40), [1]);
        assert!(woken(&mut table, 39, i64::MAX).is_empty());
        assert_eq!(woken(&mut table, 100, i64::MAX), [1, 2]);
        assert!(woken(&mut table, i64::MAX - 1, i64::MAX).is_empty());
        // The end of time comes once.
        assert_eq!(woken(&mut table, i64::MAX, i64::MAX), [1, 2]);
        assert!(table.entry(hash(1), 1).sleeps());
        assert!(table.find(hash(2), 2).is_some() && table.find(hash(3), 3).is_none());
    }

    #[test]
    fn a_timer_that_is_set_into_the_past_again_does_not_ring_for_ever() {
        let mut table = table();
        table.entry(hash(1), 1).wake_at(5);
        assert_eq!(woken(&mut table, 10, 3), [1]);
        assert_eq!(woken(&mut table, 11, i64::MAX), [1]);
    }

    #[test]
    fn a_snapshot_keeps_what_was_there_while_the_table_goes_on() {
        let mut table = table();
        for key in 0..50 {
            let mut entry = table.entry(hash(key), key);
            entry.value().push(key);
            entry.wake_at(key);
        }
        let chunks = table.snapshot();
        table.entry(hash(1), 1).value().push(99);
        table.wake(10, |_, _| None);
        assert_eq!(table.len(), 39);

        let blobs = chunks.iter().filter_map(|chunk| chunk.to_blob().unwrap()).collect();
        let mut restored = self::table();
        restored.restore(blobs).unwrap();
        assert_eq!(restored.len(), 50);
        assert_eq!(restored.entry(hash(1), 1).value(), &[1]);
        assert_eq!(woken(&mut restored, 3, i64::MAX), [0, 1, 2, 3]);
    }

    #[test]
    fn timers_that_are_set_anew_ring_then_and_no_more_when_they_were_set_before() {
        let mut table = table();
        for key in 0..50 {
            let mut entry = table.entry(hash(key), key);
            entry.value().push(100 - key);
            if key != 7 {
                entry.wake_at(1_000);
            }
        }
        table.set_timers(|value| value[0]);
        assert_eq!(woken(&mut table, 60, 2_000), (40..50).collect::<Vec<_>>());
        // The one that had none, too, and those that ring for good no second time.
        assert_eq!(woken(&mut table, 93, 2_000), (7..40).collect::<Vec<_>>());
        assert_eq!(woken(&mut table, 1_999, 2_000), (0..7).collect::<Vec<_>>());
    }

    #[test]
    fn a_key_group_that_two_instances_have_stored_is_refused() {
        let blobs_of = |key: i64| {
            let mut table = table();
            table.entry(5, key).value().push(key);
            table.snapshot().into_iter().filter_map(|chunk| chunk.to_blob().unwrap())
        };
        table().restore(blobs_of(1).collect()).unwrap();
        let error = table().restore(blobs_of(1).chain(blobs_of(2)).collect()).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::IncompatibleState);
    }

    #[test]
    fn state_of_another_version_is_refused() {
        let mut table = table();
        table.entry(0, 1).value().push(1);
        let blobs: Vec<_> = table.snapshot().iter().filter_map(|c| c.to_blob().unwrap()).collect();
        let mut newer: KeyTable<i64, Vec<i64>> = KeyTable::new(2, 16);
        assert!(newer.restore(blobs).is_err());
    }
}
