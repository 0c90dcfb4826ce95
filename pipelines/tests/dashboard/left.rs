//! What was left in the tables and is so no more: alerts and minutes of an earlier chain, and windows of clocks that were
//! ahead.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::support::serving::{Serving, cookie, request};
use super::support::{healthcare, run_file, succeed};
use super::{TOPIC, Topic};

/// 2025-11-24T21:00:00Z, ms.
const START: i64 = 1_764_018_000_000;

/// What the dashboards over these tables answer.
fn answers<const N: usize>(data: &Path, paths: [&str; N]) -> [Value; N] {
    let serving = Serving::start(
        healthcare().args(["serve", "--http", "127.0.0.1:0", "--data-dir"]).arg(data),
    );
    let (address, link) = serving.parts();
    let cookie = cookie(address, &link);
    paths.map(|path| {
        let (status, answer) = request(address, "GET", path, &cookie);
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    })
}

/// Runs over events of racing hearts, at a minute of the hour each, as a new chain.
fn run_anew(folder: &Path, name: &str, patients: &[(i64, i64)]) {
    let input = folder.join(name);
    let event = |(patient, minute): &(i64, i64), second: i64| {
        format!(
            "{{\"patient_id\":{patient},\"event_type\":\"vitals\",\"heart_rate\":150,\
             \"timestamp\":\"2025-11-24T21:{minute:02}:{second:02}\"}}\n"
        )
    };
    let mut lines = String::new();
    for second in [0, 10] {
        lines.extend(patients.iter().map(|patient| event(patient, second)));
    }
    fs::write(&input, lines).unwrap();
    let data = folder.join("data");
    let mut run = run_file(&data, &input);
    if data.exists() {
        run.arg("--fresh");
    }
    succeed(&mut run);
}

#[test]
fn what_a_chain_left_open_is_over_with_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let shown = || {
        let [state] = answers(&data, ["/api/state"]);
        let rows = state["sections"]["alerts"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = rows.map(|row| ["id", "state", "by"].map(|name| text(&row[name])));
        rows.collect::<Vec<_>>()
    };
    let row = |id: &str, minute: i64, state: &str, by: &str| {
        let id = format!("{id}/heart-rate-high/{}", (START + minute * 60_000) * 1_000);
        [id, state.to_owned(), by.to_owned()]
    };
    run_anew(folder.path(), "first.jsonl", &[(1, 0), (2, 0)]);
    assert_eq!(shown(), [row("1", 0, "firing", ""), row("2", 0, "firing", "")]);
    // The next run does not hear of the first patient, and of the second one again.
    run_anew(folder.path(), "second.jsonl", &[(2, 5)]);
    let expected = [
        row("1", 0, "resolved", "a new run"),
        row("2", 0, "resolved", "a new run"),
        row("2", 5, "firing", ""),
    ];
    assert_eq!(shown(), expected);
}

#[test]
fn of_a_minute_that_two_chains_have_written_the_later_one_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let events = |row: &Value| (row["t"].as_i64().unwrap(), row["n"].as_i64().unwrap());
    // Each is read anew by a server of its own, and both have to be right.
    for (name, patients, expected) in [
        ("first.jsonl", &[(1, 0), (2, 0), (3, 0)][..], 6),
        ("second.jsonl", &[(1, 0)][..], 2),
        ("third.jsonl", &[(1, 0), (2, 0)][..], 4),
    ] {
        run_anew(folder.path(), name, patients);
        let [state] = answers(&data, ["/api/state"]);
        let shown: Vec<_> =
            state["sections"]["kpis"].as_array().unwrap().iter().map(events).collect();
        assert_eq!(shown, [(START, expected)], "{name}");
    }
}

/// Reads so many events of a topic, and closes their windows.
fn drained(data: &Path, topic: &Topic, events: usize) {
    let mut run = healthcare();
    run.args(["run", "--quiet", "--topic", TOPIC, "--drain", "--events", &events.to_string()]);
    run.args(["--bootstrap-servers", topic.broker.bootstrap_servers(), "--data-dir"]).arg(data);
    succeed(&mut run);
}

/// The minutes of such rows, ms.
fn minutes(rows: &Value) -> Vec<i64> {
    let rows = rows.as_array().into_iter().flatten();
    rows.map(|row| row["t"].as_i64().unwrap()).collect()
}

#[test]
fn windows_that_a_drain_closed_hours_ahead_of_what_has_arrived_blank_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let topic = Topic::start();
    topic.send(0, 0, START, START);
    topic.send(0, 1, START + 5 * 3_600_000, START + 1_000);
    drained(&data, &topic, 2);
    let [state, right, ahead, listed] =
        answers(&data, ["/api/state", "/api/patient/7", "/api/patient/8", "/api/patients"]);
    assert_eq!(minutes(&state["sections"]["kpis"]), [START]);
    assert_eq!(minutes(&right["rows"]), [START]);
    assert!(minutes(&ahead["rows"]).is_empty(), "{ahead}");
    assert_eq!(right["committed"], START);
    assert_eq!(listed["patients"].as_array().map(Vec::len), Some(1), "{listed}");
}

#[test]
fn of_a_topic_that_is_hours_ahead_as_a_whole_no_window_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let topic = Topic::start();
    topic.send(0, 1, START + 5 * 3_600_000, START);
    drained(&data, &topic, 1);
    // Whoever reads one fails.
    let is_data = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "parquet");
    for table in ["gold/kpis", "gold/vitals_by_minute", "gold/patient_vitals"] {
        let files = fs::read_dir(data.join(table)).unwrap().map(|file| file.unwrap().path());
        let files: Vec<PathBuf> = files.filter(is_data).collect();
        assert!(!files.is_empty(), "{table}");
        for file in files {
            fs::remove_file(file).unwrap();
        }
    }
    let [state, patient] = answers(&data, ["/api/state", "/api/patient/8"]);
    assert!(minutes(&state["sections"]["kpis"]).is_empty(), "{state}");
    assert_eq!(state["sections"]["checkpoints"].as_array().map(Vec::is_empty), Some(false));
    assert!(minutes(&patient["rows"]).is_empty(), "{patient}");
}

#[test]
fn a_file_that_is_read_behind_a_topic_into_the_same_folder_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let topic = Topic::start();
    topic.send(0, 0, START, START);
    drained(&folder.path().join("data"), &topic, 1);
    run_anew(folder.path(), "file.jsonl", &[(1, 30)]);
    let [state, patient] = answers(&folder.path().join("data"), ["/api/state", "/api/patient/1"]);
    assert_eq!(minutes(&state["sections"]["kpis"]), [START, START + 30 * 60_000]);
    assert_eq!(minutes(&patient["rows"]), [START + 30 * 60_000]);
}
