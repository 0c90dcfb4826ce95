//! What is done once a day over real tables: each defect fails its own check, gold is put right, others are told.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use thalweg_connectors::delta::DeltaCommitter;
use thalweg_core::CheckpointId;
use thalweg_core::connector::sink::Cut;
use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

use crate::support::days::{Reading, day, lines};
use crate::support::rewrite::plant;
use crate::support::table_log::{double_a_file, drop_a_column, lose_a_file};
use crate::support::{
    TABLES, assert_same_tables, count, data_files, ends_with, healthcare, last_line, run_file,
    shown, start, succeed, write_events,
};

const DAY: &str = "2025-11-24";
/// Names, numbers and dates that are in the events and must be nowhere else.
const OPEN: [&str; 5] = ["Quimby", "123-45", "867-5309", "1961-07", "Evergreen"];

pub(super) fn command(name: &str, data: &Path) -> Command {
    let mut command = healthcare();
    command.arg(name).arg("--data-dir").arg(data);
    command
}

fn dated(name: &str, data: &Path, date: &str) -> Command {
    let mut command = command(name, data);
    command.args(["--date", date]);
    command
}

/// Tables of two days before and one of these events.
fn tables(folder: &Path, name: &str, readings: &[Reading]) -> PathBuf {
    let (input, data) = (folder.join(format!("{name}.jsonl")), folder.join(name));
    let before = [day("2025-11-22"), day("2025-11-23")].concat();
    fs::write(&input, lines(&before) + &lines(readings)).unwrap();
    succeed(&mut run_file(&data, &input));
    data
}

fn today() -> String {
    let today = Command::new("date").args(["-u", "+%F"]).output().unwrap().stdout;
    String::from_utf8(today).unwrap().trim().to_owned()
}

/// Runs the job to its end, all of it on one day: once more, should midnight have come in between. Which day that was.
fn run_within_a_day(data: &Path, input: &Path) -> String {
    let mut today = today();
    loop {
        succeed(&mut run_file(data, input));
        let begun = std::mem::replace(&mut today, self::today());
        if begun == today {
            return today;
        }
        fs::remove_dir_all(data).unwrap();
    }
}

pub(super) fn failed(said: &Value) -> Vec<&str> {
    said["failed"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[test]
fn a_usual_day_passes_and_its_reports_hold_no_value() {
    let folder = tempfile::tempdir().unwrap();
    let data = tables(folder.path(), "data", &day(DAY));
    let out = folder.path().join("out");
    for _ in 0..2 {
        let output = ends_with(dated("quality", &data, DAY).arg("--out").arg(&out), 0);
        let said = last_line(&output);
        assert_eq!((&said["status"], &said["events"]), (&json!("pass"), &json!(1_440)), "{said}");
        assert_eq!(
            (failed(&said).len(), &said["warned"], &said["leaks"]),
            (0, &json!([]), &json!(0))
        );
        // As many as the guide shows.
        assert_eq!(said["checks"], 21, "{said}");
    }
    let mut names: Vec<String> = fs::read_dir(&out)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [format!("quality-{DAY}.html"), format!("quality-{DAY}.json")]);
    let json = fs::read_to_string(out.join(&names[1])).unwrap();
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["day"]["earlier"], json!([1_440, 1_440, 0, 0, 0, 0, 0]));
    // The last minute of the day before.
    assert_eq!(report["day"]["newest_before"], 1_763_942_340_000_000_i64);
    assert_eq!(report["day"]["gold"]["gold/kpis"], 1_440);
    assert_eq!(report["day"]["kinds"], json!({ "medication": 288, "vitals": 1_152 }));
    let html = fs::read_to_string(out.join(&names[0])).unwrap();
    assert!(html.contains("completeness.heart_rate") && html.contains("class=\"pass\""));
    for open in OPEN {
        assert!(!json.contains(open) && !html.contains(open), "{open}");
    }
    assert_eq!(
        last_line(&ends_with(&mut dated("quality", &data, "2999-01-01"), 99))["status"],
        "nothing"
    );
    ends_with(&mut dated("quality", &data, "tomorrow"), 2);
}

#[test]
fn what_nobody_need_try_again_is_wrong_usage_and_what_may_pass_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (absent, other) = (folder.path().join("absent"), folder.path().join("other"));
    // A job has begun here, and has no checkpoint yet.
    let young = folder.path().join("young");
    fs::create_dir_all(young.join("checkpoints")).unwrap();
    fs::create_dir(&other).unwrap();
    let broken = folder.path().join("broken.toml");
    fs::write(&broken, "[quality]\nlate_fail = 7.0\n").unwrap();
    for name in ["quality", "refresh", "report", "monitor", "maintain"] {
        let ask = |data: &Path, more: &[&Path]| {
            let mut command = command(name, data);
            if !["monitor", "maintain"].contains(&name) {
                command.args(["--date", DAY]);
            }
            if let [config] = more {
                command.arg("--config").arg(config);
            }
            command
        };
        for mut wrong in [
            ask(&absent, &[]),
            ask(&other, &[]),
            ask(&young, &[&broken]),
            ask(&young, &[&absent]),
            ask(&young, &[&other]),
        ] {
            let said = last_line(&ends_with(&mut wrong, 2));
            let told = json!({ "command": name, "reason": "invalidconfig", "status": "error" });
            assert_eq!(said, told);
        }
        let output = ends_with(&mut ask(&young, &[]), 1);
        assert_eq!(last_line(&output)["status"], "error");
        assert!(shown(&output).contains("checkpoint"), "{}", shown(&output));
    }
    for more in [["--retention", "1s"], ["--retention", "soon"]] {
        ends_with(command("maintain", &absent).args(more), 2);
    }
    let typo = shown(&ends_with(command("run", &absent).arg("--config").arg(&broken), 2));
    assert!(typo.contains("late_fail"), "{typo}");
    assert!(!absent.exists());
}

#[test]
fn each_defect_closes_the_gate_by_its_own_check() {
    let folder = tempfile::tempdir().unwrap();
    let gate = |name: &str, readings: &[Reading]| {
        let data = tables(folder.path(), name, readings);
        let said = last_line(&ends_with(&mut dated("quality", &data, DAY), 3));
        assert_eq!(failed(&said), [name], "{said}");
    };
    let changed = |change: &dyn Fn(usize, &mut Reading)| {
        let mut readings = day(DAY);
        readings.iter_mut().enumerate().for_each(|(i, reading)| change(i, reading));
        readings
    };
    let halved = changed(&|i, reading| {
        if i % 2 == 0 {
            reading.heart_rate = None;
        }
    });
    gate("completeness.heart_rate", &halved);
    let again: Vec<Reading> = day(DAY).into_iter().flat_map(|r| [r.clone(), r]).collect();
    gate("uniqueness.events", &again);
    let few: Vec<Reading> = day(DAY).into_iter().skip(23).step_by(24).collect();
    gate("volume.events", &few);
    // The feed of the monitors is dead, and others go on.
    let dead: Vec<Reading> = day(DAY).into_iter().filter(|r| r.kind != "vitals").collect();
    let data = tables(folder.path(), "dead", &dead);
    let output = ends_with(&mut dated("quality", &data, DAY), 3);
    assert_eq!(failed(&last_line(&output)), ["volume.events"], "{}", shown(&output));
    assert!(shown(&output).contains("0 of kind vitals where about 1152 are usual"));
    assert!(shown(&output).contains("completeness.heart_rate: not judged"));
    gate("freshness.events", &day(DAY)[..20 * 60]);
    let mut late = day(DAY);
    let stragglers = (0..700).map(|i| Reading { id: format!("late-{i}"), ..late[i].clone() });
    let stragglers: Vec<Reading> = stragglers.collect();
    late.push(Reading::new("2025-11-25", 5));
    late.extend(stragglers);
    gate("validity.late", &late);
    let told = changed(&|i, reading| {
        if i == 5 {
            reading.medication = Some("ask 555-123-7890".to_owned());
        }
    });
    // The job does not let it pass; an earlier one did, and others write, too.
    let data = tables(folder.path(), "told", &told);
    assert_eq!(last_line(&ends_with(&mut dated("quality", &data, DAY), 0))["leaks"], 0);
    for (table, time) in [("silver/events", "event_time"), ("gold/medications", "window_start")] {
        plant(&data.join(table), time, "medication", "ask 555-123-7890");
    }
    let said = last_line(&ends_with(&mut dated("quality", &data, DAY), 3));
    assert_eq!((failed(&said), &said["leaks"]), (vec!["privacy.leaks"], &json!(2)), "{said}");
    let output = ends_with(dated("quality", &data, DAY).args(["--fail-on", "never"]), 0);
    let shown = shown(&output);
    assert!(shown.contains("silver/events.medication: 1 like phone") && !shown.contains("555-123"));
}

#[test]
fn another_schema_other_ranges_and_rejected_messages_close_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let data = tables(folder.path(), "data", &day(DAY));
    let narrow = folder.path().join("narrow.toml");
    let ranges = "[ranges]\nheart_rate = { min = 20, max = 90 }\n[alerts]\nenabled = false\n";
    fs::write(&narrow, ranges).unwrap();
    let output = ends_with(dated("quality", &data, DAY).arg("--config").arg(&narrow), 3);
    assert_eq!(failed(&last_line(&output)), ["validity.ranges"]);
    drop_a_column(&data.join("quarantine/events"), "key_id");
    let output = ends_with(&mut dated("quality", &data, DAY), 3);
    assert_eq!(failed(&last_line(&output)), ["schema.quarantine_events"], "{}", shown(&output));

    // Messages are of the day on which they arrive.
    let (input, data) = (folder.path().join("broken.jsonl"), folder.path().join("broken"));
    fs::write(&input, lines(&day(DAY)[..10]) + &"{\"patient_id\":\n".repeat(10)).unwrap();
    let today = run_within_a_day(&data, &input);
    let output = ends_with(&mut dated("quality", &data, &today), 3);
    assert!(failed(&last_line(&output)).contains(&"validity.rejected"), "{}", shown(&output));
    let output = ends_with(dated("report", &data, &today).current_dir(folder.path()), 0);
    let said = last_line(&output);
    assert_eq!((&said["received"], &said["rejected"]), (&json!(20), &json!(10)), "{said}");
}

#[test]
fn a_day_on_one_page() {
    let folder = tempfile::tempdir().unwrap();
    let data = tables(folder.path(), "data", &day(DAY));
    let out = folder.path().join("reports");
    let said = last_line(&ends_with(dated("report", &data, DAY).arg("--out").arg(&out), 0));
    assert_eq!((&said["events"], &said["late"]), (&json!(1_440), &json!(0)), "{said}");
    let json = fs::read_to_string(out.join(format!("report-{DAY}.json"))).unwrap();
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["tables"]["silver/events"]["rows"], 3 * 1_440);
    assert!(report["alerts"].is_object(), "{report}");
    let html = fs::read_to_string(said["report"].as_str().unwrap()).unwrap();
    assert!(html.contains("Tables as they are now"));
    for open in OPEN {
        assert!(!json.contains(open) && !html.contains(open), "{open}");
    }
    ends_with(dated("report", &data, "2020-01-01").arg("--out").arg(&out), 99);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
    // Of a day without its table nobody knows what happened.
    fs::remove_dir_all(data.join("silver/events")).unwrap();
    let output = ends_with(dated("report", &data, DAY).arg("--out").arg(&out), 1);
    assert!(shown(&output).contains("table `silver/events`"), "{}", shown(&output));
}

fn refresh(data: &Path) -> Command {
    dated("refresh", data, DAY)
}

fn replaced(said: &Value) -> Vec<&str> {
    said["replaced"].as_array().unwrap().iter().map(|t| t["table"].as_str().unwrap()).collect()
}

#[test]
fn gold_computed_anew_is_the_streamed_gold_and_damage_is_mended_once() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (folder.path().join("events.jsonl"), folder.path().join("data"));
    write_events(&input, 45_000, 31);
    let calm = folder.path().join("calm");
    succeed(run_file(&data, &input).args(["--checkpoint-interval", "10ms"]));
    succeed(&mut run_file(&calm, &input));
    assert!(count(&data, "late/events") > 100, "nothing to take out");
    let said = last_line(&ends_with(&mut refresh(&data), 99));
    let gold: u64 = TABLES.iter().filter(|t| t.starts_with("gold")).map(|t| count(&data, t)).sum();
    assert_eq!(
        (&said["gold_rows"], &said["open_windows"]),
        (&json!(gold), &json!(false)),
        "{said}"
    );
    let silver = count(&data, "silver/events") - count(&data, "late/events");
    assert_eq!(said["silver_rows"], silver, "{said}");

    lose_a_file(&data.join("gold/patient_vitals"));
    double_a_file(&data.join("gold/kpis"));
    let damaged = ["gold/patient_vitals", "gold/kpis"];
    let said = last_line(&ends_with(refresh(&data).arg("--dry-run"), 1));
    assert_eq!(replaced(&said), damaged, "{said}");
    let said = last_line(&ends_with(&mut refresh(&data), 0));
    assert_eq!(replaced(&said), damaged, "{said}");
    assert_same_tables(&calm, &data);
    ends_with(&mut refresh(&data), 99);
    succeed(healthcare().args(["checkpoints", "--data-dir"]).arg(&data).arg("verify"));
    // What maintenance does to the files changes nothing.
    ends_with(
        command("maintain", &data).args(["--min-files", "2", "--retention", "0s", "--force"]),
        0,
    );
    ends_with(&mut refresh(&data), 99);
    assert_same_tables(&calm, &data);
    ends_with(&mut dated("refresh", &data, "2020-01-01"), 99);
}

/// Publishes a cut of no tables at the end of a day.
fn publish(data: &Path, job: &str, chain: &str, date: &str) {
    let end = speedate::DateTime::parse_str(&format!("{date}T23:59:59Z")).unwrap();
    let cut = Cut {
        job: job.to_owned(),
        chain: chain.to_owned(),
        checkpoint: CheckpointId(999_999),
        created_at: end.timestamp() * 1_000_000,
        versions: BTreeMap::new(),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let committer = DeltaCommitter::new(data).unwrap();
    runtime.block_on(committer.publish(&cut)).unwrap();
}

#[test]
fn cuts_of_other_jobs_and_of_a_chain_that_is_gone_are_not_taken_for_those_of_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (folder.path().join("events.jsonl"), folder.path().join("data"));
    write_events(&input, 5_000, 35);
    let (out, today) = (folder.path().join("out"), run_within_a_day(&data, &input));
    let report = || {
        ends_with(dated("report", &data, &today).arg("--out").arg(&out), 0);
        let json = fs::read_to_string(out.join(format!("report-{today}.json"))).unwrap();
        let report: Value = serde_json::from_str(&json).unwrap();
        (report["newest_checkpoint"].clone(), report["checkpoints"].clone())
    };
    let before = report();
    assert!(before.1.as_u64().is_some_and(|published| published > 0), "{before:?}");
    publish(&data, "other", "foreign", &today);
    assert_eq!(report(), before);
    let said = last_line(&ends_with(&mut refresh(&data), 99));
    assert_eq!(said["checkpoint"], before.0, "{said}");
    // Of these no manifest tells: they were lost, or are of a time when the clock was ahead.
    publish(&data, "healthcare", "gone", &today);
    let said = last_line(&ends_with(&mut refresh(&data), 99));
    assert_eq!(said["checkpoint"], before.0, "{said}");
}

#[test]
fn a_job_that_goes_on_finds_mended_gold_and_writes_each_open_window_once() {
    let folder = tempfile::tempdir().unwrap();
    let often = ["--checkpoint-interval", "20ms"];
    let (input, calm, data) = crate::read_in_part(folder.path(), 32, &often);
    // Nobody has looked at the windows that are open: it is not said that gold is right.
    let output = ends_with(&mut refresh(&data), 1);
    let said = last_line(&output);
    assert_eq!(said["open_windows"], true, "{said}");
    assert!(shown(&output).contains("try again"), "{}", shown(&output));
    assert!(said["gold_rows"].as_u64().unwrap() > 0, "{said}");
    let vitals = data.join("gold/patient_vitals");
    assert!(!data_files(&vitals).is_empty());
    double_a_file(&vitals);
    let said = last_line(&ends_with(&mut refresh(&data), 1));
    assert_eq!(replaced(&said), ["gold/patient_vitals"], "{said}");
    assert_eq!(replaced(&last_line(&ends_with(&mut refresh(&data), 1))), [""; 0]);
    ends_with(&mut dated("refresh", &data, "2999-01-01"), 2);
    succeed(&mut run_file(&data, &input));
    assert_same_tables(&calm, &data);
    let said = last_line(&ends_with(&mut refresh(&data), 99));
    assert_eq!(said["open_windows"], false, "{said}");
}

#[test]
fn beside_a_running_job_gold_is_never_found_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (folder.path().join("events.jsonl"), folder.path().join("data"));
    write_events(&input, 150_000, 33);
    let calm = folder.path().join("calm");
    succeed(&mut run_file(&calm, &input));
    let mut job = run_file(&data, &input);
    job.args(["--checkpoint-interval", "50ms"]);
    // However fast the job is, it is looked at in the middle of a checkpoint, some of whose tables are committed.
    let mut job = start(job.env("FAILPOINTS", "commit.before=25*off->1*sleep(4000)->off"));
    let clock = SystemClock::default();
    let mut looked = 0;
    while job.try_wait().unwrap().is_none() {
        assert!(clock.monotonic() < Duration::from_mins(4), "the job did not end");
        let output = refresh(&data).output().unwrap();
        match output.status.code() {
            Some(99) => looked += 1,
            // The job has not closed all windows of the day.
            Some(1) if last_line(&output)["open_windows"] == true => {
                assert_eq!(last_line(&output)["replaced"], json!([]), "{}", shown(&output));
                looked += 1;
            }
            // Before the first checkpoint there is nothing to look at, and no folder before the job has made it.
            Some(1 | 2) => {
                let told = shown(&output);
                let early =
                    ["no checkpoint has been published", "there are no checkpoints", "cannot read"];
                assert!(looked == 0 && early.iter().any(|text| told.contains(text)), "{told}");
            }
            _ => panic!("{}", shown(&output)),
        }
    }
    assert!(looked > 0);
    assert_same_tables(&calm, &data);
}
