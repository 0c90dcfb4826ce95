//! Who comes in, from where, and what they see.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use thalweg_serving::http::{Gate, HttpServer, LIVE, Limits, Routes, STATE};

#[cfg(target_os = "linux")]
use {crate::site::ask_over, std::net::TcpStream};

use crate::site::{Answer, BEARER, Door, Site, Still, ask, read_until, seen, visitor};

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
    // A redirect that another site has begun is followed without the cookie.
    assert_eq!((answer.status, answer.header("location")), (200, None));
    let goes_on = r#"<meta http-equiv="refresh" content="0; url=/">"#;
    assert!(answer.body.contains(goes_on) && !answer.body.contains(&link), "{}", answer.body);
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
    assert_eq!(post("token=nurse.secret").status, 200);
    assert_eq!(post("token=guess").status, 401);
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
    assert_eq!(statuses, [200, 401, 401, 401, 429, 429]);
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
fn a_visitor_sees_no_section_of_a_table_that_is_not_theirs() {
    let site = Site::start();
    site.put("seen", 1);
    site.put("hidden", 2);
    let answer = site.ask(&format!("GET {STATE}\r\n{BEARER}"));
    assert!(answer.body.contains(r#""seen":[1]"#), "{}", answer.body);
    assert!(!answer.body.contains("hidden"), "{}", answer.body);
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

#[test]
fn the_files_of_pages_are_not_counted_among_the_requests_of_a_session() {
    let site = Site::start();
    let cookie = site.sign_in();
    // The clock of this server stands still.
    let refused = |path: &str| {
        let statuses =
            (0..250).map(|_| site.ask(&format!("GET {path}\r\nCookie: {cookie}\r\n")).status);
        statuses.filter(|status| *status == 429).count()
    };
    assert_eq!(refused("/app.js"), 0);
    assert_eq!(refused("/"), 50);
    assert_eq!(site.ask("GET /app.js").status, 401);
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
