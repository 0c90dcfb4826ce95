//! The groups of the integer keys that came last, a comparison away.

use thalweg_core::time::EventTime;

/// Keys that are remembered: about as many as the first cache of a processor holds.
const SLOTS: usize = 2048;

/// A window's start, a key, and one more than its group: 0 is none.
type Slot = (EventTime, i64, u64);

/// A key of a window has one place, which the last one there keeps.
#[derive(Debug, Default)]
pub(super) struct Latest {
    /// None before the first key, then [`SLOTS`].
    slots: Box<[Slot]>,
}

impl Latest {
    /// The place of a key: neighbours do not share one, nor does a key with itself in the next window.
    #[inline]
    fn place(start: EventTime, key: i64) -> usize {
        let key = key.cast_unsigned();
        let window = start.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 53;
        (key ^ (key >> 11) ^ (key >> 32) ^ window) as usize % SLOTS
    }

    #[inline]
    pub(super) fn get(&self, start: EventTime, key: i64) -> Option<u32> {
        let (window, known, group) = self.slots.get(Self::place(start, key))?;
        (*known == key && *window == start && *group > 0).then(|| (*group - 1) as u32)
    }

    pub(super) fn put(&mut self, start: EventTime, key: i64, group: u32) {
        if self.slots.is_empty() {
            self.slots = vec![(0, 0, 0); SLOTS].into_boxed_slice();
        }
        if let Some(slot) = self.slots.get_mut(Self::place(start, key)) {
            *slot = (start, key, u64::from(group) + 1);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slots.fill((0, 0, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_its_window_until_another_takes_its_place() {
        let mut latest = Latest::default();
        assert_eq!(latest.get(0, 0), None);
        latest.put(0, 0, 0);
        latest.put(0, -7, 9);
        latest.put(60, -7, 4);
        assert_eq!((latest.get(0, 0), latest.get(0, -7)), (Some(0), Some(9)));
        assert_eq!((latest.get(60, -7), latest.get(60, 0)), (Some(4), None));
        let place = Latest::place(0, -7);
        let same_place = (1..1 << 20).find(|key| Latest::place(0, *key) == place).unwrap();
        assert_eq!(latest.get(0, same_place), None);
        latest.put(0, same_place, 3);
        assert_eq!((latest.get(0, same_place), latest.get(0, -7)), (Some(3), None));
        latest.clear();
        assert_eq!((latest.get(0, 0), latest.get(60, -7)), (None, None));
    }
}
