//! What becomes of messages that are no events: kept apart, dropped, or the end of the job.

use std::fs;
use std::io::Write;

use super::{checkpoints, small, with_settings};

use crate::support::{self, assert_same_tables, count, fail, run_file, succeed, write_events};

#[test]
fn hostile_lines_end_in_quarantine_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("hostile.jsonl");
    let mut file = fs::File::create(&input).unwrap();
    let nested = "[".repeat(100_000);
    let big = format!("{{\"patient_id\":1,\"name\":\"{}\"}}", "x".repeat(10_000_000));
    let lines: [&[u8]; 9] = [
        b"\xff\xfe\x00",
        b"null",
        b"\"text\"",
        b"{\"patient_id\":1e400,\"event_type\":\"vitals\",\"timestamp\":\"2025-11-24T21:00:00\"}",
        b"{\"patient_id\":1,\"event_type\":\"vitals\",\"timestamp\":\"2025-11-24T21:00:00\",\"heart_rate\":\"95\"}",
        b"{\"patient_id\":1,\"event_type\":\"vitals\",\"timestamp\":\"9999-11-24T21:00:00\"}",
        b"{\"patient_id\":1,\"event_type\":\"vitals\",\"timestamp\":\"2025-11-24T21:00:00\"",
        nested.as_bytes(),
        big.as_bytes(),
    ];
    for line in lines {
        file.write_all(line).unwrap();
        file.write_all(b"\r\n").unwrap();
    }
    // One good line, without a newline at the end of the file.
    file.write_all(
        b"{\"patient_id\":1,\"event_type\":\"vitals\",\"timestamp\":\"2025-11-24T21:00:00\"}",
    )
    .unwrap();
    drop(file);
    let data = folder.path().join("data");
    succeed(&mut run_file(&data, &input));
    assert_eq!(count(&data, "bronze/events"), 10);
    assert_eq!(count(&data, "quarantine/events"), 9);
    assert_eq!(count(&data, "silver/events"), 1);
}

#[test]
fn rejected_messages_are_dropped_if_that_is_asked_for_and_all_else_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (input, calm) = (small(folder.path()), folder.path().join("calm"));
    succeed(&mut run_file(&calm, &input));
    assert!(count(&calm, "quarantine/events") > 0);
    let data = folder.path().join("dropped");
    succeed(&mut with_settings(&data, &input, "[quarantine]\non_rejected = \"drop\"\n"));
    assert_eq!(count(&data, "quarantine/events"), 0);
    for table in support::TABLES.into_iter().filter(|table| *table != "quarantine/events") {
        assert_eq!(support::rows(&calm, table), support::rows(&data, table), "{table}");
    }
    succeed(checkpoints(&data).arg("verify"));
}

#[test]
fn a_job_that_is_to_fail_names_the_place_of_the_rejected_message_and_goes_on_under_another_policy()
{
    let folder = tempfile::tempdir().unwrap();
    let (input, calm) = (small(folder.path()), folder.path().join("calm"));
    succeed(&mut run_file(&calm, &input));
    let data = folder.path().join("failed");
    for _ in 0..2 {
        let told =
            fail(&mut with_settings(&data, &input, "[quarantine]\non_rejected = \"fail\"\n"));
        assert!(told.contains("a row was rejected (") && told.contains(", offset "), "{told}");
    }
    succeed(&mut run_file(&data, &input));
    assert_same_tables(&calm, &data);
}

#[test]
fn a_flood_of_broken_messages_ends_the_job_and_a_higher_limit_goes_on_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, 3_000, 26);
    let good = fs::read(&input).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&input).unwrap();
    for _ in 0..6_000 {
        writeln!(file, "{{\"patient_id\":1001,\"ssn\":\"123-45-6789\"").unwrap();
    }
    file.write_all(&good).unwrap();
    drop(file);
    let calm = folder.path().join("calm");
    let never = "[quarantine]\nstop_above = 1.0\n";
    succeed(&mut with_settings(&calm, &input, never));
    assert!(count(&calm, "quarantine/events") > 6_000);

    let data = folder.path().join("flooded");
    let brake = "[quarantine]\nstop_above = 0.5\njudged_over = 1000\n";
    let told = fail(&mut with_settings(&data, &input, brake));
    assert!(told.contains("more than the 50 % that are allowed (json.malformed "), "{told}");
    assert!(told.contains("one of them: partition 0, offset "), "{told}");
    assert!(!told.contains("123-45"), "{told}");
    succeed(&mut with_settings(&data, &input, never));
    assert_same_tables(&calm, &data);
    succeed(checkpoints(&data).arg("verify"));
}
