//! Made-up days of events, one a minute, that every check of a day is content with.

use std::fmt::Write as _;

/// An event of a made-up day.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) id: String,
    /// Such as `2025-11-24T21:10:00`.
    pub(crate) at: String,
    pub(crate) kind: &'static str,
    pub(crate) heart_rate: Option<i32>,
    pub(crate) medication: Option<String>,
}

impl Reading {
    pub(crate) fn new(day: &str, minute: u32) -> Self {
        let at = format!("{day}T{:02}:{:02}:00", minute / 60, minute % 60);
        let kind = if minute.is_multiple_of(5) { "medication" } else { "vitals" };
        Self {
            id: format!("{day}-{minute}"),
            at,
            kind,
            heart_rate: Some(60 + (minute % 40) as i32),
            medication: (kind == "medication").then(|| "Heparin".to_owned()),
        }
    }

    fn line(&self) -> String {
        let Self { id, at, kind, heart_rate, medication } = self;
        let null = || "null".to_owned();
        let heart_rate = heart_rate.map_or_else(null, |n| n.to_string());
        let medication = medication.as_ref().map_or_else(null, |m| format!("\"{m}\""));
        format!(
            "{{\"event_id\":\"{id}\",\"patient_id\":{},\"name\":\"Zoë Quimby\",\"ssn\":\"123-45-6789\",\
             \"phone\":\"(555) 867-5309\",\"dob\":\"1961-07-13\",\"address\":\"742 Evergreen Ter, Boston, MA 02118\",\
             \"event_type\":\"{kind}\",\"heart_rate\":{heart_rate},\"blood_pressure\":\"127/80\",\"temperature\":98.6,\
             \"spo2\":97,\"respiratory_rate\":16,\"medication\":{medication},\"timestamp\":\"{at}\"}}",
            1_000 + id.len() * 7 + at.len()
        )
    }
}

/// A whole day.
pub(crate) fn day(day: &str) -> Vec<Reading> {
    (0..24 * 60).map(|minute| Reading::new(day, minute)).collect()
}

/// As JSON lines.
pub(crate) fn lines(readings: &[Reading]) -> String {
    let mut text = String::new();
    for reading in readings {
        writeln!(text, "{}", reading.line()).unwrap();
    }
    text
}
