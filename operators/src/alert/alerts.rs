//! The operator: readings of many keys in, changes of their alerts out.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use thalweg_core::operator::{
    Collector, Context, LeftOut, OpenContext, Operator, OperatorFactory, StateBlob, StateChunk,
};
use thalweg_core::record::ColumnName;
use thalweg_core::state::KeyTable;
use thalweg_core::time::EventTime;
use thalweg_core::{Result, Watermark};

use super::rows::{Columns, Row};
use super::rule::{AlertRule, Rules};
use super::watched::{Command, Told, Watched};
use crate::detect::ahead::Ahead;

const STATE_VERSION: u16 = 1;

/// Alerts by key and rule.
///
/// **Shape**: in, rows with the columns of the key, event time and the numbers that the rules watch, of which null and NaN are
/// no readings; commands, if there are the columns of [`super::AlertCommand`]. Out, the key's columns and those of
/// [`super::AlertChange`]: a row for each change of an alert. There is one open alert per key and rule.
///
/// **Time**: event time. A reading is judged when it comes; one that is older than the newest of its key and rule opens and
/// ends nothing, so that late rows page nobody again; a clock that is ahead mutes its key, unless [`Alerts::ahead`] says what
/// is too far. Time passes for a key with the watermark, and with the row's own watermark where the stream still has it
/// ([`thalweg_core::watermark::ROW_WATERMARK`]), whichever is first: so batch cuts do not show. The end of the input is not
/// the end of time: nothing fires because there is no more to read.
///
/// **Commands** come in by a [`thalweg_core::graph::KeyedStream::union`], take effect where time stands for their key, and are
/// for the one alert that they name. One that cannot be understood is counted as a row that was dropped.
///
/// **State**: some 60 bytes per key and rule, until nothing was heard of the key for [`Alerts::forget_after`], which also
/// ends its open alerts. Older rows are not looked at: whether they are news is no longer known. Rules may be added, removed,
/// changed and put into another order between runs; alerts of a rule that is gone end with the first watermark, or the key's
/// next row. A wait that a new setting makes shorter is over by the new one, whether the key has rows or not.
///
/// ```
/// use std::time::Duration;
/// use thalweg_core::Record;
/// use thalweg_core::operator::OperatorFactory;
/// use thalweg_core::record::Micros;
/// use thalweg_operators::alert::{AlertRule, Alerts, Severity};
/// use thalweg_operators::detect::Limit;
///
/// #[derive(Record)]
/// struct Reading {
///     machine: String,
///     at: Micros,
///     celsius: Option<f64>,
///     rpm: Option<i64>,
/// }
///
/// let hot = AlertRule::new("too-hot", Reading::CELSIUS, Limit::at_least(90.0).clears_at(80.0))
///     .persist_for(Duration::from_secs(10))
///     .severity(Severity::Critical);
/// let slow = AlertRule::new("too-slow", Reading::RPM, Limit::at_most(100.0));
/// let alerts = Alerts::new(["machine"], Reading::AT, [hot, slow]);
/// let columns = alerts.output_schema(&Reading::schema())?;
/// assert_eq!(columns.field(0).name(), "machine");
/// assert_eq!(columns.field(1).name(), "rule");
/// # Ok::<(), thalweg_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Alerts {
    keys: Vec<&'static str>,
    event_time: ColumnName,
    rules: Vec<AlertRule>,
    forget_after: Duration,
    ahead: Option<Ahead>,
}

impl Alerts {
    /// Alerts by `rules` for each value of `keys`, which must be those that the stream is grouped by.
    pub fn new(
        keys: impl IntoIterator<Item = &'static str>,
        event_time: impl Into<ColumnName>,
        rules: impl IntoIterator<Item = AlertRule>,
    ) -> Self {
        Self {
            keys: keys.into_iter().collect(),
            event_time: event_time.into(),
            rules: rules.into_iter().collect(),
            forget_after: Duration::from_hours(24),
            ahead: None,
        }
    }

    /// After how long without a row a key is forgotten. Default: a day.
    #[must_use]
    pub fn forget_after(mut self, forget_after: Duration) -> Self {
        self.forget_after = forget_after;
        self
    }

    /// Rows that claim to have happened more than `limit` after their `arrival`, a column of times, are not looked at, and
    /// counted as dropped: all that their keys say next would be older. One whose arrival is null is believed. Default: all
    /// are.
    #[must_use]
    pub fn ahead(mut self, arrival: impl Into<ColumnName>, limit: Duration) -> Self {
        self.ahead = Some(Ahead { arrival: arrival.into(), limit });
        self
    }

    fn find(&self, input: &SchemaRef) -> Result<Columns> {
        Columns::find(input, &self.keys, self.event_time, &self.rules, self.ahead)
    }
}

impl OperatorFactory for Alerts {
    fn describe(&self) -> String {
        format!("alerts by {}, {} rules", self.keys.join(", "), self.rules.len())
    }

    fn needs_event_time(&self) -> bool {
        true
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Rules::new(&self.rules, self.forget_after)?;
        self.find(input)?.output(input)
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        let input = &context.input_schema;
        Ok(Box::new(Watching {
            columns: self.find(input)?,
            schema: self.output_schema(input)?,
            rules: Rules::new(&self.rules, self.forget_after)?,
            keys: KeyTable::new(STATE_VERSION, context.max_parallelism),
            time: Watermark::MIN,
        }))
    }
}

struct Watching {
    columns: Columns,
    schema: SchemaRef,
    rules: Rules,
    keys: KeyTable<Arc<[u8]>, Watched>,
    /// How far time got: the end of the input is not the end of it.
    time: Watermark,
}

impl Watching {
    /// A row of time `at`, when event time has reached `now`.
    fn observe(
        &mut self,
        (hash, key): (u64, &Arc<[u8]>),
        (at, now): (EventTime, Option<EventTime>),
        value_of: impl Fn(usize) -> Option<f64>,
        told: &mut Vec<Told>,
    ) {
        let rules = &self.rules;
        // Older than what is remembered: whether it is news cannot be told.
        if now.is_some_and(|now| at <= now.saturating_sub(rules.forget_after)) {
            return;
        }
        let mut entry = self.keys.entry(hash, Arc::clone(key));
        let mut nearer = entry.sleeps();
        if let Some(now) = now.filter(|now| entry.is_due(*now)) {
            entry.stop_timer();
            nearer = true;
            if !entry.value().pass(rules, now, told) {
                *entry.value() = Watched::default();
            }
        }
        nearer |= entry.value().observe(rules, at, value_of, told);
        if nearer {
            let due = entry.value().due(rules);
            entry.wake_at(due);
        }
    }

    /// Commands about keys that are not known, or no longer, mean nothing.
    fn obey(
        &mut self,
        (hash, key): (u64, &Arc<[u8]>),
        command: Command<'_>,
        now: Watermark,
        told: &mut Vec<Told>,
    ) {
        let Some(mut entry) = self.keys.find(hash, Arc::clone(key)) else { return };
        // Behind the end of the input there is no time by which anything could be said.
        let now = if now == Watermark::MAX { EventTime::MIN } else { now.0 };
        entry.value().obey(&self.rules, now, command, told);
        let due = entry.value().due(&self.rules);
        entry.wake_at(due);
    }
}

impl Operator for Watching {
    fn process(
        &mut self,
        batch: RecordBatch,
        context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let mut rows = self.columns.read(&batch)?;
        let keys = std::mem::take(&mut rows.keys);
        context.open.check_keys(keys.iter().map(|(hash, _)| *hash))?;
        let (mut told, mut changes, mut dropped) = (Vec::new(), Vec::new(), 0);
        for (row, (hash, key)) in keys.into_iter().enumerate() {
            match rows.row(row) {
                Row::Readings(at) => {
                    let now = rows.watermark(row, context.watermark);
                    let value_of = |rule| rows.value(row, rule);
                    self.observe((hash, &key), (at, now), value_of, &mut told);
                }
                Row::Command(command) => {
                    self.obey((hash, &key), command, context.watermark, &mut told);
                }
                Row::Nothing => dropped += 1,
            }
            changes.extend(told.drain(..).map(|told| (Arc::clone(&key), told)));
        }
        out.leave_out(LeftOut { dropped, ..LeftOut::default() });
        self.columns.emit(&self.schema, &changes, out)
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
        let (mut told, mut changes) = (Vec::new(), Vec::new());
        let rules = &self.rules;
        self.keys.wake(now, |key, watched| {
            let stays = watched.pass(rules, now, &mut told);
            changes.extend(told.drain(..).map(|told| (Arc::clone(key), told)));
            stays.then(|| watched.due(rules))
        });
        self.columns.emit(&self.schema, &changes, out)
    }

    fn snapshot(&mut self) -> Result<Vec<StateChunk>> {
        Ok(self.keys.snapshot())
    }

    fn restore(&mut self, blobs: Vec<StateBlob>) -> Result<()> {
        self.keys.restore(blobs)?;
        // Timers were set by the rules of then.
        let rules = &self.rules;
        self.keys.set_timers(|watched| watched.due(rules));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
