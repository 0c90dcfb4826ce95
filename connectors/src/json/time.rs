//! Timestamps: ISO 8601, date and time, to microseconds.

use speedate::{DateTime, MicrosecondsPrecisionOverflowBehavior, TimeConfig};
use thalweg_core::time::{EventTime, MICROS_PER_SECOND};

use crate::calendar::READ;

/// The instant that `text` names, of the years 1 to 9998: `2025-11-24T21:10:17.114316`, with `Z` or an offset (`+01:00`,
/// `-0500`, `+01`), or without, which means UTC. What is finer than a microsecond is cut off. A date alone is no instant, and
/// neither is a number.
///
/// ```
/// use thalweg_connectors::json::parse_time;
/// assert_eq!(parse_time("1970-01-01T01:00:01+01:00"), Some(1_000_000));
/// assert_eq!(parse_time("1970-01-01"), None);
/// ```
pub fn parse_time(text: &str) -> Option<EventTime> {
    let time = instant(text).or_else(|| {
        // The parser wants the minutes of an offset; PostgreSQL, for one, leaves them out.
        let (_, offset) = text.split_at_checked(text.len().checked_sub(3)?)?;
        if !offset.starts_with(['+', '-']) {
            return None;
        }
        instant(&format!("{text}:00"))
    })?;
    // Near the ends an offset may lead to another year.
    READ.has_micros(time).then_some(time)
}

fn instant(text: &str) -> Option<EventTime> {
    let config = TimeConfig {
        microseconds_precision_overflow_behavior: MicrosecondsPrecisionOverflowBehavior::Truncate,
        unix_timestamp_offset: None,
    };
    let time = DateTime::parse_bytes_rfc3339_with_config(text.as_bytes(), &config).ok()?;
    Some(time.timestamp_tz() * MICROS_PER_SECOND + EventTime::from(time.time.microsecond))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_without_a_zone_is_in_utc() {
        for (text, micros) in [
            ("1970-01-01T00:00:00", 0),
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1969-12-31T19:00:00-0500", 0),
            ("1970-01-01 00:00", 0),
            ("1970-01-01T01:00:00+01", 0),
            ("1969-12-31 19:00-05", 0),
            ("2025-11-24T22:10:17.114316+01", 1_764_018_617_114_316),
            ("1969-12-31T23:59:59.999999", -1),
            ("2025-11-24T21:10:17.114316", 1_764_018_617_114_316),
            ("2025-11-24T21:10:17.114316999", 1_764_018_617_114_316),
            ("2024-02-29T00:00:00.5", 1_709_164_800_500_000),
        ] {
            assert_eq!(parse_time(text), Some(micros), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_and_time_is_no_timestamp() {
        for text in [
            "",
            "yesterday",
            "2025-11-24",
            "21:10:17",
            "1764018617",
            "2025-02-29T00:00:00",
            "2025-11-24T24:00:00",
            "2025-11-24T21:10:60",
            "2025-11-24T21:10:17 ",
            " 2025-11-24T21:10:17",
            "2025-11-24T21:10:17.Z",
            "2025-11-24T",
            "2025-11-24T21:10:17+1",
            "2025-11-24T21:10:17+1:",
            "2025-11-24T21:10:17+24",
            "2025-11-24T21:10:17+01:00+01",
            "2025-11-24T21-10",
            "+01",
            "٢٠٢٥-11-24T21:10:17",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn years_have_four_digits_in_utc_too() {
        for text in [
            "0000-12-31T23:59:59.999999Z",
            "0000-01-01T00:00:00+01:00",
            "0001-01-01T00:00:00+00:01",
            "9998-12-31T23:59:59-01:00",
            "9999-12-31T23:59:59Z",
            "+10000-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
        for (text, micros) in [
            ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
            ("0000-12-31T23:00:00-01:00", -62_135_596_800_000_000),
            ("9998-12-31T23:59:59.999999Z", 253_370_764_799_999_999),
        ] {
            assert_eq!(parse_time(text), Some(micros), "{text}");
        }
    }
}
