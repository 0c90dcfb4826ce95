//! The columns in front of and behind the alerts.

use thalweg_core::Record;
use thalweg_core::record::Micros;

/// What rules look at. Narrow, since it goes through the exchange by patient.
#[derive(Debug, Clone, Record)]
pub struct Observation {
    /// Who the event is about.
    pub patient_id: i64,
    /// When it happened.
    pub event_time: Micros,
    /// Beats per minute.
    pub heart_rate: Option<f64>,
    /// mmHg.
    pub systolic: Option<i32>,
    /// mmHg.
    pub diastolic: Option<i32>,
    /// Degrees Fahrenheit.
    pub temperature: Option<f64>,
    /// Oxygen saturation in percent.
    pub spo2: Option<f64>,
    /// Breaths per minute.
    pub respiratory_rate: Option<f64>,
    /// Alert, confused, responding to voice or pain, unresponsive: `A`, `C`, `V`, `P`, `U`.
    pub consciousness: Option<String>,
    /// Whether the patient is given oxygen.
    pub oxygen: Option<bool>,
    /// When it arrived, as the broker says; null for a file.
    pub kafka_timestamp: Option<Micros>,
    /// How far event time had advanced in the row's own split ([`thalweg_core::watermark::ROW_WATERMARK`]).
    pub row_watermark: Option<i64>,
}

/// Table `alerts/events`: every change of an alert's state. The newest row of an alert is the one of the highest
/// `sequence`.
#[derive(Debug, Clone, Record)]
pub struct AlertEvent {
    /// Names the alert: patient, rule, and the time of the first event beyond the limit.
    pub alert_id: String,
    /// The how-manieth change of the alert this is, from 1.
    pub sequence: i32,
    /// Who it is about.
    pub patient_id: i64,
    /// The rule's name.
    pub rule: String,
    /// `pending`, `firing`, `acknowledged`, `snoozed`, `resolved`.
    pub state: String,
    /// `info`, `warning`, `critical`.
    pub severity: String,
    /// The vital that the rule watches, if it is a single one.
    pub vital: Option<String>,
    /// Its newest value.
    pub value: Option<f64>,
    /// The early warning score, for its rule: a lower bound while parameters are missing.
    pub score: Option<i32>,
    /// How many of the score's seven parameters are missing; 0: it is complete.
    pub score_missing: Option<i32>,
    /// When the state changed, in event time; never before the alert's row before.
    pub event_time: Micros,
    /// When it fired first; null if it never did.
    pub fired_at: Option<Micros>,
    /// Who acknowledged or snoozed it.
    pub by: Option<String>,
}
