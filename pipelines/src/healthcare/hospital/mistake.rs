//! What goes wrong on the way from a monitor to a topic.

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

/// How many mistakes there are.
const MISTAKES: u32 = 16;

/// `good` with a random mistake.
pub(super) fn make(good: &[u8], random: &mut StdRng) -> Vec<u8> {
    numbered(random.random_range(0..MISTAKES), good)
}

fn numbered(mistake: u32, good: &[u8]) -> Vec<u8> {
    match mistake {
        0 => good.get(..good.len() / 2).unwrap_or_default().to_vec(),
        1 => [b"[".as_slice(), good, b"]"].concat(),
        2 => good.iter().map(|b| if *b == b',' { 0xff } else { *b }).collect(),
        3 => Vec::new(),
        _ => edited(mistake, good),
    }
}

fn edited(mistake: u32, good: &[u8]) -> Vec<u8> {
    let mut event: Map<String, Value> = serde_json::from_slice(good).unwrap_or_default();
    let (field, value) = match mistake {
        4 => ("heart_rate", json!(-5)),
        5 => ("heart_rate", json!("seventy")),
        6 => ("blood_pressure", json!("120/")),
        7 => ("blood_pressure", json!("80/120")),
        8 => ("blood_pressure", json!(120)),
        // Degrees Celsius.
        9 => ("temperature", json!(37.2)),
        10 => ("spo2", json!(0.97)),
        11 => ("timestamp", json!("yesterday")),
        12 => ("timestamp", Value::Null),
        13 => ("patient_id", Value::Null),
        14 => ("patient_id", json!("unknown")),
        _ => ("event_type", json!("???")),
    };
    event.insert(field.to_owned(), value);
    serde_json::to_vec(&event).unwrap_or_default()
}
