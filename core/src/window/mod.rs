//! Windows: which stretch of event time a row belongs to, and how the state of open windows is stored.
//!
//! Every window is half-open and aligned to the Unix epoch, so two jobs with the same size cut time alike. Nothing
//! here knows rows or watermarks: an assigner maps an event time to windows, pure and total over all of `i64`.

mod sliding;
pub mod state;
mod tumbling;

use std::fmt::Debug;

pub use sliding::SlidingEventTimeWindows;
pub use tumbling::TumblingEventTimeWindows;

use crate::Result;
use crate::time::EventTime;

/// A stretch of event time: `start <= time < end`, in µs.
///
/// A window whose `end` is [`EventTime::MAX`] is the last one of time and holds that instant, too.
///
/// ```
/// use thalweg_core::window::TimeWindow;
/// let window = TimeWindow { start: 0, end: 60_000_000 };
/// assert!(window.contains(0) && !window.contains(60_000_000));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeWindow {
    /// First µs inside.
    pub start: EventTime,
    /// First µs after it.
    pub end: EventTime,
}

impl TimeWindow {
    /// Whether `time` lies inside.
    pub fn contains(self, time: EventTime) -> bool {
        self.start <= time && (time < self.end || self.end == EventTime::MAX)
    }

    /// When nothing more can enter it: its end and the lateness that is allowed.
    #[must_use]
    pub fn closes_at(self, allowed_lateness_micros: i64) -> EventTime {
        self.end.saturating_add(allowed_lateness_micros)
    }
}

/// Tells the windows of a row. Tumbling windows give one, sliding windows several; session windows give one that is
/// to be merged with those it overlaps.
pub trait WindowAssigner: Debug + Send + Sync + 'static {
    /// Adds the windows of a row at `time` to `windows`, in ascending order.
    fn assign(&self, time: EventTime, windows: &mut Vec<TimeWindow>);

    /// Whether overlapping windows of a key become one.
    fn merges(&self) -> bool {
        false
    }

    /// Whether the configuration makes sense.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidGraph`] naming what is wrong.
    fn check(&self) -> Result<()>;

    /// One line for people: `tumbling 60s`.
    fn describe(&self) -> String;
}
