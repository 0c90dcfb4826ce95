//! The operator: events of many patients in, changes of their alerts out.

mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use thalweg_core::key::hash_keys;
use thalweg_core::operator::{
    Collector, Context, OpenContext, Operator, OperatorFactory, StateBlob, StateChunk,
};
use thalweg_core::sensitivity::inherit;
use thalweg_core::state::KeyTable;
use thalweg_core::time::EventTime;
use thalweg_core::{Error, Record, Result, Watermark};

use super::command::Command;
use super::patient::{Patient, Told};
use super::record::{AlertEvent, Observation};
use super::rules::Rules;
use crate::healthcare::config::HealthcareConfig;
use rows::{Columns, Rows};

const STATE_VERSION: u16 = 1;

/// Alerts of every patient, behind the exchange by patient.
///
/// **Shape**: in, [`Observation`]s, and commands if there is a column [`super::command::COMMAND`]; out, [`AlertEvent`]s, a
/// row for each change of an alert.
///
/// **Time**: an event is judged when it comes. Time passes for a patient with the watermark, and with the split's own
/// watermark that stands beside each of its events, whichever is first: so the order of the two does not show. The end of
/// the input is not the end of time: nothing fires because there is no more to read. A command takes effect where time
/// stands for its patient: at its newest event, or at the watermark if that is further.
///
/// **Clocks**: an event that claims to have happened more than `alerts.ahead` after its arrival is not judged and is
/// counted ([`AlertCounters::ahead`]): all that its patient's next events say would be older than it.
///
/// **State**: about 1 KiB per patient, until nothing was heard of it for `alerts.forget_after`.
#[derive(Debug, Clone)]
pub struct PatientAlerts {
    rules: Arc<Rules>,
    counters: Arc<AlertCounters>,
}

/// What is worth knowing beside the rows, since the process started; a replay counts its events again.
#[derive(Debug, Default)]
pub struct AlertCounters {
    ahead: AtomicU64,
}

impl AlertCounters {
    /// Events that were not judged because they claim to have happened too long after their arrival.
    pub fn ahead(&self) -> u64 {
        self.ahead.load(Ordering::Relaxed)
    }
}

impl PatientAlerts {
    /// Alerts by the rules of the settings.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] for a rule that cannot be asked.
    pub fn new(config: &HealthcareConfig) -> Result<Self> {
        Ok(Self { rules: Arc::new(Rules::new(config)?), counters: Arc::default() })
    }

    /// What all instances count.
    pub fn counters(&self) -> Arc<AlertCounters> {
        Arc::clone(&self.counters)
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
            counters: Arc::clone(&self.counters),
            told_of_clocks: false,
            patients: KeyTable::new(STATE_VERSION, context.max_parallelism),
            time: Watermark::MIN,
        }))
    }
}

struct Watching {
    schema: SchemaRef,
    rules: Arc<Rules>,
    counters: Arc<AlertCounters>,
    /// Whether the log has been told that there are clocks ahead.
    told_of_clocks: bool,
    patients: KeyTable<i64, Patient>,
    /// How far time got: the end of the input is not the end of it.
    time: Watermark,
}

impl Watching {
    /// Commands about patients that are not known, or no longer, mean nothing.
    fn obey(
        &mut self,
        (hash, id): (u64, i64),
        command: &str,
        now: Watermark,
        told: &mut Vec<Told>,
    ) {
        let Some((command, alert)) =
            Command::from_json(command).and_then(|c| c.check().ok().map(|alert| (c, alert)))
        else {
            return;
        };
        let Some(mut entry) = self.patients.find(hash, id) else { return };
        // Behind the end of the input there is no time by which anything could be said.
        let now = if now == Watermark::MAX { EventTime::MIN } else { now.0 };
        entry.value().obey(&self.rules, now, &alert, &command, told);
        let due = entry.value().due(&self.rules);
        entry.wake_at(due);
    }

    /// Counts events of clocks that are ahead. Such a clock sends many: the log is told once.
    fn count_ahead(&mut self, events: u64) {
        if events == 0 {
            return;
        }
        self.counters.ahead.fetch_add(events, Ordering::Relaxed);
        if !self.told_of_clocks {
            self.told_of_clocks = true;
            tracing::warn!(
                "events further ahead of their arrival than alerts.ahead raise no alerts: look at the clocks of their senders"
            );
        }
    }
}

impl Operator for Watching {
    fn process(
        &mut self,
        batch: RecordBatch,
        context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let columns = Columns::of(&batch)?;
        let mut hashes = Vec::new();
        let ids: ArrayRef = Arc::new(columns.patients.clone());
        hash_keys(&[ids], batch.num_rows(), &mut hashes)?;
        context.open.check_keys(hashes.iter().copied())?;
        let mut rows = Rows::default();
        let (mut told, mut ahead) = (Vec::new(), 0);
        for ((row, id), hash) in columns.patients.values().iter().enumerate().zip(hashes) {
            if let Some(command) = columns.command(row) {
                self.obey((hash, *id), command, context.watermark, &mut told);
                rows.append(*id, &mut told);
                continue;
            }
            let reading = columns.reading(row);
            // By its arrival, which the broker keeps beside the event: a replay finds the same. A watermark would not do:
            // the event itself moves it, and where events are few an honest one may be as far ahead of it. A file tells
            // no arrivals: there an event that is ahead of those behind it and events that are late are the same lines.
            let latest = columns.arrival(row).map(|at| at.saturating_add(self.rules.ahead));
            if latest.is_some_and(|latest| reading.at > latest) {
                ahead += 1;
                continue;
            }
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
        self.count_ahead(ahead);
        rows.emit(&self.schema, out)
    }

    fn on_watermark(
        &mut self,
        watermark: Watermark,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        // At the end of the input time stays where it is. What came late may be due by now all the same.
        if watermark < Watermark::MAX {
            self.time = watermark;
        }
        let now = self.time.0;
        let mut rows = Rows::default();
        let mut told = Vec::new();
        let rules = &self.rules;
        self.patients.wake(now, |id, patient| {
            let stays = patient.pass(rules, now, &mut told);
            rows.append(*id, &mut told);
            stays.then(|| patient.due(rules))
        });
        rows.emit(&self.schema, out)
    }

    fn snapshot(&mut self) -> Result<Vec<StateChunk>> {
        Ok(self.patients.snapshot())
    }

    fn restore(&mut self, blobs: Vec<StateBlob>) -> Result<()> {
        self.patients.restore(blobs)?;
        // Timers were set by the rules of then.
        let rules = &self.rules;
        self.patients.set_timers(|patient| patient.due(rules));
        Ok(())
    }
}
