//! Silver in its table against silver in its mirror topic.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_cast::display::{ArrayFormatter, FormatOptions};

use super::batches;

/// What is compared: where a row came from, and columns of each type.
const COMPARED: [&str; 6] = ["partition", "offset", "patient_id", "name", "event_type", "systolic"];

/// The topic's messages, JSON objects, are the table's rows, each as often.
pub(crate) fn assert_mirrored(data: &Path, messages: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    let (expected, found) = (silver(data), mirrored(messages));
    let lost: u64 =
        expected.iter().map(|(r, n)| n.saturating_sub(*found.get(r).unwrap_or(&0))).sum();
    let doubled: u64 =
        found.iter().map(|(r, n)| n.saturating_sub(*expected.get(r).unwrap_or(&0))).sum();
    let (rows, shown) = (expected.values().sum::<u64>(), data.display());
    assert_eq!((lost, doubled), (0, 0), "{shown}: of {rows} rows {lost} lost, {doubled} doubled");
}

fn silver(data: &Path) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    let options = FormatOptions::default().with_null("null");
    for batch in batches(&data.join("silver/events")) {
        let columns: Vec<_> = COMPARED
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

fn mirrored(messages: impl IntoIterator<Item = impl AsRef<[u8]>>) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for message in messages {
        let row: serde_json::Value = serde_json::from_slice(message.as_ref()).unwrap();
        let text = |name: &&str| match &row[*name] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let texts: Vec<String> = COMPARED.iter().map(text).collect();
        *counted.entry(texts.join("|")).or_default() += 1;
    }
    counted
}
