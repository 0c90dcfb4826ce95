//! The columns of the streams and of the tables that hold single events.

use thalweg_core::Record;
use thalweg_core::record::Micros;

/// What the source emits: where a message came from, its bytes, and what could be decoded of it.
#[derive(Debug, Clone, Record)]
pub struct Event {
    /// Kafka topic, or the file's name.
    pub topic: String,
    /// Kafka partition; 0 for a file.
    pub partition: i32,
    /// Kafka offset; for a file the byte at which the line starts.
    pub offset: i64,
    /// The broker's timestamp; null for a file.
    pub kafka_timestamp: Option<Micros>,
    /// When the message was read.
    pub ingested_at: Micros,
    /// The message as received; null for a tombstone.
    #[record(sensitivity = "phi.raw")]
    pub payload: Option<Vec<u8>>,
    /// The sender's own number or name for the event.
    pub event_id: Option<String>,
    /// Who the event is about.
    pub patient_id: Option<i64>,
    /// The patient's name.
    #[record(sensitivity = "phi.name")]
    pub name: Option<String>,
    /// The patient's social security number.
    #[record(sensitivity = "phi.ssn")]
    pub ssn: Option<String>,
    /// The patient's telephone number.
    #[record(sensitivity = "phi.phone")]
    pub phone: Option<String>,
    /// The patient's date of birth.
    #[record(sensitivity = "phi.dob")]
    pub dob: Option<String>,
    /// The patient's postal address.
    #[record(sensitivity = "phi.address")]
    pub address: Option<String>,
    /// What kind of event it is.
    pub event_type: Option<String>,
    /// Beats per minute.
    pub heart_rate: Option<f64>,
    /// Blood pressure as sent: `127/80`.
    pub blood_pressure: Option<String>,
    /// mmHg.
    pub systolic: Option<i32>,
    /// mmHg.
    pub diastolic: Option<i32>,
    /// See [`super::blood_pressure::Category`].
    pub bp_category: Option<String>,
    /// Degrees Fahrenheit.
    pub temperature: Option<f64>,
    /// Oxygen saturation in percent.
    pub spo2: Option<f64>,
    /// Breaths per minute.
    pub respiratory_rate: Option<f64>,
    /// What was given.
    pub medication: Option<String>,
    /// When it happened; null when that could not be told or is too far ahead.
    pub event_time: Option<Micros>,
    /// Alert, confused, responding to voice or pain, unresponsive: `A`, `C`, `V`, `P`, `U`.
    /// Messages may also have the letters in lower case, or the words `alert`, `confusion` or `new confusion`, `voice`,
    /// `pain`, `unresponsive`, in capitals or not; anything else is null and counted.
    pub consciousness: Option<String>,
    /// Whether the patient is given oxygen: in messages true or false, `1` or `0`, also as text; anything else is null and
    /// counted.
    pub oxygen: Option<bool>,
    /// The ward.
    pub unit: Option<String>,
    /// The monitor.
    pub device_id: Option<String>,
    /// What could not be decoded ([`super::reason`]); null when all could.
    pub decode_errors: Option<Vec<String>>,
}

/// Table `bronze/events`: every message as received, encrypted.
#[derive(Debug, Clone, Record)]
pub struct Bronze {
    /// Kafka topic, or the file's name.
    pub topic: String,
    /// Kafka partition; 0 for a file.
    pub partition: i32,
    /// Kafka offset; for a file the byte at which the line starts.
    pub offset: i64,
    /// The broker's timestamp; null for a file.
    pub kafka_timestamp: Option<Micros>,
    /// When the message was read.
    pub ingested_at: Micros,
    /// The key that opens the payload.
    pub key_id: String,
    /// The message, encrypted; null for a tombstone.
    pub payload: Option<Vec<u8>>,
}

/// Table `quarantine/events`: every message that is no valid event.
#[derive(Debug, Clone, Record)]
pub struct Quarantine {
    /// Why: every code of [`super::reason`] that applies.
    pub reason_codes: Vec<String>,
    /// Kafka topic, or the file's name.
    pub topic: String,
    /// Kafka partition; 0 for a file.
    pub partition: i32,
    /// Kafka offset; for a file the byte at which the line starts.
    pub offset: i64,
    /// When the message was read.
    pub ingested_at: Micros,
    /// The key that opens the payload.
    pub key_id: String,
    /// The message, encrypted; null for a tombstone.
    pub payload: Option<Vec<u8>>,
}

/// Tables `silver/events` and `late/events`: valid events, identities masked.
#[derive(Debug, Clone, Record)]
pub struct Silver {
    /// The sender's own number or name for the event.
    pub event_id: Option<String>,
    /// Who the event is about.
    pub patient_id: i64,
    /// The patient's name, masked.
    pub name: Option<String>,
    /// The patient's social security number, masked.
    pub ssn: Option<String>,
    /// The patient's telephone number, masked.
    pub phone: Option<String>,
    /// The patient's date of birth, masked.
    pub dob: Option<String>,
    /// The patient's postal address, masked.
    pub address: Option<String>,
    /// What kind of event it is.
    pub event_type: String,
    /// Beats per minute.
    pub heart_rate: Option<f64>,
    /// Blood pressure as sent: `127/80`.
    pub blood_pressure: Option<String>,
    /// mmHg.
    pub systolic: Option<i32>,
    /// mmHg.
    pub diastolic: Option<i32>,
    /// See [`super::blood_pressure::Category`].
    pub bp_category: Option<String>,
    /// Degrees Fahrenheit.
    pub temperature: Option<f64>,
    /// Oxygen saturation in percent.
    pub spo2: Option<f64>,
    /// Breaths per minute.
    pub respiratory_rate: Option<f64>,
    /// What was given.
    pub medication: Option<String>,
    /// When it happened.
    pub event_time: Micros,
    /// Kafka partition; 0 for a file.
    pub partition: i32,
    /// Kafka offset; for a file the byte at which the line starts.
    pub offset: i64,
    /// Alert, confused, responding to voice or pain, unresponsive: `A`, `C`, `V`, `P`, `U`.
    pub consciousness: Option<String>,
    /// Whether the patient is given oxygen.
    pub oxygen: Option<bool>,
    /// The ward.
    pub unit: Option<String>,
    /// The monitor.
    pub device_id: Option<String>,
}
