//! Windows of one size that touch and never overlap.

use std::time::Duration;

use super::{TimeWindow, WindowAssigner};
use crate::time::EventTime;
use crate::{Error, Result};

/// Windows of one size, aligned to the epoch: `[k·size, (k+1)·size)`.
///
/// **Time**: event time in µs, negative times included. The first and the last window of all time are cut at the
/// ends of `i64`.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::window::TumblingEventTimeWindows;
/// let minutes = TumblingEventTimeWindows::of(Duration::from_secs(60));
/// assert_eq!(minutes.window_of(61_000_000).start, 60_000_000);
/// assert_eq!(minutes.window_of(-1).start, -60_000_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TumblingEventTimeWindows {
    size_micros: i64,
}

impl TumblingEventTimeWindows {
    /// Windows of `size`. A size that is not a positive number of whole µs is refused when the graph is built
    /// ([`WindowAssigner::check`]).
    pub fn of(size: Duration) -> Self {
        let whole = size.subsec_nanos().is_multiple_of(1000);
        let size_micros = i64::try_from(size.as_micros()).unwrap_or(0);
        Self { size_micros: if whole { size_micros } else { 0 } }
    }

    /// The size in µs; 0 when it was refused.
    pub fn size_micros(self) -> i64 {
        self.size_micros
    }

    /// The one window that `time` lies in.
    #[inline]
    pub fn window_of(self, time: EventTime) -> TimeWindow {
        // A window that starts at the very last instant would be empty: that instant belongs to the one before.
        let time = time.min(EventTime::MAX - 1);
        let size = self.size_micros.max(1);
        let into = time.rem_euclid(size);
        // `size - into` is at least 1 and at most `size`, so neither end can pass the other.
        TimeWindow { start: time.saturating_sub(into), end: time.saturating_add(size - into) }
    }

    /// The window that starts at `start`, as [`Self::window_of`] gave it.
    #[inline]
    pub fn window_at(self, start: EventTime) -> TimeWindow {
        self.window_of(start)
    }
}

impl WindowAssigner for TumblingEventTimeWindows {
    fn assign(&self, time: EventTime, windows: &mut Vec<TimeWindow>) {
        windows.push(self.window_of(time));
    }

    fn check(&self) -> Result<()> {
        if self.size_micros > 0 {
            return Ok(());
        }
        Err(Error::graph("the size of a tumbling window must be a positive number of whole µs"))
    }

    fn describe(&self) -> String {
        format!("tumbling {:?}", Duration::from_micros(self.size_micros.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn windows(size: i64) -> TumblingEventTimeWindows {
        TumblingEventTimeWindows::of(Duration::from_micros(size.unsigned_abs()))
    }

    #[test]
    fn windows_are_aligned_to_the_epoch_and_half_open() {
        for (size, time, start, end) in [
            (10, 0, 0, 10),
            (10, 9, 0, 10),
            (10, 10, 10, 20),
            (10, -1, -10, 0),
            (10, -10, -10, 0),
            (10, -11, -20, -10),
            (i64::MAX, 5, 0, i64::MAX),
            (i64::MAX, -1, -i64::MAX, 0),
            (i64::MAX, i64::MIN, i64::MIN, -i64::MAX),
            (10, i64::MIN, i64::MIN, i64::MIN + 8),
            (10, i64::MAX, i64::MAX - 7, i64::MAX),
            (1, i64::MAX, i64::MAX - 1, i64::MAX),
            (7, i64::MAX, i64::MAX - 7, i64::MAX),
        ] {
            assert_eq!(windows(size).window_of(time), TimeWindow { start, end }, "{size} {time}");
        }
    }

    #[test]
    fn a_size_that_is_no_positive_number_of_whole_micros_is_refused() {
        for size in
            [Duration::ZERO, Duration::from_nanos(1), Duration::from_nanos(1_001), Duration::MAX]
        {
            assert!(TumblingEventTimeWindows::of(size).check().is_err(), "{size:?}");
            TumblingEventTimeWindows::of(size).window_of(7);
        }
        assert!(TumblingEventTimeWindows::of(Duration::from_micros(1)).check().is_ok());
    }

    fn times() -> impl Strategy<Value = i64> {
        prop_oneof![
            any::<i64>(),
            -1000i64..1000,
            (i64::MAX - 100)..=i64::MAX,
            i64::MIN..(i64::MIN + 100)
        ]
    }

    fn sizes() -> impl Strategy<Value = i64> {
        prop_oneof![1i64..100, 1i64..=i64::MAX, Just(60_000_000)]
    }

    proptest! {
        #[test]
        fn every_time_lies_in_the_window_it_is_given(time in times(), size in sizes()) {
            let window = windows(size).window_of(time);
            prop_assert!(window.contains(time));
            prop_assert!(window.start < window.end);
        }

        #[test]
        fn every_time_lies_in_no_other_window(time in times(), other in times(), size in sizes()) {
            let (window, other) = (windows(size).window_of(time), windows(size).window_of(other));
            prop_assert!(window == other || !other.contains(time));
            prop_assert!(window == other || window.end <= other.start || other.end <= window.start);
        }

        #[test]
        fn windows_touch(time in times(), size in sizes()) {
            let window = windows(size).window_of(time);
            if window.end < i64::MAX {
                prop_assert_eq!(windows(size).window_of(window.end).start, window.end);
            }
            prop_assert_eq!(windows(size).window_of(window.start), window);
            prop_assert_eq!(windows(size).window_at(window.start), window);
        }
    }
}
