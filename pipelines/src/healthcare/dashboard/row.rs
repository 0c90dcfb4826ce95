//! Rows of gold tables as the dashboards show them.

use std::ops::RangeInclusive;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use serde::{Serialize, Serializer};
use speedate::DateTime;

/// A patient's number. Written as text: JavaScript's numbers do not hold all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PatientId(pub(super) i64);

impl Serialize for PatientId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Mean, least, greatest.
pub(super) type Figures = [Option<f64>; 3];

/// What is shown of the vitals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Vitals {
    pub(super) hr: Figures,
    pub(super) sys: Figures,
    pub(super) dia: Figures,
    pub(super) temp: Figures,
    pub(super) spo2: Figures,
    pub(super) rr: Figures,
}

/// One window of one key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    /// Start of the window, ms.
    pub(super) t: i64,
    /// Its length, ms.
    pub(super) w: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) k: Option<String>,
    pub(super) n: i64,
    pub(super) p: i64,
    #[serde(flatten)]
    pub(super) vitals: Option<Vitals>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) live: bool,
}

impl Row {
    /// Orders by time, then by name.
    pub(super) fn key(&self) -> String {
        format!("{}|{}", time_key(self.t), self.k.as_deref().unwrap_or_default())
    }
}

/// Sorts as the times do.
pub(super) fn time_key(millis: i64) -> String {
    format!("{millis:016}")
}

/// The rows of a batch whose window starts within `times` (µs). `key`: the column that names them, if any.
pub(super) fn rows(
    batch: &RecordBatch,
    key: Option<&str>,
    with_vitals: bool,
    times: &RangeInclusive<i64>,
) -> Vec<Row> {
    let (from, until) = (times.start() / 1_000, times.end() / 1_000);
    let is_within = |row: &Row| (from..=until).contains(&row.t);
    let read = |at| row(batch, key, with_vitals, at).filter(is_within);
    (0..batch.num_rows()).filter_map(read).collect()
}

/// One row; `None` when it is not one of a gold table.
pub(super) fn row(
    batch: &RecordBatch,
    key: Option<&str>,
    with_vitals: bool,
    at: usize,
) -> Option<Row> {
    let start = micros(batch, "window_start", at)?;
    let k = match key {
        None => None,
        Some(column) => Some(text(batch, column, at)?),
    };
    Some(Row {
        t: start / 1_000,
        w: (micros(batch, "window_end", at)? - start) / 1_000,
        k,
        n: long(batch, "events", at)?,
        p: long(batch, "patients", at)?,
        vitals: with_vitals.then(|| vitals(batch, at)),
        live: false,
    })
}

fn vitals(batch: &RecordBatch, at: usize) -> Vitals {
    let of = |name: &str| {
        ["mean", "min", "max"].map(|part| number(batch, &format!("{name}_{part}"), at))
    };
    Vitals {
        hr: of("heart_rate"),
        sys: of("systolic"),
        dia: of("diastolic"),
        temp: of("temperature"),
        spo2: of("spo2"),
        rr: of("respiratory_rate"),
    }
}

/// A number of either type that vitals have.
pub(super) fn number(batch: &RecordBatch, name: &str, at: usize) -> Option<f64> {
    let column = batch.column_by_name(name)?;
    if column.is_null(at) {
        return None;
    }
    let double = column.as_primitive_opt::<Float64Type>().map(|values| values.value(at));
    double.or_else(|| Some(f64::from(column.as_primitive_opt::<Int32Type>()?.value(at))))
}

pub(super) fn micros(batch: &RecordBatch, name: &str, at: usize) -> Option<i64> {
    let column = batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    (!column.is_null(at)).then(|| column.value(at))
}

pub(super) fn long(batch: &RecordBatch, name: &str, at: usize) -> Option<i64> {
    let column = batch.column_by_name(name)?;
    if column.is_null(at) {
        return None;
    }
    let long = column.as_primitive_opt::<Int64Type>().map(|values| values.value(at));
    long.or_else(|| Some(i64::from(column.as_primitive_opt::<Int32Type>()?.value(at))))
}

pub(super) fn text(batch: &RecordBatch, name: &str, at: usize) -> Option<String> {
    let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
    (!column.is_null(at)).then(|| column.value(at).to_owned())
}

/// A time as statistics in a table's log begin: `2025-11-24T21:00:00`.
pub(super) fn second(micros: i64) -> Option<String> {
    let time = DateTime::from_timestamp(micros.div_euclid(1_000_000), 0).ok()?;
    time.to_string().get(.."2025-11-24T21:00:00".len()).map(str::to_owned)
}

/// The time of such a text, µs.
pub(super) fn of_second(text: &str) -> Option<i64> {
    Some(DateTime::parse_str(&format!("{text}Z")).ok()?.timestamp() * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_as_they_are_written() {
        for micros in [0, 1_764_018_617_000_000, -1_000_000] {
            assert_eq!(of_second(&second(micros).unwrap()), Some(micros));
        }
        assert_eq!(second(1_764_018_617_999_999).unwrap(), "2025-11-24T21:10:17");
    }

    #[test]
    fn keys_sort_by_time_then_by_name() {
        let row = |t, k: &str| Row {
            t,
            w: 60_000,
            k: Some(k.to_owned()),
            n: 1,
            p: 1,
            vitals: None,
            live: false,
        };
        let keys = [row(999, "b"), row(1_000, "a"), row(1_000, "b")].map(|row| row.key());
        assert!(keys.is_sorted(), "{keys:?}");
    }
}
