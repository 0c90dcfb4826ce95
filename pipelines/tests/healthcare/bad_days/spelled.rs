//! Optional fields that senders write in their own way: what can be understood is, and of the rest the log tells.

use std::fs;

use arrow_array::Array;
use arrow_array::cast::AsArray;

use crate::support::{batches, run_file, shown};

#[test]
fn what_cannot_be_understood_is_told_once_a_field_and_without_a_value() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (folder.path().join("events.jsonl"), folder.path().join("data"));
    let event = |fields: &str| {
        format!(
            "{{\"patient_id\":7,\"event_type\":\"vitals\",\"timestamp\":\"2025-11-24T21:00:00\",{fields}}}\n"
        )
    };
    let odd = "\"consciousness\":\"drowsy\",\"oxygen\":\"4 litres\",\"ssn\":\"on file\"";
    let lines = ["\"consciousness\":\"new confusion\",\"oxygen\":\"true\"", odd, odd].map(event);
    fs::write(&input, lines.concat()).unwrap();
    let output = run_file(&data, &input).env("THALWEG_LOG", "warn").output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));

    let mut found = Vec::new();
    for batch in batches(&data.join("silver/events")) {
        let levels = batch.column_by_name("consciousness").unwrap().as_string::<i32>();
        let oxygen = batch.column_by_name("oxygen").unwrap().as_boolean();
        found.extend((0..batch.num_rows()).map(|row| {
            let level = levels.is_valid(row).then(|| levels.value(row).to_owned());
            (level, oxygen.is_valid(row).then(|| oxygen.value(row)))
        }));
    }
    found.sort();
    assert_eq!(found, [(None, None), (None, None), (Some("C".to_owned()), Some(true))]);

    let said = String::from_utf8(output.stderr).unwrap();
    // Two fields became null, an identity is masked whole.
    assert_eq!(said.matches("became null").count(), 2, "{said}");
    assert_eq!(said.matches("masked whole").count(), 1, "{said}");
    for value in ["drowsy", "litres", "on file"] {
        assert!(!said.contains(value), "{said}");
    }
}
