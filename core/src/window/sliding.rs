//! Windows of one size that begin at equal distances; where the distance is the size they tumble.

use std::time::Duration;

use super::{TimeWindow, TumblingEventTimeWindows, WindowAssigner};
use crate::time::EventTime;
use crate::{Error, Result};

/// Windows of `size` that begin every `slide`, aligned to the epoch: `[k·slide, k·slide + size)`.
///
/// The size must be a multiple of the slide, so that time falls into panes, as long as the slide, whose rows all lie in
/// the same windows: what is summed up, travels, and is judged late or not, is panes.
///
/// **Time**: event time in µs. Windows that would begin before the first instant of `i64` are left out.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::window::{SlidingEventTimeWindows, TumblingEventTimeWindows};
/// let hours = SlidingEventTimeWindows::of(Duration::from_secs(3600), Duration::from_secs(1800));
/// let pane = hours.panes().window_of(4_000_000_000).start;
/// assert_eq!(hours.windows_of(pane).collect::<Vec<_>>(), [1_800_000_000, 3_600_000_000]);
/// assert_eq!(hours.window_at(1_800_000_000).end, 5_400_000_000);
///
/// let minutes = TumblingEventTimeWindows::of(Duration::from_secs(60));
/// assert_eq!(SlidingEventTimeWindows::from(minutes).overlap(), 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlidingEventTimeWindows {
    size_micros: i64,
    panes: TumblingEventTimeWindows,
}

impl SlidingEventTimeWindows {
    /// Windows of `size`, one every `slide`. What makes no sense is refused when the graph is built
    /// ([`WindowAssigner::check`]).
    pub fn of(size: Duration, slide: Duration) -> Self {
        let size_micros = TumblingEventTimeWindows::of(size).size_micros();
        Self { size_micros, panes: TumblingEventTimeWindows::of(slide) }
    }

    /// The size in µs; 0 when it was refused.
    pub fn size_micros(self) -> i64 {
        self.size_micros
    }

    /// The distance of two windows in µs; 0 when it was refused.
    pub fn slide_micros(self) -> i64 {
        self.panes.size_micros()
    }

    /// The stretches of time whose every instant lies in the same windows.
    pub fn panes(self) -> TumblingEventTimeWindows {
        self.panes
    }

    /// How many windows an instant lies in.
    pub fn overlap(self) -> i64 {
        (self.size_micros / self.slide_micros().max(1)).max(1)
    }

    /// The start of the window that began `back` windows before the one that begins with the pane.
    pub fn start_before(self, pane: EventTime, back: i64) -> Option<EventTime> {
        pane.checked_sub(self.slide_micros().checked_mul(back)?)
    }

    /// The starts of the windows that hold the pane which starts at `pane`, ascending.
    pub fn windows_of(self, pane: EventTime) -> impl Iterator<Item = EventTime> {
        (0..self.overlap()).rev().filter_map(move |back| self.start_before(pane, back))
    }

    /// The window that starts at `start`, as [`Self::windows_of`] gave it.
    #[inline]
    pub fn window_at(self, start: EventTime) -> TimeWindow {
        let pane = self.panes.window_at(start);
        let beyond = self.size_micros.saturating_sub(self.slide_micros());
        TimeWindow { start: pane.start, end: pane.end.saturating_add(beyond) }
    }
}

impl From<TumblingEventTimeWindows> for SlidingEventTimeWindows {
    fn from(panes: TumblingEventTimeWindows) -> Self {
        Self { size_micros: panes.size_micros(), panes }
    }
}

impl WindowAssigner for SlidingEventTimeWindows {
    fn assign(&self, time: EventTime, windows: &mut Vec<TimeWindow>) {
        let pane = self.panes.window_of(time).start;
        windows.extend(self.windows_of(pane).map(|start| self.window_at(start)));
    }

    fn check(&self) -> Result<()> {
        if self.size_micros == self.slide_micros() {
            return self.panes.check();
        }
        let slide = self.slide_micros();
        if slide > 0 && self.size_micros > 0 && self.size_micros % slide == 0 {
            return Ok(());
        }
        Err(Error::graph(
            "the size of a sliding window must be a multiple of its slide, both positive numbers of whole µs",
        ))
    }

    fn describe(&self) -> String {
        if self.size_micros == self.slide_micros() {
            return self.panes.describe();
        }
        let [size, slide] = [self.size_micros, self.slide_micros()]
            .map(|m| Duration::from_micros(m.unsigned_abs()));
        format!("sliding {size:?} by {slide:?}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn windows(slide: i64, overlap: i64) -> SlidingEventTimeWindows {
        let micros = |m: i64| Duration::from_micros(m.unsigned_abs());
        SlidingEventTimeWindows::of(micros(slide * overlap), micros(slide))
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let second = Duration::from_secs(1);
        for (size, slide) in [
            (second, second * 2),
            (second * 3, second * 2),
            (second, Duration::ZERO),
            (Duration::ZERO, second),
            (second, Duration::from_nanos(1)),
            (Duration::MAX, second),
        ] {
            let windows = SlidingEventTimeWindows::of(size, slide);
            assert!(windows.check().is_err(), "{size:?} {slide:?}");
            let mut assigned = Vec::new();
            windows.assign(7, &mut assigned);
        }
        assert!(windows(10, 6).check().is_ok());
        assert_eq!(
            SlidingEventTimeWindows::of(second * 6, second * 2).describe(),
            "sliding 6s by 2s"
        );
        assert_eq!(SlidingEventTimeWindows::of(second, second).describe(), "tumbling 1s");
    }

    proptest! {
        #[test]
        fn every_time_lies_in_as_many_windows_as_overlap(time in -1_000_000i64..1_000_000, slide in 1i64..500, overlap in 1i64..20) {
            let windows = windows(slide, overlap);
            let mut assigned = Vec::new();
            windows.assign(time, &mut assigned);
            prop_assert_eq!(assigned.len() as i64, overlap);
            for (at, window) in assigned.iter().enumerate() {
                prop_assert!(window.contains(time));
                prop_assert_eq!(window.end - window.start, slide * overlap);
                prop_assert_eq!(window.start.rem_euclid(slide), 0);
                prop_assert_eq!(window.start, assigned[0].start + at as i64 * slide);
            }
        }

        #[test]
        fn no_window_is_given_twice_at_the_ends_of_time(
            time in prop_oneof![any::<i64>(), (i64::MAX - 100)..=i64::MAX, i64::MIN..(i64::MIN + 100)],
            slide in 1i64..50,
            overlap in 1i64..20,
        ) {
            let mut assigned = Vec::new();
            windows(slide, overlap).assign(time, &mut assigned);
            prop_assert!(!assigned.is_empty());
            prop_assert!(assigned.iter().all(|window| window.contains(time)));
            prop_assert!(assigned.windows(2).all(|pair| pair[0].start < pair[1].start));
        }
    }
}
