//! The one file of this crate that reads the wall clock: the time at which a message was read.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch, UTC.
#[expect(clippy::disallowed_methods, reason = "the crate's single reading of the wall clock")]
pub fn now_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as i64)
}
