//! Time zones. Values are in UTC, and a connection has no other zone; `AT TIME ZONE`, which is a call of `timezone`, tells
//! what the clocks of another zone show, and at which time they show it.

use std::sync::Arc;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, Offset, TimeZone};
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::super::failure::Told;
use super::super::functions::like_arguments;

/// That of all values.
pub(in super::super) const UTC: &str = "+00:00";

/// Names of UTC, in small letters.
const NAMES: [&str; 13] = [
    "utc",
    "etc/utc",
    "gmt",
    "etc/gmt",
    "uct",
    "etc/uct",
    "zulu",
    "etc/zulu",
    "universal",
    "etc/universal",
    "greenwich",
    "etc/greenwich",
    "z",
];

/// Whether a zone is UTC, by its name, by how far it is from there, or both: `Etc/GMT+0`.
pub(in super::super) fn is_utc(zone: &str) -> bool {
    let zone = zone.trim().to_lowercase();
    let (name, distance) = zone.split_at(zone.find(['+', '-', '0']).unwrap_or(zone.len()));
    let is_name = NAMES.contains(&name);
    match distance.strip_prefix(['+', '-']).unwrap_or(distance) {
        "0" | "00" | "00:00" | "0000" => is_name || name.is_empty(),
        _ => is_name && distance.is_empty(),
    }
}

/// A zone by its name. A distance is none: where `PostgreSQL` looks for a name, it counts distances to the west.
fn zone(name: &str) -> Result<Tz, Told> {
    let name = if is_utc(name) { UTC } else { name.trim() };
    let is_name = name == UTC || name.contains('/');
    name.parse::<Tz>().ok().filter(|_| is_name).ok_or_else(|| {
        let told = "there is no such time zone: UTC, or an area and a city, as America/New_York";
        Told::new("22023", told)
    })
}

/// With this year the library's zones end, and so do their summers.
const LAST: i32 = 2099;

/// A time that a zone knows. One of a later year is taken for that of the last year that has the same days, for clocks are
/// moved by the day of the week.
fn known(time: NaiveDateTime) -> Option<NaiveDateTime> {
    if time.year() <= LAST {
        return Some(time);
    }
    let days = |year: i32| {
        let first = NaiveDate::from_yo_opt(year, 1)?;
        Some((first.weekday(), first.leap_year()))
    };
    let wanted = days(time.year())?;
    // After 28 years the days come again.
    let year = (LAST - 27..=LAST).rev().find(|&year| days(year) == Some(wanted))?;
    time.with_year(year)
}

/// What the clocks of a zone show, in µs as if they were in UTC.
fn shown(zone: Tz, time: i64) -> Option<i64> {
    let utc = DateTime::from_timestamp_micros(time)?.naive_utc();
    time.checked_add(micros(&zone.offset_from_utc_datetime(&known(utc)?)))
}

/// When the clocks of a zone show it. Of two times it is the later one; where clocks were put forward, they are taken for
/// those that were not.
fn when(zone: Tz, shown: i64) -> Option<i64> {
    let local = known(DateTime::from_timestamp_micros(shown)?.naive_utc())?;
    let offset = match zone.offset_from_local_datetime(&local).latest() {
        Some(offset) => offset,
        None => zone.offset_from_local_datetime(&local.checked_sub_days(Days::new(1))?).latest()?,
    };
    shown.checked_sub(micros(&offset))
}

fn micros(offset: &impl Offset) -> i64 {
    i64::from(offset.fix().local_minus_utc()) * 1_000_000
}

/// `timezone(zone, time)`, which `time AT TIME ZONE zone` stands for.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TimeZoneOf {
    signature: Signature,
}

impl TimeZoneOf {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for TimeZoneOf {
    fn name(&self) -> &'static str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let [zone, time] = types else { return Err(other_types().into()) };
        let is_zone = zone.is_string() || zone.is_null();
        let is_time = match time {
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => true,
            other => other.is_string() || other.is_null(),
        };
        if !is_zone || !is_time {
            return Err(other_types().into());
        }
        Ok(in_micros(has_no_zone(time).then_some(UTC)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [zones, times] = args.args.as_slice() else { return Err(other_types().into()) };
        let has_no_zone = has_no_zone(&times.data_type());
        let (known, told) = if has_no_zone { (None, Some(UTC)) } else { (Some(UTC), None) };
        let arguments =
            [zones.cast_to(&DataType::Utf8, None)?, times.cast_to(&in_micros(known), None)?];
        let arrays = ColumnarValue::values_to_arrays(&arguments)?;
        let moved = moved(&arrays, if has_no_zone { when } else { shown })?;
        let moved = moved.with_timezone_opt(told);
        like_arguments(&arguments, Arc::new(moved))
    }
}

/// The others are: a text and a day are taken for a time in UTC.
fn has_no_zone(time: &DataType) -> bool {
    matches!(time, DataType::Timestamp(_, None))
}

fn moved(arrays: &[ArrayRef], by: fn(Tz, i64) -> Option<i64>) -> Result<TimestampMicrosecondArray> {
    let [zones, times] = arrays else { return Err(other_types().into()) };
    let zones = zones.as_string_opt::<i32>().ok_or_else(other_types)?;
    let times = times.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(other_types)?;
    let one = |row: usize| -> Result<Option<i64>, Told> {
        if zones.is_null(row) || times.is_null(row) {
            return Ok(None);
        }
        let moved = by(zone(zones.value(row))?, times.value(row));
        moved.map(Some).ok_or_else(|| Told::new("22008", "a time is too far away for a time zone"))
    };
    let moved: Vec<Option<i64>> = (0..times.len()).map(one).collect::<Result<_, Told>>()?;
    Ok(TimestampMicrosecondArray::from(moved))
}

fn in_micros(zone: Option<&str>) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))
}

fn other_types() -> Told {
    Told::new("0A000", "AT TIME ZONE takes a time, and a text with the name of a time zone")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
        time.and_utc().timestamp_micros()
    }

    #[test]
    fn utc_has_many_names() {
        for name in [
            "UTC",
            "utc",
            "Etc/UTC",
            "GMT",
            " Zulu ",
            "0",
            "+0",
            "+00",
            "+00:00",
            "-00:00",
            "GMT0",
            "UCT0",
            "Etc/GMT+0",
            "Etc/GMT-0",
            "UTC+00:00",
        ] {
            assert!(is_utc(name), "{name}");
            assert!(zone(name).is_ok(), "{name}");
        }
        for name in ["", "1", "+01:00", "-5", "Europe/London", "utc+1", "utc+", "+", "EST", "EST0"]
        {
            assert!(!is_utc(name), "{name}");
        }
    }

    #[test]
    fn zones_have_names_of_areas_and_cities() {
        for name in ["America/New_York", " Europe/Berlin", "Asia/Kolkata", "Etc/GMT+5"] {
            assert!(zone(name).is_ok(), "{name}");
        }
        // An abbreviation is one distance all year long for PostgreSQL, and another one in summer for others.
        for name in ["", "CET", "+05:30", "-8", "Berlin", "No/Where"] {
            assert_eq!(zone(name).err().map(|told| told.code), Some("22023"), "{name}");
        }
    }

    #[test]
    fn clocks_are_moved_as_their_zone_moves_them() {
        let york = zone("America/New_York").unwrap();
        for (time, clocks) in [
            ("2025-11-24 21:00", "2025-11-24 16:00"),
            ("2025-07-01 00:30", "2025-06-30 20:30"),
            ("2025-03-09 06:59", "2025-03-09 01:59"),
            ("2025-03-09 07:00", "2025-03-09 03:00"),
            ("2025-11-02 06:30", "2025-11-02 01:30"),
            // No zone of the library's knows these years.
            ("2100-07-01 12:00", "2100-07-01 08:00"),
            ("2100-03-14 06:59", "2100-03-14 01:59"),
            ("2100-03-14 07:00", "2100-03-14 03:00"),
            ("2104-02-29 12:00", "2104-02-29 07:00"),
            ("2150-07-01 12:00", "2150-07-01 08:00"),
            ("9999-12-31 12:00", "9999-12-31 07:00"),
        ] {
            assert_eq!(shown(york, at(time)), Some(at(clocks)), "{time}");
            assert_eq!(when(york, at(clocks)), Some(at(time)), "{clocks}");
        }
        // They show half past one twice, and half past two never.
        assert_eq!(shown(york, at("2025-11-02 05:30")), Some(at("2025-11-02 01:30")));
        assert_eq!(when(york, at("2025-03-09 02:30")), Some(at("2025-03-09 07:30")));
        assert_eq!(shown(york, i64::MAX), None);
    }
}
