//! A wall clock that people set, forward and back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

use crate::told::note;

/// Told each time that somebody in the process reads a time that jumped.
pub(crate) const JUMPED: &str = "the clock jumped";

/// Jumps by `by` seconds forward and back again every 700 ms. Monotonic time does not.
#[derive(Debug)]
pub(crate) struct JumpingClock {
    clock: SystemClock,
    by: i64,
    /// Whether it was away when it was last read.
    away: AtomicBool,
}

impl JumpingClock {
    pub(crate) fn new(by_seconds: i64) -> Self {
        let (clock, away) = (SystemClock::default(), AtomicBool::new(false));
        Self { clock, by: by_seconds * 1_000_000, away }
    }
}

impl Clock for JumpingClock {
    fn now_micros(&self) -> i64 {
        let away = (self.monotonic().as_millis() / 700) % 2 == 1;
        if self.away.swap(away, Ordering::Relaxed) != away {
            note(JUMPED);
        }
        self.clock.now_micros() + if away { self.by } else { 0 }
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}
