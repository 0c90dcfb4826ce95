//! Runs every example as a user would, and expects the very words that it prints.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// An example that has not ended by then does not end.
const LIMIT: Duration = Duration::from_mins(3);

fn run(binary: &str, arguments: &[&OsStr]) -> io::Result<String> {
    let mut command = Command::new(binary);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn()?;
    let id = child.id().to_string();
    let (ended, end) = mpsc::channel();
    thread::spawn(move || drop(ended.send(child.wait_with_output())));
    let output = end.recv_timeout(LIMIT);
    if output.is_err() {
        drop(Command::new("kill").args(["-9", &id]).status());
    }
    let late = |_| io::Error::other(format!("{binary} has not ended within {LIMIT:?}"));
    let output = output.map_err(late)??;
    let (out, err) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{}: {err}", output.status);
    String::from_utf8(out).map_err(io::Error::other)
}

#[test]
fn word_count_counts_every_word() -> io::Result<()> {
    assert_eq!(run(env!("CARGO_BIN_EXE_word_count"), &[])?, "deep 1\nslow 1\nwater 3\n");
    Ok(())
}

#[test]
fn custom_operator_finds_the_jump() -> io::Result<()> {
    assert_eq!(run(env!("CARGO_BIN_EXE_custom_operator"), &[])?, "steady 4, jumps 1\n");
    Ok(())
}

#[test]
fn alerts_tell_once_that_a_machine_is_too_hot_and_once_that_it_is_not() -> io::Result<()> {
    let expected = "press at 10: normal -> pending\npress at 20: pending -> firing\n\
                    press at 60: firing -> resolved\n\
                    pump at 30: normal -> pending\npump at 40: pending -> firing\n";
    assert_eq!(run(env!("CARGO_BIN_EXE_alerts"), &[])?, expected);
    Ok(())
}

#[test]
fn late_data_parts_the_late_row_from_the_others() -> io::Result<()> {
    let expected = "minute 0: 2 readings\nminute 1: 2 readings\nlate: 1 readings\n";
    assert_eq!(run(env!("CARGO_BIN_EXE_late_data"), &[])?, expected);
    Ok(())
}

#[test]
fn side_outputs_say_why_a_row_was_rejected() -> io::Result<()> {
    let expected = "good: 1\nrejected: patient_id.missing\nrejected: heart_rate.range\n\
                    rejected: patient_id.missing, heart_rate.range\n";
    assert_eq!(run(env!("CARGO_BIN_EXE_side_outputs"), &[])?, expected);
    Ok(())
}

#[test]
fn crash_and_recover_loses_and_doubles_nothing() -> io::Result<()> {
    let expected = "stopped after 6000 rows and 2 attempts\nfinished: true, 10000 rows\n";
    assert_eq!(run(env!("CARGO_BIN_EXE_crash_and_recover"), &[])?, expected);
    Ok(())
}

#[test]
fn kafka_to_delta_writes_each_message_once() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let printed = run(env!("CARGO_BIN_EXE_kafka_to_delta"), &[data.as_os_str()])?;
    assert_eq!(printed, "1000 rows in table raw\n");
    let log = data.join("raw/_delta_log/00000000000000000000.json");
    assert!(log.is_file(), "the table is a Delta table");
    Ok(())
}

#[test]
fn json_to_delta_parts_what_is_wrong_and_what_is_late_from_what_it_counts_by_minute()
-> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let (input, data) = (folder.path().join("readings.jsonl"), folder.path().join("data"));
    let lines = [
        r#"{"patient_id": 7, "bpm": 70, "at": "2026-01-01T00:00:01Z"}"#,
        r#"{"patient_id": 7, "bpm": 72.5, "at": "2026-01-01T00:00:59Z"}"#,
        r#"{"patient_id": 8, "bpm": 71, "at": "2026-01-01T00:01:00Z"}"#,
        r#"{"bpm": 70, "at": "2026-01-01T00:00:30Z"}"#,
        r#"{"patient_id": 7, "bpm": 700, "at": "2026-01-01T00:00:30Z"}"#,
        r#"{"patient_id": 7, "bpm": 70}"#,
        r#"{"patient_id": 7, "bpm": 70, "at": "2026-01-01T00:05:00Z"}"#,
        r#"{"patient_id": 7, "bpm": 70, "at": "2026-01-01T00:00:02Z"}"#,
    ];
    std::fs::write(&input, lines.join("\n"))?;
    let arguments = [data.as_os_str(), input.as_os_str()];
    for _ in 0..2 {
        // A second run finds everything written.
        let printed = run(env!("CARGO_BIN_EXE_json_to_delta"), &arguments)?;
        assert_eq!(printed, "gold 3, late 1, rejected 3\n");
    }
    Ok(())
}

#[test]
fn keyed_count_counts_every_row_at_any_number_of_workers() -> io::Result<()> {
    for workers in ["1", "2"] {
        let arguments = ["300000", "100", workers].map(OsStr::new);
        let printed = run(env!("CARGO_BIN_EXE_keyed_count"), &arguments)?;
        assert!(printed.starts_with("thalweg results=300 rows=300000 "), "{printed}");
    }
    let sliding = ["300000", "100", "2", "4"].map(OsStr::new);
    let printed = run(env!("CARGO_BIN_EXE_keyed_count"), &sliding)?;
    // Three minutes of rows are in six windows of four minutes, each row in four of them.
    assert!(printed.starts_with("thalweg results=600 rows=1200000 "), "{printed}");
    Ok(())
}

#[test]
fn many_tables_part_the_rows_and_say_what_a_checkpoint_took() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("tables");
    let [rows, tables, workers] = ["100001", "3", "2"].map(OsStr::new);
    let arguments = [rows, tables, workers, data.as_os_str()];
    let printed = run(env!("CARGO_BIN_EXE_many_tables"), &arguments)?;
    assert!(printed.starts_with("thalweg tables=3 rows=100001 "), "{printed}");
    assert!(!printed.contains("checkpoint_ms=0.0"), "{printed}");
    for table in ["table-0", "table-1", "table-2"] {
        let files = std::fs::read_dir(data.join(table))?.collect::<io::Result<Vec<_>>>()?;
        let files = files.iter().filter(|f| f.path().extension() == Some(OsStr::new("parquet")));
        assert!(files.count() > 0, "{table} has no file");
    }
    Ok(())
}

#[test]
fn window_state_keeps_every_key_and_says_what_a_checkpoint_cost() -> io::Result<()> {
    for arguments in [&["2000", "300000"][..], &["2000", "300000", "wide"]] {
        let arguments: Vec<_> = arguments.iter().map(OsStr::new).collect();
        let printed = run(env!("CARGO_BIN_EXE_window_state"), &arguments)?;
        assert!(
            printed.starts_with("keys=2000 state=") && printed.contains("snapshot_max="),
            "{printed}"
        );
    }
    Ok(())
}

#[test]
fn workload_h_keeps_the_valid_events_and_counts_them_by_minute() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let (input, output) = (folder.path().join("events.jsonl"), folder.path().join("tables"));
    let event = |patient: &str, kind: &str, minute: u32, heart_rate: u32, pressure: &str| {
        format!(
            r#"{{"event_id":1,"patient_id":{patient},"name":"A B","ssn":"1","event_type":"{kind}","heart_rate":{heart_rate},"blood_pressure":"{pressure}","temperature":98.6,"timestamp":"2025-11-24T21:{minute:02}:00.000000"}}"#
        )
    };
    let lines = [
        event("1", "vitals", 0, 60, "120/80"),
        event("1", "vitals", 0, 70, "120/80"),
        event("2", "medication", 5, 70, "120/80"),
        event("null", "vitals", 0, 70, "120/80"),
        event("3", "other", 0, 70, "120/80"),
        event("3", "vitals", 0, 7, "120/80"),
        event("3", "vitals", 0, 70, "120"),
        event("3", "vitals", 0, 70, "120/"),
    ];
    std::fs::write(&input, lines.join("\n"))?;
    let printed = run(env!("CARGO_BIN_EXE_workload_h"), &[input.as_os_str(), output.as_os_str()])?;
    assert!(printed.starts_with("thalweg silver 3 gold 2 "), "{printed}");
    Ok(())
}

#[test]
fn who_calls_an_example_otherwise_is_told_how_it_is_called() -> io::Result<()> {
    let none: &[&str] = &[];
    for (binary, wrong) in [
        (env!("CARGO_BIN_EXE_word_count"), &["surplus"][..]),
        (env!("CARGO_BIN_EXE_custom_operator"), &["surplus"]),
        (env!("CARGO_BIN_EXE_alerts"), &["surplus"]),
        (env!("CARGO_BIN_EXE_late_data"), &["surplus"]),
        (env!("CARGO_BIN_EXE_side_outputs"), &["surplus"]),
        (env!("CARGO_BIN_EXE_crash_and_recover"), &["surplus"]),
        (env!("CARGO_BIN_EXE_kafka_to_delta"), &["folder", "brokers"]),
        (env!("CARGO_BIN_EXE_json_to_delta"), &["folder"]),
        (env!("CARGO_BIN_EXE_workload_h"), &["file", "folder", "--parallelism"]),
        (env!("CARGO_BIN_EXE_keyed_count"), &["100", "0", "1"]),
        (env!("CARGO_BIN_EXE_many_tables"), &["many", "1", "1", "folder"]),
        (env!("CARGO_BIN_EXE_window_state"), &["0", "100"]),
        (env!("CARGO_BIN_EXE_kafka_to_kafka"), none),
        (env!("CARGO_BIN_EXE_latency"), &["topic", "servers", "topic", "out", "fast", "1"]),
        (env!("CARGO_BIN_EXE_kafka"), &["--help"]),
    ] {
        let folder = tempfile::tempdir()?;
        let call = |arguments: &[&str]| {
            Command::new(binary).args(arguments).current_dir(folder.path()).output()
        };
        let (help, told) = (call(&["--help"])?, call(wrong)?);
        let usage = String::from_utf8_lossy(&help.stdout).into_owned();
        assert_eq!(help.status.code(), Some(0), "{binary}");
        assert!(usage.starts_with("usage: ") && usage.lines().count() == 1, "{binary}: {usage}");
        if wrong != ["--help"] {
            assert_eq!(told.status.code(), Some(2), "{binary}");
            assert_eq!(String::from_utf8_lossy(&told.stderr), usage, "{binary}");
        }
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 0, "{binary} has made something");
    }
    Ok(())
}
