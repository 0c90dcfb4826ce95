//! What rules take for a reading, which is more than what is valid.
//!
//! An event with one value out of its range is no valid event: silver and gold have nothing of it. Rules must not leave it
//! out. Somebody who breathes twice a minute is out of every usual range, and a probe that fell off must not hide a racing
//! heart in the same message. So they look at each event of which patient, kind and time are known, valid or not, and at
//! each of its vitals by itself. One that nobody can have is null for them.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use arrow_select::nullif::nullif;
use thalweg_core::record::column_of;
use thalweg_core::{Error, Record, Result};
use thalweg_operators::{Map, Project};

use super::record::Observation;
use super::vital::Vital;
use crate::healthcare::record::Event;
use crate::healthcare::rules::{EVENT_TYPES, Ranges, systolic_is_not_above_diastolic};

/// What is told of a patient beside vitals.
const STATES: [&str; 2] = ["consciousness", "oxygen"];

/// The columns that [`readings`] looks at: no identity among them.
pub fn columns() -> Project {
    let more = [Event::EVENT_TYPE.name(), Event::DECODE_ERRORS.name()];
    Project::columns(Observation::COLUMNS.iter().copied().chain(more))
}

/// Makes [`Observation`]s of all events that rules look at.
pub fn readings(ranges: &Ranges) -> Map {
    let (possible, shock) = (possible(ranges), ranges.systolic.min);
    Map::new("readings", Observation::schema(), move |batch| observations(&possible, shock, batch))
}

/// What each vital can be, in the order of [`Vital::ALL`]: what is valid, and less where that is somebody who is dying.
pub(super) fn possible(ranges: &Ranges) -> [RangeInclusive<f64>; 6] {
    let named = ranges.named();
    Vital::ALL.map(|vital| {
        let range = named.iter().find(|(name, _)| *name == vital.as_str()).map(|(_, range)| range);
        range.map_or(f64::MIN..=f64::MAX, |range| range.min.min(least(vital))..=range.max)
    })
}

/// The least of a vital that is a reading, however small its range is.
fn least(vital: Vital) -> f64 {
    match vital {
        Vital::HeartRate | Vital::Systolic | Vital::Diastolic | Vital::RespiratoryRate => 0.0,
        // 1 and less is a share of 1, or a probe that is not where it should be.
        Vital::Spo2 => 2.0,
        // Degrees Celsius would be taken for a patient who froze.
        Vital::Temperature => f64::INFINITY,
    }
}

/// A systolic pressure below `shock` is one whatever the other number says.
fn observations(
    possible: &[RangeInclusive<f64>; 6],
    shock: f64,
    batch: RecordBatch,
) -> Result<RecordBatch> {
    let failed = || Error::internal("events do not make observations");
    let known = known(&batch)?;
    let batch = only(batch, &known)?;
    // Which of the two numbers is wrong nobody knows.
    let reversed = reversed(&batch, shock)?;
    let errors = batch.column_by_name(Event::DECODE_ERRORS.name()).ok_or_else(failed)?;
    let mut damaged: Vec<bool> = (0..batch.num_rows()).map(|row| errors.is_valid(row)).collect();
    let mut said = vec![false; batch.num_rows()];
    let mut columns = Vec::new();
    for name in Observation::COLUMNS {
        let mut column = Arc::clone(batch.column_by_name(name).ok_or_else(failed)?);
        let vital = Vital::ALL.into_iter().zip(possible).find(|(v, _)| v.as_str() == *name);
        if let Some((vital, range)) = &vital {
            column = without(&column, &outside(&column, range).ok_or_else(failed)?, &mut damaged)?;
            if matches!(vital, Vital::Systolic | Vital::Diastolic) {
                column = without(&column, &reversed, &mut damaged)?;
            }
        }
        if vital.is_some() || STATES.contains(name) {
            said.iter_mut().enumerate().for_each(|(row, said)| *said |= column.is_valid(row));
        }
        columns.push(column);
    }
    let rows = RecordBatch::try_new(Observation::schema(), columns).map_err(|_| failed())?;
    let heard = said.iter().zip(&damaged).map(|(said, damaged)| Some(*said || !damaged));
    only(rows, &heard.collect())
}

/// The rows of which it is so.
fn only(batch: RecordBatch, which: &BooleanArray) -> Result<RecordBatch> {
    if which.true_count() == which.len() {
        return Ok(batch);
    }
    filter_record_batch(&batch, which)
        .map_err(|_| Error::internal("events of which nothing is known cannot be left out"))
}

/// Which rows have two pressures of which at least one is wrong.
fn reversed(batch: &RecordBatch, shock: f64) -> Result<BooleanArray> {
    let reversed = systolic_is_not_above_diastolic(batch)?;
    let systolic = column_of(batch, Event::SYSTOLIC)?;
    let wrong = reversed.iter().zip(systolic.iter()).map(|(reversed, systolic)| {
        Some(reversed == Some(true) && systolic.is_some_and(|value| f64::from(value) >= shock))
    });
    Ok(wrong.collect())
}

/// Of which events it is known who, what and when.
fn known(batch: &RecordBatch) -> Result<BooleanArray> {
    let patients = column_of(batch, Event::PATIENT_ID)?;
    let kinds = column_of(batch, Event::EVENT_TYPE)?;
    let times = column_of(batch, Event::EVENT_TIME)?;
    let known = |row: usize| {
        let complete = patients.is_valid(row) && kinds.is_valid(row) && times.is_valid(row);
        complete && EVENT_TYPES.contains(&kinds.value(row))
    };
    Ok((0..batch.num_rows()).map(|row| Some(known(row))).collect())
}

/// Where a column's values are out of a range; what is no number is out of every one.
fn outside(column: &ArrayRef, range: &RangeInclusive<f64>) -> Option<BooleanArray> {
    if let Some(floats) = column.as_primitive_opt::<Float64Type>() {
        return Some(BooleanArray::from_unary(floats, |value| !range.contains(&value)));
    }
    let ints = column.as_primitive_opt::<Int32Type>()?;
    Some(BooleanArray::from_unary(ints, |value| !range.contains(&f64::from(value))))
}

/// The column with nulls where it is `wrong`, which is told of its rows.
fn without(column: &ArrayRef, wrong: &BooleanArray, damaged: &mut [bool]) -> Result<ArrayRef> {
    if wrong.true_count() == 0 {
        return Ok(Arc::clone(column));
    }
    damaged.iter_mut().zip(wrong).for_each(|(damaged, wrong)| *damaged |= wrong == Some(true));
    nullif(column, wrong).map_err(|_| Error::internal("values cannot be left out of a column"))
}

#[cfg(test)]
mod tests {
    use arrow_array::{
        Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
        new_null_array,
    };
    use thalweg_core::operator::OperatorFactory;

    use super::*;

    /// Patient, kind, time.
    type Who = (Option<i64>, Option<&'static str>, Option<i64>);
    /// Heart rate, systolic, diastolic, temperature, saturation, respiratory rate.
    type Vitals = (f64, i32, i32, f64, f64, f64);

    const WHO: Who = (Some(1), Some("vitals"), Some(5));
    const WELL: Vitals = (70.0, 120, 80, 98.6, 97.0, 16.0);

    /// What rules see of events, each vital by itself.
    fn seen(events: &[(Who, Vitals)]) -> Vec<[Option<f64>; 6]> {
        let floats = |of: fn(&Vitals) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(events.iter().map(|(_, v)| of(v))))
        };
        let ints = |of: fn(&Vitals) -> i32| -> ArrayRef {
            Arc::new(Int32Array::from_iter_values(events.iter().map(|(_, v)| of(v))))
        };
        let times: TimestampMicrosecondArray = events.iter().map(|(who, _)| who.2).collect();
        let filled: [(&str, ArrayRef); 9] = [
            ("patient_id", Arc::new(events.iter().map(|(who, _)| who.0).collect::<Int64Array>())),
            ("event_type", Arc::new(events.iter().map(|(who, _)| who.1).collect::<StringArray>())),
            ("event_time", Arc::new(times.with_timezone("UTC"))),
            ("heart_rate", floats(|v| v.0)),
            ("systolic", ints(|v| v.1)),
            ("diastolic", ints(|v| v.2)),
            ("temperature", floats(|v| v.3)),
            ("spo2", floats(|v| v.4)),
            ("respiratory_rate", floats(|v| v.5)),
        ];
        let others = ["consciousness", "oxygen", "kafka_timestamp", "row_watermark"].map(|name| {
            let schema = Observation::schema();
            let field = schema.field_with_name(name).unwrap();
            (name, new_null_array(field.data_type(), events.len()))
        });
        let errors = Event::schema();
        let errors = errors.field_with_name("decode_errors").unwrap().data_type();
        let errors = ("decode_errors", new_null_array(errors, events.len()));
        let columns = filled.into_iter().chain(others).chain([errors]);
        let columns = columns.map(|(name, column)| (name, column, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let possible = possible(&Ranges::default());
        let found = observations(&possible, 40.0, batch).unwrap();
        let vital = |vital: Vital, row: usize| {
            let column = found.column_by_name(vital.as_str()).unwrap();
            let float = column.as_primitive_opt::<Float64Type>().map(|c| c.value(row));
            let int = || f64::from(column.as_primitive::<Int32Type>().value(row));
            column.is_valid(row).then(|| float.unwrap_or_else(int))
        };
        (0..found.num_rows()).map(|row| Vital::ALL.map(|v| vital(v, row))).collect()
    }

    const ALL: [Option<f64>; 6] =
        [Some(70.0), Some(120.0), Some(80.0), Some(98.6), Some(97.0), Some(16.0)];

    #[test]
    fn what_is_below_its_range_is_seen_as_far_as_somebody_can_be_so_ill() {
        type Case = (Vitals, usize, Option<f64>);
        let [heart_rate, systolic, _, temperature, spo2, breath] = [0, 1, 2, 3, 4, 5];
        let cases: [Case; 17] = [
            ((0.0, 120, 80, 98.6, 97.0, 16.0), heart_rate, Some(0.0)),
            ((19.0, 120, 80, 98.6, 97.0, 16.0), heart_rate, Some(19.0)),
            ((-5.0, 120, 80, 98.6, 97.0, 16.0), heart_rate, None),
            ((300.5, 120, 80, 98.6, 97.0, 16.0), heart_rate, None),
            ((f64::NAN, 120, 80, 98.6, 97.0, 16.0), heart_rate, None),
            ((f64::INFINITY, 120, 80, 98.6, 97.0, 16.0), heart_rate, None),
            ((70.0, 90, 80, 98.6, 97.0, 16.0), systolic, Some(90.0)),
            ((70.0, 301, 80, 98.6, 97.0, 16.0), systolic, None),
            ((70.0, 120, 80, 37.2, 97.0, 16.0), temperature, None),
            ((70.0, 120, 80, 115.1, 97.0, 16.0), temperature, None),
            ((70.0, 120, 80, 98.6, 45.0, 16.0), spo2, Some(45.0)),
            ((70.0, 120, 80, 98.6, 0.0, 16.0), spo2, None),
            ((70.0, 120, 80, 98.6, 0.97, 16.0), spo2, None),
            ((70.0, 120, 80, 98.6, 101.0, 16.0), spo2, None),
            ((70.0, 120, 80, 98.6, 97.0, 0.0), breath, Some(0.0)),
            ((70.0, 120, 80, 98.6, 97.0, 2.0), breath, Some(2.0)),
            ((70.0, 120, 80, 98.6, 97.0, 81.0), breath, None),
        ];
        for (vitals, place, value) in cases {
            // One vital takes nothing from the others.
            let mut expected = ALL;
            expected[place] = value;
            assert_eq!(seen(&[(WHO, vitals)]), [expected], "{vitals:?}");
        }
    }

    #[test]
    fn a_pressure_whose_numbers_do_not_fit_each_other_is_none() {
        let seen = seen(&[
            (WHO, (70.0, 80, 120, 98.6, 97.0, 16.0)),
            (WHO, (70.0, 39, 15, 98.6, 97.0, 16.0)),
            // Of whom no pressure is left.
            (WHO, (70.0, 0, 0, 98.6, 97.0, 16.0)),
        ]);
        let pressures: Vec<_> = seen.iter().map(|vitals| (vitals[1], vitals[2])).collect();
        let expected = [(None, None), (Some(39.0), Some(15.0)), (Some(0.0), Some(0.0))];
        assert_eq!(pressures, expected);
    }

    #[test]
    fn an_event_of_which_nothing_can_be_used_is_not_heard() {
        let nothing = (-5.0, 80, 120, 20.0, 0.0, -1.0);
        let breath = (-5.0, 80, 120, 20.0, 0.0, 3.0);
        assert_eq!(
            seen(&[(WHO, nothing), (WHO, breath)]),
            [[None, None, None, None, None, Some(3.0)]]
        );
    }

    #[test]
    fn who_what_and_when_must_be_known() {
        let unknown: [Who; 4] = [
            (None, Some("vitals"), Some(5)),
            (Some(1), None, Some(5)),
            (Some(1), Some("???"), Some(5)),
            (Some(1), Some("vitals"), None),
        ];
        let events: Vec<_> = unknown.into_iter().chain([WHO]).map(|who| (who, WELL)).collect();
        assert_eq!(seen(&events), [ALL]);
        assert!(seen(&[(unknown[0], WELL)]).is_empty());
    }

    #[test]
    fn what_is_valid_is_always_seen() {
        let mut ranges = Ranges::default();
        ranges.spo2.min = 0.0;
        ranges.heart_rate.min = -1.0;
        let possible = possible(&ranges);
        for ((name, range), (vital, seen)) in
            ranges.named().into_iter().zip(Vital::ALL.into_iter().zip(possible))
        {
            assert_eq!(name, vital.as_str());
            assert!(seen.contains(&range.min) && seen.contains(&range.max), "{name}");
        }
    }

    #[test]
    fn no_identity_goes_with_them() {
        let input = Event::schema();
        let fields = input.fields().iter().cloned();
        let watermark = Observation::schema().field_with_name("row_watermark").unwrap().clone();
        let fields: Vec<_> = fields.chain([Arc::new(watermark)]).collect();
        let input = Arc::new(arrow_schema::Schema::new(fields));
        let narrow = columns().output_schema(&input).unwrap();
        let output = readings(&Ranges::default()).output_schema(&narrow).unwrap();
        assert_eq!(output, Observation::schema());
    }
}
