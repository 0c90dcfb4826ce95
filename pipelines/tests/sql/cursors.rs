//! Cursors by `DECLARE`: read piece by piece in both ways of asking, as lazily as anybody fetches, within the bounds of
//! other queries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls, SimpleQueryMessage};
use serde_json::Value;
use thalweg_serving::sql::Limits;

use super::world::{WORLD, World, code, count};

/// What takes longer on the busiest machine does not happen any more.
const PATIENCE: Duration = Duration::from_mins(3);
/// Never has a row.
const ENDLESS: &str = "select max(a.value * b.value % 7) from generate_series(1, 100000) a \
                       cross join generate_series(1, 100000000) b";
/// Has more rows than anybody would wait for.
const LONG: &str = "select value from generate_series(1, 1000000000)";

/// A piece of a cursor of numbers, in binary.
fn fetched(client: &mut Client, fetch: &str) -> Vec<i64> {
    client.query(fetch, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

/// And as texts, with its tag's number.
fn said(client: &mut Client, fetch: &str) -> (Vec<String>, u64) {
    let (mut rows, mut tag) = (Vec::new(), 0);
    for message in client.simple_query(fetch).unwrap() {
        match message {
            SimpleQueryMessage::Row(row) => rows.push(row.get(0).unwrap().to_owned()),
            SimpleQueryMessage::CommandComplete(count) => tag = count,
            _ => {}
        }
    }
    (rows, tag)
}

fn told<T: std::fmt::Debug>(asked: Result<T, postgres::Error>) -> (String, String) {
    let error = asked.unwrap_err();
    let told = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    (told.code().code().to_owned(), told.message().to_owned())
}

#[test]
fn a_cursor_gives_the_rows_of_its_query_one_piece_after_another() {
    let mut client = WORLD.connect("viewer");
    let sql = "select value from generate_series(1, 20000) order by 1";
    let all = fetched(&mut client, sql);
    client.batch_execute(&format!("begin; declare C no scroll cursor for {sql}")).unwrap();
    let mut rows = fetched(&mut client, "fetch 100 from c");
    assert_eq!(rows.len(), 100);
    let (next, tag) = said(&mut client, "fetch c");
    assert_eq!((next.len(), tag), (1, 1));
    rows.extend(next.iter().map(|row| row.parse::<i64>().unwrap()));
    rows.extend(fetched(&mut client, "fetch forward from c"));
    let (several, _) =
        said(&mut client, "fetch 9000 in c; select -1; fetch forward 100 from \"c\"");
    assert_eq!((several.len(), several[9000].as_str()), (9101, "-1"));
    rows.extend(several.iter().map(|row| row.parse::<i64>().unwrap()).filter(|row| *row > 0));
    rows.extend(fetched(&mut client, "fetch all from c"));
    assert_eq!(rows, all);
    assert!(fetched(&mut client, "fetch 5 from c").is_empty());
    client.batch_execute("close c; commit").unwrap();

    // Values in binary, if it is declared so, and else as each FETCH wants them.
    let mut wire = WORLD.wire("viewer");
    wire.send(
        Some(b'Q'),
        b"begin; declare c binary cursor for select 7::bigint; fetch next in c\0",
    );
    let answers = wire.until_ready();
    let row = answers.iter().find(|message| message.kind == b'D').unwrap();
    assert_eq!(row.body, [&[0, 1, 0, 0, 0, 8][..], &7_i64.to_be_bytes()[..]].concat());
}

#[test]
fn a_move_goes_past_rows_and_tells_how_many() {
    let mut client = WORLD.connect("viewer");
    let sql = "select value from generate_series(1, 5000) order by 1";
    client.batch_execute(&format!("begin; declare c cursor for {sql}")).unwrap();
    assert_eq!(said(&mut client, "move c"), (Vec::new(), 1));
    assert_eq!(said(&mut client, "MOVE FORWARD 2500 FROM C;"), (Vec::new(), 2500));
    assert_eq!(fetched(&mut client, "fetch 2 from c"), [2502, 2503]);
    assert_eq!(client.execute("move 10 in \"c\"", &[]).unwrap(), 10);
    assert_eq!(fetched(&mut client, "fetch c"), [2514]);
    assert_eq!(said(&mut client, "move all in c"), (Vec::new(), 2486));
    assert_eq!(client.execute("move 3 in c", &[]).unwrap(), 0);
    assert!(fetched(&mut client, "fetch 5 from c").is_empty());
    // Behind a FETCH of the same text it would come too early.
    let together = "declare e cursor for select 1; fetch 1 from e; fetch 1 from e into \"@move\"";
    assert_eq!(code(client.simple_query(together)), "0A000");
    client.batch_execute("rollback; begin").unwrap();
    // What fails on the way fails the cursor.
    let fails = "select 1 / (20 - value) from generate_series(1, 50)";
    client.batch_execute(&format!("declare d cursor with hold for {fails}; commit")).unwrap();
    assert_eq!(code(client.simple_query("move 50 in d")), "22012");
    assert_eq!(code(client.simple_query("move 1 in d")), "24000");

    // No columns and no rows, but the tag.
    let mut wire = WORLD.wire("viewer");
    wire.send(Some(b'Q'), b"begin; declare c cursor for select value from generate_series(1, 9)\0");
    wire.until_ready();
    wire.send(Some(b'Q'), b"move 3 in c\0");
    let answers = wire.until_ready();
    assert_eq!((answers[0].kind, &answers[0].body[..]), (b'C', &b"MOVE 3\0"[..]));
}

#[test]
fn a_cursor_computes_no_more_than_is_fetched() {
    let world = World::empty("cursor-lazy", Limits::default());
    let mut client = world.connect("viewer");
    let mut transaction = client.transaction().unwrap();
    for name in ["a", "b"] {
        // The first is never fetched from.
        transaction.batch_execute(&format!("declare {name} cursor for {ENDLESS}")).unwrap();
        transaction.batch_execute(&format!("declare {name}2 cursor for {LONG}")).unwrap();
    }
    let rows = transaction.query("fetch 3000 from b2", &[]).unwrap();
    assert_eq!(rows.len(), 3000);
    // It would fail at a row that nobody fetches.
    let fails = "select 1 / (5000000 - value) from generate_series(1, 1000000000)";
    transaction.batch_execute(&format!("declare c cursor for {fails}")).unwrap();
    assert_eq!(transaction.query("fetch 10 from c", &[]).unwrap().len(), 10);
    transaction.rollback().unwrap();
    // Both that were fetched from are closed, and the others never began.
    let queries = || {
        let log = std::fs::read_to_string(world.audit_path()).unwrap();
        let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let queries = entries.filter(|entry| entry["action"] == "query");
        let mut queries: Vec<(String, u64)> = queries
            .map(|entry| {
                (entry["outcome"].as_str().unwrap().to_owned(), entry["rows"].as_u64().unwrap())
            })
            .collect();
        queries.sort_unstable();
        queries
    };
    let deadline = Instant::now() + PATIENCE;
    while queries().len() < 4 {
        assert!(Instant::now() < deadline, "{:?}", queries());
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let all = queries();
    let (began, ended) = all.split_at(2);
    assert!(began.iter().all(|(outcome, _)| outcome == "begun"), "{began:?}");
    assert_eq!(ended, [("cancelled".to_owned(), 10), ("cancelled".to_owned(), 3000)]);
    assert_eq!(count(&mut client, "select 1::bigint"), 1);
}

#[test]
fn a_fetch_that_is_executed_for_as_many_rows_leaves_the_rest_to_the_next() {
    let mut client = WORLD.connect("viewer");
    let mut transaction = client.transaction().unwrap();
    transaction.batch_execute(&format!("declare c cursor for {LONG}")).unwrap();
    let portal = transaction.bind("fetch 10 from c", &[]).unwrap();
    assert_eq!(transaction.query_portal(&portal, 10).unwrap().len(), 10);
    let next = transaction.query("fetch 2 from c", &[]).unwrap();
    assert_eq!(next.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [11, 12]);
}

#[test]
fn what_a_cursor_cannot_do_is_told_in_a_line() {
    let mut client = WORLD.connect("viewer");
    let declare = "declare c cursor for select 1";
    assert_eq!(code(client.simple_query(declare)), "25P01");
    assert_eq!(code(client.query(declare, &[])), "25P01");
    for (sql, expected) in [
        (declare, "42P03"),
        ("declare d scroll cursor for select 1", "0A000"),
        ("declare d cursor for select * from gold_kpis for update", "25006"),
        ("declare d cursor for select * from bronze_events", "42P01"),
        ("fetch 1 from d", "34000"),
        ("close d", "34000"),
        ("move 1 from d", "34000"),
        ("move prior from c", "55000"),
        ("move backward 5 in c", "55000"),
        ("move 0 in c", "55000"),
        ("fetch prior from c", "55000"),
        ("fetch backward c", "55000"),
        ("fetch absolute 1 from c", "55000"),
        ("fetch 0 from c", "55000"),
    ] {
        client.batch_execute(&format!("begin; {declare}")).unwrap();
        assert_eq!(code(client.simple_query(sql)), expected, "{sql}");
        assert_eq!(code(client.query(sql, &[])), expected, "{sql}");
        client.batch_execute("rollback").unwrap();
    }
}

#[test]
fn a_cursor_ends_with_its_transaction_unless_it_is_held_beyond_a_commit() {
    let mut client = WORLD.connect("viewer");
    let held =
        "declare held cursor with hold for select value from generate_series(1, 9) order by 1";
    for end in ["commit", "rollback"] {
        client.batch_execute("begin; declare c cursor for select 1").unwrap();
        client.batch_execute(&format!("fetch 1 from c; {end}")).unwrap();
        assert_eq!(code(client.simple_query("fetch 1 from c")), "34000", "{end}");
    }
    client.batch_execute(&format!("begin; {held}; fetch 2 from held; rollback")).unwrap();
    assert_eq!(code(client.simple_query("fetch 1 from held")), "34000");

    client.batch_execute(&format!("begin; {held}; fetch 2 from held; commit")).unwrap();
    client.batch_execute("begin; rollback").unwrap();
    assert_eq!(fetched(&mut client, "fetch 2 from held"), [3, 4]);
    client.batch_execute("close held").unwrap();
    // By itself it is its own transaction.
    client.batch_execute(held).unwrap();
    assert_eq!(fetched(&mut client, "fetch all from held").len(), 9);
    client.batch_execute("close all").unwrap();
    assert_eq!(code(client.simple_query("fetch 1 from held")), "34000");

    // What has failed is not committed.
    client.batch_execute(&format!("begin; {held}")).unwrap();
    assert_eq!(code(client.simple_query("fetch prior from held")), "55000");
    client.batch_execute("commit").unwrap();
    assert_eq!(code(client.simple_query("fetch 1 from held")), "34000");
    // Who has the connection next finds none.
    client.batch_execute(held).unwrap();
    client.batch_execute("discard all").unwrap();
    assert_eq!(code(client.simple_query("fetch 1 from held")), "34000");

    // A text that fails halfway leaves nothing behind.
    let fails = "begin; declare c cursor with hold for select cast(concat('x', value) as bigint) \
                 from generate_series(1, 3); fetch 1 from c";
    assert_eq!(code(client.simple_query(fails)), "22P02");
    client.batch_execute("begin; declare c cursor for select 1; rollback").unwrap();
}

#[test]
fn cursors_and_portals_share_their_places() {
    let mut client = WORLD.connect("viewer");
    client.batch_execute("begin").unwrap();
    // Each keeps a plan, which has weight.
    let small = |name: usize| format!("declare c{name} cursor for select 1");
    let room = (0..512).take_while(|name| client.batch_execute(&small(*name)).is_ok()).count();
    assert!((64..256).contains(&room), "{room}");
    client.batch_execute("rollback; begin").unwrap();
    let wide = (0..150).map(|name| format!("gold_kpis t{name}")).collect::<Vec<_>>().join(", ");
    let wide = format!("declare wide cursor for select 1 from {wide}");
    assert_eq!(code(client.simple_query(&wide)), "54000");
    client.batch_execute("rollback; begin").unwrap();
    for name in 0..room {
        client.batch_execute(&small(name)).unwrap();
    }
    let one_more = "declare one_more cursor for select 1";
    assert_eq!(code(client.simple_query(one_more)), "54000");
    client.batch_execute("rollback; begin").unwrap();
    for name in 0..room {
        client.batch_execute(&small(name)).unwrap();
    }
    client.batch_execute(&format!("close c7; {one_more}")).unwrap();
    assert_eq!(code(client.simple_query("declare another cursor for select 1")), "54000");
    client.batch_execute(&format!("rollback; begin; {one_more}; commit")).unwrap();
}

#[test]
fn the_rows_of_a_cursor_are_bounded_as_those_of_a_query() {
    let world = World::empty("cursor-rows", Limits { rows: 100, ..Limits::default() });
    let mut client = world.connect("viewer");
    let declare = "begin; declare c cursor for select value from generate_series(1, 150)";
    client.batch_execute(declare).unwrap();
    assert_eq!(fetched(&mut client, "fetch 100 from c").len(), 100);
    assert_eq!(code(client.query("fetch 1 from c", &[])), "54000");
}

/// Two pieces of a cursor, between which more time goes by, with other statements, than one statement has.
fn two_pieces(client: &mut Client, time: Duration) -> Result<(), postgres::Error> {
    client.batch_execute(&format!("set statement_timeout = '{}s'; begin", time.as_secs()))?;
    client.batch_execute(&format!("declare c cursor for {LONG}"))?;
    assert_eq!(client.query("fetch 10 from c", &[])?.len(), 10);
    let began = Instant::now();
    while began.elapsed() <= time + Duration::from_secs(1) {
        client.simple_query("show timezone")?;
    }
    assert_eq!(client.query("fetch 10 from c", &[])?.len(), 10);
    Ok(())
}

#[test]
fn each_fetch_has_the_time_of_a_statement_and_none_follows_one_that_failed() {
    // Queries of other tests keep the threads of theirs busy.
    let limits = Limits { statement_timeout: PATIENCE, ..Limits::default() };
    let world = World::empty("cursor-time", limits);
    let mut client = world.connect("viewer");
    // A statement for which this machine was too slow gets more time. One time for all that is fetched is never enough.
    let came = [5, 15, 45].into_iter().any(|seconds| {
        let pieces = two_pieces(&mut client, Duration::from_secs(seconds));
        client.batch_execute("rollback; set statement_timeout = 0").unwrap();
        pieces.map_err(|late| assert_eq!(code::<()>(Err(late)), "57014")).is_ok()
    });
    assert!(came, "what went by between two pieces was time of a statement's");
    client.batch_execute(&format!("begin; declare c cursor for {ENDLESS}")).unwrap();
    client.batch_execute("set statement_timeout = '150ms'").unwrap();
    let late = ("57014".to_owned(), "canceling statement due to statement timeout".to_owned());
    assert_eq!(told(client.query("fetch 1 from c", &[])), late);
    let (code, message) = told(client.query("fetch 1 from c", &[]));
    assert_eq!(code, "24000");
    assert!(message.contains("57014") && message.contains("DECLARE"), "{message}");
    client.batch_execute("rollback; set statement_timeout = 0").unwrap();
    assert_eq!(count(&mut client, "select 1::bigint"), 1);
}

#[test]
fn a_fetch_that_is_called_off_ends_its_cursor() {
    let limits = Limits { statement_timeout: PATIENCE, ..Limits::default() };
    let world = World::empty("cursor-called-off", limits);
    let mut client = world.connect("viewer");
    client.batch_execute(&format!("begin; declare c cursor for {ENDLESS}")).unwrap();
    let token = client.cancel_token();
    let over = AtomicBool::new(false);
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Before the statement begins there is nothing to call off: until it has ended.
            while !over.load(Ordering::SeqCst) {
                token.cancel_query(NoTls).unwrap();
                std::thread::park_timeout(Duration::from_millis(10));
            }
        });
        let ended = client.simple_query("fetch 1 from c");
        over.store(true, Ordering::SeqCst);
        told(ended)
    });
    let called_off = "canceling statement due to user request".to_owned();
    assert_eq!(ended, ("57014".to_owned(), called_off));
    // A FETCH of what has ended computes nothing that a late request could call off.
    assert_eq!(code(client.simple_query("fetch 1 from c")), "24000");
}

/// What is told of a cursor from which nothing is fetched while its connection is busy; `None` where this machine was so
/// slow that the connection was silent for too long, and has ended. A busy one must not end.
fn forgotten(idle: Duration) -> Option<(String, String)> {
    let world = World::empty("cursor-idle", Limits { idle, ..Limits::default() });
    // When the last statement that was answered began: the server has heard nothing since, if the next one is not.
    let mut heard = Instant::now();
    let lost = |heard: Instant| {
        let silent = heard.elapsed();
        assert!(silent > idle / 2, "the connection ended, {silent:?} after a statement");
        None
    };
    let mut client = world.connect("viewer");
    let begin = format!("begin; declare c cursor for {LONG}; fetch 1 from c");
    let began = Instant::now();
    if client.batch_execute(&begin).is_err() {
        return lost(heard);
    }
    heard = began;
    let deadline = Instant::now() + idle + PATIENCE;
    let limited = || {
        let log = std::fs::read_to_string(world.audit_path()).unwrap();
        log.contains("\"outcome\":\"limited\",\"reason\":\"57014\"")
    };
    while !limited() {
        assert!(Instant::now() < deadline, "it is still there");
        let began = Instant::now();
        if client.simple_query("show timezone").is_err() {
            return lost(heard);
        }
        heard = began;
    }
    match client.simple_query("fetch 1 from c") {
        Err(error) if error.as_db_error().is_none() => lost(heard),
        ended => Some(told(ended)),
    }
}

#[test]
fn a_cursor_that_is_forgotten_ends() {
    let ended = [4, 12, 36].into_iter().find_map(|idle| forgotten(Duration::from_secs(idle)));
    let (code, message) = ended.expect("the connection ends as well, though it is busy");
    assert_eq!(code, "57014");
    assert!(message.contains("not fetched from for too long"), "{message}");
}

#[test]
fn a_server_that_stops_writes_down_what_was_fetched() {
    // However busy this machine is, what is to be written is waited for.
    let world = World::empty("cursor-stopped", Limits { ending: PATIENCE, ..Limits::default() });
    let mut client = world.connect("viewer");
    client.batch_execute(&format!("begin; declare c cursor for {LONG}; fetch 10 from c")).unwrap();
    assert_eq!(fetched(&mut client, "fetch 2000 from c").len(), 2000);
    let path = world.audit_path();
    drop(world);
    let log = std::fs::read_to_string(path).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((&last["outcome"], &last["rows"]), (&"cancelled".into(), &2010.into()), "{log}");
}

#[test]
fn a_cursor_has_the_entries_of_one_query_in_the_audit_log() {
    let world = World::empty("cursor-audited", Limits::default());
    let mut client = world.connect("viewer");
    client.batch_execute("begin; declare unread cursor for select 1").unwrap();
    let declare = "declare c cursor for select value from generate_series(1, 250)";
    client.batch_execute(declare).unwrap();
    for expected in [100, 100, 50] {
        assert_eq!(fetched(&mut client, "fetch 100 from c").len(), expected);
    }
    client.batch_execute("commit").unwrap();
    assert_eq!(code(client.query("fetch 1 from c", &[])), "34000");
    let log = std::fs::read_to_string(world.audit_path()).unwrap();
    let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let queries: Vec<&Value> = entries.iter().filter(|it| it["action"] == "query").collect();
    let outcomes: Vec<&Value> = queries.iter().map(|it| &it["outcome"]).collect();
    assert_eq!(outcomes, ["begun", "done", "failed"], "{log}");
    assert_eq!(queries[1]["rows"], 250);
    assert_eq!(queries[0]["subject"], queries[1]["subject"]);
    assert_eq!(queries[2]["reason"], "34000");
}
