//! One clock that is nearly a day ahead: what the others send counts as it would without it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and how old something is goes by the wall clock"
)]

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use thalweg_connectors::kafka::{DemoBroker, TopicWriter};

use crate::support::{count, ends_with, healthcare, last_line, run_file, shown, succeed};

/// 2025-11-24T21:00:00Z, ms.
const START: i64 = 1_764_018_000_000;
const TOPIC: &str = "events";

/// What an event says of its time, and how many seconds behind the start it arrives.
const EVENTS: [(&str, i64); 5] = [
    ("2025-11-24T21:00:00", 0),
    ("2025-11-25T20:00:00", 1),
    ("2025-11-24T21:00:02", 2),
    ("2025-11-24T21:03:20", 200),
    // Its minute is over.
    ("2025-11-24T21:00:03", 201),
];

fn event(time: &str) -> String {
    format!(r#"{{"patient_id":1,"event_type":"vitals","heart_rate":80,"timestamp":"{time}"}}"#)
}

#[test]
fn an_event_from_tomorrow_makes_nothing_late_where_arrivals_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("topic");
    let broker = DemoBroker::start(TOPIC, 1).unwrap();
    let writer = TopicWriter::new(broker.bootstrap_servers(), TOPIC, &BTreeMap::new()).unwrap();
    for (time, arrival) in EVENTS {
        let arrival = START + arrival * 1_000;
        writer.send_to(0, Some(event(time).as_bytes()), Some(arrival)).unwrap();
    }
    writer.flush(Duration::from_mins(2)).unwrap();
    let mut run = healthcare();
    run.args(["run", "--quiet", "--topic", TOPIC, "--events", "5", "--drain"]);
    run.args(["--bootstrap-servers", broker.bootstrap_servers(), "--data-dir"]).arg(&data);
    succeed(&mut run);
    assert_eq!((count(&data, "silver/events"), count(&data, "late/events")), (5, 1));
}

#[test]
fn a_drain_closes_the_windows_of_a_clock_that_is_ahead_and_no_table_looks_new_by_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("drained");
    let broker = DemoBroker::start(TOPIC, 1).unwrap();
    let writer = TopicWriter::new(broker.bootstrap_servers(), TOPIC, &BTreeMap::new()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    for hours in [-3, 5] {
        let at = speedate::DateTime::from_timestamp(now / 1_000 + hours * 3_600, 0).unwrap();
        writer.send_to(0, Some(event(&at.to_string()).as_bytes()), Some(now)).unwrap();
    }
    writer.flush(Duration::from_mins(2)).unwrap();
    let mut run = healthcare();
    run.args(["run", "--quiet", "--topic", TOPIC, "--events", "2", "--drain"]);
    run.args(["--bootstrap-servers", broker.bootstrap_servers(), "--data-dir"]).arg(&data);
    succeed(&mut run);
    assert_eq!(count(&data, "gold/kpis"), 2);
    let output = ends_with(healthcare().args(["monitor", "--data-dir"]).arg(&data), 1);
    let failed = &last_line(&output)["failed"];
    let old =
        ["silver.age", "gold.kpis.age", "gold.patient_vitals.age", "gold.vitals_by_minute.age"];
    assert_eq!(*failed, json!(old), "{}", shown(&output));
    // Where all clocks may be as far ahead, that is how new the tables are.
    let config = folder.path().join("ahead.toml");
    fs::write(&config, "[time]\nahead = \"1day\"\n").unwrap();
    let mut monitor = healthcare();
    monitor.args(["monitor", "--data-dir"]).arg(&data).arg("--config").arg(&config);
    succeed(&mut monitor);
}

#[test]
fn the_lines_of_a_file_have_no_arrivals_and_are_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (data, input) = (folder.path().join("file"), folder.path().join("events.jsonl"));
    fs::write(&input, EVENTS.map(|(time, _)| event(time)).join("\n")).unwrap();
    succeed(&mut run_file(&data, &input));
    assert_eq!((count(&data, "silver/events"), count(&data, "late/events")), (5, 3));
}
