//! The groups of the integer keys that came last, a comparison away.

use thalweg_core::time::EventTime;

/// Keys that are remembered: as many as the first cache of a processor holds.
const SLOTS: usize = 2048;

/// A key and its group; 0 is no group, and the groups here are one more than they are.
type Slot = (i64, u64);

/// What is remembered of one window. A key has one place, which the last one there keeps.
#[derive(Debug, Default)]
pub(super) struct Latest {
    window: Option<EventTime>,
    /// None before the first key, then [`SLOTS`].
    slots: Box<[Slot]>,
}

impl Latest {
    /// The place of a key: neighbours do not share one.
    #[inline]
    fn place(key: i64) -> usize {
        let key = key.cast_unsigned();
        (key ^ (key >> 11) ^ (key >> 32)) as usize % SLOTS
    }

    /// From here on keys are those of the window that starts at `start`.
    pub(super) fn enter(&mut self, start: EventTime) {
        if self.window != Some(start) {
            self.clear();
            self.window = Some(start);
        }
    }

    #[inline]
    pub(super) fn get(&self, key: i64) -> Option<u32> {
        let (known, group) = self.slots.get(Self::place(key))?;
        (*known == key && *group > 0).then(|| (*group - 1) as u32)
    }

    pub(super) fn put(&mut self, key: i64, group: u32) {
        if self.slots.is_empty() {
            self.slots = vec![(0, 0); SLOTS].into_boxed_slice();
        }
        if let Some(slot) = self.slots.get_mut(Self::place(key)) {
            *slot = (key, u64::from(group) + 1);
        }
    }

    /// Forgets everything: groups change their meaning when a window is gone.
    pub(super) fn clear(&mut self) {
        self.window = None;
        self.slots.fill((0, 0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_its_window_until_another_takes_its_place() {
        let mut latest = Latest::default();
        latest.enter(60);
        assert_eq!(latest.get(0), None);
        latest.put(0, 0);
        latest.put(-7, 9);
        assert_eq!((latest.get(0), latest.get(-7)), (Some(0), Some(9)));
        let same_place = (1..1 << 20).find(|key| Latest::place(*key) == Latest::place(-7)).unwrap();
        assert_eq!(latest.get(same_place), None);
        latest.put(same_place, 3);
        assert_eq!((latest.get(same_place), latest.get(-7)), (Some(3), None));
        latest.enter(60);
        assert_eq!(latest.get(0), Some(0));
        latest.enter(120);
        assert_eq!(latest.get(0), None);
    }
}
