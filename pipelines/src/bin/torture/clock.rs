//! A wall clock that people set, forward and back.

use std::time::Duration;

use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

/// Jumps by `by` seconds forward and back again every few seconds. Monotonic time does not.
#[derive(Debug)]
pub(crate) struct JumpingClock {
    clock: SystemClock,
    by: i64,
}

impl JumpingClock {
    pub(crate) fn new(by_seconds: i64) -> Self {
        Self { clock: SystemClock::default(), by: by_seconds * 1_000_000 }
    }
}

impl Clock for JumpingClock {
    fn now_micros(&self) -> i64 {
        let away = (self.monotonic().as_millis() / 700) % 2 == 1;
        self.clock.now_micros() + if away { self.by } else { 0 }
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}
