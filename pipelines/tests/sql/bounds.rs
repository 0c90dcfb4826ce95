//! What one client can take of the server: bytes that are waited for, names that are kept, places.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postgres::NoTls;
use serde_json::Value;
use thalweg_core::time::Clock;
use thalweg_pipelines::healthcare::serve::ROLES;
use thalweg_serving::audit::verify;
use thalweg_serving::sql::Limits;

use super::world::{WORLD, World, count};

/// What takes longer on the busiest machine does not happen any more.
const PATIENCE: Duration = Duration::from_mins(3);

/// A clock that stands still: no rate gives anything back.
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

/// All that comes until the server hangs up, which it does.
fn last_words(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_message_that_is_too_long_ends_the_connection_before_it_has_arrived() {
    let mut outside = TcpStream::connect(WORLD.server.address()).unwrap();
    outside.write_all(&[0, 0, 0x40, 1, 0, 3, 0, 0]).unwrap();
    let said = last_words(&mut outside);
    for part in ["SFATAL\0", "C08P01\0", "16384 bytes"] {
        assert!(said.contains(part), "{part} in {said}");
    }

    let mut inside = WORLD.wire("viewer");
    let long = format!("select 1 -- {}\0", "x".repeat(100_000));
    inside.send(Some(b'Q'), long.as_bytes());
    assert!(inside.until_ready().iter().any(|message| message.kind == b'D'));
    inside.0.write_all(&[b'Q', 0, 0x40, 0, 1]).unwrap();
    let said = last_words(&mut inside.0);
    for part in ["SFATAL\0", "C08P01\0", "4194304 after it"] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn who_is_not_let_in_is_told_why_and_nothing_more() {
    let mut stream = TcpStream::connect(WORLD.server.address()).unwrap();
    let mut startup = 196_608_u32.to_be_bytes().to_vec();
    startup.extend_from_slice(b"user\0viewer\0database\0elsewhere\0\0");
    let length = u32::try_from(startup.len() + 4).unwrap().to_be_bytes();
    stream.write_all(&[length.as_slice(), &startup].concat()).unwrap();
    let said = last_words(&mut stream);
    assert!(said.contains("SFATAL\0") && said.contains("C3D000\0"), "{said}");
    assert!(!said.contains("Z\0\0\0\x05"), "it is not ready for queries: {said}");
}

#[test]
fn what_a_message_does_not_use_is_no_beginning_of_another() {
    let mut wire = WORLD.wire("viewer");
    // Behind the text are the head of a message of 100 MB and its letter.
    wire.send(Some(b'Q'), b"select 1\0Q\x06\0\0\0");
    let said = last_words(&mut wire.0);
    assert!(said.contains("SFATAL\0") && said.contains("C08P01\0"), "{said}");
}

#[test]
fn as_many_rows_as_there_can_never_be_are_all() {
    let mut wire = WORLD.wire("viewer");
    for rows in [i32::MAX, -1, 0, 2] {
        wire.send(Some(b'P'), b"\0values (1), (2), (3)\0\0\0");
        wire.send(Some(b'B'), b"\0\0\0\0\0\0\0\0");
        wire.send(Some(b'E'), &[b"\0", rows.to_be_bytes().as_slice()].concat());
        wire.send(Some(b'S'), b"");
        let answers = wire.until_ready();
        let rows_sent = answers.iter().filter(|message| message.kind == b'D').count();
        assert_eq!(rows_sent, if rows == 2 { 2 } else { 3 }, "{rows}");
    }
}

#[test]
fn rows_leave_before_the_last_of_them_is_there_in_both_ways_of_asking() {
    let world = World::empty("streamed", Limits { rows: 50_000, ..Limits::default() });
    let mut wire = world.wire("viewer");
    // It fails on its way: of what is collected first nothing would leave.
    let sql = "select value from generate_series(1, 1000000)";
    for rows in [None, Some(0), Some(i32::MAX)] {
        match rows {
            None => wire.send(Some(b'Q'), format!("{sql}\0").as_bytes()),
            Some(rows) => {
                wire.send(Some(b'P'), format!("\0{sql}\0\0\0").as_bytes());
                wire.send(Some(b'B'), b"\0\0\0\0\0\0\0\0");
                wire.send(Some(b'E'), &[b"\0", rows.to_be_bytes().as_slice()].concat());
                wire.send(Some(b'S'), b"");
            }
        }
        let answers = wire.until_ready();
        let sent = answers.iter().filter(|message| message.kind == b'D').count();
        assert!(sent > 1024, "{sent} rows, asked for {rows:?}");
        let error = answers.iter().find(|message| message.kind == b'E').unwrap();
        assert!(String::from_utf8_lossy(&error.body).contains("C54000\0"), "{rows:?}");
    }
}

#[test]
fn a_portal_goes_on_where_it_stopped_and_ends_once() {
    let mut wire = WORLD.wire("viewer");
    wire.send(Some(b'P'), b"\0values (1), (2), (3)\0\0\0");
    wire.send(Some(b'B'), b"\0\0\0\0\0\0\0\0");
    for rows in [2, 0, 0] {
        wire.send(Some(b'E'), &[b"\0", i32::to_be_bytes(rows).as_slice()].concat());
    }
    wire.send(Some(b'S'), b"");
    let answers = wire.until_ready();
    let kinds: Vec<u8> = answers.iter().map(|message| message.kind).collect();
    assert_eq!(String::from_utf8_lossy(&kinds), "12DDsDCCZ");
    let tags = answers.iter().filter(|message| message.kind == b'C');
    let tags: Vec<_> = tags.map(|tag| String::from_utf8_lossy(&tag.body).into_owned()).collect();
    assert_eq!(tags, ["SELECT 1\0", "SELECT 0\0"]);
}

#[test]
fn the_queries_of_one_text_run_one_after_another() {
    let world = World::empty("one-text", Limits::default());
    let mut client = world.connect("viewer");
    let fails = "select 1 / (3 - value) from generate_series(1, 5)";
    let asked = client.simple_query(&format!("{fails}; select 2; select 3"));
    assert_eq!(refusal(asked), "22012");
    client.simple_query("select 4; select 5").unwrap();
    let log = std::fs::read_to_string(world.audit_path()).unwrap();
    let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let queries = entries.filter(|entry| entry["action"] == "query");
    let outcomes: Vec<Value> = queries.map(|entry| entry["outcome"].clone()).collect();
    // Those behind the one that failed never began.
    assert_eq!(outcomes, ["failed", "done", "done"]);
}

#[test]
fn who_does_not_read_loses_its_place() {
    let limits =
        Limits { connections: 1, stalled: Duration::from_millis(300), ..Limits::default() };
    let world = World::empty("stalled", limits);
    let mut deaf = world.wire("viewer");
    // More than the buffers of both ends hold.
    let wide = "x".repeat(1000);
    let sql = format!("select value, '{wide}' from generate_series(1, 1000000)\0");
    deaf.send(Some(b'Q'), sql.as_bytes());
    let deadline = Instant::now() + PATIENCE;
    while world.config("viewer").connect(NoTls).is_err() {
        assert!(Instant::now() < deadline, "the place is still taken");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn who_connects_and_says_nothing_keeps_nobody_out() {
    let limits = Limits { connections: 8, ..Limits::default() };
    let world = World::empty("silent", limits);
    let mut inside = vec![world.connect("viewer"), world.connect("viewer")];
    let connect = || TcpStream::connect(world.server.address()).unwrap();
    let mut silent: Vec<TcpStream> = (0..6).map(|_| connect()).collect();
    // There is no place left, and who comes now has the oldest one's. At two of eight that ends.
    for (oldest, role) in silent.iter_mut().zip(ROLES) {
        inside.push(world.connect(role));
        assert_eq!(last_words(oldest), "");
    }
    let said = last_words(&mut connect());
    for part in ["SFATAL\0", "C53300\0", "too many connections"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    for client in &mut inside {
        assert_eq!(count(client, "select 1::bigint"), 1);
    }
}

#[test]
fn one_user_has_no_more_than_half_of_the_places() {
    let limits = Limits { connections: 4, ..Limits::default() };
    let world = World::empty("shared-out", limits);
    let mut inside = vec![world.connect("viewer"), world.connect("viewer")];
    assert_eq!(refusal(world.config("viewer").connect(NoTls)), "53300");
    inside.push(world.connect("clinician"));
    drop(inside.remove(0));
    let deadline = Instant::now() + PATIENCE;
    while world.config("viewer").connect(NoTls).is_err() {
        assert!(Instant::now() < deadline, "the place is still taken");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn refusal<T>(asked: Result<T, postgres::Error>) -> String {
    asked.err().unwrap().code().unwrap().code().to_owned()
}

#[test]
fn statements_and_portals_have_an_end_and_can_be_closed() {
    let mut client = WORLD.connect("viewer");
    let mut kept: Vec<_> = (0..512).map(|_| client.prepare("select 1").unwrap()).collect();
    assert_eq!(refusal(client.prepare("select 1")), "54000");
    // What has no name takes no place.
    client.simple_query("select 1").unwrap();
    kept.pop();
    kept.push(client.prepare("select 1").unwrap());
    assert_eq!(refusal(client.prepare("select 1")), "54000");
    client.batch_execute("deallocate all").unwrap();
    client.prepare("select 1").unwrap();
    drop(kept);

    let statement = client.prepare("select 1").unwrap();
    let mut transaction = client.transaction().unwrap();
    let portals: Vec<_> = (0..512).map(|_| transaction.bind(&statement, &[]).unwrap()).collect();
    assert_eq!(refusal(transaction.bind(&statement, &[])), "54000");
    // They end with the transaction, closed or not.
    transaction.rollback().unwrap();
    let mut transaction = client.transaction().unwrap();
    transaction.bind(&statement, &[]).unwrap();
    drop(portals);
}

#[test]
fn the_bytes_of_statements_and_parameters_have_an_end() {
    let mut client = WORLD.connect("viewer");
    let long = format!("select 1 -- {}", "x".repeat(1_000_000));
    let mut kept: Vec<_> = (0..8).map(|_| client.prepare(&long).unwrap()).collect();
    assert_eq!(refusal(client.prepare(&long)), "54000");
    assert_eq!(count(&mut client, "select 1::bigint"), 1);
    kept.pop();
    kept.push(client.prepare(&long).unwrap());
    client.batch_execute("deallocate all").unwrap();
    drop(kept);

    let statement = client.prepare("select $1::text").unwrap();
    let value = "x".repeat(3_000_000);
    let mut transaction = client.transaction().unwrap();
    let portals: Vec<_> =
        (0..2).map(|_| transaction.bind(&statement, &[&value]).unwrap()).collect();
    assert_eq!(refusal(transaction.bind(&statement, &[&value])), "54000");
    transaction.rollback().unwrap();
    drop(portals);
    let row = client.query_one(&statement, &[&value]).unwrap();
    assert_eq!(row.get::<_, String>(0), value);
}

#[test]
fn a_text_that_functions_make_longer_has_an_end() {
    let world = World::empty("grown", Limits { memory: 64 << 20, ..Limits::default() });
    let mut client = world.connect("viewer");
    let page = "a".repeat(2000);
    let once = format!("replace('{page}', 'a', '{page}')");
    let ones = vec!["'1'"; 600].join(", ");
    let doubled =
        (0..12).fold(format!("'{page}'"), |text, _| format!("encode({text}::bytea, 'hex')"));
    for sql in [
        &once,
        &format!("replace({once}, 'a', '{page}')"),
        &format!("regexp_replace('{page}', 'a', '{page}', 'g')"),
        &format!("concat_ws('{page}', {ones})"),
        &format!("array_to_string(array[{ones}], '{page}')"),
        &format!("format('{}', '{page}')", "%1$s".repeat(600)),
        &doubled,
    ] {
        let (shown, _) = sql.split_at(20);
        assert_eq!(refusal(client.simple_query(&format!("select {sql}"))), "54000", "{shown}");
    }
    let rows = "from generate_series(1, 1000)";
    let longest = |made: &str| format!("select max(length({made}))::bigint {rows}");
    let all = longest(&format!("replace(value::text || '{page}', 'a', '{page}')"));
    assert_eq!(refusal(client.simple_query(&all)), "53200");
    let template = format!("to_char(now(), '\"{page}\"')");
    assert_eq!(refusal(client.simple_query(&longest(&template))), "54000");
    for made in [
        format!("replace(value::text || '{page}', 'a', 'bb')"),
        format!("regexp_replace(value::text || '{page}', 'a', 'bb', 'g')"),
        format!("concat(value, '{page}', '{page}')"),
        format!("format('%2$s%1$s%1$s', '{page}', value)"),
    ] {
        let (shown, _) = made.split_at(20);
        assert_eq!(count(&mut client, &longest(&made)), 4004, "{shown}");
    }
}

#[test]
fn refused_clients_are_counted_when_they_are_too_many_for_the_audit_log() {
    const ATTEMPTS: u64 = 400;
    // However long they take, they are no fewer at once.
    let world = World::empty_by(Arc::new(Still), "flooded", Limits::default());
    let mut elsewhere = world.config("viewer");
    elsewhere.dbname("elsewhere");
    for _ in 0..ATTEMPTS {
        assert!(elsewhere.connect(NoTls).is_err());
    }
    drop(world.connect("viewer"));
    let log = std::fs::read_to_string(world.audit_path()).unwrap();
    let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused = entries.iter().filter(|entry| entry["outcome"] == "refused").count() as u64;
    let left_out: u64 = entries.iter().filter_map(|entry| entry["left_out"].as_u64()).sum();
    assert_eq!(refused + left_out, ATTEMPTS);
    assert_eq!(refused, 100);
    assert_eq!(entries.last().unwrap()["outcome"], "done");
    assert_eq!(verify(&world.audit_path(), &[]).unwrap().entries, entries.len() as u64);
}

#[test]
fn a_token_or_its_secret_that_is_typed_as_a_name_is_not_in_the_audit_log() {
    let world = World::empty("typed", Limits::default());
    let token = world.token("viewer");
    let (name, secret) = token.split_once('.').unwrap();
    for typed in [token, secret] {
        assert!(world.config("viewer").user(typed).connect(NoTls).is_err());
    }
    let log = std::fs::read_to_string(world.audit_path()).unwrap();
    for actor in [name, "(no name)"] {
        assert!(log.contains(&format!("\"actor\":\"{actor}\"")), "{actor}");
    }
    assert!(!log.contains(secret), "the secret is in the log");
}
