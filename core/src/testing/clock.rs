//! A clock that a test moves.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::time::{Clock, micros};

/// Starts at an instant and stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    start: i64,
    now: AtomicI64,
}

impl ManualClock {
    /// A clock at `micros` since the epoch.
    pub fn at(micros: i64) -> Self {
        Self { start: micros, now: AtomicI64::new(micros) }
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(micros(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_micros(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        let passed = self.now.load(Ordering::SeqCst) - self.start;
        Duration::from_micros(u64::try_from(passed).unwrap_or(0))
    }
}
