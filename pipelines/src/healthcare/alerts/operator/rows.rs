//! The columns that come in, and the rows that go out.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::SchemaRef;
use thalweg_core::operator::Collector;
use thalweg_core::record::column_of;
use thalweg_core::{Error, Result};

use crate::healthcare::alerts::command::{AlertId, COMMAND};
use crate::healthcare::alerts::patient::{Reading, Told};
use crate::healthcare::alerts::record::Observation;
use crate::healthcare::alerts::vital::Vital;

/// A batch's columns, found once.
pub(super) struct Columns<'a> {
    pub(super) patients: &'a Int64Array,
    times: &'a TimestampMicrosecondArray,
    arrivals: &'a TimestampMicrosecondArray,
    watermarks: &'a Int64Array,
    vitals: [Numbers<'a>; 6],
    consciousness: &'a StringArray,
    oxygen: &'a BooleanArray,
    commands: Option<&'a StringArray>,
}

/// A vital's column.
enum Numbers<'a> {
    Float(&'a Float64Array),
    Int(&'a Int32Array),
}

impl<'a> Columns<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Self> {
        let vital = |vital: Vital| {
            let missing = || Error::internal("a vital's column is missing or no number");
            let column = batch.column_by_name(vital.as_str()).ok_or_else(missing)?;
            let float = column.as_primitive_opt::<Float64Type>().map(Numbers::Float);
            let int = || column.as_primitive_opt::<Int32Type>().map(Numbers::Int);
            float.or_else(int).ok_or_else(missing)
        };
        let [heart, systolic, diastolic, warmth, oxygen, breath] = Vital::ALL.map(vital);
        Ok(Self {
            patients: column_of(batch, Observation::PATIENT_ID)?,
            times: column_of(batch, Observation::EVENT_TIME)?,
            arrivals: column_of(batch, Observation::KAFKA_TIMESTAMP)?,
            watermarks: column_of(batch, Observation::ROW_WATERMARK)?,
            vitals: [heart?, systolic?, diastolic?, warmth?, oxygen?, breath?],
            consciousness: column_of(batch, Observation::CONSCIOUSNESS)?,
            oxygen: column_of(batch, Observation::OXYGEN)?,
            commands: match batch.column_by_name(COMMAND.name()) {
                Some(_) => Some(column_of(batch, COMMAND)?),
                None => None,
            },
        })
    }

    pub(super) fn reading(&self, row: usize) -> Reading {
        let consciousness = self.consciousness.is_valid(row).then(|| self.consciousness.value(row));
        Reading {
            at: self.times.value(row),
            vitals: std::array::from_fn(|vital| match self.vitals.get(vital)? {
                Numbers::Float(column) => column.is_valid(row).then(|| column.value(row)),
                Numbers::Int(column) => column.is_valid(row).then(|| f64::from(column.value(row))),
            }),
            oxygen: self.oxygen.is_valid(row).then(|| self.oxygen.value(row)),
            alert: consciousness.and_then(|level| match level {
                "A" => Some(true),
                "C" | "V" | "P" | "U" => Some(false),
                _ => None,
            }),
        }
    }

    pub(super) fn command(&self, row: usize) -> Option<&'a str> {
        self.commands.filter(|column| column.is_valid(row)).map(|column| column.value(row))
    }

    /// When the broker says that the event arrived.
    pub(super) fn arrival(&self, row: usize) -> Option<i64> {
        self.arrivals.is_valid(row).then(|| self.arrivals.value(row))
    }

    pub(super) fn watermark(&self, row: usize) -> Option<i64> {
        self.watermarks.is_valid(row).then(|| self.watermarks.value(row))
    }
}

/// The rows of one call.
#[derive(Default)]
pub(super) struct Rows(Vec<(i64, Told)>);

impl Rows {
    pub(super) fn append(&mut self, patient: i64, told: &mut Vec<Told>) {
        self.0.extend(told.drain(..).map(|told| (patient, told)));
    }

    /// A batch of them, if there are any.
    pub(super) fn emit(&self, schema: &SchemaRef, out: &mut Collector) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let rows = || self.0.iter();
        let text = |of: fn(&Told) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows().map(|(_, told)| of(told))))
        };
        let times = |of: fn(&Told) -> Option<i64>| -> ArrayRef {
            let times: TimestampMicrosecondArray = rows().map(|(_, told)| of(told)).collect();
            Arc::new(times.with_timezone("UTC"))
        };
        let ids = rows().map(|(patient, told)| {
            let (patient, opened_at) = (*patient, told.change.opened_at);
            AlertId { patient, rule: told.rule.clone(), opened_at }.to_string()
        });
        let vitals = rows().map(|(_, told)| told.vital.map(Vital::as_str));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(ids)),
            Arc::new(Int32Array::from_iter_values(rows().map(|(_, told)| told.change.sequence))),
            Arc::new(Int64Array::from_iter_values(rows().map(|(patient, _)| *patient))),
            text(|told| &told.rule),
            text(|told| told.change.state.as_str()),
            text(|told| told.change.severity.as_str()),
            Arc::new(vitals.collect::<StringArray>()),
            Arc::new(rows().map(|(_, told)| told.value).collect::<Float64Array>()),
            Arc::new(rows().map(|(_, t)| t.score.map(|(total, _)| total)).collect::<Int32Array>()),
            Arc::new(rows().map(|(_, t)| t.score.map(|(_, less)| less)).collect::<Int32Array>()),
            times(|told| Some(told.change.at)),
            times(|told| told.change.fired_at),
            Arc::new(rows().map(|(_, told)| told.by.as_deref()).collect::<StringArray>()),
        ];
        out.emit(
            RecordBatch::try_new(Arc::clone(schema), columns)
                .map_err(|_| Error::internal("alerts do not fit their columns"))?,
        );
        Ok(())
    }
}
