//! The process dies at each step of the protocol, at the first time, at a later one, and again while it recovers: the
//! tables are always those of an undisturbed run.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::time::Duration;

use support::{assert_same_tables, count, run_file, succeed, write_events};
use thalweg_core::failpoint;
use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

const EVENTS: u64 = 30_000;

/// Runs with a failpoint; true when it killed the process.
fn dies(data: &std::path::Path, input: &std::path::Path, failpoints: &str) -> bool {
    let mut command = run_file(data, input);
    command.args(["--checkpoint-interval", "40ms"]).env("FAILPOINTS", failpoints);
    let output = command.output().unwrap();
    output.status.code().is_none()
}

#[test]
fn death_at_any_step_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, EVENTS, 11);
    let calm = folder.path().join("calm");
    succeed(&mut run_file(&calm, &input));
    assert_eq!(count(&calm, "silver/events") + count(&calm, "quarantine/events"), EVENTS);

    for (number, point) in failpoint::ALL.iter().enumerate() {
        // Garbage is first collected after twenty checkpoints, which so short an input need not have.
        let must_die = *point != "gc.delete";
        for skip in [0, 1, 5] {
            let data = folder.path().join(format!("{number}-{skip}"));
            // Recovery passes its own steps again: die there once more.
            let died = dies(&data, &input, &format!("{point}={skip}*off->return(exit)"));
            assert!(died || !must_die || skip > 0, "failpoint {point} was never passed");
            dies(&data, &input, &format!("{point}=return(exit);recover.opened=return(exit)"));
            succeed(&mut run_file(&data, &input));
            assert_same_tables(&calm, &data);
        }
    }
}

#[test]
fn an_error_or_a_panic_restarts_the_attempt_inside_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, EVENTS, 12);
    let calm = folder.path().join("calm");
    succeed(&mut run_file(&calm, &input));
    for point in [
        "source.rows",
        "sink.close",
        "state.before",
        "ack.before",
        "manifest.before",
        "manifest.after",
        "commit.after",
        "cut.before",
    ] {
        for action in ["return(error)", "panic"] {
            let data = folder.path().join(format!("{point}-{}", &action[..5]));
            let mut command = run_file(&data, &input);
            command.args(["--checkpoint-interval", "40ms"]).env("THALWEG_LOG", "warn");
            // The coordinator's steps come twice at least, a commit once per table.
            command.env("FAILPOINTS", format!("{point}=1*off->1*{action}->off"));
            let output = command.output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{point} {action}: {told}");
            assert!(told.contains("attempt failed; restarting"), "{point} {action}: {told}");
            assert_same_tables(&calm, &data);
        }
    }
}

#[test]
fn a_step_that_takes_two_seconds_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, EVENTS, 13);
    let calm = folder.path().join("calm");
    succeed(&mut run_file(&calm, &input));
    let clock = SystemClock::default();
    for point in failpoint::ALL {
        let data = folder.path().join(point);
        let mut command = run_file(&data, &input);
        command.args(["--checkpoint-interval", "40ms"]);
        let begun = clock.monotonic();
        succeed(command.env("FAILPOINTS", format!("{point}=1*sleep(2000)->off")));
        let met = clock.monotonic().saturating_sub(begun) >= Duration::from_secs(2);
        // Garbage is first collected after twenty checkpoints, which so short an input need not have.
        assert!(met || point == "gc.delete", "{point} was never passed");
        assert_same_tables(&calm, &data);
    }
}
