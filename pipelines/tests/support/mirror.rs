//! Rows in a table against the same rows in a topic.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_cast::display::{ArrayFormatter, FormatOptions};

use super::batches;

/// What is compared of silver: where a row came from, and columns of each type.
const SILVER: [&str; 6] = ["partition", "offset", "patient_id", "name", "event_type", "systolic"];

/// What is compared of dead letters: where they came from, why, and the same ciphertext.
const DEAD_LETTERS: [&str; 6] =
    ["topic", "partition", "offset", "reason_codes", "key_id", "payload"];

/// The mirror's messages are silver's rows, each as often.
pub(crate) fn assert_mirrored(data: &Path, messages: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    assert_sent(data, "silver/events", &SILVER, messages);
}

/// The dead letters are quarantine's rows, each as often.
pub(crate) fn assert_dead_letters(
    data: &Path,
    messages: impl IntoIterator<Item = impl AsRef<[u8]>>,
) {
    assert_sent(data, "quarantine/events", &DEAD_LETTERS, messages);
}

/// The topic's messages, JSON objects, are the table's rows, each as often.
fn assert_sent(
    data: &Path,
    table: &str,
    compared: &[&str],
    messages: impl IntoIterator<Item = impl AsRef<[u8]>>,
) {
    let (expected, found) = (stored(&data.join(table), compared), sent(messages, compared));
    let lost: u64 =
        expected.iter().map(|(r, n)| n.saturating_sub(*found.get(r).unwrap_or(&0))).sum();
    let doubled: u64 =
        found.iter().map(|(r, n)| n.saturating_sub(*expected.get(r).unwrap_or(&0))).sum();
    let (rows, shown) = (expected.values().sum::<u64>(), data.display());
    assert!(rows > 0, "{shown}: nothing to compare");
    assert_eq!((lost, doubled), (0, 0), "{shown}: of {rows} rows {lost} lost, {doubled} doubled");
}

fn stored(table: &Path, compared: &[&str]) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    let options = FormatOptions::default().with_null("null");
    for batch in batches(table) {
        let columns: Vec<_> = compared
            .iter()
            .map(|name| ArrayFormatter::try_new(batch.column_by_name(name).unwrap(), &options))
            .collect::<Result<_, _>>()
            .unwrap();
        for row in 0..batch.num_rows() {
            let texts: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            *counted.entry(texts.join("|")).or_default() += 1;
        }
    }
    counted
}

fn sent(
    messages: impl IntoIterator<Item = impl AsRef<[u8]>>,
    compared: &[&str],
) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for message in messages {
        let row: serde_json::Value = serde_json::from_slice(message.as_ref()).unwrap();
        let texts: Vec<String> = compared.iter().map(|name| text(&row[*name])).collect();
        *counted.entry(texts.join("|")).or_default() += 1;
    }
    counted
}

fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => {
            format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
