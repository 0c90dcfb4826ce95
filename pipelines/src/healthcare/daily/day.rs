//! A day of event time, UTC.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use thalweg_core::time::{EventTime, MICROS_PER_SECOND};
use thalweg_core::{Error, Result};

/// Microseconds of a day. Event time knows no leap seconds.
const DAY_MICROS: i64 = 86_400 * MICROS_PER_SECOND;

/// A day of event time, UTC; written `2025-11-24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day(speedate::Date);

impl Day {
    /// The day that an instant lies in.
    pub fn of(instant: EventTime) -> Result<Self> {
        let seconds = instant.div_euclid(MICROS_PER_SECOND);
        let date = speedate::Date::from_timestamp(seconds, false, &speedate::DateConfig::default());
        date.map(Self).map_err(|_| Error::config("that is no day of the calendar"))
    }

    /// First µs.
    pub fn start(self) -> EventTime {
        self.0.timestamp() * MICROS_PER_SECOND
    }

    /// First µs behind it.
    pub fn end(self) -> EventTime {
        self.start() + DAY_MICROS
    }

    /// All of it.
    pub fn range(self) -> Range<EventTime> {
        self.start()..self.end()
    }

    /// The days before it, all of them.
    pub fn before(self, days: u32) -> Range<EventTime> {
        self.start() - i64::from(days) * DAY_MICROS..self.start()
    }

    /// Whether `instant`, on whatever day, has a time of day that this one has had by `now`, µs. A day that is over has had
    /// all of them.
    pub fn has_had(self, instant: EventTime, now: EventTime) -> bool {
        instant.rem_euclid(DAY_MICROS) < now.saturating_sub(self.start())
    }

    /// How many days `instant` lies before it; 1 for the day before.
    pub fn days_since(self, instant: EventTime) -> i64 {
        (self.start() - 1 - instant).div_euclid(DAY_MICROS) + 1
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let date = speedate::Date::parse_str(text).map_err(|_| "write it as 2025-11-24".to_owned());
        date.map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_half_open_and_written_as_iso_says() {
        let day: Day = "2025-11-24".parse().unwrap();
        assert_eq!(day.start(), 1_763_942_400_000_000);
        assert_eq!(day.end() - day.start(), DAY_MICROS);
        assert_eq!(day.to_string(), "2025-11-24");
        assert_eq!(Day::of(day.end() - 1).unwrap(), day);
        assert_ne!(Day::of(day.end()).unwrap(), day);
        for text in ["", "yesterday", "2025-11-24T00:00:00", "2025-13-01", "24.11.2025"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }

    #[test]
    fn days_before_are_counted_from_one() {
        let day: Day = "2025-11-24".parse().unwrap();
        assert_eq!(day.days_since(day.start() - 1), 1);
        assert_eq!(day.days_since(day.start() - DAY_MICROS), 1);
        assert_eq!(day.days_since(day.start() - DAY_MICROS - 1), 2);
        assert_eq!(day.before(2), day.start() - 2 * DAY_MICROS..day.start());
    }

    #[test]
    fn a_day_has_had_the_times_before_now() {
        let day: Day = "2025-11-24".parse().unwrap();
        let (noon, last) = (DAY_MICROS / 2, DAY_MICROS - 1);
        for before in [0, 1, 40_000] {
            let start = day.start() - before * DAY_MICROS;
            assert!(day.has_had(start + noon - 1, day.start() + noon));
            assert!(!day.has_had(start + noon, day.start() + noon));
            assert!(day.has_had(start + last, day.end()));
            assert!(!day.has_had(start, day.start()));
        }
        assert!(day.has_had(-1, day.end()) && !day.has_had(-1, day.end() - 1));
    }
}
