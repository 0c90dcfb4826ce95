//! What becomes of messages that are no events: kept apart, dropped, or the end of the job.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

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
        b"\x00\xff\xfe",
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

/// A good event, two messages that cannot be read, and three that break a rule.
fn of_both_stages(folder: &Path) -> PathBuf {
    let input = folder.join("stages.jsonl");
    let event = "{\"patient_id\":1,\"event_type\":\"vitals\",\"timestamp\":\"2025-11-24T21:00:00\",\"heart_rate\":";
    let broken = "{\"patient_id\":1";
    let rates = [Some(900), None, Some(80), Some(901), None, Some(902)];
    let line =
        |rate: Option<u32>| rate.map_or(broken.to_owned(), |rate| format!("{event}{rate}}}"));
    fs::write(&input, rates.map(line).join("\n") + "\n").unwrap();
    input
}

#[test]
fn each_stage_drops_or_keeps_what_it_rejects() {
    let folder = tempfile::tempdir().unwrap();
    let input = of_both_stages(folder.path());
    for (name, settings, quarantined) in [
        ("kept", "", 5),
        ("read", "on_undecodable = \"drop\"\n", 3),
        ("valid", "on_invalid = \"drop\"\n", 2),
        ("neither", "on_rejected = \"drop\"\n", 0),
        ("but", "on_rejected = \"drop\"\non_invalid = \"table\"\n", 3),
    ] {
        let data = folder.path().join(name);
        let settings = format!("[quarantine]\n{settings}");
        succeed(&mut with_settings(&data, &input, &settings));
        assert_eq!(count(&data, "bronze/events"), 6, "{name}");
        assert_eq!(count(&data, "silver/events"), 1, "{name}");
        assert_eq!(count(&data, "quarantine/events"), quarantined, "{name}");
        succeed(checkpoints(&data).arg("verify"));
    }
}

#[test]
fn one_stage_may_end_the_job_while_the_other_drops_or_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let input = of_both_stages(folder.path());
    for (name, settings, code) in [
        ("a", "on_undecodable = \"fail\"\non_invalid = \"drop\"\n", "json.malformed"),
        ("b", "on_undecodable = \"fail\"\n", "json.malformed"),
        ("c", "on_undecodable = \"drop\"\non_invalid = \"fail\"\n", "heart_rate.range"),
    ] {
        let data = folder.path().join(name);
        let settings = format!("[quarantine]\n{settings}");
        let told = fail(&mut with_settings(&data, &input, &settings));
        assert!(told.contains(&format!("a row was rejected ({code}; partition 0, ")), "{told}");
        // Under another policy the same job goes on, and keeps what it would not go by.
        succeed(&mut run_file(&data, &input));
        assert_eq!(count(&data, "quarantine/events"), 5, "{name}");
    }
    // What the stage does not reject does not end the job.
    let good = folder.path().join("good.jsonl");
    let text = fs::read_to_string(&input).unwrap();
    let readable: Vec<&str> = text.lines().filter(|line| line.ends_with('}')).collect();
    fs::write(&good, readable.join("\n") + "\n").unwrap();
    let data = folder.path().join("readable");
    let settings = "[quarantine]\non_undecodable = \"fail\"\non_invalid = \"drop\"\n";
    succeed(&mut with_settings(&data, &good, settings));
    assert_eq!((count(&data, "bronze/events"), count(&data, "quarantine/events")), (4, 0));
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
