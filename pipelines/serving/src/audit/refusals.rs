//! Those who are refused and try again and again must not fill the audit log: beyond a rate they are counted.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::rate::Bucket;

/// Refusals of one kind.
#[derive(Debug)]
pub(crate) struct Refusals(Mutex<State>);

#[derive(Debug)]
struct State {
    entries: Bucket,
    left_out: u64,
}

impl Refusals {
    /// So many entries a second, and a burst of them at once.
    pub(crate) fn new(per_second: f64, burst: f64, now: Duration) -> Self {
        Self(Mutex::new(State { entries: Bucket::new(per_second, burst, now), left_out: 0 }))
    }

    /// Whether one more is written down; otherwise it is counted.
    pub(crate) fn written(&self, now: Duration) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = state.entries.take(now).is_ok();
        if !written {
            state.left_out += 1;
        }
        written
    }

    /// How many have no entry and are in no entry's count: the next entry has it.
    pub(crate) fn take(&self) -> u64 {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).left_out)
    }

    /// Counts them again: the entry that had them could not be written.
    pub(crate) fn put_back(&self, left_out: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).left_out += left_out;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_is_counted_once() {
        let start = Duration::from_secs(3);
        let refusals = Refusals::new(5.0, 100.0, start);
        let written = (0..150).filter(|_| refusals.written(start)).count();
        assert_eq!((written, refusals.take(), refusals.take()), (100, 50, 0));
        assert!(!refusals.written(start));
        assert!(refusals.written(start + Duration::from_millis(200)));
        let left_out = refusals.take();
        refusals.put_back(left_out);
        assert_eq!((left_out, refusals.take()), (1, 1));
    }
}
