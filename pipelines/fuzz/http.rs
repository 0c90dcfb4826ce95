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
use thalweg_core::Result;
use thalweg_core::time::Clock;
use thalweg_objects::{Access, Place};
use thalweg_pipelines::healthcare::alerts::command::Command;
use thalweg_pipelines::healthcare::commands::CommandSink;
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
/// A request without an end is over when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(5);
/// A server that does not hang up for this long after its client hangs.
const PATIENCE: Duration = Duration::from_secs(30);

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
    fn send(&self, _: &Command, _: Duration) -> Result<()> {
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

fn ask(request: &[u8], hidden: &[&str]) {
    let mut stream = TcpStream::connect(WORLD.server.address()).unwrap();
    stream.set_read_timeout(Some(QUIET)).unwrap();
    drop(stream.write_all(request));
    let (mut answer, mut part) = (Vec::new(), [0; 1 << 14]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            // libFuzzer has a timer.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let is_over = stream.read_timeout().unwrap() == Some(PATIENCE);
                assert!(!is_over, "the server does not hang up");
                drop(stream.shutdown(Shutdown::Write));
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.is_empty() || text.starts_with("HTTP/1."), "no answer of HTTP");
    for failure in ["HTTP/1.1 500", "HTTP/1.1 503"] {
        assert!(!text.starts_with(failure), "a failure of the server's own");
    }
    for hidden in hidden {
        assert!(!text.contains(hidden), "what the visitor may not see");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((way, rest)) = bytes.split_first() else { return };
    let (token, hidden): (&str, &[&str]) = match way % 4 {
        0 => return ask(rest, &[SEEN, HIDDEN, LISTED]),
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
    ask(&[line, start, head, b"\r\n", more.as_bytes(), body].concat(), hidden);
});
