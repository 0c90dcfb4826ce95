//! The graph: from one source to bronze, silver, quarantine, late and gold.
//!
//! Each function is a stretch of the river and can be tested alone. What must hold whatever is changed here:
//!
//! * only [`Seal`]ed payloads and masked identities reach a table; the build fails otherwise, naming the way;
//! * every message is in bronze, and either in silver or in quarantine;
//! * lateness is decided once, behind silver: a late event is in silver and in `late/events`, and in no gold table.

use std::sync::Arc;

use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_core::connector::source::Source;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_core::record::{ColumnName, Untyped};
use thalweg_operators::{Aggregate, LATE, Lateness, Mask, Project, REJECTED, Seal};

use super::config::{HealthcareConfig, QuarantineSection, TimeSection};
use super::gold::{Kpis, Medications, PatientVitals, VitalsByBpCategory, VitalsByMinute};
use super::mirror::Mirror;
use super::record::{Bronze, Event, Quarantine, Silver};
use super::rules::validation;

/// Name of the job, the first part of every application id in the tables.
pub const JOB: &str = "healthcare";

/// Every message as received.
pub const BRONZE: &str = "bronze/events";
/// Every valid event.
pub const SILVER: &str = "silver/events";
/// Every message that is no valid event.
pub const QUARANTINE: &str = "quarantine/events";
/// The valid events that came after their minute had been closed.
pub const LATE_EVENTS: &str = "late/events";

/// Gold tells about what bronze and silver hold, so it is committed after them.
const GOLD_RANK: u8 = 1;

/// The healthcare pipeline over `source`, which must emit [`Event`]s, into the tables of `tables`, and silver into
/// `mirror` as well. Payloads are encrypted with keys derived from `key`.
///
/// # Errors
/// Every problem at once; with the sources of `thalweg-connectors` and [`super::HealthcareFormat`] there is none.
pub fn healthcare_graph(
    config: &HealthcareConfig,
    source: Arc<dyn Source>,
    tables: &Arc<DeltaCommitter>,
    mirror: Option<&Mirror>,
    key: &Arc<MasterKey>,
) -> Result<JobGraph, GraphErrors> {
    let env = StreamEnvironment::new(JOB);
    let events = events(&env, source, &config.time);
    bronze(events, tables, key);
    let QuarantineSection { stop_above, judged_over } = config.quarantine;
    let rules = validation(&config.ranges).stop_above(stop_above, judged_over);
    let valid = events.transform("validate", rules);
    quarantine(valid.side_output(&REJECTED), tables, key);
    let masked = valid.apply("mask", Mask::display().drop_column(Event::PAYLOAD));
    silver(masked, tables, mirror);
    let on_time = on_time(masked, tables, &config.time);
    gold(on_time, tables, &config.time);
    env.build()
}

fn events<'env>(
    env: &'env StreamEnvironment,
    source: Arc<dyn Source>,
    time: &TimeSection,
) -> DataStream<'env, Event> {
    let watermarks =
        WatermarkStrategy::bounded_out_of_orderness(Event::EVENT_TIME, time.out_of_orderness)
            .with_idleness(time.idle_after);
    env.shared_source("events", source).watermarks(watermarks)
}

fn bronze(events: DataStream<'_, Event>, tables: &Arc<DeltaCommitter>, key: &Arc<MasterKey>) {
    events
        .apply("bronze-seal", Seal::new(Arc::clone(key), BRONZE))
        .transform::<Bronze>("bronze-columns", Project::to::<Bronze>())
        .sink("bronze", DeltaSink::append(tables, BRONZE).uncompressed([Bronze::PAYLOAD.name()]));
}

fn quarantine(
    rejected: DataStream<'_, Untyped>,
    tables: &Arc<DeltaCommitter>,
    key: &Arc<MasterKey>,
) {
    let table = DeltaSink::append(tables, QUARANTINE)
        .uncompressed([Quarantine::PAYLOAD.name()])
        .single_writer();
    rejected
        .apply("quarantine-seal", Seal::new(Arc::clone(key), QUARANTINE))
        .transform::<Quarantine>("quarantine-columns", Project::to::<Quarantine>())
        .sink("quarantine", table);
}

fn silver(valid: DataStream<'_, Event>, tables: &Arc<DeltaCommitter>, mirror: Option<&Mirror>) {
    let rows = valid.transform::<Silver>("silver-columns", Project::to::<Silver>());
    rows.sink("silver", DeltaSink::append(tables, SILVER));
    if let Some(mirror) = mirror {
        rows.sink("mirror", mirror.sink());
    }
}

/// The events that can still enter their window; the others leave for their own table.
fn on_time<'env>(
    valid: DataStream<'env, Event>,
    tables: &Arc<DeltaCommitter>,
    time: &TimeSection,
) -> DataStream<'env, Silver> {
    let windows = TumblingEventTimeWindows::of(time.window);
    let lateness = Lateness::new(Event::EVENT_TIME, windows, time.allowed_lateness);
    let judged = valid.transform::<Silver>("lateness", lateness);
    judged
        .side_output(&LATE)
        .transform::<Silver>("late-columns", Project::to::<Silver>())
        .sink("late", DeltaSink::append(tables, LATE_EVENTS).single_writer());
    judged
}

fn gold(on_time: DataStream<'_, Silver>, tables: &Arc<DeltaCommitter>, time: &TimeSection) {
    let windows = TumblingEventTimeWindows::of(time.window);
    let summary = summary(time);
    let by = |key: ColumnName| on_time.key_by(key).window(windows);
    let table = |path: &str| DeltaSink::append(tables, path).rank(GOLD_RANK).single_writer();

    by(Silver::EVENT_TYPE.into())
        .aggregate::<VitalsByMinute>("vitals-by-minute", &summary)
        .sink("gold-vitals-by-minute", table("gold/vitals_by_minute"));
    by(Silver::BP_CATEGORY.into())
        .aggregate::<VitalsByBpCategory>("vitals-by-bp-category", &summary)
        .sink("gold-vitals-by-bp-category", table("gold/vitals_by_bp_category"));
    by(Silver::PATIENT_ID.into())
        .aggregate::<PatientVitals>("patient-vitals", &summary)
        .sink("gold-patient-vitals", table("gold/patient_vitals"));
    by(Silver::MEDICATION.into())
        .aggregate::<Medications>("medications", &summary)
        .sink("gold-medications", table("gold/medications"));
    on_time
        .key_by_all([])
        .window(windows)
        .aggregate::<Kpis>("kpis", &summary)
        .sink("gold-kpis", table("gold/kpis"));
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
    vitals.into_iter().fold(counts, |summary, vital| {
        let name = vital.0;
        summary
            .mean(vital, format!("{name}_mean"))
            .min(vital, format!("{name}_min"))
            .max(vital, format!("{name}_max"))
    })
}

#[cfg(test)]
mod tests;
