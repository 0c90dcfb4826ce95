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
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use arrow_select::nullif::nullif;
use thalweg_core::record::column_of;
use thalweg_core::{Error, Record, Result};
use thalweg_operators::{Map, Project};

use super::record::Observation;
use super::vital::Vital;
use crate::healthcare::record::Event;
use crate::healthcare::rules::{EVENT_TYPES, Ranges, systolic_is_not_above_diastolic};

/// The columns that [`readings`] looks at: no identity among them.
pub fn columns() -> Project {
    Project::columns(Observation::COLUMNS.iter().copied().chain([Event::EVENT_TYPE.name()]))
}

/// Makes [`Observation`]s of all events that rules look at.
pub fn readings(ranges: &Ranges) -> Map {
    let (schema, possible) = (Observation::schema(), possible(ranges));
    Map::new("readings", Observation::schema(), move |batch| {
        observations(&schema, &possible, batch)
    })
}

/// What each vital can be, in the order of [`Vital::ALL`]: what is valid, and less where that is somebody who is dying.
fn possible(ranges: &Ranges) -> [RangeInclusive<f64>; 6] {
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

fn observations(
    schema: &SchemaRef,
    possible: &[RangeInclusive<f64>; 6],
    batch: RecordBatch,
) -> Result<RecordBatch> {
    let failed = || Error::internal("events do not make observations");
    let known = known(&batch)?;
    let batch = if known.true_count() == known.len() {
        batch
    } else {
        filter_record_batch(&batch, &known).map_err(|_| failed())?
    };
    // Which of the two numbers is wrong nobody knows.
    let reversed = systolic_is_not_above_diastolic(&batch)?;
    let column = |name: &str| -> Result<ArrayRef> {
        let column = batch.column_by_name(name).ok_or_else(failed)?;
        let vital = Vital::ALL.into_iter().zip(possible).find(|(v, _)| v.as_str() == name);
        let Some((vital, range)) = vital else { return Ok(Arc::clone(column)) };
        let column = without(column, &outside(column, range).ok_or_else(failed)?)?;
        match vital {
            Vital::Systolic | Vital::Diastolic => without(&column, &reversed),
            _ => Ok(column),
        }
    };
    let columns = schema.fields().iter().map(|field| column(field.name()));
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_>>()?).map_err(|_| failed())
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

/// The column with nulls where it says so.
fn without(column: &ArrayRef, nulls: &BooleanArray) -> Result<ArrayRef> {
    if nulls.true_count() == 0 {
        return Ok(Arc::clone(column));
    }
    nullif(column, nulls).map_err(|_| Error::internal("values cannot be left out of a column"))
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
        let columns = filled.into_iter().chain(others).map(|(name, c)| (name, c, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let possible = possible(&Ranges::default());
        let found = observations(&Observation::schema(), &possible, batch).unwrap();
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
        ]);
        let pressures: Vec<_> = seen.iter().map(|vitals| (vitals[1], vitals[2])).collect();
        assert_eq!(pressures, [(None, None), (Some(39.0), Some(15.0))]);
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
