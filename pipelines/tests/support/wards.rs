//! Readings of wards, counted by ward and window.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use thalweg_core::prelude::*;
use thalweg_operators::aggregate::Aggregate;

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
pub(crate) struct Reading {
    pub(crate) ward: String,
    pub(crate) patient: i64,
    pub(crate) at: Micros,
}

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
pub(crate) struct PerWindow {
    pub(crate) window_start: Micros,
    window_end: Micros,
    pub(crate) ward: String,
    pub(crate) readings: i64,
    patients: i64,
}

/// The readings of these numbers, `step` µs from one to the next.
pub(crate) fn readings(
    numbers: Range<i64>,
    patient: impl Fn(i64) -> i64,
    step: i64,
) -> RecordBatch {
    let ward = numbers.clone().map(|i| ["north", "south", "east"][(i % 3) as usize]);
    let patient = numbers.clone().map(patient);
    let at = numbers.map(|i| i * step);
    RecordBatch::try_new(
        Reading::schema(),
        vec![
            Arc::new(StringArray::from_iter_values(ward)),
            Arc::new(Int64Array::from_iter_values(patient)),
            Arc::new(TimestampMicrosecondArray::from_iter_values(at).with_timezone("UTC")),
        ],
    )
    .unwrap()
}

/// What is told of each window.
pub(crate) fn summary() -> Aggregate {
    Aggregate::over(Reading::AT).count("readings").count_distinct(Reading::PATIENT, "patients")
}
