//! No direct identity value reaches a disk, a log, an error, or an answer to anybody in any role.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod at_rest;
mod served;

use serde_json::{Value, json};

/// Parts of the made-up identities that no mask lets through.
const SECRETS: [&str; 6] = ["Quimby", "123-45-", "867-1", "1961-07", "Evergreen", "MA 02118"];

/// Events of a patient at these seconds with parts of identities in every text, valid for all that, and events that are
/// rejected because of them.
fn misplaced(patient: i64, seconds: &[u32]) -> Vec<Value> {
    let told = |second: u32| {
        json!({
            "patient_id": patient, "name": "Zoë Quimby", "ssn": "123-45-6789", "phone": "(555) 867-1007",
            "dob": "1961-07-13", "address": "742 Evergreen Ter, Boston, MA 02118", "event_type": "vitals",
            "heart_rate": 200, "timestamp": format!("2025-11-24T21:00:{second:02}"),
            "event_id": format!("123-45-67{second:02}"), "medication": "Heparin, ask (555) 867-1007",
            "unit": "born 1961-07-13", "device_id": "Quimby@example.org", "consciousness": "Quimby",
            "oxygen": "Evergreen", "remark": "Zoë Quimby",
        })
    };
    let events = seconds.iter().map(|second| told(*second));
    let wrong = [
        ("patient_id", "123-45-6789"),
        ("event_type", "Quimby"),
        ("blood_pressure", "123-45-6789"),
        ("timestamp", "1961-07-13"),
        ("heart_rate", "867-1007"),
    ];
    let rejected = wrong.map(|(field, text)| {
        let mut event = told(25);
        event["patient_id"] = json!(patient + 1);
        event[field] = json!(text);
        event
    });
    events.chain(rejected).collect()
}

/// Whether `text` is somewhere in `bytes`.
fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
