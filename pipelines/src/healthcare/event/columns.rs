//! Collects decoded messages, a builder a column. The builders are used again for every batch.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{
    BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use thalweg_connectors::json::parse_time;
use thalweg_core::time::EventTime;

use super::message::{Field, Message};
use super::scalar::Scalar;
use super::spelling;
use crate::healthcare::blood_pressure::BloodPressure;
use crate::healthcare::{identifiers, reason};

/// The fields of which a value that cannot be used becomes null and is counted; those of all others have reason codes.
pub(super) const OPTIONAL: [Field; 11] = [
    Field::EventId,
    Field::Name,
    Field::Ssn,
    Field::Phone,
    Field::Dob,
    Field::Address,
    Field::Medication,
    Field::Consciousness,
    Field::Oxygen,
    Field::Unit,
    Field::DeviceId,
];

/// The fields that are shown as they were sent, but for a text that seems to hold an identifier: it becomes null, and is
/// counted by itself.
pub(super) const SEARCHED: [Field; 4] =
    [Field::EventId, Field::Medication, Field::Unit, Field::DeviceId];

/// How many values, by field.
pub(super) type Counts = [u64; Field::COUNT];

#[derive(Debug)]
pub(super) struct Columns {
    event_id: StringBuilder,
    patient_id: Int64Builder,
    name: StringBuilder,
    ssn: StringBuilder,
    phone: StringBuilder,
    dob: StringBuilder,
    address: StringBuilder,
    event_type: StringBuilder,
    heart_rate: Float64Builder,
    blood_pressure: StringBuilder,
    systolic: Int32Builder,
    diastolic: Int32Builder,
    bp_category: StringBuilder,
    temperature: Float64Builder,
    spo2: Float64Builder,
    respiratory_rate: Float64Builder,
    medication: StringBuilder,
    event_time: TimestampMicrosecondBuilder,
    consciousness: StringBuilder,
    oxygen: BooleanBuilder,
    unit: StringBuilder,
    device_id: StringBuilder,
    decode_errors: ListBuilder<StringBuilder>,
    /// Reason codes of the row at hand.
    codes: Vec<&'static str>,
    unusable: Counts,
    withheld: Counts,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            event_id: StringBuilder::new(),
            patient_id: Int64Builder::new(),
            name: StringBuilder::new(),
            ssn: StringBuilder::new(),
            phone: StringBuilder::new(),
            dob: StringBuilder::new(),
            address: StringBuilder::new(),
            event_type: StringBuilder::new(),
            heart_rate: Float64Builder::new(),
            blood_pressure: StringBuilder::new(),
            systolic: Int32Builder::new(),
            diastolic: Int32Builder::new(),
            bp_category: StringBuilder::new(),
            temperature: Float64Builder::new(),
            spo2: Float64Builder::new(),
            respiratory_rate: Float64Builder::new(),
            medication: StringBuilder::new(),
            event_time: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            consciousness: StringBuilder::new(),
            oxygen: BooleanBuilder::new(),
            unit: StringBuilder::new(),
            device_id: StringBuilder::new(),
            decode_errors: ListBuilder::new(StringBuilder::new()),
            codes: Vec::new(),
            unusable: [0; Field::COUNT],
            withheld: [0; Field::COUNT],
        }
    }
}

impl Columns {
    /// Adds a row. An event time behind `latest` does not count.
    pub(super) fn append(&mut self, message: &Message<'_>, latest: EventTime) {
        self.codes.clear();
        self.append_required(message, latest);
        self.append_vitals(message);
        self.append_optional(message);
        self.append_codes();
    }

    /// Adds a row of a message of which nothing could be read.
    pub(super) fn append_unreadable(&mut self, code: &'static str) {
        let nothing = Message::default();
        self.codes.clear();
        self.append_required(&nothing, EventTime::MAX);
        self.append_vitals(&nothing);
        self.append_optional(&nothing);
        self.codes.push(code);
        self.append_codes();
    }

    fn append_required(&mut self, message: &Message<'_>, latest: EventTime) {
        let codes = &mut self.codes;
        let patient = message.scalar(Field::PatientId);
        self.patient_id.append_option(integer(&patient, reason::PATIENT_ID_TYPE, codes));
        let kind = message.scalar(Field::EventType);
        self.event_type.append_option(text(&kind, reason::EVENT_TYPE_UNKNOWN, codes));
        let timestamp = message.scalar(Field::Timestamp);
        self.event_time.append_option(event_time(&timestamp, latest, codes));
    }

    fn append_vitals(&mut self, message: &Message<'_>) {
        let codes = &mut self.codes;
        let written = message.scalar(Field::BloodPressure);
        let reading = blood_pressure(&written, codes);
        self.blood_pressure.append_option(reading.map(|(text, _)| text));
        self.systolic.append_option(reading.map(|(_, bp)| bp.systolic));
        self.diastolic.append_option(reading.map(|(_, bp)| bp.diastolic));
        self.bp_category.append_option(reading.map(|(_, bp)| bp.category().as_str()));
        for (column, field, code) in [
            (&mut self.heart_rate, Field::HeartRate, reason::HEART_RATE_TYPE),
            (&mut self.temperature, Field::Temperature, reason::TEMPERATURE_TYPE),
            (&mut self.spo2, Field::Spo2, reason::SPO2_TYPE),
            (&mut self.respiratory_rate, Field::RespiratoryRate, reason::RESPIRATORY_RATE_TYPE),
        ] {
            column.append_option(number(&message.scalar(field), code, codes));
        }
    }

    fn append_optional(&mut self, message: &Message<'_>) {
        let unusable = &mut self.unusable;
        for (column, field) in [
            (&mut self.event_id, Field::EventId),
            (&mut self.name, Field::Name),
            (&mut self.ssn, Field::Ssn),
            (&mut self.phone, Field::Phone),
            (&mut self.dob, Field::Dob),
            (&mut self.address, Field::Address),
            (&mut self.medication, Field::Medication),
            (&mut self.unit, Field::Unit),
            (&mut self.device_id, Field::DeviceId),
        ] {
            let value = message.scalar(field);
            if discloses(field, &value) {
                column.append_null();
                count(&mut self.withheld, field);
            } else {
                column.append_option(counted(text_or_number(&value), &value, field, unusable));
            }
        }
        let field = Field::Consciousness;
        let value = message.scalar(field);
        let level = spelling::consciousness(&value);
        self.consciousness.append_option(counted(level, &value, field, unusable));
        let field = Field::Oxygen;
        let value = message.scalar(field);
        self.oxygen.append_option(counted(spelling::flag(&value), &value, field, unusable));
    }

    /// Ends the row; a row without a code has no list.
    fn append_codes(&mut self) {
        for code in &self.codes {
            self.decode_errors.values().append_value(code);
        }
        self.decode_errors.append(!self.codes.is_empty());
    }

    /// Values of optional fields that became null since this was last asked.
    pub(super) fn take_unusable(&mut self) -> Counts {
        std::mem::replace(&mut self.unusable, [0; Field::COUNT])
    }

    /// Texts that were left out since this was last asked because they seem to hold an identifier.
    pub(super) fn take_withheld(&mut self) -> Counts {
        std::mem::replace(&mut self.withheld, [0; Field::COUNT])
    }

    /// The columns in the order of the record; leaves the builders empty.
    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        vec![
            Arc::new(self.event_id.finish()),
            Arc::new(self.patient_id.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.ssn.finish()),
            Arc::new(self.phone.finish()),
            Arc::new(self.dob.finish()),
            Arc::new(self.address.finish()),
            Arc::new(self.event_type.finish()),
            Arc::new(self.heart_rate.finish()),
            Arc::new(self.blood_pressure.finish()),
            Arc::new(self.systolic.finish()),
            Arc::new(self.diastolic.finish()),
            Arc::new(self.bp_category.finish()),
            Arc::new(self.temperature.finish()),
            Arc::new(self.spo2.finish()),
            Arc::new(self.respiratory_rate.finish()),
            Arc::new(self.medication.finish()),
            Arc::new(self.event_time.finish()),
            Arc::new(self.consciousness.finish()),
            Arc::new(self.oxygen.finish()),
            Arc::new(self.unit.finish()),
            Arc::new(self.device_id.finish()),
            Arc::new(self.decode_errors.finish()),
        ]
    }
}

/// The text of a required field. What is no text gets `code`; null gets none, since [`super::super::rules`] knows it.
fn text<'a>(
    value: &'a Scalar<'_>,
    code: &'static str,
    codes: &mut Vec<&'static str>,
) -> Option<&'a str> {
    match value {
        Scalar::Text(text) => Some(text),
        Scalar::Null => None,
        _ => refused(code, codes),
    }
}

fn integer(value: &Scalar<'_>, code: &'static str, codes: &mut Vec<&'static str>) -> Option<i64> {
    match value {
        Scalar::Null => None,
        Scalar::Number(digits) => digits.parse().ok().or_else(|| refused(code, codes)),
        _ => refused(code, codes),
    }
}

/// Too large for a float is infinite, which is outside of every range.
fn number(value: &Scalar<'_>, code: &'static str, codes: &mut Vec<&'static str>) -> Option<f64> {
    match value {
        Scalar::Null => None,
        Scalar::Number(digits) => digits.parse().ok().or_else(|| refused(code, codes)),
        _ => refused(code, codes),
    }
}

fn event_time(
    value: &Scalar<'_>,
    latest: EventTime,
    codes: &mut Vec<&'static str>,
) -> Option<EventTime> {
    let parsed = match value {
        Scalar::Null => return None,
        Scalar::Text(text) => parse_time(text),
        _ => None,
    };
    match parsed {
        None => refused(reason::TIMESTAMP_UNPARSABLE, codes),
        // No monitor is as old: a clock that was never set, or the zero of a sender's type.
        Some(time) if time < 0 => refused(reason::TIMESTAMP_PAST, codes),
        Some(time) if time > latest => refused(reason::TIMESTAMP_FUTURE, codes),
        Some(time) => Some(time),
    }
}

fn blood_pressure<'a>(
    value: &'a Scalar<'_>,
    codes: &mut Vec<&'static str>,
) -> Option<(&'a str, BloodPressure)> {
    let text = text(value, reason::BLOOD_PRESSURE_TYPE, codes)?;
    match BloodPressure::parse(text) {
        Some(reading) => Some((text, reading)),
        None => refused(reason::BLOOD_PRESSURE_UNPARSABLE, codes),
    }
}

fn refused<T>(code: &'static str, codes: &mut Vec<&'static str>) -> Option<T> {
    codes.push(code);
    None
}

/// Senders write ids, telephone and social security numbers as numbers, too.
fn text_or_number<'a>(value: &'a Scalar<'_>) -> Option<&'a str> {
    match value {
        Scalar::Text(text) => Some(text),
        Scalar::Number(digits) => Some(digits),
        _ => None,
    }
}

/// Whether a value would show an identifier that no mask looks at. A number has the shape of none.
fn discloses(field: Field, value: &Scalar<'_>) -> bool {
    let Scalar::Text(text) = value else { return false };
    match field {
        Field::EventId | Field::DeviceId => identifiers::in_name(text).is_some(),
        Field::Medication | Field::Unit => identifiers::in_text(text).is_some(),
        _ => false,
    }
}

/// Counts a value that was there and of which nothing is left.
fn counted<T>(
    kept: Option<T>,
    value: &Scalar<'_>,
    field: Field,
    unusable: &mut Counts,
) -> Option<T> {
    if kept.is_none() && *value != Scalar::Null {
        count(unusable, field);
    }
    kept
}

fn count(counts: &mut Counts, field: Field) {
    if let Some(count) = counts.get_mut(field as usize) {
        *count += 1;
    }
}
