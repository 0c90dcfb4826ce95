//! The same rows at any parallelism, and when stopped at one and resumed at another.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::Command;

use crate::support::table_log::{double_a_file, lose_a_file};
use crate::support::{
    ALERTS, AllRows, TABLES, assert_alerts, assert_same_tables, count, rows, run_file, succeed,
    write_events,
};

const EVENTS: u64 = 40_000;

#[test]
fn parallelism_does_not_show() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, EVENTS, 3);
    let one = folder.path().join("one");
    succeed(run_file(&one, &input).args(["--parallelism", "1"]));
    assert!(TABLES.iter().all(|t| count(&one, t) > 0), "every table has rows to compare");
    assert_alerts(&one, EVENTS);
    for parallelism in ["2", "4"] {
        let data = folder.path().join(parallelism);
        succeed(run_file(&data, &input).args(["--parallelism", parallelism]));
        assert_same_tables(&one, &data);
    }
}

/// What is done to a table's folder.
type Damage = fn(&Path);

#[test]
fn what_is_lost_or_doubled_in_any_table_is_a_difference_and_no_value_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (input, calm) = (folder.path().join("events.jsonl"), folder.path().join("calm"));
    write_events(&input, EVENTS, 6);
    succeed(&mut run_file(&calm, &input));
    let expected = AllRows::of(&calm);
    assert_eq!(expected.differences(&calm), Vec::<String>::new());
    let (doubled, lost): (Damage, Damage) = (double_a_file, lose_a_file);
    for (name, damage, first, second) in [
        ("doubled", doubled, ": 0 lost, ", " doubled or new ("),
        ("lost", lost, " lost (", ", 0 doubled or new"),
    ] {
        let data = folder.path().join(name);
        let copied = Command::new("cp").arg("-r").args([&calm, &data]).status().unwrap();
        assert!(copied.success());
        for table in TABLES.into_iter().chain([ALERTS]) {
            damage(&data.join(table));
        }
        let told = expected.differences(&data);
        assert_eq!(told.len(), TABLES.len() + 1, "{told:?}");
        for (line, table) in told.iter().zip(TABLES.into_iter().chain([ALERTS])) {
            let is_told = line.starts_with(table) && line.contains(first) && line.contains(second);
            assert!(is_told && !line.contains("2025-11"), "{line}");
        }
    }
}

#[test]
fn stopped_at_one_parallelism_and_resumed_at_another() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, 10 * EVENTS, 4);
    let calm = folder.path().join("calm");
    succeed(run_file(&calm, &input).args(["--parallelism", "2"]));
    let data = folder.path().join("resumed");
    for (stop, parallelism) in ["3", "1", "4", "2"].iter().enumerate() {
        // The limit ends a run in the middle of a batch, and leaves windows open.
        let limit = ((stop as u64 + 1) * EVENTS * 9 / 4).to_string();
        let mut command = run_file(&data, &input);
        command.args(["--checkpoint-interval", "30ms", "--parallelism", parallelism]);
        let summary = succeed(command.args(["--events", &limit]));
        assert!(
            summary.starts_with(&format!("stopped; run again to go on: {limit} events")),
            "{summary}"
        );
    }
    assert!(succeed(&mut run_file(&data, &input)).starts_with("finished"));
    assert_same_tables(&calm, &data);
}

#[test]
fn gold_equals_a_recomputation_from_silver_less_late() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, EVENTS, 5);
    let data = folder.path().join("data");
    succeed(&mut run_file(&data, &input));
    let on_time = count(&data, "silver/events") - count(&data, "late/events");
    // Every on-time event is counted once in the totals over all events.
    let counted: u64 = rows(&data, "gold/kpis")
        .iter()
        .map(|(row, n)| row.split('|').nth(2).unwrap().parse::<u64>().unwrap() * n)
        .sum();
    assert_eq!(counted, on_time);
    assert!(count(&data, "late/events") > 0);
}
