//! The dashboards: in a browser beside the real binary, and route by route.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test fails by panicking, and this one measures by the wall clock"
)]

mod left;
mod metrics;
mod routes;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use serde_json::{Value, json};
use support::serving::{Serving, Wire, request, script, sign_in};
use support::{batches, healthcare, run_file, succeed, write_events};
use thalweg_connectors::kafka::{DemoBroker, TopicWriter};
use thalweg_objects::testing::Browser;

/// Tables of a file's events.
fn tables(folder: &Path, events: u64) -> PathBuf {
    let (input, data) = (folder.join("events.jsonl"), folder.join("data"));
    write_events(&input, events, 5);
    succeed(&mut run_file(&data, &input));
    data
}

/// A row of a gold table, read without the code under test.
struct Gold {
    minute: i64,
    key: String,
    batch: RecordBatch,
    at: usize,
}

impl Gold {
    fn number(&self, column: &str) -> f64 {
        let values = self.batch.column_by_name(column).unwrap();
        match values.as_primitive_opt::<Float64Type>() {
            Some(values) => values.value(self.at),
            None => values.as_primitive::<Int64Type>().value(self.at) as f64,
        }
    }
}

/// Every minute of the hour that is shown, by its start (ms): mean, least, greatest of what is called so in the table.
fn course(kpis: &[Gold], newest: i64, name: &str) -> Vec<[f64; 4]> {
    let is_known =
        |row: &Gold| row.batch.column_by_name(&format!("{name}_mean")).unwrap().is_valid(row.at);
    let shown = kpis.iter().filter(|row| row.minute > newest - 3_600_000 && is_known(row));
    let part = |row: &Gold, part: &str| row.number(&format!("{name}_{part}"));
    let mut course: Vec<[f64; 4]> = shown
        .map(|row| [row.minute as f64, part(row, "mean"), part(row, "min"), part(row, "max")])
        .collect();
    course.sort_by(|one, other| one[0].total_cmp(&other[0]));
    course
}

fn gold(data: &Path, table: &str, key: Option<&str>) -> Vec<Gold> {
    let mut rows = Vec::new();
    for batch in batches(&data.join(table)) {
        let starts = batch.column_by_name("window_start").unwrap();
        let starts = starts.as_primitive::<TimestampMicrosecondType>().clone();
        for at in 0..batch.num_rows() {
            let key = key.map_or_else(String::new, |key| {
                let column = batch.column_by_name(key).unwrap();
                match column.as_string_opt::<i32>() {
                    Some(texts) => texts.value(at).to_owned(),
                    None => column.as_primitive::<Int64Type>().value(at).to_string(),
                }
            });
            rows.push(Gold { minute: starts.value(at) / 1_000, key, batch: batch.clone(), at });
        }
    }
    rows
}

/// What the pages must show, by an independent reading of the tables.
fn expected(data: &Path) -> Value {
    let kpis = gold(data, "gold/kpis", None);
    let newest = kpis.iter().max_by_key(|row| row.minute).unwrap();
    let at = |table: &str, key: &str, columns: &[&str]| -> BTreeMap<String, Vec<f64>> {
        let rows = gold(data, table, Some(key));
        let rows = rows.iter().filter(|row| row.minute == newest.minute);
        rows.map(|row| (row.key.clone(), columns.iter().map(|c| row.number(c)).collect())).collect()
    };
    let vitals = ["events", "heart_rate_mean", "temperature_mean", "spo2_mean"];
    let patients = gold(data, "gold/patient_vitals", Some("patient_id"));
    let patient = patients.iter().max_by_key(|row| (row.minute, row.key.clone())).unwrap();
    let other = patients.iter().find(|row| row.key != patient.key).unwrap();
    json!({
        "minute": newest.minute,
        "kpis": {
            "patients": newest.number("patients"), "events": newest.number("events"),
            "hr": newest.number("heart_rate_mean"), "temp": newest.number("temperature_mean"),
            "spo2": newest.number("spo2_mean"), "rr": newest.number("respiratory_rate_mean"),
        },
        "trends": {
            "temp": course(&kpis, newest.minute, "temperature"),
            "hr": course(&kpis, newest.minute, "heart_rate"),
        },
        "types": at("gold/vitals_by_minute", "event_type",
            &["events", "heart_rate_mean", "temperature_mean", "spo2_mean", "respiratory_rate_mean"]),
        "typeCounts": at("gold/vitals_by_minute", "event_type", &["events", "patients"]),
        "categories": at("gold/vitals_by_bp_category", "bp_category", &vitals),
        "categoryTemperatures": at("gold/vitals_by_bp_category", "bp_category", &["temperature_mean", "events"]),
        "medications": at("gold/medications", "medication", &["events", "patients"]),
        "patient": {
            "id": patient.key, "other": other.key, "minute": patient.minute,
            "hr": patient.number("heart_rate_mean"),
        },
    })
}

/// The dashboards over `data` show this script what is wanted.
fn assert_shows(browser: &Browser, name: &str, data: &Path, wanted: &Path) {
    let serving = Serving::start(
        healthcare().args(["serve", "--http", "127.0.0.1:0", "--data-dir"]).arg(data),
    );
    let output = browser.script(&script(name)).arg(&serving.link).arg(wanted).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim() == "ok", "{said}{problems}");
}

#[test]
fn the_pages_show_what_the_tables_hold_and_everybody_can_use_them() {
    let Some(browser) = Browser::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = tables(folder.path(), 100_000);
    let wanted = folder.path().join("expected.json");
    let expected = expected(&data);
    for vital in ["temp", "hr"] {
        assert!(expected["trends"][vital].as_array().unwrap().len() > 5, "{}", expected["trends"]);
    }
    fs::write(&wanted, expected.to_string()).unwrap();
    assert_shows(&browser, "pages.mjs", &data, &wanted);
}

/// Two patients' heart rates: by minute its start (ms), mean, least, greatest.
fn courses(data: &Path) -> BTreeMap<String, Vec<[f64; 4]>> {
    let mut courses: BTreeMap<String, Vec<[f64; 4]>> = BTreeMap::new();
    for row in gold(data, "gold/patient_vitals", Some("patient_id")) {
        let [mean, least, greatest] =
            ["heart_rate_mean", "heart_rate_min", "heart_rate_max"].map(|name| row.number(name));
        courses.entry(row.key).or_default().push([row.minute as f64, mean, least, greatest]);
    }
    while courses.len() > 2 {
        courses.pop_last();
    }
    for course in courses.values_mut() {
        course.sort_by(|one, other| one[0].total_cmp(&other[0]));
    }
    courses
}

#[test]
fn a_page_of_a_patient_asks_until_it_has_every_minute_that_is_committed() {
    let Some(browser) = Browser::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = tables(folder.path(), 40_000);
    let wanted = folder.path().join("expected.json");
    let expected = json!({ "minute": expected(&data)["minute"], "courses": courses(&data) });
    fs::write(&wanted, expected.to_string()).unwrap();
    assert_shows(&browser, "gaps.mjs", &data, &wanted);
}

fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// `2025-11-24T21:10:17.114Z`
fn text(millis: i64) -> String {
    let whole = speedate::DateTime::from_timestamp(millis / 1_000, (millis % 1_000) as u32 * 1_000);
    whole.unwrap().to_string()
}

const TOPIC: &str = "events";

/// What takes longer on the busiest machine does not happen any more.
const PATIENCE: Duration = Duration::from_mins(3);

/// A topic of two partitions.
struct Topic {
    writer: TopicWriter,
    broker: DemoBroker,
}

impl Topic {
    fn start() -> Self {
        let broker = DemoBroker::start(TOPIC, 2).unwrap();
        let servers = broker.bootstrap_servers();
        let writer = TopicWriter::new(servers, TOPIC, &BTreeMap::new()).unwrap();
        Self { writer, broker }
    }

    /// Sends the `n`th event, of that time, and waits for the broker.
    fn send(&self, partition: i32, n: usize, at: i64, arrival: i64) {
        self.write(partition, n, at, arrival);
        self.writer.flush(PATIENCE).unwrap();
    }

    fn write(&self, partition: i32, n: usize, at: i64, arrival: i64) {
        let event = json!({
            "patient_id": 7 + n % 2, "event_type": "medication", "medication": "Heparin",
            "timestamp": text(at), "heart_rate": 60 + n, "blood_pressure": "120/80",
            "temperature": 98.6, "spo2": 97, "respiratory_rate": 16,
        });
        let event = event.to_string();
        self.writer.send_to(partition, Some(event.as_bytes()), Some(arrival)).unwrap();
    }
}

/// When the running minute was on the screen with so many events, ms; the tables have to agree.
fn shown(lines: &mut impl Iterator<Item = String>, events: i64) -> i64 {
    let shown = lines.find_map(|line| {
        let told: Option<Vec<i64>> = line.split(' ').map(|word| word.parse().ok()).collect();
        told.filter(|told| told[0] == events)
    });
    let told = shown.expect("the page went away");
    assert_eq!(told[2], events, "the table of types");
    told[1]
}

/// Sends the `n`th event of the running minute: how long it took until it was on the screen, ms.
fn sent_and_shown(
    topic: &Topic,
    minute: i64,
    n: usize,
    lines: &mut impl Iterator<Item = String>,
) -> i64 {
    let sent = now_millis();
    topic.send(0, n, minute + n as i64, sent);
    shown(lines, n as i64) - sent
}

#[test]
fn an_event_is_on_the_screen_within_a_second_and_its_minute_is_replaced_by_what_is_committed() {
    const ROUND: usize = 9;
    const ROUNDS: usize = 5;
    let Some(browser) = Browser::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("data"), folder.path().join("config.toml"));
    // However slow this machine is, a partition that waits for its next event holds the minute open.
    // And an event that is hours ahead is all that the other partition will ever hold: it must move that one's time.
    fs::write(&config, "[time]\nidle_after = \"1h\"\nahead = \"1day\"\n").unwrap();
    let topic = Topic::start();
    let serving = Serving::start(
        healthcare()
            .args(["run", "--http", "127.0.0.1:0", "--topic", TOPIC, "--bootstrap-servers"])
            .args([topic.broker.bootstrap_servers(), "--config"])
            .arg(&config)
            .arg("--data-dir")
            .arg(&data),
    );
    let (server, path) = serving.parts();
    let wire = Wire::to(server);
    let mut script = browser.script(&script("live.mjs"));
    let link = format!("http://{}{path}", wire.address);
    let mut script = script.arg(link).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("ready"));
    // Somebody's clock is hours ahead: that is not the minute that runs.
    let minute = now_millis() / 60_000 * 60_000;
    topic.send(1, 0, minute + 20 * 3_600_000, now_millis());
    // All other events are of one minute, which stays open: its number of events is the signal.
    let mut events = 0;
    let mut rounds: Vec<Vec<i64>> = Vec::new();
    let is_quick = |took: &Vec<i64>| took[ROUND / 2] <= 1_000 && took[ROUND - 1] <= 5_000;
    // Whoever waits for anything but events is late in each round; a machine that is busy, in some.
    while !rounds.last().is_some_and(is_quick) {
        assert!(rounds.len() < ROUNDS, "from the event to the screen, ms: {rounds:?}");
        let mut took = Vec::new();
        for n in events + 1..=events + ROUND {
            took.push(sent_and_shown(&topic, minute, n, &mut lines));
        }
        events += ROUND;
        took.sort_unstable();
        rounds.push(took);
    }
    println!("from the event to the screen, ms: {rounds:?}");
    // The page goes on where its connection broke.
    wire.cut();
    events += 1;
    sent_and_shown(&topic, minute, events, &mut lines);
    // Time passes: the minute is committed, and another one runs.
    let later = minute + 120_000;
    topic.send(0, 11, later, later);
    let committed = format!("committed {minute}");
    assert!(lines.any(|line| line == committed), "the page went away");
    let wanted = folder.path().join("expected.json");
    let expected = expected(&data);
    assert_eq!(
        (&expected["minute"], &expected["kpis"]["events"]),
        (&json!(minute), &json!(events as f64))
    );
    fs::write(&wanted, expected.to_string()).unwrap();
    let mut stdin = script.stdin.take().unwrap();
    writeln!(stdin, "{}", wanted.display()).unwrap();
    let answer = lines.find(|line| line == "ok" || line.starts_with("wrong: "));
    assert_eq!(answer.as_deref(), Some("ok"));
    // The page of a patient is open, and the next event of the patient is in the minute that runs.
    let (mut sent, mut looks) = (0, 0);
    let is_told = |line: &String| line.starts_with("patient ") || line.starts_with("wrong: ");
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| lines.find(is_told));
        while !answer.is_finished() {
            // Who is so slow that the patient is not asked for meanwhile is counted from the next one.
            if looks % 400 == 0 {
                sent += 1;
                topic.send(0, 13, later + sent, later + sent);
            }
            looks += 1;
            std::thread::park_timeout(Duration::from_millis(50));
        }
        answer.join().unwrap()
    });
    let counted: Option<i64> =
        answer.as_deref().and_then(|told| told.strip_prefix("patient ")?.parse().ok());
    assert!(counted.is_some_and(|counted| (1..=sent).contains(&counted)), "{answer:?} of {sent}");
    drop(stdin);
    drop(script.wait());
}

#[test]
fn a_second_demo_begins_where_the_first_ended() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let run = |events: u64| {
        let mut command = healthcare();
        command.args(["run", "--quiet", "--events", "4000", "--data-dir"]).arg(&data);
        succeed(&mut command);
        assert_eq!(support::count(&data, "bronze/events"), events);
        let mut minutes: Vec<i64> =
            gold(&data, "gold/kpis", None).iter().map(|row| row.minute).collect();
        minutes.sort_unstable();
        minutes
    };
    // Some four minutes, in four seconds: the second one begins long before the first one's time is over.
    let first = run(4_000);
    let both = run(8_000);
    assert!(first.len() > 2 && both.len() > first.len() + 2, "{first:?}, {both:?}");
    assert_eq!(both[..first.len()], first, "a minute lies among those of the first demo");
    assert!(both.windows(2).all(|pair| pair[0] < pair[1]), "a minute is there twice: {both:?}");
}

#[test]
fn a_session_and_its_stream_end_when_the_token_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let users = |arguments: &[&str]| {
        let mut command = healthcare();
        command.arg("users").args(arguments).arg("--data-dir").arg(&data);
        succeed(&mut command).trim().to_owned()
    };
    let add = ["add", "nurse", "--role", "viewer"];
    let token = users(&add);
    let mut serve = healthcare();
    serve.args(["serve", "--http", "127.0.0.1:0", "--data-dir"]).arg(&data);
    let serving = Serving::start(&mut serve);
    let (address, _) = serving.parts();
    let stolen = sign_in(address, &token);
    let page = |cookie: &str| request(address, "GET", "/", cookie).0;
    assert_eq!(page(&stolen), 200);
    let opened = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("GET /api/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{stolen}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains(" 200 "));
    users(&["remove", "nurse"]);
    let next = users(&add);
    // The time is told at first and every 15 s: some came while the token was replaced, and then the stream ends instead.
    let most = 4 + opened.elapsed().as_secs() as usize / 15;
    let beats = lines.filter(|line| line == "event: time").take(most + 1).count();
    assert!(beats <= most, "the stream goes on");
    assert_eq!(page(&stolen), 401);
    assert_eq!(page(&sign_in(address, &next)), 200);
}

#[test]
fn what_would_cross_a_network_in_clear_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |more: &[&str], code: i32, why: &str| {
        let mut command = healthcare();
        let output = command.args(more).arg("--data-dir").arg(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", support::shown(&output));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(why), "{said}");
    };
    refused(&["serve", "--http", "0.0.0.0:0"], 1, "--behind-proxy");
    refused(&["run", "--http", "0.0.0.0:0"], 1, "--behind-proxy");
    refused(&["serve", "--http", "--tls-cert", "c.pem", "--tls-key", "k.pem"], 2, "--sql");
}

#[test]
fn a_job_runs_whether_or_not_its_dashboard_can_be_served() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, 5_000, 5);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = |name: &str, more: &[&str]| {
        let mut command = healthcare();
        command
            .args(["run", "--data-dir"])
            .arg(folder.path().join(name))
            .arg("--input")
            .arg(&input);
        let output = command.args(more).output().unwrap();
        assert!(output.status.success(), "{}", support::shown(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run("taken", &["--http", &address]).contains("the dashboard is not served"));
    assert!(!run("none", &["--no-serve"]).contains("dashboard"));
    assert!(!run("quiet", &["--quiet"]).contains("dashboard"));
    assert_eq!(run("default", &[]).matches("dashboard: http://127.0.0.1:").count(), 1);
    for name in ["none", "quiet", "default"] {
        support::assert_same_tables(&folder.path().join("taken"), &folder.path().join(name));
    }
}
