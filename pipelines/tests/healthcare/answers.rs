//! Alerts that are answered on the dashboards: who may, what is sent, what is written down, and once in a browser beside
//! the real binary.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use serde_json::{Value, json};
use thalweg_connectors::delta::DeltaFollower;
use thalweg_connectors::kafka::{DemoBroker, TopicWriter};
use thalweg_core::Error;
use thalweg_objects::testing::Browser;
use thalweg_objects::{Access, Place};
use thalweg_pipelines::healthcare::alerts::command::{Action, Command};
use thalweg_pipelines::healthcare::commands::{CommandSink, Undelivered};
use thalweg_pipelines::healthcare::dashboard::{Answers, Desk, Observed, site};
use thalweg_runtime::SystemClock;
use thalweg_serving::audit::{AuditLog, verify};
use thalweg_serving::http::{Board, Gate, HttpServer, Journal, Limits, Visitor};

use crate::support::serving::{Serving, cookie, json_body, request, script};
use crate::support::{batches, ends_with, fail, healthcare, misuse, operator, succeed};

const COMMANDS: &str = "/api/alerts/commands";
const ALERT: &str = "7/heart-rate-high/1764018010000000";

/// How sending a command fails.
type Fails = fn(Error) -> Undelivered;

/// A broker that takes commands, or none.
#[derive(Debug, Default)]
struct Taken {
    commands: Mutex<Vec<Command>>,
    fails: Option<Fails>,
}

impl CommandSink for Taken {
    fn send(&self, command: &Command, _: Duration) -> Result<(), Undelivered> {
        if let Some(fails) = self.fails {
            return Err(fails(Error::transient("the broker is away")));
        }
        self.commands.lock().unwrap().push(command.clone());
        Ok(())
    }
}

struct Site {
    folder: tempfile::TempDir,
    gate: Gate,
    server: HttpServer,
}

impl Site {
    fn start(sink: Option<Arc<Taken>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::default());
        let log = AuditLog::open(folder.path().join("audit.jsonl"), Arc::clone(&clock) as _);
        let journal = Journal::new(log.unwrap());
        let data = Place::Folder(folder.path().to_owned());
        let follower = DeltaFollower::at(&data, &Access::from_environment()).unwrap();
        let answers = sink.map(|sink| Answers::new(sink, Duration::from_hours(1)));
        let desk = Desk { answers, journal: journal.clone() };
        let routes = site(&Arc::new(Board::default()), follower, Observed::default(), desk);
        let gate = Gate::new(Arc::new(()), 1, clock).noting(journal);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = routes.behind(&gate);
        let server =
            HttpServer::start(listener, app, Limits::default(), std::future::pending()).unwrap();
        Self { folder, gate, server }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The cookie of somebody in a role, whose name is the role's.
    fn sign_in(&self, role: &str) -> String {
        let link = self.gate.link(Visitor::new(role, role, |_| true));
        cookie(self.address(), &format!("/?token={link}"))
    }

    fn send(&self, cookie: &str, more: &str, body: &str) -> (u16, String) {
        let more = format!("{cookie}{more}{}", json_body(body));
        request(self.address(), "POST", COMMANDS, &more)
    }

    /// Entries of the audit log about alerts.
    fn audited(&self) -> Vec<Value> {
        self.audited_of("alert")
    }

    fn audited_of(&self, action: &str) -> Vec<Value> {
        let path = self.folder.path().join("audit.jsonl");
        verify(&path, &[]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("7/heart"), "the number of a patient is in the audit log: {text}");
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        entries.filter(|entry| entry["action"] == action).collect()
    }
}

fn acknowledge() -> String {
    json!({ "alert_id": ALERT, "action": "acknowledge" }).to_string()
}

#[test]
fn clinicians_answer_alerts_in_their_own_name() {
    let sink = Arc::new(Taken::default());
    let site = Site::start(Some(Arc::clone(&sink)));
    for role in ["", "viewer", "steward"] {
        let cookie = site.sign_in(role);
        assert_eq!(site.send(&cookie, "", &acknowledge()).0, 403, "{role}");
        let (_, me) = request(site.address(), "GET", "/api/me", &cookie);
        assert!(me.contains("\"allowed\":false"), "{me}");
    }
    assert_eq!(site.send("", "", &acknowledge()).0, 401);
    for role in ["clinician", "admin"] {
        let cookie = site.sign_in(role);
        let (_, me) = request(site.address(), "GET", "/api/me", &cookie);
        assert!(me.contains("\"answers\":{\"allowed\":true,\"snooze\":[15,60]}"), "{me}");
        assert_eq!(site.send(&cookie, "", &acknowledge()).0, 202, "{role}");
    }
    let snooze = json!({ "alert_id": ALERT, "action": "snooze", "minutes": 15 }).to_string();
    assert_eq!(site.send(&site.sign_in("clinician"), "", &snooze).0, 202);
    let command = |by: &str, action, minutes| Command {
        alert_id: ALERT.to_owned(),
        action,
        by: by.to_owned(),
        minutes,
    };
    let expected = [
        command("clinician", Action::Acknowledge, None),
        command("admin", Action::Acknowledge, None),
        command("clinician", Action::Snooze, Some(15)),
    ];
    assert_eq!(*sink.commands.lock().unwrap(), expected);
    let audited = site.audited();
    let told: Vec<String> = audited.iter().map(told).collect();
    let both = |what: &str| vec![format!("{what} begun"), format!("{what} done")];
    let wanted = ["clinician acknowledge", "admin acknowledge", "clinician snooze"].map(both);
    let refused = ["viewer", "steward"].map(|role| format!("{role} acknowledge refused")).to_vec();
    // Who has no name gives no command.
    assert_eq!(told, [vec!["  refused".to_owned()], refused, wanted.concat()].concat());
}

/// Who, what, and how it ended.
fn told(entry: &Value) -> String {
    ["actor", "kind", "outcome"].map(|name| entry[name].as_str().unwrap_or_default()).join(" ")
}

#[test]
fn what_a_role_may_not_do_is_written_down_but_not_without_end() {
    const ATTEMPTS: u64 = 60;
    let sink = Arc::new(Taken::default());
    let site = Site::start(Some(Arc::clone(&sink)));
    let viewer = site.sign_in("viewer");
    let snooze = json!({ "alert_id": ALERT, "action": "snooze", "minutes": 15 }).to_string();
    for body in [snooze.as_str(), &acknowledge(), "no command"] {
        assert_eq!(site.send(&viewer, "", body).0, 403);
    }
    let audited = site.audited();
    let told: Vec<String> = audited.iter().map(told).collect();
    assert_eq!(told, ["viewer snooze refused", "viewer acknowledge refused", "viewer  refused"]);
    assert!(audited.iter().all(|entry| entry["role"] == "viewer" && entry["reason"] == "role"));
    // The alert is told by its digest.
    assert_eq!(audited[0]["subject"], audited[1]["subject"]);
    assert_eq!(audited[0]["subject"].as_str().unwrap().len(), 64);
    for _ in 0..ATTEMPTS {
        assert_eq!(site.send(&viewer, "", &acknowledge()).0, 403);
    }
    let written = site.audited().len() as u64;
    assert!((20..ATTEMPTS).contains(&written), "{written}");
    assert!(sink.commands.lock().unwrap().is_empty());
}

#[test]
fn who_asks_for_patients_that_are_not_theirs_is_written_down() {
    let site = Site::start(None);
    let link = site.gate.link(Visitor::new("cook", "kitchen", |_| false));
    let cook = cookie(site.address(), &format!("/?token={link}"));
    for path in ["/api/patients", "/api/patient/1001"] {
        assert_eq!(request(site.address(), "GET", path, &cook).0, 403);
    }
    let audited = site.audited_of("query");
    let told: Vec<String> = audited.iter().map(told).collect();
    assert_eq!(told, ["cook patients refused", "cook patient refused"]);
    assert!(audited.iter().all(|entry| entry["tables"] == json!(["gold_patient_vitals"])));
    // The patient is told by a digest, too.
    assert_eq!(audited[1]["subject"].as_str().unwrap().len(), 64);
}

#[test]
fn who_sees_alerts_is_written_down_once_while_they_look() {
    let site = Site::start(None);
    let status = |path: &str, cookie: &str| request(site.address(), "GET", path, cookie);
    let nurse = site.sign_in("clinician");
    let link = site.gate.link(Visitor::new("viewer", "viewer", |table| table != "alerts_events"));
    let viewer = cookie(site.address(), &format!("/?token={link}"));
    for _ in 0..3 {
        assert_eq!(status("/api/live", &nurse).0, 200);
        assert_eq!(status("/api/live", &viewer).0, 200);
    }
    let audited = site.audited_of("query");
    let told: Vec<String> = audited.iter().map(told).collect();
    assert_eq!(told, ["clinician alerts done"]);
    assert_eq!(audited[0]["tables"], json!(["alerts_events"]));
    let admin = site.sign_in("admin");
    fs::remove_file(site.folder.path().join("audit.jsonl")).unwrap();
    // What cannot be written down is not shown; who gets no alerts has nothing to be written down.
    for path in ["/api/live", "/api/state"] {
        assert_eq!(status(path, &admin).0, 503, "{path}");
    }
    assert!(status("/api/state", &admin).1.contains("the audit log cannot be written"));
    assert_eq!(status("/api/live", &viewer).0, 200);
}

#[test]
fn what_is_no_command_is_refused() {
    let sink = Arc::new(Taken::default());
    let site = Site::start(Some(Arc::clone(&sink)));
    let nurse = site.sign_in("clinician");
    let status = |more: &str, body: &str| site.send(&nurse, more, body).0;
    for foreign in ["cross-site", "same-site"] {
        assert_eq!(status(&format!("Sec-Fetch-Site: {foreign}\r\n"), &acknowledge()), 403);
    }
    for body in [
        String::new(),
        "{}".to_owned(),
        json!({ "alert_id": ALERT, "action": "resolve" }).to_string(),
        json!({ "alert_id": "7", "action": "acknowledge" }).to_string(),
        json!({ "alert_id": ALERT, "action": "snooze" }).to_string(),
        json!({ "alert_id": ALERT, "action": "snooze", "minutes": 0 }).to_string(),
        json!({ "alert_id": ALERT, "action": "snooze", "minutes": 61 }).to_string(),
        // Who it is, the session says.
        json!({ "alert_id": ALERT, "action": "acknowledge", "by": "somebody" }).to_string(),
    ] {
        assert_eq!(status("", &body), 400, "{body}");
    }
    let long = format!("{}{}", acknowledge(), " ".repeat(5_000));
    assert_eq!(status("", &long), 413);
    let form = format!("{nurse}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(request(site.address(), "POST", COMMANDS, &form).0, 415);
    assert!(sink.commands.lock().unwrap().is_empty());
    assert!(site.audited().is_empty());
}

#[test]
fn without_a_topic_there_is_no_such_route() {
    let site = Site::start(None);
    let nurse = site.sign_in("clinician");
    assert_eq!(site.send(&nurse, "", &acknowledge()).0, 404);
    let (_, me) = request(site.address(), "GET", "/api/me", &nurse);
    assert!(me.contains("\"answers\":null"), "{me}");
}

#[test]
fn the_simulated_hospital_hears_answers_without_a_word_in_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = healthcare();
    command.args(["run", "--http", "127.0.0.1:0", "--data-dir"]).arg(folder.path().join("data"));
    let serving = Serving::start(&mut command);
    let (address, path) = serving.parts();
    let operator = cookie(address, &path);
    let (_, me) = request(address, "GET", "/api/me", &operator);
    assert!(me.contains("\"answers\":{\"allowed\":false,\"snooze\":[15,60]}"), "{me}");
}

#[test]
fn a_command_that_the_broker_does_not_take_has_failed_and_of_one_that_may_be_taken_nobody_knows() {
    let cases = [
        (Undelivered::Refused as Fails, 503, "did not take the command: try again\n", "failed"),
        (Undelivered::Unacknowledged, 504, "it may still take effect\n", "unknown"),
    ];
    for (fails, code, text, outcome) in cases {
        let sink = Taken { fails: Some(fails), ..Taken::default() };
        let site = Site::start(Some(Arc::new(sink)));
        let (status, answer) = site.send(&site.sign_in("clinician"), "", &acknowledge());
        assert_eq!(status, code);
        assert!(answer.ends_with(text), "{answer}");
        let outcomes: Vec<Value> = site.audited().iter().map(|e| e["outcome"].clone()).collect();
        assert_eq!(outcomes, [json!("begun"), json!(outcome)]);
    }
}

#[test]
fn a_command_that_cannot_be_written_down_is_not_sent() {
    let sink = Arc::new(Taken::default());
    let site = Site::start(Some(Arc::clone(&sink)));
    let nurse = site.sign_in("clinician");
    fs::remove_file(site.folder.path().join("audit.jsonl")).unwrap();
    assert_eq!(site.send(&nurse, "", &acknowledge()).0, 503);
    assert!(sink.commands.lock().unwrap().is_empty());
    // And nobody else comes in.
    let link = site.gate.link(Visitor::new("admin", "admin", |_| true));
    let (status, _) = request(site.address(), "GET", &format!("/?token={link}"), "");
    assert_eq!(status, 503);
}

#[test]
fn a_command_from_the_command_line_is_written_down_before_it_is_sent() {
    const ANSWERS: &str = "answers";
    let folder = tempfile::tempdir().unwrap();
    let broker = DemoBroker::start("events", 1).unwrap();
    broker.create_topic(ANSWERS, 1).unwrap();
    let say = |arguments: &[&str]| {
        let mut command = healthcare();
        command.arg("alerts").args(arguments).args(["--by", "Joy", "--topic", ANSWERS]);
        command.args(["--bootstrap-servers", broker.bootstrap_servers()]);
        command.env("USER", "operator").current_dir(folder.path());
        command
    };
    // With neither a folder nor a log there is nowhere to write it.
    let refused = misuse(&mut say(&["acknowledge", ALERT]));
    assert!(refused.contains("--audit-log"), "{refused}");
    let remote = misuse(say(&["acknowledge", ALERT]).args(["--data-dir", "s3://bucket/job"]));
    assert!(remote.contains("--audit-log"), "{remote}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    // No alert's name is no command.
    misuse(say(&["acknowledge", "7"]).args(["--audit-log", "named.jsonl"]));
    assert!(!folder.path().join("named.jsonl").exists());

    succeed(say(&["snooze", ALERT, "--minutes", "5"]).args(["--audit-log", "named.jsonl"]));
    fs::create_dir(folder.path().join("data")).unwrap();
    succeed(&mut say(&["acknowledge", ALERT]));
    let mut digests = Vec::new();
    for (log, kind) in [("named.jsonl", "snooze"), ("data.audit.jsonl", "acknowledge")] {
        let path = folder.path().join(log);
        assert_eq!(verify(&path, &[]).unwrap().entries, 2);
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("7/heart"), "the number of a patient is in the audit log: {text}");
        let entries: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<String> = entries.iter().map(told).collect();
        let by = operator();
        assert_eq!(told, [format!("{by} {kind} begun"), format!("{by} {kind} done")]);
        assert!(entries.iter().all(|e| e["action"] == "alert" && e["source"] == "cli"), "{text}");
        digests.push(entries[0]["subject"].as_str().unwrap().len());
    }
    assert_eq!(digests, [64, 64]);
    // What cannot be written down is not sent.
    let log = folder.path().join("data.audit.jsonl");
    fs::write(&log, "no entry\n").unwrap();
    let unwritten = fail(&mut say(&["acknowledge", ALERT]));
    assert!(unwritten.contains("is damaged"), "{unwritten}");
}

#[test]
fn a_command_goes_to_the_topic_of_the_settings_and_no_topic_is_created_for_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let config = folder.path().join("config.toml");
    fs::write(&config, "[alerts]\ncommands_topic = \"ward-answers\"\n").unwrap();
    let broker = DemoBroker::start("events", 1).unwrap();
    broker.create_topic("ward-answers", 1).unwrap();
    let say = |more: &[&str]| {
        let mut command = healthcare();
        command.args(["alerts", "acknowledge", ALERT, "--by", "Joy", "--bootstrap-servers"]);
        command.arg(broker.bootstrap_servers()).args(more).current_dir(folder.path());
        command
    };
    // Twice: the first time does not make it.
    for _ in 0..2 {
        let refused = fail(&mut say(&[]));
        assert!(refused.contains("topic `healthcare_alert_commands` does not exist"), "{refused}");
        assert!(refused.contains("alerts.commands_topic"), "{refused}");
    }
    succeed(&mut say(&["--config", "config.toml"]));
    let snooze = ["alerts", "snooze", ALERT, "--minutes", "5", "--by", "Joy"];
    let at = ["--config", "config.toml", "--bootstrap-servers", broker.bootstrap_servers()];
    succeed(healthcare().args(snooze).args(at).current_dir(folder.path()));
    // What is typed comes first.
    let refused = fail(&mut say(&["--config", "config.toml", "--topic", "absent"]));
    assert!(refused.contains("topic `absent` does not exist"), "{refused}");
    // The brokers may be in the file, too, and have to be somewhere.
    let in_file = || {
        let mut command = healthcare();
        command.args(snooze).args(["--config", "config.toml"]).current_dir(folder.path());
        command
    };
    let output = ends_with(&mut in_file(), 2);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("no kafka broker is named: pass --bootstrap-servers"), "{told}");
    let servers = broker.bootstrap_servers();
    let settings = format!(
        "[kafka]\nbootstrap_servers = \"{servers}\"\n[alerts]\ncommands_topic = \"ward-answers\"\n"
    );
    fs::write(&config, settings).unwrap();
    succeed(&mut in_file());
}

/// States of alerts in the table, and who answered.
fn answered(data: &Path) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    for batch in batches(&data.join("alerts/events")) {
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        let (states, by) = (text("state"), text("by"));
        found.extend((0..batch.num_rows()).map(|at| {
            (states.value(at).to_owned(), by.is_valid(at).then(|| by.value(at).to_owned()))
        }));
    }
    found
}

#[test]
fn a_nurse_acknowledges_an_alert_in_a_browser_and_snoozes_another() {
    const TOPIC: &str = "events";
    const ANSWERS: &str = "events-commands";
    let Some(browser) = Browser::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (data, config) = (folder.path().join("data"), folder.path().join("config.toml"));
    fs::create_dir(&data).unwrap();
    let alerts = format!("[alerts]\ncommands_topic = \"{ANSWERS}\"\npending = true\n");
    fs::write(&config, alerts).unwrap();
    let add = ["users", "add", "nurse", "--role", "clinician", "--data-dir"];
    let token = succeed(healthcare().args(add).arg(&data));
    let broker = DemoBroker::start(TOPIC, 1).unwrap();
    broker.create_topic(ANSWERS, 1).unwrap();
    let serving = Serving::start(
        healthcare()
            .args(["run", "--http", "127.0.0.1:0", "--checkpoint-interval", "50ms", "--topic"])
            .args([TOPIC, "--bootstrap-servers", broker.bootstrap_servers(), "--config"])
            .arg(&config)
            .arg("--data-dir")
            .arg(&data),
    );
    let writer = TopicWriter::new(broker.bootstrap_servers(), TOPIC, &BTreeMap::new()).unwrap();
    // The one of patient 8 has not lasted yet.
    for (patient, second) in [(7, 0), (9, 0), (7, 10), (9, 10), (8, 10)] {
        let event = json!({
            "patient_id": patient, "event_type": "vitals", "heart_rate": 140,
            "timestamp": format!("2025-11-24T21:00:{second:02}"),
        });
        writer.send(None, Some(event.to_string().as_bytes()), None).unwrap();
    }
    writer.flush(Duration::from_mins(2)).unwrap();
    let output = browser
        .script(&script("answer.mjs"))
        .arg(&serving.link)
        .arg(token.trim())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim() == "ok", "{said}{problems}");
    for state in ["acknowledged", "snoozed"] {
        let by_nurse = (state.to_owned(), Some("nurse".to_owned()));
        assert!(answered(&data).contains(&by_nurse), "{state}: {:?}", answered(&data));
    }
    let log = folder.path().join("data.audit.jsonl");
    verify(&log, &[]).unwrap();
    let log = fs::read_to_string(&log).unwrap();
    let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has = |action: &str, kind: &str| {
        let is = |e: &Value| e["action"] == action && e["kind"] == kind && e["outcome"] == "done";
        entries.iter().filter(|entry| entry["actor"] == "nurse").filter(|entry| is(entry)).count()
    };
    let answers = ["acknowledge", "snooze"].map(|kind| has("alert", kind));
    let found = [has("login", "form"), has("query", "patient")];
    assert_eq!((answers, found), ([1, 1], [1, 1]), "{log}");
}
