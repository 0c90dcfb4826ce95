//! Reason codes: why a message is in quarantine. A row has every code that applies; a code names the field of the
//! message, never its value.
//!
//! The decoder gives those that say that something could not be read, [`super::rules`] the others.

/// Not JSON, or more than one JSON value.
pub const JSON_MALFORMED: &str = "json.malformed";
/// JSON, but no object.
pub const JSON_NOT_OBJECT: &str = "json.not_object";
/// Not UTF-8.
pub const UTF8_INVALID: &str = "utf8.invalid";
/// A tombstone or a message of no bytes.
pub const MESSAGE_EMPTY: &str = "message.empty";
/// Longer than the limit; not looked into.
pub const MESSAGE_TOO_LARGE: &str = "message.too_large";

/// `patient_id` is absent or null.
pub const PATIENT_ID_MISSING: &str = "patient_id.missing";
/// `patient_id` is no integer of 64 bits.
pub const PATIENT_ID_TYPE: &str = "patient_id.type";
/// `event_type` is absent or null.
pub const EVENT_TYPE_MISSING: &str = "event_type.missing";
/// `event_type` is none of the known ones.
pub const EVENT_TYPE_UNKNOWN: &str = "event_type.unknown";
/// `timestamp` is absent or null.
pub const TIMESTAMP_MISSING: &str = "timestamp.missing";
/// `timestamp` is no date and time in ISO 8601, or of no year from 1 to 9999.
pub const TIMESTAMP_UNPARSABLE: &str = "timestamp.unparsable";
/// `timestamp` lies before 1970.
pub const TIMESTAMP_PAST: &str = "timestamp.past";
/// `timestamp` lies too far ahead of the message's arrival.
pub const TIMESTAMP_FUTURE: &str = "timestamp.future";

/// `heart_rate` is no number.
pub const HEART_RATE_TYPE: &str = "heart_rate.type";
/// `heart_rate` is outside of its range.
pub const HEART_RATE_RANGE: &str = "heart_rate.range";
/// `temperature` is no number.
pub const TEMPERATURE_TYPE: &str = "temperature.type";
/// `temperature` is outside of its range.
pub const TEMPERATURE_RANGE: &str = "temperature.range";
/// `spo2` is no number.
pub const SPO2_TYPE: &str = "spo2.type";
/// `spo2` is outside of its range.
pub const SPO2_RANGE: &str = "spo2.range";
/// `respiratory_rate` is no number.
pub const RESPIRATORY_RATE_TYPE: &str = "respiratory_rate.type";
/// `respiratory_rate` is outside of its range.
pub const RESPIRATORY_RATE_RANGE: &str = "respiratory_rate.range";

/// `blood_pressure` is no text.
pub const BLOOD_PRESSURE_TYPE: &str = "blood_pressure.type";
/// `blood_pressure` is not two numbers of up to three digits with a slash between them.
pub const BLOOD_PRESSURE_UNPARSABLE: &str = "blood_pressure.unparsable";
/// The systolic pressure is not above the diastolic one.
pub const BLOOD_PRESSURE_ORDER: &str = "blood_pressure.order";
/// The systolic pressure is outside of its range.
pub const SYSTOLIC_RANGE: &str = "systolic.range";
/// The diastolic pressure is outside of its range.
pub const DIASTOLIC_RANGE: &str = "diastolic.range";

/// Codes that say that nothing of the message could be read, so that no other code applies.
pub const UNREADABLE: [&str; 5] =
    [JSON_MALFORMED, JSON_NOT_OBJECT, UTF8_INVALID, MESSAGE_EMPTY, MESSAGE_TOO_LARGE];

/// Codes that rules give, in their order; `event_type.unknown` is the decoder's, too, for what is no text.
pub const OF_RULES: [&str; 11] = [
    PATIENT_ID_MISSING,
    EVENT_TYPE_MISSING,
    EVENT_TYPE_UNKNOWN,
    TIMESTAMP_MISSING,
    BLOOD_PRESSURE_ORDER,
    HEART_RATE_RANGE,
    SYSTOLIC_RANGE,
    DIASTOLIC_RANGE,
    TEMPERATURE_RANGE,
    SPO2_RANGE,
    RESPIRATORY_RATE_RANGE,
];

/// Every code there is.
pub const ALL: [&str; 26] = [
    JSON_MALFORMED,
    JSON_NOT_OBJECT,
    UTF8_INVALID,
    MESSAGE_EMPTY,
    MESSAGE_TOO_LARGE,
    PATIENT_ID_MISSING,
    PATIENT_ID_TYPE,
    EVENT_TYPE_MISSING,
    EVENT_TYPE_UNKNOWN,
    TIMESTAMP_MISSING,
    TIMESTAMP_UNPARSABLE,
    TIMESTAMP_PAST,
    TIMESTAMP_FUTURE,
    HEART_RATE_TYPE,
    HEART_RATE_RANGE,
    TEMPERATURE_TYPE,
    TEMPERATURE_RANGE,
    SPO2_TYPE,
    SPO2_RANGE,
    RESPIRATORY_RATE_TYPE,
    RESPIRATORY_RATE_RANGE,
    BLOOD_PRESSURE_TYPE,
    BLOOD_PRESSURE_UNPARSABLE,
    BLOOD_PRESSURE_ORDER,
    SYSTOLIC_RANGE,
    DIASTOLIC_RANGE,
];
