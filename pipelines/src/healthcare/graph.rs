//! The graph: from one source to bronze, silver, quarantine, late, alerts and gold.
//!
//! Each function is a stretch of the river and can be tested alone. What must hold whatever is changed here:
//!
//! * only [`Seal`]ed payloads and masked identities reach a table; the build fails otherwise, naming the way;
//! * every message is in bronze, and either in silver or in quarantine, unless rejected ones of a stage are to be dropped;
//! * lateness is decided once, behind silver: a late event is in silver and in `late/events`, and in no gold table;
//! * alerts hang in front of it: they tell late from new by patient and rule, and need each row's own watermark;
//! * alerts hang beside validation: an event that is none because of one vital may be what somebody is to be paged for.

use std::sync::Arc;

use thalweg_connectors::delta::{DeltaCommitter, DeltaSink, SchemaEvolution};
use thalweg_core::connector::sink::Sink;
use thalweg_core::connector::source::Source;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_core::record::{ColumnName, Untyped};
use thalweg_operators::{Aggregate, LATE, Lateness, Mask, Project, REJECTED, Seal};

use super::alerts::command::{self, CommandMessage};
use super::alerts::{AlertEvent, Observation, PatientAlerts, readings};
use super::config::{HealthcareConfig, QuarantineSection, TimeSection};
use super::dashboard::tap::{Tap, Tapped};
use super::gold::{Kpis, Medications, PatientVitals, VitalsByBpCategory, VitalsByMinute};
use super::quarantine::{DeadLetter, Stage, dead_letters};
use super::record::{Bronze, Event, Quarantine, Silver};
use super::rules::{Ranges, validation};
use super::topics::Topics;

/// Name of the job, the first part of every application id in the tables.
pub const JOB: &str = "healthcare";

/// Uid of the source of events.
pub const EVENTS: &str = "events";
/// Uid of the source of commands about alerts. Its splits are called as those of events are.
pub const COMMANDS: &str = "alert-commands";

/// Every message as received.
pub const BRONZE: &str = "bronze/events";
/// Every valid event.
pub const SILVER: &str = "silver/events";
/// Every message that is no valid event.
pub const QUARANTINE: &str = "quarantine/events";
/// The valid events that came after their minute had been closed.
pub const LATE_EVENTS: &str = "late/events";
/// Every change of an alert's state.
pub const ALERTS: &str = "alerts/events";

/// Per minute and kind of event.
pub const VITALS_BY_MINUTE: &str = "gold/vitals_by_minute";
/// Per minute and category of blood pressure.
pub const VITALS_BY_BP_CATEGORY: &str = "gold/vitals_by_bp_category";
/// Per minute and patient.
pub const PATIENT_VITALS: &str = "gold/patient_vitals";
/// Per minute and medication.
pub const MEDICATIONS: &str = "gold/medications";
/// Per minute.
pub const KPIS: &str = "gold/kpis";

/// Gold tells about what bronze and silver hold, so it is committed after them.
const GOLD_RANK: u8 = 1;

/// Where rows come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Emits [`Event`]s.
    pub events: Arc<dyn Source>,
    /// Emits [`CommandMessage`]s; none: nobody acknowledges or snoozes an alert.
    pub commands: Option<Arc<dyn Source>>,
}

impl From<Arc<dyn Source>> for Sources {
    fn from(events: Arc<dyn Source>) -> Self {
        Self { events, commands: None }
    }
}

/// The healthcare pipeline over `sources`, into the tables of `tables`, silver,
/// alerts and dead letters into `topics` as well, as far as they are named there. Payloads are encrypted with keys derived from `key`.
///
/// # Errors
/// Every problem at once; with the sources of `thalweg-connectors` and [`super::HealthcareFormat`] there is none.
pub fn healthcare_graph(
    config: &HealthcareConfig,
    sources: impl Into<Sources>,
    tables: &Arc<DeltaCommitter>,
    topics: Option<&Topics>,
    key: &Arc<MasterKey>,
) -> Result<JobGraph> {
    tapped_graph(config, sources, tables, topics, key, None)
}

/// The same with a tap behind the masks, for dashboards. The tap is no part of the graph.
///
/// # Errors
/// As [`healthcare_graph`].
pub fn tapped_graph(
    config: &HealthcareConfig,
    sources: impl Into<Sources>,
    tables: &Arc<DeltaCommitter>,
    topics: Option<&Topics>,
    key: &Arc<MasterKey>,
    tap: Option<&Arc<Tap>>,
) -> Result<JobGraph> {
    let env = StreamEnvironment::new(JOB);
    let sources = sources.into();
    let events = events(&env, sources.events, &config.time);
    bronze(events, tables, key);
    let section = &config.quarantine;
    let rules = validation(&config.ranges)
        .on_rejected(section.of(Stage::Validate).policy())
        .on_undecodable(section.of(Stage::Decode).policy())
        .stop_above(section.stop_above, section.judged_over);
    let valid = events.transform("validate", rules);
    quarantine(valid.side_output(&REJECTED), section, tables, topics, key);
    let mask = Mask::display().drop_column(Event::PAYLOAD);
    let mask = match tap {
        Some(tap) => mask.counting(tap.masked()),
        None => mask,
    };
    let masked = valid.apply("mask", mask);
    silver(masked, tables, topics);
    if config.alerts.enabled {
        let commands = sources.commands.map(|source| env.shared_source(COMMANDS, source));
        let observations = observations(events, &config.ranges);
        let changes = alerts(observations, commands, PatientAlerts::new(config)?);
        changes.sink("alerts", delta(tables, ALERTS).single_writer());
        if let Some(topic) = topics.and_then(Topics::alerts) {
            changes.sink("alerts-topic", topic);
        }
    }
    let on_time = on_time(masked, tables, &config.time, tap);
    let table = |path: &str| delta(tables, path).rank(GOLD_RANK).single_writer();
    gold(on_time, &config.time, table);
    Ok(env.build()?)
}

/// A table. One of an older release gets the columns that are new since.
fn delta(tables: &Arc<DeltaCommitter>, path: &str) -> DeltaSink {
    DeltaSink::append(tables, path).schema_evolution(SchemaEvolution::AddColumns)
}

fn events<'env>(
    env: &'env StreamEnvironment,
    source: Arc<dyn Source>,
    time: &TimeSection,
) -> DataStream<'env, Event> {
    let watermarks =
        WatermarkStrategy::bounded_out_of_orderness(Event::EVENT_TIME, time.out_of_orderness)
            .with_idleness(time.idle_after)
            // By what the broker wrote down, which a replay finds again; the lines of a file have no arrivals.
            .with_future_cap(Event::KAFKA_TIMESTAMP, time.ahead);
    env.shared_source(EVENTS, source).watermarks(watermarks)
}

fn bronze(events: DataStream<'_, Event>, tables: &Arc<DeltaCommitter>, key: &Arc<MasterKey>) {
    events
        .apply("bronze-seal", Seal::new(Arc::clone(key), BRONZE))
        .transform::<Bronze>("bronze-columns", Project::to::<Bronze>())
        .sink("bronze", delta(tables, BRONZE).uncompressed([Bronze::PAYLOAD.name()]));
}

fn quarantine(
    rejected: DataStream<'_, Untyped>,
    section: &QuarantineSection,
    tables: &Arc<DeltaCommitter>,
    topics: Option<&Topics>,
    key: &Arc<MasterKey>,
) {
    let table =
        delta(tables, QUARANTINE).uncompressed([Quarantine::PAYLOAD.name()]).single_writer();
    let rows = rejected
        .apply("quarantine-seal", Seal::new(Arc::clone(key), QUARANTINE))
        .transform::<Quarantine>("quarantine-columns", Project::to::<Quarantine>());
    rows.sink("quarantine", table);
    if let Some(topic) = topics.and_then(Topics::dead_letters) {
        rows.transform::<DeadLetter>("dead-letter-columns", dead_letters(section))
            .sink("dead-letters", topic);
    }
}

fn silver(valid: DataStream<'_, Event>, tables: &Arc<DeltaCommitter>, topics: Option<&Topics>) {
    let rows = valid.transform::<Silver>("silver-columns", Project::to::<Silver>());
    rows.sink("silver", delta(tables, SILVER));
    if let Some(mirror) = topics.and_then(Topics::mirror) {
        rows.sink("mirror", mirror);
    }
}

/// What alerts see of events, valid or not.
fn observations<'env>(
    events: DataStream<'env, Event>,
    ranges: &Ranges,
) -> DataStream<'env, Observation> {
    events
        .apply("alert-columns", readings::columns())
        .transform::<Observation>("alert-readings", readings::readings(ranges))
}

/// What somebody should know at once.
fn alerts<'env>(
    events: DataStream<'env, Observation>,
    commands: Option<DataStream<'env, CommandMessage>>,
    operator: PatientAlerts,
) -> DataStream<'env, AlertEvent> {
    let by_patient = match commands {
        None => events.key_by(Observation::PATIENT_ID),
        Some(commands) => {
            let kept =
                CommandMessage::COLUMNS.iter().filter(|c| **c != CommandMessage::PAYLOAD.name());
            let commands = commands
                .apply("alert-command-columns", Project::columns(kept.copied()))
                .transform::<Observation>("alert-command-rows", command::commands())
                .key_by(Observation::PATIENT_ID);
            events
                .apply("alert-events", command::events())
                .key_by(Observation::PATIENT_ID)
                .union(commands)
        }
    };
    by_patient.transform("alerts-by-patient", operator)
}

/// The events that can still enter their window; the others leave for their own table.
fn on_time<'env>(
    valid: DataStream<'env, Event>,
    tables: &Arc<DeltaCommitter>,
    time: &TimeSection,
    tap: Option<&Arc<Tap>>,
) -> DataStream<'env, Silver> {
    let windows = TumblingEventTimeWindows::of(time.window);
    let lateness = Lateness::new(Event::EVENT_TIME, windows, time.allowed_lateness);
    let judged = match tap {
        None => valid.transform::<Silver>("lateness", lateness),
        Some(tap) => valid.transform::<Silver>("lateness", Tapped::new(lateness, tap)),
    };
    judged
        .side_output(&LATE)
        .transform::<Silver>("late-columns", Project::to::<Silver>())
        .sink("late", delta(tables, LATE_EVENTS).single_writer());
    judged
}

/// The gold tables over the events that came in time, which have at least those columns of [`Silver`] that are counted;
/// `table` makes the sink of the one at a path.
pub(super) fn gold<R, S: Sink + 'static>(
    on_time: DataStream<'_, R>,
    time: &TimeSection,
    table: impl Fn(&str) -> S,
) {
    let windows = TumblingEventTimeWindows::of(time.window);
    let summary = summary(time);
    let by = |key: ColumnName| on_time.key_by(key).window(windows);

    by(Silver::EVENT_TYPE.into())
        .aggregate::<VitalsByMinute>("vitals-by-minute", &summary)
        .sink("gold-vitals-by-minute", table(VITALS_BY_MINUTE));
    by(Silver::BP_CATEGORY.into())
        .aggregate::<VitalsByBpCategory>("vitals-by-bp-category", &summary)
        .sink("gold-vitals-by-bp-category", table(VITALS_BY_BP_CATEGORY));
    by(Silver::PATIENT_ID.into())
        .aggregate::<PatientVitals>("patient-vitals", &summary)
        .sink("gold-patient-vitals", table(PATIENT_VITALS));
    by(Silver::MEDICATION.into())
        .aggregate::<Medications>("medications", &summary)
        .sink("gold-medications", table(MEDICATIONS));
    on_time
        .key_by_all([])
        .window(windows)
        .aggregate::<Kpis>("kpis", &summary)
        .sink("gold-kpis", table(KPIS));
}

/// What every gold table says about its events.
fn summary(time: &TimeSection) -> Aggregate {
    let counts = Aggregate::over(Silver::EVENT_TIME)
        .allowed_lateness(time.allowed_lateness)
        .count("events")
        .count_distinct(Silver::PATIENT_ID, "patients");
    let vitals: [ColumnName; 6] = [
        Silver::HEART_RATE.into(),
        Silver::SYSTOLIC.into(),
        Silver::DIASTOLIC.into(),
        Silver::TEMPERATURE.into(),
        Silver::SPO2.into(),
        Silver::RESPIRATORY_RATE.into(),
    ];
    let summary = vitals.into_iter().fold(counts, |summary, vital| {
        let name = vital.0;
        summary
            .mean(vital, format!("{name}_mean"))
            .min(vital, format!("{name}_min"))
            .max(vital, format!("{name}_max"))
    });
    let readings = |summary: Aggregate, vital: ColumnName| {
        summary.count_values(vital, format!("{}_readings", vital.0))
    };
    vitals.into_iter().fold(summary, readings)
}

#[cfg(test)]
mod tests;
