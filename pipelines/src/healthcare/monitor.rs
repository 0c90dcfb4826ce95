//! The job looked at from outside, once: is it still committing, does anything still arrive, does it keep up?
//!
//! Only manifests, tables and brokers are asked, never the process: what it says of itself is worth nothing when it
//! hangs. A job that has read its input to the end owes nothing any more.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_connectors::delta::DeltaReader;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::source::{Source, Split};
use thalweg_core::record::{Column, Timestamp};
use thalweg_core::time::{EventTime, micros};
use thalweg_core::{Error, Result};
use thalweg_objects::{Access, Place};
use thalweg_runtime::CheckpointStorage;

use super::config::TimeSection;
use super::daily::check::{Check, Status};
use super::gold::{Kpis, Medications, PatientVitals, VitalsByBpCategory, VitalsByMinute};
use super::graph::{
    BRONZE, EVENTS, KPIS, MEDICATIONS, PATIENT_VITALS, SILVER, VITALS_BY_BP_CATEGORY,
    VITALS_BY_MINUTE,
};
use super::manifests::Manifests;
use super::record::{Bronze, Silver};
pub use super::webhook::WebhookUrl;

/// What is too old or too much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorSection {
    /// How old the newest checkpoint may be; zero: not judged.
    #[serde(with = "humantime_serde")]
    pub checkpoint_age: Duration,
    /// How long ago the last message may have arrived; zero: not judged.
    #[serde(with = "humantime_serde")]
    pub arrival_age: Duration,
    /// How long ago the last event in silver may have happened; zero: not judged.
    #[serde(with = "humantime_serde")]
    pub silver_age: Duration,
    /// How long ago the last window of the gold tables that every event reaches may have ended; zero: not judged.
    #[serde(with = "humantime_serde")]
    pub gold_age: Duration,
    /// The same of those that only events with a blood pressure or a medication reach, once they have a row.
    #[serde(with = "humantime_serde")]
    pub sparse_gold_age: Duration,
    /// How many messages may wait in the topic; zero: not judged.
    pub lag: u64,
    /// Whom to tell; `THALWEG_WEBHOOK_URL` comes before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookUrl>,
    /// How often it is tried to tell them.
    pub webhook_attempts: u32,
}

impl Default for MonitorSection {
    fn default() -> Self {
        Self {
            checkpoint_age: Duration::from_mins(5),
            arrival_age: Duration::from_mins(15),
            silver_age: Duration::from_hours(1),
            gold_age: Duration::from_hours(1),
            sparse_gold_age: Duration::from_hours(24),
            lag: 100_000,
            webhook: None,
            webhook_attempts: 3,
        }
    }
}

/// The tables behind bronze that a job writes regularly: check, path, the time that tells how new its rows are, and who
/// reaches it. Late events, quarantine and alerts may rest for days where all is well, so that their age says nothing.
const WRITTEN: [(&str, &str, Column<Timestamp>, Reach); 6] = [
    ("silver.age", SILVER, Silver::EVENT_TIME, Reach::Silver),
    ("gold.kpis.age", KPIS, Kpis::WINDOW_END, Reach::Gold),
    ("gold.patient_vitals.age", PATIENT_VITALS, PatientVitals::WINDOW_END, Reach::Gold),
    ("gold.vitals_by_minute.age", VITALS_BY_MINUTE, VitalsByMinute::WINDOW_END, Reach::Gold),
    (
        "gold.vitals_by_bp_category.age",
        VITALS_BY_BP_CATEGORY,
        VitalsByBpCategory::WINDOW_END,
        Reach::SparseGold,
    ),
    ("gold.medications.age", MEDICATIONS, Medications::WINDOW_END, Reach::SparseGold),
];

/// How far the clocks of senders may be ahead and still tell when a table was written, unless `time.ahead` is more. Silver
/// takes events up to `decoding.future_cap` ahead, a day, and one of them must not make it look new for as long. Such a clock
/// does not move event time, but the windows that it has opened close all the same when a job is drained.
const AHEAD: Duration = Duration::from_mins(10);

/// What may pass from the instant at which a window could close until its rows are in a table: a checkpoint, say, where much
/// is to be read.
const COMMITTED: Duration = Duration::from_mins(1);

/// Which events reach a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Silver: every valid event.
    Silver,
    /// Gold: every valid event that is not late.
    Gold,
    /// Gold: those of them that have a blood pressure, or a medication. Where nobody sends any there never are rows.
    SparseGold,
}

/// How old the newest row of a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableAge {
    /// The check's name, such as `silver.age`.
    pub check: &'static str,
    /// Which events reach the table.
    pub reach: Reach,
    /// Time since the newest event, or since the end of the newest window, µs; `None` when there is none.
    pub age: Option<i64>,
}

/// What was seen, so that judging it is a pure function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether the job has read its input to the end. One that was drained has not: more may arrive, and nobody reads it.
    pub finished: bool,
    /// Whether the job is too new for any window to have closed.
    pub is_new: bool,
    /// Age of the newest checkpoint, µs.
    pub checkpoint_age: i64,
    /// Time since the last message arrived, µs; `None` when none ever did.
    pub arrival_age: Option<i64>,
    /// The tables behind bronze.
    pub tables: Vec<TableAge>,
    /// Messages that wait; the inner `None`: the brokers do not say; the outer: no brokers are named.
    pub lag: Option<Option<u64>>,
}

/// The newest manifest of a job that may be running.
///
/// # Errors
/// There are no checkpoints.
pub fn newest(checkpoints: &dyn CheckpointStorage) -> Result<Manifest> {
    let newest = Manifests(checkpoints).read()?.pop();
    newest.ok_or_else(|| Error::config("there are no checkpoints"))
}

/// The topic that the job reads events from, if it reads one.
pub fn topic(newest: &Manifest) -> Option<&str> {
    let events = newest.sources.iter().find(|source| source.uid.as_str() == EVENTS)?;
    events.identity.get("topic").map(String::as_str)
}

/// Looks. `source` is asked for its lag when it is given. `time`: the job's. `now`: µs.
///
/// # Errors
/// A table cannot be read.
pub fn look(
    place: &Place,
    newest: &Manifest,
    source: Option<&dyn Source>,
    time: &TimeSection,
    now: EventTime,
) -> Result<Seen> {
    let reader = DeltaReader::at(place, &Access::from_environment())?;
    let until = now.saturating_add(micros(time.ahead.max(AHEAD)));
    let age = |path: &str, column: Column<Timestamp>| -> Result<Option<i64>> {
        let newest = reader.open(path)?.and_then(|table| table.latest_until(column, until));
        Ok(newest.map(|at| since(at, now)))
    };
    let tables = WRITTEN.into_iter().map(|(check, path, column, reach)| {
        age(path, column).map(|age| TableAge { check, reach, age })
    });
    let bronze = reader.open(BRONZE)?;
    let bronze = bronze.as_ref();
    let newest_arrival = bronze.and_then(|table| table.latest_until(Bronze::INGESTED_AT, until));
    let first_arrival = bronze.and_then(|table| table.earliest(Bronze::INGESTED_AT));
    Ok(Seen {
        finished: is_finished(newest),
        is_new: is_new(first_arrival.map(|at| since(at, now)), time),
        checkpoint_age: since(newest.created_at, now),
        arrival_age: newest_arrival.map(|at| since(at, now)),
        tables: tables.collect::<Result<_>>()?,
        lag: source.map(|source| source.lag(&splits(newest))),
    })
}

/// What lies ahead, since clocks differ, is as new as can be.
fn since(at: EventTime, now: EventTime) -> i64 {
    now.saturating_sub(at).max(0)
}

/// Whether no window need have closed yet, given how long ago the first message arrived, µs, if one has: the first window has
/// to end, the watermark to pass its end, and partitions without messages to fall idle.
fn is_new(first_arrival: Option<i64>, time: &TimeSection) -> bool {
    let takes = [time.window, time.out_of_orderness, time.allowed_lateness, time.idle_after];
    let takes = takes.into_iter().fold(COMMITTED, Duration::saturating_add);
    first_arrival.is_none_or(|age| age < micros(takes))
}

/// Whether a job has ended because there are no more events. A drained one has closed its windows, and its topic goes on.
fn is_finished(newest: &Manifest) -> bool {
    newest.finished && splits(newest).iter().all(Split::is_finished)
}

/// How far events were read. Commands about alerts have splits, too, of the same names.
fn splits(manifest: &Manifest) -> Vec<Split> {
    let events = manifest.sources.iter().filter(|source| source.uid.as_str() == EVENTS);
    let splits = events.flat_map(|source| &source.splits);
    splits.map(|snapshot| snapshot.split.clone()).collect()
}

/// Judges what was seen.
pub fn judge(seen: &Seen, limits: &MonitorSection) -> Vec<Check> {
    let mut checks = Vec::new();
    let ages = [
        ("checkpoint.age", "checkpoint", Some(seen.checkpoint_age), limits.checkpoint_age, false),
        ("arrivals.age", "freshness", seen.arrival_age, limits.arrival_age, false),
    ];
    let tables = seen.tables.iter().filter_map(|table| {
        let limit = match table.reach {
            Reach::Silver => limits.silver_age,
            Reach::Gold => limits.gold_age,
            // Nobody may send what would reach it.
            Reach::SparseGold if table.age.is_none() => return None,
            Reach::SparseGold => limits.sparse_gold_age,
        };
        let waits = seen.is_new && table.reach == Reach::Gold;
        Some((table.check, "freshness", table.age, limit, waits))
    });
    for (name, dimension, age, limit, waits) in ages.into_iter().chain(tables) {
        if limit.is_zero() || seen.finished {
            continue;
        }
        // A job that has read everything takes one in an hour.
        if name == "checkpoint.age" && seen.lag == Some(Some(0)) {
            continue;
        }
        let most = micros(limit);
        let shown = |micros: i64| {
            let seconds = micros.unsigned_abs() / 1_000_000;
            humantime::format_duration(Duration::from_secs(seconds)).to_string()
        };
        let (observed, is_well) = match age {
            Some(age) => (shown(age), age <= most),
            None if waits => ("waiting for the first window to close".to_owned(), true),
            None => ("never".to_owned(), false),
        };
        checks.push(Check {
            name: name.to_owned(),
            dimension,
            observed,
            expected: format!("at most {}", humantime::format_duration(limit)),
            status: if is_well { Status::Pass } else { Status::Fail },
        });
    }
    if let (Some(lag), false) = (seen.lag, limits.lag == 0) {
        checks.push(Check {
            name: "source.lag".to_owned(),
            dimension: "lag",
            observed: lag.map_or_else(
                || "the brokers do not say".to_owned(),
                |lag| format!("{lag} messages"),
            ),
            expected: format!("at most {} messages", limits.lag),
            status: if lag.is_some_and(|lag| lag <= limits.lag) {
                Status::Pass
            } else {
                Status::Fail
            },
        });
    }
    checks
}

/// Tells whoever is configured that checks failed; `false` when nobody is. `failure` says why nothing could be checked.
///
/// # Errors
/// They could not be told.
pub fn tell(limits: &MonitorSection, failed: &[&Check], failure: Option<&str>) -> Result<bool> {
    let Some(webhook) = WebhookUrl::find(limits.webhook.as_ref())? else { return Ok(false) };
    let body = serde_json::json!({
        "job": super::graph::JOB,
        "status": "failed",
        "checks": failed,
        "error": failure,
    });
    webhook.send(&body, limits.webhook_attempts).map(|()| true)
}

/// Tells whoever is configured that a scheduled command failed; `false` when nobody is. `code`: its exit code, if it had one.
/// Nothing of its output goes along.
///
/// # Errors
/// They could not be told.
pub async fn tell_of_command(
    limits: &MonitorSection,
    command: &str,
    code: Option<i32>,
    timed_out: bool,
) -> Result<bool> {
    let Some(webhook) = WebhookUrl::find(limits.webhook.as_ref())? else { return Ok(false) };
    let body = serde_json::json!({
        "job": super::graph::JOB,
        "status": "failed",
        "command": command,
        "code": code,
        "timed_out": timed_out,
    });
    webhook.post(&body, limits.webhook_attempts).await.map(|()| true)
}

#[cfg(test)]
mod tests;
