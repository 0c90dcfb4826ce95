//! A small server, and clients of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use thalweg_core::time::Clock;
use thalweg_serving::http::{
    Board, Body, Doorkeeper, Gate, HttpServer, Journal, LIVE, Limits, Routes, STATE, Shown,
    Visitor, live, state,
};

#[derive(Debug)]
pub(crate) struct Still;

impl Clock for Still {
    fn now_micros(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Lets `nurse` in, who may see table `a`.
#[derive(Debug)]
pub(crate) struct Door;

impl Doorkeeper for Door {
    fn admit(&self, token: &str, _: IpAddr) -> Option<Visitor> {
        (token == "nurse.secret").then(visitor)
    }

    fn still(&self, _: &Visitor) -> bool {
        true
    }
}

pub(crate) fn visitor() -> Visitor {
    Visitor::new("nurse", "clinician", |table| table == "a")
}

pub(crate) const SECTIONS: &[(&str, &str)] = &[("seen", "a"), ("hidden", "b")];
pub(crate) const CLIENTS: usize = 200;
/// What takes longer on the busiest machine does not happen any more.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

pub(crate) struct Site {
    pub(crate) board: Arc<Board>,
    pub(crate) gate: Gate,
    pub(crate) server: HttpServer,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::start_noting(Journal::default())
    }

    pub(crate) fn start_noting(journal: Journal) -> Self {
        Self::start_with(journal, Limits::default())
    }

    pub(crate) fn start_with(journal: Journal, limits: Limits) -> Self {
        let board = Arc::new(Board::default());
        board.set_ready(true);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Gate::new(Arc::new(Door), port, Arc::new(Still)).noting(journal);
        let shown = Shown::new(Arc::clone(&board), SECTIONS, CLIENTS + 1);
        let (first, stream) = (shown.clone(), shown);
        let routes = Routes::default()
            .get("/", async || "page")
            .file("/app.js", async || "script")
            .get(STATE, async move |visitor| state(State(first), visitor).await)
            .get(LIVE, async move |visitor, request| live(State(stream), visitor, request).await)
            .post("/say", async |visitor: Visitor, body: Body| {
                let said = String::from_utf8_lossy(&body).into_owned();
                format!("{} says {said}", visitor.name()).into_response()
            });
        let app = routes.behind(&gate);
        let server = HttpServer::start(listener, app, limits, std::future::pending()).unwrap();
        Self { board, gate, server }
    }

    pub(crate) fn put(&self, section: &'static str, value: usize) {
        self.board.update(|edit| edit.put(section, "row", &value));
    }

    pub(crate) fn ask(&self, request: &str) -> Answer {
        ask(self.server.address(), request)
    }

    /// A stream that is open and whose head has been read.
    pub(crate) fn listen(&self, more: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("GET {LIVE} HTTP/1.1\r\nHost: x\r\n{BEARER}{more}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        reader.read_line(&mut status).unwrap();
        assert!(status.contains("200"), "{status}");
        reader
    }

    /// Each is somebody else: one visitor may not have two hundred streams open.
    pub(crate) fn listen_as_link(&self, number: usize) -> BufReader<TcpStream> {
        let name = format!("nurse{number}");
        let visitor = Visitor::new(&name, "clinician", |table| table == "a");
        self.listen_with_cookie(visitor).0
    }

    pub(crate) fn sign_in(&self) -> String {
        self.sign_in_as(visitor())
    }

    pub(crate) fn sign_in_as(&self, visitor: Visitor) -> String {
        let link = self.gate.link(visitor);
        let answer = self.ask(&format!("GET /?token={link}"));
        answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    }

    pub(crate) fn listen_with_cookie(&self, visitor: Visitor) -> (BufReader<TcpStream>, String) {
        let cookie = self.sign_in_as(visitor);
        let mut stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "GET {LIVE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        (BufReader::new(stream), cookie)
    }
}

pub(crate) const BEARER: &str = "Authorization: Bearer nurse.secret\r\n";

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.lines().filter_map(|line| line.split_once(": "));
        found.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

pub(crate) fn ask(address: SocketAddr, request: &str) -> Answer {
    ask_over(TcpStream::connect(address).unwrap(), request)
}

pub(crate) fn ask_over(mut stream: TcpStream, request: &str) -> Answer {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (line, rest) = request.split_once("\r\n").unwrap_or((request, ""));
    let text = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{rest}");
    let text = if rest.contains("\r\n\r\n") { text } else { format!("{text}\r\n") };
    // A server that refuses a long request may close before it has read it all.
    drop(stream.write_all(text.as_bytes()));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Reads messages until one satisfies `enough`; returns how many there were. What has a name is no message.
pub(crate) fn read_until(
    reader: &mut BufReader<TcpStream>,
    enough: impl Fn(&str) -> bool,
) -> usize {
    let mut messages = 0;
    let mut is_named = false;
    for line in reader.by_ref().lines() {
        let line = line.unwrap();
        // The name comes first, an empty line last.
        is_named = line.starts_with("event: ") || (is_named && !line.is_empty());
        if let Some(data) = line.strip_prefix("data: ").filter(|_| !is_named) {
            messages += 1;
            if enough(data) {
                return messages;
            }
        }
    }
    panic!("the stream ended after {messages} messages")
}

pub(crate) fn seen(value: usize) -> impl Fn(&str) -> bool {
    move |data| data.contains(&format!(r#""seen":[{value}]"#))
}
