//! The groups of the integer keys that came last, a comparison away.

/// Keys that are remembered: about as many as the first cache of a processor holds.
const SLOTS: usize = 2048;

/// Of one open window; 0 is none's.
pub(super) type WindowNumber = u32;

/// A key, and its window's number before its group's.
type Slot = (i64, u64);

/// A key of a window has one place, which the last one there keeps.
#[derive(Debug, Default)]
pub(super) struct Latest {
    /// None before the first key.
    slots: Option<Box<[Slot; SLOTS]>>,
}

impl Latest {
    /// The place of a key: neighbours do not share one, nor does a key with itself in the next window.
    #[inline]
    fn place(window: WindowNumber, key: i64) -> usize {
        let key = key.cast_unsigned();
        (key ^ (key >> 11) ^ (key >> 32) ^ u64::from(window).wrapping_mul(797)) as usize % SLOTS
    }

    #[inline]
    pub(super) fn get(&self, window: WindowNumber, key: i64) -> Option<u32> {
        let (known, name) = self.slots.as_ref()?.get(Self::place(window, key))?;
        (*known == key && name >> 32 == u64::from(window)).then_some(*name as u32)
    }

    pub(super) fn put(&mut self, window: WindowNumber, key: i64, group: u32) {
        if self.slots.is_none() {
            self.slots = vec![(0, 0); SLOTS].into_boxed_slice().try_into().ok();
        }
        let slot = self.slots.as_mut().and_then(|slots| slots.get_mut(Self::place(window, key)));
        if let Some(slot) = slot {
            *slot = (key, u64::from(window) << 32 | u64::from(group));
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        if let Some(slots) = &mut self.slots {
            slots.fill((0, 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_in_its_window_until_another_takes_its_place() {
        let mut latest = Latest::default();
        assert_eq!(latest.get(1, 0), None);
        latest.put(1, 0, 0);
        latest.put(1, -7, 9);
        latest.put(2, -7, 4);
        assert_eq!((latest.get(1, 0), latest.get(1, -7)), (Some(0), Some(9)));
        assert_eq!((latest.get(2, -7), latest.get(2, 0)), (Some(4), None));
        let place = Latest::place(1, -7);
        let same_place = (1..1 << 20).find(|key| Latest::place(1, *key) == place).unwrap();
        assert_eq!(latest.get(1, same_place), None);
        latest.put(1, same_place, 3);
        assert_eq!((latest.get(1, same_place), latest.get(1, -7)), (Some(3), None));
        latest.clear();
        assert_eq!((latest.get(1, 0), latest.get(2, -7)), (None, None));
    }

    #[test]
    fn a_thousand_neighbours_have_places_of_their_own() {
        let places: std::collections::BTreeSet<_> =
            (500..1500).map(|key| Latest::place(3, key)).collect();
        assert_eq!(places.len(), 1000);
    }
}
