//! Served: what a user in each role is answered by HTTP, by its stream and by SQL, what the server logs, and the audit
//! log.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use postgres::types::{FromSql, Type};
use postgres::{Client, NoTls, SimpleQueryMessage};
use serde_json::Value;
use thalweg_connectors::delta::DeltaFollower;
use thalweg_objects::{Access, Place};
use thalweg_pipelines::healthcare::dashboard::{Desk, Observed, site};
use thalweg_pipelines::healthcare::serve::{ROLES, TABLES};
use thalweg_serving::http::Board;

use super::{SECRETS, has, misplaced};

use crate::support::serving::request;
use crate::support::{healthcare, run_file, succeed, write_events};

/// A role, its tables, and its sections of the dashboards. Patients and counters are of tables that each of them may
/// read, so no route refuses any of them.
const MATRIX: [(&str, &str, &str); 4] = [
    (
        "viewer",
        "gold_kpis gold_medications gold_patient_vitals gold_vitals_by_bp_category \
         gold_vitals_by_minute meta_checkpoints",
        "categories checkpoints graph job kpis medications types",
    ),
    (
        "clinician",
        "alerts_events gold_kpis gold_medications gold_patient_vitals gold_vitals_by_bp_category \
         gold_vitals_by_minute late_events meta_checkpoints silver_events",
        "alerts categories checkpoints graph job kpis medications types",
    ),
    (
        "steward",
        "gold_kpis gold_medications gold_patient_vitals gold_vitals_by_bp_category \
         gold_vitals_by_minute meta_checkpoints quarantine_events",
        "categories checkpoints graph job kpis medications types",
    ),
    (
        "admin",
        "alerts_events bronze_events gold_kpis gold_medications gold_patient_vitals \
         gold_vitals_by_bp_category gold_vitals_by_minute late_events meta_checkpoints \
         quarantine_events silver_events",
        "alerts categories checkpoints graph job kpis medications types",
    ),
];

/// The patient who has an alert.
const PATIENT: i64 = 7;

/// Where something was said, and what.
type Said = Vec<(String, Vec<u8>)>;

/// The tables of a job whose input is full of secrets.
fn tables(folder: &Path) -> PathBuf {
    let (input, data) = (folder.join("events.jsonl"), folder.join("data"));
    write_events(&input, 3_000, 7);
    let mut more = OpenOptions::new().append(true).open(&input).unwrap();
    for event in misplaced(PATIENT, &[15, 25]) {
        writeln!(more, "{event}").unwrap();
    }
    let original = fs::read_to_string(&input).unwrap();
    assert!(SECRETS.iter().all(|secret| original.contains(secret)), "they are there to be found");
    succeed(&mut run_file(&data, &input));
    data
}

/// A user called as its role is: its token.
fn user(data: &Path, role: &str) -> String {
    let add = ["users", "add", role, "--role", role, "--data-dir"];
    succeed(healthcare().args(add).arg(data)).trim().to_owned()
}

/// The real `healthcare serve`, which logs everything.
struct Server {
    child: Child,
    http: SocketAddr,
    sql: SocketAddr,
    log: Option<JoinHandle<String>>,
}

impl Server {
    fn start(data: &Path) -> Self {
        let mut command = healthcare();
        command.args(["serve", "--http", "127.0.0.1:0", "--sql", "127.0.0.1:0", "--data-dir"]);
        command.arg(data).env("THALWEG_LOG", "trace");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        let http: SocketAddr = loop {
            let begin = log.len();
            assert!(stderr.read_line(&mut log).unwrap() > 0, "{log}");
            if let Some(link) = log[begin..].strip_prefix("dashboard: http://") {
                break link.split('/').next().unwrap().parse().unwrap();
            }
        };
        let log = std::thread::spawn(move || {
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.strip_prefix("sql: postgresql://").unwrap_or_else(|| panic!("{line}"));
        let sql = url.split('/').next().unwrap().parse().unwrap();
        Self { child, http, sql, log: Some(log) }
    }

    /// Asks it to end: all that it has logged.
    fn end(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        self.log.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Every path that can be asked for.
fn paths(data: &Path) -> Vec<String> {
    let data = Place::Folder(data.to_owned());
    let follower = DeltaFollower::at(&data, &Access::from_environment()).unwrap();
    let board = Arc::new(Board::default());
    let routes = site(&board, follower, Observed::default(), Desk::default());
    let gets = routes.list().iter().filter(|(method, _)| method.as_str() == "GET");
    gets.map(|(_, path)| path.replace("{id}", &PATIENT.to_string())).collect()
}

/// The first message of the stream.
fn first_message(address: SocketAddr, bearer: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(2))).unwrap();
    let head = format!("GET /api/live HTTP/1.1\r\nHost: x\r\n{bearer}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    // What is no object is the time.
    let message = |line: String| line.strip_prefix("data: ").map(str::to_owned);
    lines.find_map(|line| message(line).filter(|data| data.starts_with('{'))).unwrap()
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The sections that a message has rows of.
fn sections(message: &str) -> BTreeSet<String> {
    let message: Value = serde_json::from_str(message).unwrap();
    message["sections"].as_object().unwrap().keys().cloned().collect()
}

/// Asks for everything by HTTP.
fn browse(server: &Server, paths: &[String], role: &str, token: &str, expected: &str) -> Said {
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let (mut shown, expected) = (words(expected), words(expected));
    // No job runs beside it.
    shown.remove("job");
    let mut said = Said::new();
    for path in paths {
        let (status, answer) = request(server.http, "GET", path, &bearer);
        assert_eq!(status, 200, "{path} to {role}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        match path.as_str() {
            "/api/me" => {
                let me: Value = serde_json::from_str(body).unwrap();
                let all = me["sections"].as_array().unwrap().iter();
                let all: BTreeSet<String> = all.map(|s| s.as_str().unwrap().to_owned()).collect();
                assert_eq!((me["name"].as_str(), all), (Some(role), expected.clone()));
            }
            "/api/state" => assert_eq!(sections(body), shown, "{role}"),
            "/api/patients" | "/api/patient/7" => assert!(body.contains("\"hr\":"), "{body}"),
            _ => {}
        }
        said.push((format!("{path} to {role}"), answer.into_bytes()));
    }
    said.extend(refused(server, paths, role, &bearer));
    let message = first_message(server.http, &bearer);
    assert_eq!(sections(&message), shown, "{role}");
    said.push((format!("the stream to {role}"), message.into_bytes()));
    said
}

/// What is answered to requests that are none: other methods, and paths and patients that there are not.
fn refused(server: &Server, paths: &[String], role: &str, bearer: &str) -> Said {
    let mut said = Said::new();
    let posted = paths.iter().map(|path| ("POST", path.as_str()));
    let others = [
        ("POST", "/api/alerts/commands"),
        ("DELETE", "/api/state"),
        ("GET", "/api/patient/x"),
        ("GET", "/api/patient/9999999"),
        ("GET", "/api/patients?begins=x"),
        ("GET", "/api/silver"),
    ];
    for (method, path) in posted.chain(others) {
        let (status, answer) = request(server.http, method, path, bearer);
        assert!(method == "GET" || status >= 400, "{method} {path} to {role}: {status}");
        said.push((format!("{method} {path} to {role}"), answer.into_bytes()));
    }
    said
}

/// A value as it is on the wire.
struct Raw(Vec<u8>);

impl FromSql<'_> for Raw {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// All of a table, as texts and as bytes: a text shows what is in `bytea` as digits.
fn select(client: &mut Client, table: &str) -> Result<Vec<u8>, postgres::Error> {
    let sql = format!("select * from {table}");
    let mut said = Vec::new();
    for message in client.simple_query(sql.as_str())? {
        let SimpleQueryMessage::Row(row) = message else { continue };
        for at in 0..row.len() {
            said.extend_from_slice(row.get(at).unwrap_or_default().as_bytes());
            said.push(b'|');
        }
    }
    for row in client.query(sql.as_str(), &[])? {
        for at in 0..row.len() {
            let value: Option<Raw> = row.get(at);
            said.extend_from_slice(&value.map(|raw| raw.0).unwrap_or_default());
            said.push(b'|');
        }
    }
    Ok(said)
}

/// Asks for every table by SQL.
fn query(server: &Server, role: &str, token: &str, expected: &str) -> Said {
    let mut config = postgres::Config::new();
    config.host("127.0.0.1").port(server.sql.port()).user(role).password(token);
    let mut client = config.dbname("healthcare").connect(NoTls).unwrap();
    let names = "select table_name from information_schema.tables where table_schema = 'public'";
    let rows = client.query(names, &[]).unwrap();
    let told: BTreeSet<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(told, words(expected), "{role}");
    let mut said = Said::new();
    for (table, _) in TABLES {
        let rows = match select(&mut client, table) {
            Ok(rows) => {
                assert!(told.contains(table), "{table} to {role}");
                // No event was late.
                assert!(!rows.is_empty() || table == "late_events", "{table} to {role}");
                rows
            }
            Err(refusal) => {
                assert!(!told.contains(table), "{table} to {role}: {refusal:?}");
                assert_eq!(refusal.code().unwrap().code(), "42P01", "{table} to {role}");
                format!("{refusal:?}").into_bytes()
            }
        };
        said.push((format!("{table} to {role}"), rows));
    }
    // An error is about a value that it must not quote.
    for sql in [
        "select cast(medication as bigint) from gold_medications",
        "select cast(name as bigint) from silver_events",
    ] {
        let refusal = client.simple_query(sql).unwrap_err();
        said.push((format!("`{sql}` to {role}"), format!("{refusal:?}").into_bytes()));
    }
    said
}

#[test]
fn no_identity_value_is_answered_in_any_role_and_each_gets_what_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let data = tables(folder.path());
    assert_eq!(MATRIX.map(|(role, ..)| role), ROLES);
    let tokens = ROLES.map(|role| user(&data, role));
    let paths = paths(&data);
    assert!(paths.len() > 20, "pages, files and data: {paths:?}");
    let server = Server::start(&data);
    let mut said = Said::new();
    for ((role, tables, sections), token) in MATRIX.into_iter().zip(&tokens) {
        said.extend(browse(&server, &paths, role, token, sections));
        said.extend(query(&server, role, token, tables));
    }
    let log = server.end();
    let audit = fs::read_to_string(folder.path().join("data.audit.jsonl")).unwrap();
    for (role, token) in ROLES.into_iter().zip(&tokens) {
        assert!(audit.contains(&format!("\"actor\":\"{role}\"")), "{role} in {audit}");
        assert!(!log.contains(token) && !audit.contains(token), "a token is written down");
    }
    said.push(("the log".to_owned(), log.into_bytes()));
    said.push(("the audit log".to_owned(), audit.into_bytes()));
    for (place, bytes) in &said {
        for secret in SECRETS {
            assert!(!has(bytes, secret), "{place} discloses part of an identity");
        }
    }
    let masked = |place: &str| {
        let (_, bytes) = said.iter().find(|(at, _)| at == place).unwrap();
        has(bytes, "Z*** Q***") && has(bytes, "***-**-1")
    };
    assert!(masked("silver_events to clinician"), "masked values are there");
    assert!(!masked("silver_events to viewer"), "and not for everybody");
}
