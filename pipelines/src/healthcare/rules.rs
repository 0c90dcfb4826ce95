//! What makes an event valid. The ranges tell what can be from what cannot (a sensor that fell off, another unit);
//! they are no clinical judgement, and each can be set. Alerts look at what is invalid, too: [`super::alerts::readings`].

use std::cmp::Ordering;

use arrow_array::{Array, BooleanArray, RecordBatch};
use serde::{Deserialize, Serialize};
use thalweg_core::record::column_of;
use thalweg_core::{Error, Result};
use thalweg_operators::Validate;

use super::reason;
use super::record::Event;

/// The known kinds of events.
pub const EVENT_TYPES: [&str; 3] = ["vitals", "lab_result", "medication"];

/// Least and greatest possible value, both included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The least possible value.
    pub min: f64,
    /// The greatest possible value.
    pub max: f64,
}

/// What is possible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ranges {
    /// Beats per minute.
    pub heart_rate: Range,
    /// mmHg.
    pub systolic: Range,
    /// mmHg; always below the systolic pressure, too.
    pub diastolic: Range,
    /// Degrees Fahrenheit.
    pub temperature: Range,
    /// Percent.
    pub spo2: Range,
    /// Breaths per minute.
    pub respiratory_rate: Range,
}

impl Default for Ranges {
    fn default() -> Self {
        let range = |min, max| Range { min, max };
        Self {
            heart_rate: range(20.0, 300.0),
            systolic: range(40.0, 300.0),
            diastolic: range(20.0, 200.0),
            temperature: range(80.0, 115.0),
            spo2: range(50.0, 100.0),
            respiratory_rate: range(4.0, 80.0),
        }
    }
}

impl Ranges {
    /// Refuses a range that nothing can be in.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] naming the range.
    pub fn check(&self) -> Result<()> {
        for (name, range) in self.named() {
            // NaN compares to nothing, and nothing would be in such a range.
            if range.min.partial_cmp(&range.max).is_none_or(Ordering::is_gt) {
                return Err(Error::config(format!(
                    "ranges.{name}: min must not be above max (found {} and {})",
                    range.min, range.max
                )));
            }
        }
        Ok(())
    }

    pub(super) fn named(&self) -> [(&'static str, Range); 6] {
        [
            (Event::HEART_RATE.name(), self.heart_rate),
            (Event::SYSTOLIC.name(), self.systolic),
            (Event::DIASTOLIC.name(), self.diastolic),
            (Event::TEMPERATURE.name(), self.temperature),
            (Event::SPO2.name(), self.spo2),
            (Event::RESPIRATORY_RATE.name(), self.respiratory_rate),
        ]
    }
}

/// The rules of the pipeline: what an event must have, what must fit together, and what is possible.
pub fn validation(ranges: &Ranges) -> Validate {
    let codes = [
        reason::HEART_RATE_RANGE,
        reason::SYSTOLIC_RANGE,
        reason::DIASTOLIC_RANGE,
        reason::TEMPERATURE_RANGE,
        reason::SPO2_RANGE,
        reason::RESPIRATORY_RATE_RANGE,
    ];
    let rules = Validate::new()
        .decode_errors(Event::DECODE_ERRORS)
        .unreadable(reason::UNREADABLE)
        .required(Event::PATIENT_ID, reason::PATIENT_ID_MISSING)
        .required(Event::EVENT_TYPE, reason::EVENT_TYPE_MISSING)
        .one_of(Event::EVENT_TYPE, EVENT_TYPES, reason::EVENT_TYPE_UNKNOWN)
        .required(Event::EVENT_TIME, reason::TIMESTAMP_MISSING)
        .check(reason::BLOOD_PRESSURE_ORDER, systolic_is_not_above_diastolic);
    ranges.named().into_iter().zip(codes).fold(rules, |rules, ((column, range), code)| {
        rules.in_range(column, range.min..=range.max, code)
    })
}

/// Which rows have two pressures that do not fit each other; null where there are none.
pub(super) fn systolic_is_not_above_diastolic(batch: &RecordBatch) -> Result<BooleanArray> {
    let systolic = column_of(batch, Event::SYSTOLIC)?;
    let diastolic = column_of(batch, Event::DIASTOLIC)?;
    // Null unless both are there; most batches need no second look.
    let pairs = systolic.values().iter().zip(diastolic.values());
    let values = pairs.map(|(systolic, diastolic)| systolic <= diastolic).collect();
    Ok(BooleanArray::new(values, systolic.nulls().cloned()))
}
