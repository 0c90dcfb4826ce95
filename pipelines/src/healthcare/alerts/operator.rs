//! The operator: events of many patients in, changes of their alerts out.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::SchemaRef;
use thalweg_core::key::hash_keys;
use thalweg_core::operator::{
    Collector, Context, OpenContext, Operator, OperatorFactory, StateBlob, StateChunk,
};
use thalweg_core::record::column_of;
use thalweg_core::sensitivity::inherit;
use thalweg_core::state::KeyTable;
use thalweg_core::{Error, Record, Result, Watermark};

use super::command::{AlertId, COMMAND, Command};
use super::patient::{Patient, Reading, Told};
use super::record::{AlertEvent, Observation};
use super::rules::Rules;
use super::vital::Vital;
use crate::healthcare::config::HealthcareConfig;

const STATE_VERSION: u16 = 1;

/// Alerts of every patient, behind the exchange by patient.
///
/// **Shape**: in, [`Observation`]s, and commands if there is a column [`COMMAND`]; out, [`AlertEvent`]s, a row for each change of an alert.
///
/// **Time**: an event is judged when it comes. Time passes for a patient with the watermark, and with the split's own
/// watermark that stands beside each of its events, whichever is first: so the order of the two does not show. The end of
/// the input is not the end of time: nothing fires because there is no more to read.
///
/// **State**: about 1 KiB per patient, until nothing was heard of it for `alerts.forget_after`.
#[derive(Debug, Clone)]
pub struct PatientAlerts {
    rules: Arc<Rules>,
}

impl PatientAlerts {
    /// Alerts by the rules of the settings.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] for a rule that cannot be asked.
    pub fn new(config: &HealthcareConfig) -> Result<Self> {
        Ok(Self { rules: Arc::new(Rules::new(config)?) })
    }
}

impl OperatorFactory for PatientAlerts {
    fn describe(&self) -> String {
        format!("alerts by patient, {} rules", self.rules.all.len())
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        for (wanted, name) in Observation::schema().fields().iter().zip(Observation::COLUMNS) {
            let found = input.field_with_name(name).map(arrow_schema::Field::data_type);
            if found.ok() != Some(wanted.data_type()) {
                return Err(Error::graph(format!(
                    "alerts need column `{name}` of type {}",
                    wanted.data_type()
                )));
            }
        }
        Ok(Arc::new(inherit(&AlertEvent::schema(), input, &[])?))
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Watching {
            schema: self.output_schema(&context.input_schema)?,
            rules: Arc::clone(&self.rules),
            patients: KeyTable::new(STATE_VERSION, context.max_parallelism),
        }))
    }
}

struct Watching {
    schema: SchemaRef,
    rules: Arc<Rules>,
    patients: KeyTable<i64, Patient>,
}

impl Watching {
    /// Commands about patients that are not known, or no longer, mean nothing.
    fn obey(&mut self, hash: u64, id: i64, command: &str, told: &mut Vec<Told>) {
        let Some((command, alert)) =
            Command::from_json(command).and_then(|c| c.check().ok().map(|alert| (c, alert)))
        else {
            return;
        };
        let Some(mut entry) = self.patients.find(hash, id) else { return };
        entry.value().obey(&self.rules, &alert, &command, told);
        let due = entry.value().due(&self.rules);
        entry.wake_at(due);
    }
}

impl Operator for Watching {
    fn process(
        &mut self,
        batch: RecordBatch,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let columns = Columns::of(&batch)?;
        let mut hashes = Vec::new();
        let ids: ArrayRef = Arc::new(columns.patients.clone());
        hash_keys(&[ids], batch.num_rows(), &mut hashes)?;
        let mut rows = Rows::default();
        let mut told = Vec::new();
        for ((row, id), hash) in columns.patients.values().iter().enumerate().zip(hashes) {
            if let Some(command) = columns.command(row) {
                self.obey(hash, *id, command, &mut told);
                rows.append(*id, &mut told);
                continue;
            }
            let reading = columns.reading(row);
            let now = columns.watermark(row);
            // Older than what is remembered: whether it is news cannot be told.
            if now.is_some_and(|now| reading.at <= now.saturating_sub(self.rules.forget_after)) {
                continue;
            }
            let mut entry = self.patients.entry(hash, *id);
            let mut nearer = entry.sleeps();
            if let Some(now) = now.filter(|now| entry.is_due(*now)) {
                entry.stop_timer();
                nearer = true;
                if !entry.value().pass(&self.rules, now, &mut told) {
                    *entry.value() = Patient::default();
                }
            }
            nearer |= entry.value().observe(*id, &self.rules, &reading, &mut told);
            if nearer {
                let due = entry.value().due(&self.rules);
                entry.wake_at(due);
            }
            rows.append(*id, &mut told);
        }
        rows.emit(&self.schema, out)
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        if watermark == Watermark::MAX {
            return Ok(());
        }
        let mut rows = Rows::default();
        let mut told = Vec::new();
        let rules = &self.rules;
        self.patients.wake(watermark.0, |id, patient| {
            let stays = patient.pass(rules, watermark.0, &mut told);
            rows.append(*id, &mut told);
            stays.then(|| patient.due(rules))
        });
        rows.emit(&self.schema, out)
    }

    fn snapshot(&mut self) -> Result<Vec<StateChunk>> {
        Ok(self.patients.snapshot())
    }

    fn restore(&mut self, blobs: Vec<StateBlob>) -> Result<()> {
        self.patients.restore(blobs)
    }
}

/// A batch's columns, found once.
struct Columns<'a> {
    patients: &'a Int64Array,
    times: &'a TimestampMicrosecondArray,
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
    fn of(batch: &'a RecordBatch) -> Result<Self> {
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

    fn reading(&self, row: usize) -> Reading {
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

    fn command(&self, row: usize) -> Option<&'a str> {
        self.commands.filter(|column| column.is_valid(row)).map(|column| column.value(row))
    }

    fn watermark(&self, row: usize) -> Option<i64> {
        self.watermarks.is_valid(row).then(|| self.watermarks.value(row))
    }
}

/// The rows of one call.
#[derive(Default)]
struct Rows(Vec<(i64, Told)>);

impl Rows {
    fn append(&mut self, patient: i64, told: &mut Vec<Told>) {
        self.0.extend(told.drain(..).map(|told| (patient, told)));
    }

    /// A batch of them, if there are any.
    fn emit(&self, schema: &SchemaRef, out: &mut Collector) -> Result<()> {
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

#[cfg(test)]
mod tests;
