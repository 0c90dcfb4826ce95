#![allow(clippy::panic, reason = "a test fails by panicking")]
//! The server over real sockets: who is let in, what a slow client costs, and the limits.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and one measures by the wall clock"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::IntoResponse;
use thalweg_core::time::Clock;
use thalweg_serving::audit::{AuditLog, verify};
use thalweg_serving::http::{
    Board, Body, Doorkeeper, Gate, HttpServer, Journal, LIVE, Limits, Routes, STATE, Shown,
    Visitor, live, state,
};

#[derive(Debug)]
struct Still;

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
struct Door;

impl Doorkeeper for Door {
    fn admit(&self, token: &str, _: IpAddr) -> Option<Visitor> {
        (token == "nurse.secret").then(visitor)
    }

    fn still(&self, _: &Visitor) -> bool {
        true
    }
}

fn visitor() -> Visitor {
    Visitor::new("nurse", "clinician", |table| table == "a")
}

const SECTIONS: &[(&str, &str)] = &[("seen", "a"), ("hidden", "b")];
const CLIENTS: usize = 200;

struct Site {
    board: Arc<Board>,
    gate: Gate,
    server: HttpServer,
}

impl Site {
    fn start() -> Self {
        Self::start_noting(Journal::default())
    }

    fn start_noting(journal: Journal) -> Self {
        Self::start_with(journal, Limits::default())
    }

    fn start_with(journal: Journal, limits: Limits) -> Self {
        let board = Arc::new(Board::default());
        board.set_ready(true);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Gate::new(Arc::new(Door), port, Arc::new(Still)).noting(journal);
        let shown = Shown::new(Arc::clone(&board), SECTIONS, CLIENTS + 1);
        let (first, stream) = (shown.clone(), shown);
        let routes = Routes::default()
            .get("/", async || "page")
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

    fn put(&self, section: &'static str, value: usize) {
        self.board.update(|edit| edit.put(section, "row", &value));
    }

    fn ask(&self, request: &str) -> Answer {
        ask(self.server.address(), request)
    }

    /// A stream that is open and whose head has been read.
    fn listen(&self, more: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!("GET {LIVE} HTTP/1.1\r\nHost: x\r\n{BEARER}{more}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        reader.read_line(&mut status).unwrap();
        assert!(status.contains("200"), "{status}");
        reader
    }
}

const BEARER: &str = "Authorization: Bearer nurse.secret\r\n";

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.head.lines().filter_map(|line| line.split_once(": "));
        found.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

fn ask(address: SocketAddr, request: &str) -> Answer {
    ask_over(TcpStream::connect(address).unwrap(), request)
}

fn ask_over(mut stream: TcpStream, request: &str) -> Answer {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
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

/// Reads messages until one satisfies `enough`; returns how many there were.
fn read_until(reader: &mut BufReader<TcpStream>, enough: impl Fn(&str) -> bool) -> usize {
    let mut messages = 0;
    for line in reader.by_ref().lines() {
        let line = line.unwrap();
        if let Some(data) = line.strip_prefix("data: ") {
            messages += 1;
            if enough(data) {
                return messages;
            }
        }
    }
    panic!("the stream ended after {messages} messages")
}

fn seen(value: usize) -> impl Fn(&str) -> bool {
    move |data| data.contains(&format!(r#""seen":[{value}]"#))
}

#[test]
fn nobody_comes_in_without_a_token() {
    let site = Site::start();
    for path in ["/", STATE, LIVE, "/nowhere"] {
        for token in ["", "Authorization: Bearer wrong\r\n", "Cookie: thalweg-1=guess\r\n"] {
            let answer = site.ask(&format!("GET {path}\r\n{token}"));
            assert_eq!(answer.status, 401, "{path} {token}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            assert!(!answer.body.contains("page"));
        }
    }
    assert_eq!(site.ask(&format!("GET /\r\n{BEARER}")).body, "page");
    assert_eq!(site.ask(&format!("GET /nowhere\r\n{BEARER}")).status, 404);
}

#[test]
fn every_answer_keeps_browsers_from_going_elsewhere() {
    let site = Site::start();
    for request in ["GET /".to_owned(), format!("GET /\r\n{BEARER}"), format!("GET /x\r\n{BEARER}")]
    {
        let answer = site.ask(&request);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[test]
fn a_link_opens_a_session_once_and_leaves_the_address_bar() {
    let site = Site::start();
    let link = site.gate.link(visitor());
    let answer = site.ask(&format!("GET /?token={link}"));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(site.ask(&format!("GET /\r\nCookie: {cookie}\r\n")).body, "page");
    assert_eq!(site.ask(&format!("GET /?token={link}")).status, 401);
    let foreign = format!("DELETE /session\r\nCookie: {cookie}\r\nSec-Fetch-Site: cross-site\r\n");
    assert_eq!(site.ask(&foreign).status, 403);
    assert_eq!(site.ask(&format!("DELETE /session\r\nCookie: {cookie}\r\n")).status, 303);
    assert_eq!(site.ask(&format!("GET /\r\nCookie: {cookie}\r\n")).status, 401);
}

#[test]
fn behind_a_proxy_the_cookie_travels_over_tls_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = Gate::new(Arc::new(Door), 1, Arc::new(Still)).behind_tls();
    let app = Routes::default().get("/", async || "page").behind(&gate);
    let server =
        HttpServer::start(listener, app, Limits::default(), std::future::pending()).unwrap();
    let answer = ask(server.address(), &format!("GET /?token={}", gate.link(visitor())));
    assert!(answer.header("set-cookie").unwrap().ends_with("; Secure"), "{answer:?}");
}

#[test]
fn a_token_in_the_form_opens_a_session_and_a_wrong_one_does_not() {
    let site = Site::start();
    let post = |form: &str| {
        let length = form.len();
        site.ask(&format!("POST /session\r\nContent-Length: {length}\r\n\r\n{form}"))
    };
    assert_eq!(post("token=nurse.secret").status, 303);
    assert_eq!(post("token=guess").status, 401);
}

#[test]
fn who_guesses_or_asks_too_often_is_told_to_wait() {
    let site = Site::start();
    // The clock of this server stands still, so nothing is given back.
    let guesses =
        (0..40).map(|n| site.ask(&format!("GET /\r\nAuthorization: Bearer guess{n}\r\n")));
    let refused: Vec<Answer> = guesses.filter(|answer| answer.status == 429).collect();
    assert_eq!(refused.len(), 30);
    assert!(refused.first().unwrap().header("retry-after").is_some());
}

/// A connection from another address of this machine.
#[cfg(target_os = "linux")]
fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

#[cfg(target_os = "linux")]
#[test]
fn who_guesses_keeps_nobody_out_who_comes_from_elsewhere() {
    let site = Site::start();
    let elsewhere = |token: &str| {
        let stream = connect_from([127, 0, 0, 2], site.server.address());
        ask_over(stream, &format!("GET /\r\nAuthorization: Bearer {token}\r\n")).status
    };
    let guesses: Vec<u16> = (0..40).map(|n| elsewhere(&format!("guess{n}"))).collect();
    assert_eq!(guesses.iter().filter(|status| **status == 401).count(), 10);
    assert_eq!(elsewhere("nurse.secret"), 429, "nobody knows it yet");
    assert_eq!(site.ask(&format!("GET /\r\n{BEARER}")).status, 200);
    assert_eq!(elsewhere("nurse.secret"), 200, "now it is known");
    // Ten of twenty went there, and one was the nurse's.
    let statuses = (0..12).map(|n| site.ask(&format!("GET /\r\nAuthorization: Bearer x{n}\r\n")));
    assert_eq!(statuses.filter(|answer| answer.status == 401).count(), 9);
    assert_eq!(site.ask(&format!("GET /\r\n{BEARER}")).status, 200);
}

#[test]
fn where_a_request_comes_from_a_proxy_may_say_and_nobody_else() {
    let guesses = |address: SocketAddr, from: &dyn Fn(usize) -> String| {
        let guess = |n: usize| {
            let head =
                format!("Authorization: Bearer guess{n}\r\nX-Forwarded-For: {}\r\n", from(n));
            ask(address, &format!("GET /\r\n{head}")).status
        };
        (0..40).map(guess).filter(|status| *status == 401).count()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = Gate::new(Arc::new(Door), 1, Arc::new(Still)).behind_tls();
    let app = Routes::default().get("/", async || "page").behind(&gate);
    let server =
        HttpServer::start(listener, app, Limits::default(), std::future::pending()).unwrap();
    // What stands before the last address is the client's own word.
    assert_eq!(guesses(server.address(), &|n| format!("10.0.0.{n}, 203.0.113.1")), 10);
    assert_eq!(guesses(server.address(), &|_| "203.0.113.2".to_owned()), 10);
    let site = Site::start();
    assert_eq!(guesses(site.server.address(), &|n| format!("10.0.0.{n}")), 10);
}

#[test]
fn heads_and_bodies_are_bounded() {
    let site = Site::start();
    let long = "x".repeat(40_000);
    assert_eq!(site.ask(&format!("GET /\r\nX: {long}\r\n{BEARER}")).status, 431);
    let many: String = (0..100).map(|n| format!("X-{n}: 1\r\n")).collect::<Vec<_>>().concat();
    assert_eq!(site.ask(&format!("GET /\r\n{many}{BEARER}")).status, 431);
    let length = long.len();
    let body = format!("POST /session\r\nContent-Length: {length}\r\n\r\n{long}");
    assert_eq!(site.ask(&body).status, 413);
}

#[test]
fn a_visitor_sees_no_section_of_a_table_that_is_not_theirs() {
    let site = Site::start();
    site.put("seen", 1);
    site.put("hidden", 2);
    let answer = site.ask(&format!("GET {STATE}\r\n{BEARER}"));
    assert!(answer.body.contains(r#""seen":[1]"#), "{}", answer.body);
    assert!(!answer.body.contains("hidden"), "{}", answer.body);
}

#[test]
fn a_slow_client_gets_the_latest_and_not_what_it_missed() {
    const UPDATES: usize = 20_000;
    let site = Site::start();
    // Rows are large enough that the kernel's buffers hold but a few messages.
    let filler = "x".repeat(10_000);
    let put = |value: usize| {
        site.board.update(|edit| edit.put("seen", "row", &(value, &filler)));
    };
    let mut slow = site.listen("");
    for value in 0..=UPDATES {
        put(value);
    }
    let last = format!("[{UPDATES},");
    let messages = read_until(&mut slow, |data| data.contains(&last));
    assert!(messages < UPDATES / 4, "{messages} messages were queued for it");
}

#[test]
fn two_hundred_clients_hear_of_a_change_and_each_one_once() {
    let site = Site::start();
    site.put("seen", 1);
    let mut clients: Vec<_> = (0..CLIENTS).map(|n| site.listen_as_link(n)).collect();
    for client in &mut clients {
        assert_eq!(read_until(client, seen(1)), 1);
    }
    assert_eq!(*site.board.readers().borrow(), CLIENTS);
    site.put("seen", 2);
    for client in &mut clients {
        assert_eq!(read_until(client, seen(2)), 1);
    }
    drop(clients);
    // A vanished client is noticed when something is written to it, at the latest.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let gone = runtime.block_on(async {
        let mut readers = site.board.readers();
        for value in 3..300 {
            site.put("seen", value);
            let none = readers.wait_for(|readers| *readers == 0);
            if tokio::time::timeout(Duration::from_millis(100), none).await.is_ok() {
                return true;
            }
        }
        false
    });
    assert!(gone, "{} are still counted", *site.board.readers().borrow());
}

/// Bytes of this process in memory, where the system tells.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

#[test]
fn of_two_hundred_clients_those_that_never_read_cost_little_and_delay_nobody() {
    const SILENT: usize = 50;
    const ROUNDS: usize = 20;
    const UPDATES: usize = 50;
    const ROW: usize = 10_000;
    let site = Site::start();
    let filler = "x".repeat(ROW);
    let put = |value: usize| {
        site.board.update(|edit| edit.put("seen", "row", &(value, &filler)));
    };
    put(0);
    let silent: Vec<_> = (0..SILENT).map(|n| site.listen_as_link(n)).collect();
    let mut reading: Vec<_> = (SILENT..CLIENTS).map(|n| site.listen_as_link(n)).collect();
    for client in &mut reading {
        read_until(client, |data| data.contains("[0,"));
    }
    let before = resident();
    let mut slowest = Duration::ZERO;
    for round in 1..=ROUNDS {
        for update in 1..=UPDATES {
            put((round - 1) * UPDATES + update);
        }
        let newest = format!("[{},", round * UPDATES);
        let changed = Instant::now();
        for client in &mut reading {
            read_until(client, |data| data.contains(&newest));
        }
        slowest = slowest.max(changed.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "a change took {slowest:?} to reach all");
    assert_eq!(*site.board.readers().borrow(), CLIENTS);
    // A queue for each that does not read would hold all that it missed. Other tests run beside this one: half of that
    // leaves them room.
    let queues = (SILENT * ROUNDS * UPDATES * ROW) as u64;
    if let Some((before, now)) = before.zip(resident()) {
        let grown = now.saturating_sub(before);
        assert!(grown < queues / 2, "{grown} bytes more, queues would be {queues}");
    }
    drop(silent);
}

#[test]
fn who_takes_nothing_is_hung_up_on_and_who_reads_is_not() {
    let limits = Limits { stalled: Duration::from_secs(1), ..Limits::default() };
    let site = Site::start_with(Journal::default(), limits);
    // More than the buffers of both ends hold.
    let filler = "x".repeat(8 << 20);
    site.board.update(|edit| edit.put("seen", "row", &(0, &filler)));
    let deaf = site.listen("");
    let mut reading = site.listen_as_link(1);
    read_until(&mut reading, |data| data.contains(r#""seen":[[0,"#));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let gone = runtime.block_on(async {
        let mut readers = site.board.readers();
        let one = readers.wait_for(|readers| *readers == 1);
        tokio::time::timeout(Duration::from_secs(30), one).await.is_ok()
    });
    assert!(gone, "it keeps its place");
    site.put("seen", 1);
    read_until(&mut reading, seen(1));
    drop(deaf);
}

#[test]
fn a_visitor_with_many_dashboards_open_keeps_nobody_else_out() {
    let site = Site::start();
    site.put("seen", 1);
    let own: Vec<_> = (0..32).map(|_| site.listen("")).collect();
    let refused = site.ask(&format!("GET {LIVE}\r\n{BEARER}"));
    assert_eq!(refused.status, 429);
    assert!(refused.body.contains("close some"), "{}", refused.body);
    assert_eq!(read_until(&mut site.listen_as_link(1), seen(1)), 1);
    drop(own);
}

#[test]
fn what_is_sent_comes_from_here_is_short_and_names_its_sender() {
    let site = Site::start();
    let cookie = site.sign_in();
    let say = |more: &str, body: &str| {
        let length = body.len();
        let head = format!("POST /say\r\n{more}Content-Length: {length}\r\n\r\n");
        site.ask(&format!("{head}{body}"))
    };
    let json = "Content-Type: application/json; charset=utf-8\r\n";
    let from = |site: &str| format!("Cookie: {cookie}\r\n{json}{site}");
    assert_eq!(say(&from(""), "7").body, "nurse says 7");
    assert_eq!(say(&from("Sec-Fetch-Site: same-origin\r\n"), "7").body, "nurse says 7");
    assert_eq!(say(&format!("{BEARER}{json}"), "7").body, "nurse says 7");
    assert_eq!(say(&from("Sec-Fetch-Site: cross-site\r\n"), "7").status, 403);
    assert_eq!(say(&from("Sec-Fetch-Site: same-site\r\n"), "7").status, 403);
    assert_eq!(say(json, "7").status, 401);
    assert_eq!(say(&from(""), &"7".repeat(5_000)).status, 413);
    for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: application/jsonp\r\n"] {
        assert_eq!(say(&format!("Cookie: {cookie}\r\n{kind}"), "7").status, 415, "{kind}");
    }
    assert_eq!(site.ask(&format!("GET /say\r\nCookie: {cookie}\r\n")).status, 405);
}

#[test]
fn who_signs_in_and_who_is_refused_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let site = Site::start_noting(Journal::new(AuditLog::open(&path, Arc::new(Still)).unwrap()));
    let cookie = site.sign_in();
    let form = "token=nurse.secret";
    let length = form.len();
    let post = format!("POST /session\r\nContent-Length: {length}\r\n\r\n{form}");
    assert_eq!(site.ask(&post).status, 303);
    // It was seen by the form: with it, as with a cookie, nobody signs in anew.
    for who in [BEARER.to_owned(), format!("Cookie: {cookie}\r\n")] {
        assert_eq!(site.ask(&format!("GET /\r\n{who}")).status, 200);
    }
    assert_eq!(site.ask("GET /?token=guess").status, 401);
    for n in 0..25 {
        let status = site.ask(&format!("GET /\r\nAuthorization: Bearer eve.{n}\r\n")).status;
        // The clock stands still: the form was the first of ten checks.
        assert_eq!(status, if n < 9 { 401 } else { 429 }, "{n}");
    }
    verify(&path, &[]).unwrap();
    let log = std::fs::read_to_string(&path).unwrap();
    let count = |parts: &[&str]| {
        log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    };
    let done = r#""outcome":"done""#;
    assert_eq!(
        count(&[r#""actor":"nurse""#, r#""role":"clinician""#, r#""kind":"link""#, done]),
        1
    );
    assert_eq!(count(&[r#""actor":"nurse""#, r#""kind":"form""#, done]), 1);
    assert_eq!(count(&[done]), 2, "{log}");
    assert_eq!(count(&[r#""outcome":"refused""#, "unknown_link"]), 1);
    assert_eq!(count(&[r#""outcome":"refused""#, "unknown_token"]), 9, "{log}");
    assert!(!log.contains("secret") && !log.contains("guess") && !log.contains("eve"), "{log}");
}

#[test]
fn a_used_link_has_a_few_new_ones_printed_and_no_more() {
    let printed = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&printed);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = Gate::new(Arc::new(Door), 1, Arc::new(Still)).on_spent_link(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    });
    let app = Routes::default().get("/", async || "page").behind(&gate);
    let server =
        HttpServer::start(listener, app, Limits::default(), std::future::pending()).unwrap();
    let link = format!("GET /?token={}", gate.link(visitor()));
    let statuses: Vec<u16> = (0..6).map(|_| ask(server.address(), &link).status).collect();
    // The clock of this server stands still.
    assert_eq!(statuses, [303, 401, 401, 401, 429, 429]);
    assert_eq!(printed.load(std::sync::atomic::Ordering::SeqCst), 3);
}

#[test]
fn a_stream_ends_when_its_session_does() {
    let site = Site::start();
    site.put("seen", 1);
    let (mut stream, cookie) = site.listen_with_cookie(visitor());
    assert_eq!(read_until(&mut stream, seen(1)), 1);
    assert_eq!(site.ask(&format!("DELETE /session\r\nCookie: {cookie}\r\n")).status, 303);
    site.put("seen", 2);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("seen"), "{rest}");
}

#[test]
fn a_client_that_comes_back_goes_on_where_it_was() {
    let site = Site::start();
    site.put("seen", 1);
    let here = site.board.position();
    site.put("seen", 2);
    let mut back = site.listen(&format!("Last-Event-ID: {here}\r\n"));
    assert_eq!(read_until(&mut back, |data| data.contains(r#""reset":false"#) && seen(2)(data)), 1);
    let mut lost = site.listen("Last-Event-ID: 1234-7\r\n");
    assert_eq!(read_until(&mut lost, |data| data.contains(r#""reset":true"#)), 1);
}

impl Site {
    /// Each is somebody else: one visitor may not have two hundred streams open.
    fn listen_as_link(&self, number: usize) -> BufReader<TcpStream> {
        let name = format!("nurse{number}");
        let visitor = Visitor::new(&name, "clinician", |table| table == "a");
        self.listen_with_cookie(visitor).0
    }

    fn sign_in(&self) -> String {
        self.sign_in_as(visitor())
    }

    fn sign_in_as(&self, visitor: Visitor) -> String {
        let link = self.gate.link(visitor);
        let answer = self.ask(&format!("GET /?token={link}"));
        answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    }

    fn listen_with_cookie(&self, visitor: Visitor) -> (BufReader<TcpStream>, String) {
        let cookie = self.sign_in_as(visitor);
        let mut stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!(
            "GET {LIVE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        (BufReader::new(stream), cookie)
    }
}
