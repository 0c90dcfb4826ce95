//! What may be sent, and what is written down.

use std::sync::Arc;

use thalweg_serving::audit::{AuditLog, verify};
use thalweg_serving::http::Journal;

use crate::site::{BEARER, Site, Still};

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
    assert_eq!(site.ask(&post).status, 200);
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
