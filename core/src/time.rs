//! Event time and the clock as a trait: core and operators never read the wall clock.

use std::fmt::Debug;
use std::time::Duration;

/// Event time: microseconds since the Unix epoch, UTC.
pub type EventTime = i64;

/// Microseconds in a second, the unit of every event time.
pub const MICROS_PER_SECOND: i64 = 1_000_000;

/// A duration in the unit of event time; one that is too long for it is the longest there is.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::time::micros;
/// assert_eq!(micros(Duration::from_millis(2)), 2_000);
/// assert_eq!(micros(Duration::MAX), i64::MAX);
/// ```
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// The earliest of some times; `None` where there are none.
///
/// ```
/// use thalweg_core::time::{earliest, latest};
/// assert_eq!((earliest(&[7, -2, 9, 9, 3]), latest(&[7, -2, 9, 9, 3])), (Some(-2), Some(9)));
/// assert_eq!((earliest(&[]), latest(&[])), (None, None));
/// ```
pub fn earliest(times: &[EventTime]) -> Option<EventTime> {
    reduce(times, EventTime::min)
}

/// The latest of some times; `None` where there are none.
pub fn latest(times: &[EventTime]) -> Option<EventTime> {
    reduce(times, EventTime::max)
}

#[inline]
fn reduce(
    times: &[EventTime],
    choose: impl Fn(EventTime, EventTime) -> EventTime,
) -> Option<EventTime> {
    // Several at once, none of which waits for the one before.
    let (chunks, rest) = times.as_chunks::<4>();
    let mut lanes = [*times.first()?; 4];
    for chunk in chunks {
        for (lane, time) in lanes.iter_mut().zip(chunk) {
            *lane = choose(*lane, *time);
        }
    }
    lanes.into_iter().chain(rest.iter().copied()).reduce(choose)
}

/// Where the runtime takes processing time from; tests hand in one they move themselves.
pub trait Clock: Send + Sync + Debug {
    /// Microseconds since the Unix epoch, UTC. May jump, since people set clocks.
    fn now_micros(&self) -> i64;
    /// Time since an arbitrary start that never goes back: what intervals and idleness are measured with.
    fn monotonic(&self) -> Duration;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_earliest_and_the_latest_are_the_least_and_the_greatest(
            times in proptest::collection::vec(any::<EventTime>(), 0..40),
        ) {
            prop_assert_eq!(earliest(&times), times.iter().copied().min());
            prop_assert_eq!(latest(&times), times.iter().copied().max());
        }
    }
}
