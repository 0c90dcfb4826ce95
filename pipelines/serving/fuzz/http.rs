//! The HTTP server, given requests by somebody with a token, and by somebody without one.
//!
//! Whatever comes, the server answers or hangs up, nothing of it panics, no answer is a failure of its own, and none shows what the
//! visitor may not see.
#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a panic is a finding")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use libfuzzer_sys::fuzz_target;
use support::Hurried;
use thalweg_serving::http::{
    Board, Body, Doorkeeper, Gate, HttpServer, LIVE, Limits, Routes, STATE, Shown, Visitor, live,
    state,
};

const TOKEN: &str = "nurse.secret";
const HIDDEN: &str = "not for nurses";
/// A request without an end is over when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(5);
/// A server that does not hang up for this long after its client hangs.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Door;

impl Doorkeeper for Door {
    fn admit(&self, token: &str, _: IpAddr) -> Option<Visitor> {
        (token == TOKEN).then(|| Visitor::new("nurse", "clinician", |table| table == "a"))
    }

    fn still(&self, _: &Visitor) -> bool {
        true
    }
}

static SERVER: LazyLock<HttpServer> = LazyLock::new(|| {
    support::panics_are_findings();
    let board = Arc::new(Board::default());
    board.update(|edit| edit.put("seen", "row", &1));
    board.update(|edit| edit.put("hidden", "row", &HIDDEN));
    board.set_ready(true);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let gate = Gate::new(Arc::new(Door), port, Arc::new(Hurried::default()));
    let shown = Shown::new(board, &[("seen", "a"), ("hidden", "b")], 64);
    let (first, stream) = (shown.clone(), shown);
    let routes = Routes::default()
        .get(STATE, async move |visitor| state(State(first), visitor).await)
        .get(LIVE, async move |visitor, request| live(State(stream), visitor, request).await)
        .post("/say", async |visitor: Visitor, body: Body| {
            format!("{} says {} bytes", visitor.name(), body.len()).into_response()
        });
    HttpServer::start(listener, routes.behind(&gate), Limits::default(), std::future::pending())
        .unwrap()
});

fn ask(request: &[u8]) {
    let mut stream = TcpStream::connect(SERVER.address()).unwrap();
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
    assert!(!text.starts_with("HTTP/1.1 500"), "a failure of the server's own");
    assert!(!text.contains(HIDDEN), "what a nurse may not see");
}

fuzz_target!(|bytes: &[u8]| {
    let Some((way, rest)) = bytes.split_first() else { return };
    if way % 4 == 0 {
        return ask(rest);
    }
    // A request that is whole, unless what was made up breaks it: first line, more of the head, body.
    let mut parts = rest.split(|byte| *byte == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (line, head, body) = (next(), next(), next());
    let token = if way % 4 == 1 { "nurse.other" } else { TOKEN };
    let more = format!("Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n", body.len());
    let start: &[u8] = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    ask(&[line, start, head, b"\r\n", more.as_bytes(), body].concat());
});
