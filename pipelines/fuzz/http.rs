//! The dashboards' own routes, given requests by somebody with a token, and by somebody without one.
//!
//! Whatever comes, the server answers or hangs up, nothing of it panics, no answer is a failure of its own, and none shows what the
//! visitor may not see. There are patients to be asked for.
#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a panic is a finding")]

mod rows;
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use support::Hurried;
use tempfile::TempDir;
use thalweg_connectors::delta::DeltaFollower;
use thalweg_core::time::Clock;
use thalweg_objects::{Access, Place};
use thalweg_pipelines::healthcare::alerts::command::Command;
use thalweg_pipelines::healthcare::commands::{CommandSink, Undelivered};
use thalweg_pipelines::healthcare::dashboard::{Answers, Desk, Observed, site};
use thalweg_serving::audit::AuditLog;
use thalweg_serving::http::{Board, Doorkeeper, Gate, HttpServer, Journal, Limits, Visitor};

const NURSE: &str = "nurse.secret";
/// Comes in and may see nothing.
const COOK: &str = "cook.secret";
const SEEN: &str = "for nurses";
const HIDDEN: &str = "not for nurses";
/// A list of patients begins so, and nothing else does.
const LISTED: &str = "\"patients\":[";
/// A request without an end, and an answer, are over when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(5);
/// A server that does not answer a whole request for this long hangs, and one that does not hang up after its client.
const PATIENCE: Duration = Duration::from_mins(2);

/// Lines that say where a request ends, or that it goes on as something else.
const FRAMING: [&str; 5] =
    ["connection", "content-length", "expect", "transfer-encoding", "upgrade"];

#[derive(Debug)]
struct Door;

impl Doorkeeper for Door {
    fn admit(&self, token: &str, _: IpAddr) -> Option<Visitor> {
        match token {
            NURSE => Some(Visitor::new("nurse", "clinician", |table| table != "alerts_events")),
            COOK => Some(Visitor::new("cook", "kitchen", |_| false)),
            _ => None,
        }
    }

    fn still(&self, _: &Visitor) -> bool {
        true
    }
}

/// A broker that takes every command.
#[derive(Debug)]
struct Taken;

impl CommandSink for Taken {
    fn send(&self, _: &Command, _: Duration) -> Result<(), Undelivered> {
        Ok(())
    }
}

struct World {
    _folder: TempDir,
    server: HttpServer,
}

static WORLD: LazyLock<World> = LazyLock::new(World::start);

impl World {
    fn start() -> Self {
        support::panics_are_findings();
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(Hurried::default());
        let log = AuditLog::open(folder.path().join("audit.jsonl"), Arc::clone(&clock)).unwrap();
        let journal = Journal::new(log);
        let board = Arc::new(Board::default());
        board.update(|edit| edit.put("kpis", "row", &SEEN));
        board.update(|edit| edit.put("alerts", "row", &HIDDEN));
        board.set_ready(true);
        let data = folder.path().join("data");
        rows::fill(&data);
        let data = Place::Folder(data);
        let follower = DeltaFollower::at(&data, &Access::from_environment()).unwrap();
        let answers = Answers::new(Arc::new(Taken), Duration::from_hours(1));
        let desk = Desk { answers: Some(answers), journal: journal.clone() };
        let routes = site(&board, follower, Observed::default(), desk);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Gate::new(Arc::new(Door), port, clock).noting(journal);
        let app = routes.behind(&gate);
        let server =
            HttpServer::start(listener, app, Limits::default(), std::future::pending()).unwrap();
        Self { _folder: folder, server }
    }
}

/// A whole request is answered, whatever it asks for. Otherwise no answer is one as well: the library says nothing of a
/// head that does not end, and gives up what it is doing for a client who has ended his side.
fn ask(request: &[u8], is_whole: bool, hidden: &[&str]) {
    let mut stream = TcpStream::connect(WORLD.server.address()).unwrap();
    stream.set_read_timeout(Some(if is_whole { PATIENCE } else { QUIET })).unwrap();
    drop(stream.write_all(request));
    let (mut answer, mut part) = (Vec::new(), [0; 1 << 14]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => {
                // What is streamed has no end of its own.
                if answer.is_empty() {
                    stream.set_read_timeout(Some(QUIET)).unwrap();
                }
                answer.extend_from_slice(&part[..read]);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            // libFuzzer has a timer.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let is_over = stream.read_timeout().unwrap() == Some(PATIENCE);
                assert!(!is_over, "the server does not answer, or does not hang up");
                drop(stream.shutdown(Shutdown::Write));
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let is_answered = text.starts_with("HTTP/1.");
    assert!(is_answered || (text.is_empty() && !is_whole), "no answer of HTTP");
    for failure in ["HTTP/1.1 500", "HTTP/1.1 503"] {
        assert!(!text.starts_with(failure), "a failure of the server's own");
    }
    for hidden in hidden {
        assert!(!text.contains(hidden), "what the visitor may not see");
    }
}

/// Whether what was made up leaves the request whole.
fn is_whole(line: &[u8], head: &[u8]) -> bool {
    let (Ok(line), Ok(head)) = (std::str::from_utf8(line), std::str::from_utf8(head)) else {
        return false;
    };
    let asks = line.split_once(' ').is_some_and(|(method, path)| {
        let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic());
        ["GET", "POST", "DELETE"].contains(&method) && path.starts_with('/') && is_plain
    });
    asks && (head.is_empty() || head.split("\r\n").all(frames_nothing))
}

fn frames_nothing(line: &str) -> bool {
    line.split_once(": ").is_some_and(|(name, value)| {
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_plain = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        is_name && is_plain && !FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing))
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((way, rest)) = bytes.split_first() else { return };
    let (token, hidden): (&str, &[&str]) = match way % 4 {
        0 => return ask(rest, false, &[SEEN, HIDDEN, LISTED]),
        1 => ("nurse.other", &[SEEN, HIDDEN, LISTED]),
        2 => (NURSE, &[HIDDEN]),
        _ => (COOK, &[SEEN, HIDDEN, LISTED]),
    };
    // A request that is whole, unless what was made up breaks it: first line, more of the head, body.
    let mut parts = rest.split(|byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (line, head, body) = (next(), next(), next());
    let more = format!("Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n", body.len());
    let start: &[u8] = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    // Without more lines there is no line to end: an empty one would end the head before the token.
    let end: &[u8] = if head.is_empty() { b"" } else { b"\r\n" };
    let request = [line, start, head, end, more.as_bytes(), body].concat();
    ask(&request, is_whole(line, head), hidden);
});
