//! Timestamps: ISO 8601, date and time, to microseconds.

use speedate::{DateTime, MicrosecondsPrecisionOverflowBehavior, TimeConfig};
use thalweg_core::time::{EventTime, MICROS_PER_SECOND};

/// The instant that `text` names: `2025-11-24T21:10:17.114316`, with `Z` or an offset, or without, which means UTC.
/// What is finer than a microsecond is cut off. A date alone is no instant, and neither is a number.
pub(super) fn parse(text: &str) -> Option<EventTime> {
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
            ("1969-12-31T23:59:59.999999", -1),
            ("2025-11-24T21:10:17.114316", 1_764_018_617_114_316),
            ("2025-11-24T21:10:17.114316999", 1_764_018_617_114_316),
            ("2024-02-29T00:00:00.5", 1_709_164_800_500_000),
        ] {
            assert_eq!(parse(text), Some(micros), "{text}");
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
            "٢٠٢٥-11-24T21:10:17",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
