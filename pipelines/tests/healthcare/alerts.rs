//! Alerts of the whole pipeline, against alerts that are known and against a recomputation that shares no code with it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::type_complexity,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thalweg_connectors::testing::kafka_server::{KafkaServer, Record, or_skip, unique_topic};

use crate::support::{
    batches, count, ends_with, fail, healthcare, last_line, run_file, shown, start, succeed,
};

/// 2025-11-24T21:00:00Z.
const START: i64 = 1_764_018_000;

/// An event, `at` seconds behind the start.
fn event(patient: i64, at: i64, vitals: &str) -> String {
    let (hours, minutes, seconds) = (21 + at / 3600, at / 60 % 60, at % 60);
    format!(
        "{{\"patient_id\":{patient},\"name\":\"Zoë Quimby\",\"event_type\":\"vitals\",{vitals},\
         \"timestamp\":\"2025-11-24T{hours:02}:{minutes:02}:{seconds:02}\"}}\n"
    )
}

/// A row of the table: id, sequence, state, severity, value, score, parameters missing, seconds behind the start.
type Row = (String, i32, String, String, Option<i64>, Option<i32>, Option<i32>, i64);

fn alerts(data: &Path) -> Vec<Row> {
    let mut found = Vec::new();
    for batch in batches(&data.join("alerts/events")) {
        let text = |name| column(&batch, name).as_string::<i32>().clone();
        let int = |name| column(&batch, name).as_primitive::<Int32Type>().clone();
        let (ids, states, severities) = (text("alert_id"), text("state"), text("severity"));
        let (sequences, scores, missing) = (int("sequence"), int("score"), int("score_missing"));
        let values = column(&batch, "value").as_primitive::<Float64Type>().clone();
        let times = column(&batch, "event_time").as_primitive::<TimestampMicrosecondType>().clone();
        for row in 0..batch.num_rows() {
            found.push((
                ids.value(row).to_owned(),
                sequences.value(row),
                states.value(row).to_owned(),
                severities.value(row).to_owned(),
                values.is_valid(row).then(|| values.value(row) as i64),
                scores.is_valid(row).then(|| scores.value(row)),
                missing.is_valid(row).then(|| missing.value(row)),
                times.value(row) / 1_000_000 - START,
            ));
        }
    }
    found.sort();
    found
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a dyn Array {
    batch.column_by_name(name).unwrap().as_ref()
}

#[test]
fn known_events_give_the_known_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    // Patient 1: a heart rate that stays too high, a wavering one that does not clear, and a late one that does not page.
    for (at, rate) in [(0, 90), (10, 135), (20, 140), (30, 128), (40, 133), (50, 120), (12, 170)] {
        lines.push_str(&event(1, at, &format!("\"heart_rate\":{rate}")));
    }
    // Patient 2: one sick look, nothing behind it; event time passes by others.
    lines.push_str(&event(2, 60, "\"spo2\":85"));
    // Patient 3: a score of 8 out of six parameters, then well.
    let sick = "\"heart_rate\":112,\"spo2\":93,\"respiratory_rate\":22,\"temperature\":100.8,\
                \"blood_pressure\":\"108/70\"";
    let well = "\"heart_rate\":70,\"spo2\":98,\"respiratory_rate\":16,\"temperature\":98.6,\
                \"blood_pressure\":\"120/70\",\"consciousness\":\"A\",\"oxygen\":false";
    for (at, vitals) in [(100, sick), (130, sick), (200, well)] {
        lines.push_str(&event(3, at, vitals));
    }
    // Patient 4: monitored, then silent.
    for at in [200, 210, 220, 230, 240] {
        lines.push_str(&event(4, at, "\"heart_rate\":80"));
    }
    lines.push_str(&event(5, 240 + 600 + 30, "\"heart_rate\":80"));
    let input = folder.path().join("events.jsonl");
    fs::write(&input, lines).unwrap();
    let data = folder.path().join("data");
    succeed(&mut run_file(&data, &input));

    let row = |patient: i64, rule: &str, opened: i64, rest: (i32, &str, &str, i64)| {
        let (sequence, state, severity, at) = rest;
        let id = format!("{patient}/{rule}/{}", (START + opened) * 1_000_000);
        (id, sequence, state.to_owned(), severity.to_owned(), at)
    };
    let mut expected = vec![
        row(1, "heart-rate-high", 10, (2, "firing", "critical", 20)),
        row(1, "heart-rate-high", 10, (3, "resolved", "critical", 50)),
        row(2, "spo2-low", 60, (2, "firing", "critical", 75)),
        row(3, "news2", 100, (2, "firing", "critical", 130)),
        row(3, "news2", 100, (3, "resolved", "critical", 200)),
        // Heard of often enough to be missed.
        row(1, "signal-lost", 650, (1, "firing", "warning", 650)),
        row(4, "signal-lost", 840, (1, "firing", "warning", 840)),
    ];
    expected.sort();
    let found = alerts(&data);
    let shown: Vec<_> = found
        .iter()
        .map(|(id, n, state, severity, .., at)| {
            (id.clone(), *n, state.clone(), severity.clone(), *at)
        })
        .collect();
    assert_eq!(shown, expected);
    let of = |rule: &'static str| found.iter().filter(move |row| row.0.contains(rule));
    let scores: Vec<_> = of("news2").map(|row| (row.5, row.6)).collect();
    assert_eq!(scores, [(Some(8), Some(2)), (Some(0), Some(0))]);
    let values: Vec<_> = of("heart-rate").map(|row| row.4).collect();
    assert_eq!(values, [Some(140), Some(120)]);
}

#[test]
fn what_is_too_bad_to_be_valid_pages_somebody_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (data, input) = (folder.path().join("data"), folder.path().join("events.jsonl"));
    let mut lines = String::new();
    let mut invalid = 0;
    for (patient, times, vitals) in [
        (1, [0, 30], "\"respiratory_rate\":2"),
        (2, [0, 10], "\"heart_rate\":0"),
        (3, [0, 15], "\"spo2\":45"),
        (4, [0, 30], "\"blood_pressure\":\"39/25\""),
        (9, [0, 30], "\"blood_pressure\":\"35/8\""),
        (10, [0, 30], "\"blood_pressure\":\"0/0\""),
        // A probe that fell off, and a text for a number, beside a racing heart.
        (5, [0, 10], "\"heart_rate\":190,\"spo2\":0"),
        (6, [0, 10], "\"heart_rate\":190,\"temperature\":\"warm\""),
        // What nobody can have pages nobody: no number of beats, a share of 1, degrees Celsius, numbers that changed places.
        (7, [0, 25], "\"heart_rate\":-5,\"spo2\":0.97,\"temperature\":37.2"),
        (7, [1, 26], "\"blood_pressure\":\"80/120\""),
    ] {
        for at in times {
            lines.push_str(&event(patient, at, vitals));
            invalid += 1;
        }
    }
    lines.push_str(&event(8, 30, "\"heart_rate\":80"));
    fs::write(&input, lines).unwrap();
    succeed(&mut run_file(&data, &input));
    let mut found: Vec<_> =
        alerts(&data).into_iter().map(|(id, _, state, .., at)| (id, state, at)).collect();
    found.sort();
    let fired = |patient: i64, rule: &str, at: i64| {
        (format!("{patient}/{rule}/{}", START * 1_000_000), "firing".to_owned(), at)
    };
    let expected = [
        fired(1, "respiratory-rate-low", 30),
        fired(10, "systolic-low", 30),
        fired(2, "heart-rate-low", 10),
        fired(3, "spo2-low", 15),
        fired(4, "systolic-low", 30),
        fired(5, "heart-rate-high", 10),
        fired(6, "heart-rate-high", 10),
        fired(9, "systolic-low", 30),
    ];
    assert_eq!(found, expected);
    // They are no valid events for that.
    assert_eq!((count(&data, "quarantine/events"), count(&data, "silver/events")), (invalid, 1));
}

/// A heart rate that is too high for long enough.
fn too_fast() -> String {
    [0, 10].map(|at| event(1, at, "\"heart_rate\":200")).concat()
}

#[test]
fn without_alerts_there_is_no_table_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    fs::write(&input, too_fast()).unwrap();
    let config = folder.path().join("config.toml");
    for enabled in [true, false] {
        fs::write(&config, format!("[alerts]\nenabled = {enabled}\n")).unwrap();
        let data = folder.path().join(enabled.to_string());
        let summary = succeed(run_file(&data, &input).arg("--config").arg(&config));
        assert_eq!(summary.contains("alerts"), enabled, "{summary}");
        assert_eq!(data.join("alerts").exists(), enabled);
        assert_eq!(alerts(&data).len(), usize::from(enabled));
    }
}

#[test]
fn a_file_that_is_read_in_pieces_raises_no_alerts_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (short, long) = (folder.path().join("short.jsonl"), folder.path().join("long.jsonl"));
    fs::write(&short, too_fast()).unwrap();
    // Blank lines are no events, but make it longer than a piece.
    let blank = format!("{}\n", " ".repeat(1_023)).repeat(16 << 10);
    fs::write(&long, too_fast() + &blank).unwrap();
    for (input, raises) in [(&short, true), (&long, false)] {
        let data = folder.path().join(raises.to_string());
        let output = run_file(&data, input).env("THALWEG_LOG", "warn").output().unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = said.lines().filter(|line| line.contains("no alerts are raised")).count();
        assert_eq!(lines, usize::from(!raises), "{said}");
        assert_eq!(alerts(&data).len(), usize::from(raises));
        assert_eq!(count(&data, "silver/events"), 2);

        // Whether there are alerts in the chain is not asked by who looks at it.
        let checkpoints = |arguments: &[&str]| {
            let mut command = healthcare();
            command.args(["checkpoints", "--data-dir"]).arg(&data).args(arguments);
            command
        };
        let listed = succeed(&mut checkpoints(&["list"]));
        assert!(listed.contains("finished"), "{listed}");
        let verified = succeed(&mut checkpoints(&["verify"]));
        assert!(verified.contains("are as they should be"), "{verified}");
        let numbers: Vec<&str> =
            listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
        let resolve = ["resolve", "--sink", "unheard-of", "--void", last];
        let refused = fail(&mut checkpoints(&resolve));
        assert!(refused.contains("has no rows for sink `unheard-of`"), "{refused}");
        let rewound = succeed(&mut checkpoints(&["rewind", "--to", first]));
        assert!(rewound.contains(&format!("goes back to {first}")), "{rewound}");
    }
}

/// A rule as it is recomputed: name, column, what crosses, what clears, seconds.
type Rule = (&'static str, &'static str, fn(f64) -> bool, fn(f64) -> bool, i64);

const RULES: [Rule; 3] = [
    ("heart-rate-high", "heart_rate", |v| v >= 131.0, |v| v <= 125.0, 10),
    ("heart-rate-low", "heart_rate", |v| v <= 40.0, |v| v >= 45.0, 10),
    ("spo2-low", "spo2", |v| v <= 91.0, |v| v >= 93.0, 15),
];

/// Everything that one rule says about one patient: id, state, seconds. `readings` are those of the patient in the
/// order of arrival, each with how far event time had got before it; `end` is how far it got in the end.
fn recompute(
    patient: i64,
    rule: &Rule,
    readings: &[(i64, f64, i64)],
    end: i64,
) -> Vec<(String, String, i64)> {
    let (name, _, crosses, clears, lasts) = rule;
    let mut rows = Vec::new();
    let (mut newest, mut since, mut told) = (i64::MIN, None::<i64>, false);
    let id = |opened: i64| format!("{patient}/{name}/{}", (START + opened) * 1_000_000);
    for (at, value, now) in readings.iter().copied().chain([(i64::MIN, f64::NAN, end)]) {
        if let Some(opened) = since.filter(|opened| !told && opened + lasts <= now) {
            rows.push((id(opened), "firing".to_owned(), opened + lasts));
            told = true;
        }
        if at < newest || at == i64::MIN {
            continue;
        }
        newest = at;
        if let Some(opened) = since {
            if clears(value) {
                if told {
                    // Not before it fired, though what clears it may have happened before.
                    rows.push((id(opened), "resolved".to_owned(), at.max(opened + lasts)));
                }
                (since, told) = (None, false);
            } else if !told && at - opened >= *lasts {
                rows.push((id(opened), "firing".to_owned(), at));
                told = true;
            }
        } else if crosses(value) {
            since = Some(at);
        }
    }
    rows
}

#[test]
fn limits_are_those_of_a_recomputation_at_any_parallelism() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(11);
    let mut lines = String::new();
    let mut readings: BTreeMap<(i64, &str), Vec<(i64, f64, i64)>> = BTreeMap::new();
    let mut now = i64::MIN;
    let mut seen = BTreeSet::new();
    for i in 0..20_000_i64 {
        let patient = random.random_range(1..40);
        let late = if random.random_bool(0.15) { random.random_range(0..90) } else { 0 };
        let at = (i / 4 - late).max(0);
        // Two events of a patient at one instant may end one alert there and begin another, which the naive way does not
        // know: leave them out.
        if !seen.insert((patient, at)) {
            continue;
        }
        let rate = [38, 60, 80, 128, 135, 140][random.random_range(0..6)];
        let spo2 = [88, 92, 97, 98][random.random_range(0..4)];
        for (vital, value) in [("heart_rate", rate), ("spo2", spo2)] {
            readings.entry((patient, vital)).or_default().push((at, f64::from(value), now));
        }
        lines.push_str(&event(patient, at, &format!("\"heart_rate\":{rate},\"spo2\":{spo2}")));
        now = now.max(at - 30);
    }
    let mut expected = Vec::new();
    for ((patient, vital), readings) in &readings {
        for rule in RULES.iter().filter(|rule| rule.1 == *vital) {
            expected.extend(recompute(*patient, rule, readings, now));
        }
    }
    expected.sort();
    assert!(expected.len() > 1_000, "{}", expected.len());

    let input = folder.path().join("events.jsonl");
    fs::write(&input, &lines).unwrap();
    for parallelism in ["1", "3"] {
        let data = folder.path().join(parallelism);
        let mut command = run_file(&data, &input);
        succeed(command.args(["--checkpoint-interval", "50ms", "--parallelism", parallelism]));
        let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.0).collect();
        let mut found: Vec<_> = alerts(&data)
            .into_iter()
            .filter(|row| names.contains(row.0.split('/').nth(1).unwrap()))
            .map(|(id, _, state, .., at)| (id, state, at))
            .collect();
        found.sort();
        let mut differences = String::new();
        for row in expected.iter().filter(|row| !found.contains(row)).take(3) {
            writeln!(differences, "missing {row:?}").unwrap();
        }
        for row in found.iter().filter(|row| !expected.contains(row)).take(3) {
            writeln!(differences, "not expected {row:?}").unwrap();
        }
        assert_eq!(found.len(), expected.len(), "{differences}");
        assert!(differences.is_empty(), "{differences}");
    }
}

/// `healthcare run` over a topic, with commands from another.
fn run_topics(kafka: &KafkaServer, folder: &Path, topic: &str) -> Command {
    let config = folder.join("config.toml");
    let settings = format!(
        "[alerts]\ncommands_topic = \"{topic}-commands\"\ntopic = \"{topic}-pages\"\n\
         [monitor]\ncheckpoint_age = \"1ms\"\nsilver_age = \"0s\"\ngold_age = \"0s\"\n\
         sparse_gold_age = \"0s\"\n"
    );
    fs::write(&config, settings).unwrap();
    let mut command = healthcare();
    command.args(["run", "--quiet", "--bootstrap-servers", kafka.bootstrap_servers()]);
    command.args(["--topic", topic, "--checkpoint-interval", "50ms", "--data-dir"]);
    command.arg(folder.join("data")).arg("--config").arg(&config);
    command
}

fn wait_for(data: &Path, child: &mut Child, what: &str, enough: impl Fn(&[Row]) -> bool) {
    let mut looks = 0;
    while !enough(&alerts(data)) {
        assert!(child.try_wait().unwrap().is_none(), "the job ended by itself");
        looks += 1;
        assert!(looks < 4_800, "{what} did not come");
        std::thread::park_timeout(Duration::from_millis(25));
    }
}

#[test]
fn commands_are_obeyed_once_across_a_kill() {
    let Some(kafka) = or_skip(KafkaServer::start_own(1)) else { return };
    let topic = unique_topic("alerts");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for name in [&topic, &format!("{topic}-commands"), &format!("{topic}-pages")] {
        kafka.create_topic(name, 1, &[]).unwrap();
    }
    let send = |events: &[(i64, i32)]| {
        let lines: Vec<String> = events
            .iter()
            .map(|(at, rate)| event(1, *at, &format!("\"heart_rate\":{rate}")))
            .collect();
        let records = lines.iter().map(|line| Record {
            partition: 0,
            key: None,
            payload: Some(line.trim_end().as_bytes()),
            timestamp_ms: None,
        });
        kafka.produce_all(&topic, records).unwrap();
    };
    let say = |arguments: &[&str]| {
        let mut command = healthcare();
        command.args(["alerts"]).args(arguments);
        command.args(["--bootstrap-servers", kafka.bootstrap_servers()]);
        command.arg("--data-dir").arg(&data);
        succeed(command.args(["--by", "nurse", "--topic", &format!("{topic}-commands")]));
    };
    let has = |state: &'static str| move |rows: &[Row]| rows.iter().any(|row| row.2 == state);

    send(&[(0, 140), (10, 140)]);
    let mut child = start(&mut run_topics(&kafka, folder.path(), &topic));
    wait_for(&data, &mut child, "the alert", has("firing"));
    let id = alerts(&data)[0].0.clone();
    // Another alert of the rule, which there is not, and then the one that there is.
    say(&["acknowledge", &format!("{id}1")]);
    say(&["snooze", &id, "--minutes", "5"]);
    wait_for(&data, &mut child, "the snooze", has("snoozed"));
    child.kill().unwrap();
    child.wait().unwrap();

    let mut child = start(&mut run_topics(&kafka, folder.path(), &topic));
    // Five minutes behind the newest event it fires again.
    send(&[(20, 140), (10 + 300 + 30, 140)]);
    wait_for(&data, &mut child, "the end of the snooze", |rows| rows.len() >= 3);
    say(&["acknowledge", &id]);
    wait_for(&data, &mut child, "the acknowledgement", has("acknowledged"));
    send(&[(400, 80)]);
    wait_for(&data, &mut child, "the end", has("resolved"));
    child.kill().unwrap();
    child.wait().unwrap();

    let found: Vec<_> = alerts(&data).into_iter().map(|row| (row.1, row.2, row.7)).collect();
    let expected = [
        (2, "firing", 10),
        (3, "snoozed", 10),
        (4, "firing", 310),
        (5, "acknowledged", 340),
        (6, "resolved", 400),
    ];
    assert_eq!(found, expected.map(|(n, state, at)| (n, state.to_owned(), at)));
    // All events were read, whatever the commands' partition of the same name says: its age is no reason to judge the
    // last checkpoint.
    let mut monitor = healthcare();
    monitor.args(["monitor", "--topic", &topic, "--bootstrap-servers", kafka.bootstrap_servers()]);
    monitor.arg("--config").arg(folder.path().join("config.toml")).arg("--data-dir").arg(&data);
    let said = last_line(&ends_with(&mut monitor, 0));
    assert_eq!(said["checks"], 2, "arrivals and lag: {said}");
    // At least once, in a topic.
    let pages = kafka.committed_lines(&format!("{topic}-pages")).unwrap();
    assert!(pages.len() >= 5, "{} pages", pages.len());
}
