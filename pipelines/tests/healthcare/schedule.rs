//! Who is told of a job that stands still or of a gate that closes, and what the built-in schedule runs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::daily::{command, failed};
use crate::support::{
    Listener, ends_with, last_line, run_file, shown, start, succeed, write_events,
};

/// A job that was stopped in the middle, and settings by which it is too old.
fn stalled(folder: &Path) -> (PathBuf, PathBuf) {
    let (input, data) = (folder.join("events.jsonl"), folder.join("data"));
    write_events(&input, 20_000, 34);
    succeed(run_file(&data, &input).args(["--events", "15000"]));
    let config = folder.join("strict.toml");
    fs::write(
        &config,
        "[monitor]\ncheckpoint_age = \"1ms\"\narrival_age = \"1day\"\nsilver_age = \"0s\"\ngold_age = \"0s\"\n\
         sparse_gold_age = \"0s\"\n[schedule]\nrefresh = \"\"\nquality = \"\"\nreport = \"\"\nmonitor = \"* * * * * *\"\n",
    )
    .unwrap();
    (data, config)
}

#[test]
fn a_job_that_stands_still_is_told_to_the_webhook() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = stalled(folder.path());
    let listener = Listener::start();
    let monitor = |data: &Path| {
        let mut command = command("monitor", data);
        command.arg("--config").arg(&config);
        command
    };
    let output = ends_with(monitor(&data).env("THALWEG_WEBHOOK_URL", &listener.url), 1);
    let said = last_line(&output);
    assert_eq!(failed(&said), ["checkpoint.age"], "{said}");
    assert_eq!((&said["checks"], &said["webhook"]), (&json!(2), &json!("sent")), "{said}");
    let told = listener.next();
    assert_eq!((&told["job"], &told["status"]), (&json!("healthcare"), &json!("failed")));
    assert_eq!(told["checks"][0]["name"], "checkpoint.age", "{told}");
    assert_eq!(last_line(&ends_with(&mut monitor(&data), 1))["webhook"], "none");
    // Its events happened long ago, as silver tells. It has not run for long enough yet to owe gold.
    let ages = folder.path().join("ages.toml");
    fs::write(&ages, "[monitor]\ncheckpoint_age = \"0s\"\narrival_age = \"0s\"\n").unwrap();
    let output = ends_with(command("monitor", &data).arg("--config").arg(&ages), 1);
    let said = last_line(&output);
    assert_eq!(failed(&said), ["silver.age"], "{said}");
    assert_eq!(said["checks"], 4, "{said}");
    // A job that cannot be seen is told, too.
    let absent = folder.path().join("absent");
    let output = ends_with(monitor(&absent).env("THALWEG_WEBHOOK_URL", &listener.url), 2);
    let said = last_line(&output);
    assert_eq!((&said["command"], &said["status"]), (&json!("monitor"), &json!("error")), "{said}");
    assert!(!said.to_string().contains("absent"), "{said}");
    assert!(listener.next()["error"].as_str().unwrap().contains("absent"));
    // One that has read its input to the end owes nothing, and nobody is told.
    succeed(&mut run_file(&data, &folder.path().join("events.jsonl")));
    let output = ends_with(monitor(&data).env("THALWEG_WEBHOOK_URL", &listener.url), 0);
    assert_eq!(last_line(&output)["checks"], 0);
    assert_eq!(listener.rest(), Vec::<Value>::new());
}

#[test]
fn the_built_in_schedule_runs_what_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = stalled(folder.path());
    let schedule = || {
        let mut command = command("schedule", &data);
        command.arg("--config").arg(&config);
        command
    };
    let next = succeed(schedule().arg("--next"));
    assert!(next.trim_end().ends_with("Z monitor") && next.lines().count() == 1, "{next}");
    let listener = Listener::start();
    let mut running = start(schedule().env("THALWEG_WEBHOOK_URL", &listener.url));
    for _ in 0..2 {
        assert_eq!(listener.next()["checks"][0]["name"], "checkpoint.age");
    }
    let told = Command::new("kill").args(["-TERM", &running.id().to_string()]).status();
    assert!(told.unwrap().success());
    assert_eq!(running.wait().unwrap().code(), Some(0));
}

#[test]
fn what_would_be_noticed_only_at_the_first_failure_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let young = folder.path().join("young");
    fs::create_dir_all(young.join("checkpoints")).unwrap();
    for name in ["monitor", "schedule"] {
        let mut wrong = command(name, &young);
        let said =
            shown(&ends_with(wrong.env("THALWEG_WEBHOOK_URL", "http://192.0.2.1/s3cret"), 2));
        assert!(said.contains("THALWEG_WEBHOOK_URL") && !said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_closed_gate_under_the_built_in_schedule_is_told_to_the_webhook() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = stalled(folder.path());
    let out = folder.path().join("pages");
    // Nothing happened yesterday.
    let settings = format!(
        "[schedule]\nrefresh = \"\"\nquality = \"* * * * * *\"\nreport = \"\"\nmonitor = \"\"\nout = {out:?}\n"
    );
    fs::write(&config, settings).unwrap();
    let listener = Listener::start();
    let mut schedule = command("schedule", &data);
    schedule.arg("--config").arg(&config).env("THALWEG_WEBHOOK_URL", &listener.url);
    let mut running = start(&mut schedule);
    let told = json!({
        "job": "healthcare", "status": "failed", "command": "quality", "code": 3, "timed_out": false
    });
    assert_eq!(listener.next(), told);
    let stopped = Command::new("kill").args(["-TERM", &running.id().to_string()]).status();
    assert!(stopped.unwrap().success());
    assert_eq!(running.wait().unwrap().code(), Some(0));
}
