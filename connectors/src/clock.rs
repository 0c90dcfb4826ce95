//! The one file of this crate that reads clocks: the wall clock, which people set, and the one that never goes back.

#[cfg(feature = "test-util")]
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

#[cfg(feature = "test-util")]
use thalweg_core::time::Clock;

/// The wall clock that is read in place of the machine's.
#[cfg(feature = "test-util")]
static GIVEN: OnceLock<Arc<dyn Clock>> = OnceLock::new();

/// Microseconds since the Unix epoch, UTC: the times that are written down, and what is compared with them. It may jump, so
/// nothing is waited for by it.
#[expect(clippy::disallowed_methods, reason = "the crate's single reading of the wall clock")]
pub fn now_micros() -> i64 {
    #[cfg(feature = "test-util")]
    if let Some(clock) = GIVEN.get() {
        return clock.now_micros();
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}

/// An instant to measure lengths of time with, wherever the wall clock jumps meanwhile.
#[cfg(feature = "kafka")]
#[expect(clippy::disallowed_methods, reason = "the crate's single reading of it")]
pub(crate) fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

/// From now on all sources and sinks of this process have the wall time from `clock`, for tests that set it. The first
/// clock stays.
#[cfg(feature = "test-util")]
pub fn read_from(clock: Arc<dyn Clock>) {
    drop(GIVEN.set(clock));
}
