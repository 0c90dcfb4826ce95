//! What queries may do, and where they end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, NoTls, SimpleQueryMessage};
use thalweg_serving::audit::verify;
use thalweg_serving::sql::Limits;

use super::world::{WORLD, World, code, count, more_events};

/// Never ends by itself.
const ENDLESS: &str = "select max(a.value * b.value % 7) from generate_series(1, 100000) a \
                       cross join generate_series(1, 100000000) b";

#[test]
fn what_is_no_query_is_refused_in_both_ways_of_asking() {
    let mut client = WORLD.connect("admin");
    for sql in [
        "insert into gold_kpis values (1)",
        "update silver_events set name = 'x'",
        "delete from silver_events",
        "create table t (a int)",
        "create view v as select 1",
        "create schema s",
        "drop table silver_events",
        "truncate silver_events",
        "copy silver_events to '/tmp/x.csv'",
        "select * into t from silver_events",
        "with a as (delete from silver_events returning *) select * from a",
        "select * from silver_events for update",
        "set role admin",
        "vacuum",
    ] {
        assert_eq!(code(client.simple_query(sql)), "25006", "{sql}");
        assert_eq!(code(client.query(sql, &[])), "25006", "{sql}");
    }
    assert_eq!(code(client.simple_query("explain select 1")), "0A000");
    assert_eq!(
        code(client.simple_query("create external table t stored as csv location '/etc/passwd'")),
        "42601"
    );
    assert_eq!(code(client.query("select * from '/etc/passwd'", &[])), "42P01");
    assert!(client.query("select * from \"/etc/passwd\"", &[]).is_err());
    // The connection is as good as before, in a transaction or not.
    client
        .batch_execute("begin; select 1; commit; set application_name = 'x'; discard all")
        .unwrap();
    assert_eq!(
        client.query_one("show transaction_read_only", &[]).unwrap().get::<_, String>(0),
        "on"
    );
}

#[test]
fn parameters_and_types_travel_in_binary() {
    let mut client = WORLD.connect("clinician");
    let row = client
        .query_one(
            "select count(*), min(patient_id), max(heart_rate), min(event_time), bool_or(heart_rate > $2) \
             from silver_events where patient_id >= $1",
            &[&1000_i64, &100_f64],
        )
        .unwrap();
    assert!(row.get::<_, i64>(0) > 3_000);
    assert!((1000..1200).contains(&row.get::<_, i64>(1)));
    assert!(row.get::<_, f64>(2) > 100.0);
    assert!(row.get::<_, bool>(4));
    assert_eq!(row.columns()[3].type_().name(), "timestamptz");
    // How many rows is a number, too.
    let sql = "select patient_id from silver_events order by 1 limit $1 offset $2";
    assert_eq!(client.query(sql, &[&3_i64, &1_i64]).unwrap().len(), 3);
}

#[test]
fn what_postgres_takes_is_taken() {
    let mut client = WORLD.connect("clinician");
    let row = client.query_one("select null, 7, null, 7", &[]).unwrap();
    assert_eq!((row.get::<_, i64>(1), row.get::<_, i64>(3)), (7, 7));
    assert_eq!(row.columns()[3].name(), "7:4");
    let fast = "(select heart_rate > 80 as fast from silver_events)";
    let not = count(&mut client, &format!("select count(*) from {fast} where not fast"));
    assert!(not > 0);
    for no in ["'f'", "'0'", "'false'"] {
        let sql = format!("select count(*) from {fast} where {no} = fast");
        assert_eq!(count(&mut client, &sql), not, "{sql}");
    }
    for (sql, expected) in [
        // The columns of keys, as ODBC and JDBC ask for them.
        ("select i.indkey[1] as \"Key\" from pg_catalog.pg_index i", "Key"),
        ("select (information_schema._pg_expandarray(i.indkey)).n as n from pg_index i", "n"),
        // Types that users have defined, as JDBC asks for them.
        (
            "select t.typname as type_name, pg_catalog.obj_description(t.oid, 'pg_type') as remarks, \
             case when t.typtype = 'd' then (select case when t.oid = 16 then -7 else 1111 end \
             from pg_type where oid=t.typbasetype) else null end as base_type \
             from pg_catalog.pg_type t, pg_catalog.pg_namespace n where t.typnamespace = n.oid \
             and n.nspname != 'pg_catalog' order by 3, 1",
            "type_name",
        ),
    ] {
        let prepared = client.prepare(sql).unwrap();
        assert_eq!(prepared.columns()[0].name(), expected);
        assert!(client.query(&prepared, &[]).unwrap().is_empty(), "{sql}");
    }
    let sql =
        "select setting from pg_catalog.pg_settings where name = 'default_transaction_isolation'";
    let told = client.query_one(sql, &[]).unwrap().get::<_, String>(0);
    assert_eq!(
        told,
        client.query_one("show default_transaction_isolation", &[]).unwrap().get::<_, String>(0)
    );
}

#[test]
fn a_subquery_for_a_value_has_one_or_is_refused() {
    let mut client = WORLD.connect("clinician");
    let highest = count(&mut client, "select max(patient_id) from silver_events");
    let sql = "select (select max(silver_events.patient_id) from silver_events)";
    assert_eq!(count(&mut client, sql), highest);
    let all = count(&mut client, "select count(*) from silver_events");
    let sql = "select (select count(*) from silver_events where patient_id > $1)";
    assert_eq!(client.query_one(sql, &[&0_i64]).unwrap().get::<_, i64>(0), all);
    let sql = "select k.events, (select sum(g.events) from gold_kpis g where g.window_start = k.window_start) \
               from gold_kpis k";
    let rows = client.query(sql, &[]).unwrap();
    assert!(!rows.is_empty());
    for row in rows {
        assert!(row.get::<_, i64>(1) >= row.get::<_, i64>(0));
    }
    for (sql, expected) in [
        ("select (select patient_id from silver_events)", "21000"),
        (
            "select (select count(*) from gold_kpis g where g.events > k.events) from gold_kpis k",
            "0A000",
        ),
        (
            "select (select g.events from gold_kpis g where g.window_start = k.window_start) from gold_kpis k",
            "42000",
        ),
    ] {
        assert_eq!(code(client.simple_query(sql)), expected, "{sql}");
        assert_eq!(code(client.query(sql, &[])), expected, "{sql}");
    }
}

#[test]
fn a_limit_counts_though_no_column_is_read() {
    // Some see all columns of the table, others do not.
    for (role, table) in [("clinician", "silver_events"), ("steward", "quarantine_events")] {
        let mut client = WORLD.connect(role);
        let all = count(&mut client, &format!("select count(*) from {table}"));
        assert!(all > 3, "{table}: {all}");
        for (end, expected) in [
            ("limit 1", 1),
            ("limit 2 offset 1", 2),
            ("offset 2", all - 2),
            ("limit 0", 0),
            ("", all),
        ] {
            let sql = format!("select 1 from {table} {end}");
            let rows = client.query(&sql, &[]).unwrap().len();
            assert_eq!(i64::try_from(rows).unwrap(), expected, "{sql}");
            let counted = format!("select count(*) from ({sql}) a");
            assert_eq!(count(&mut client, &counted), expected, "{counted}");
        }
    }
}

#[test]
fn what_does_not_fit_together_is_told_as_that() {
    let mut client = WORLD.connect("clinician");
    // A type is wrong, and a value of a column, while its file is read.
    assert_eq!(code(client.simple_query("select 1 from silver_events where oxygen = 1")), "42000");
    assert_eq!(code(client.simple_query("select 1 from silver_events where name = 5")), "22000");
}

#[test]
fn an_error_says_nothing_of_what_was_read() {
    let mut client = WORLD.connect("clinician");
    for sql in [
        "select cast(name as bigint) from silver_events",
        "select cast(address as double precision) from silver_events",
        "select patient_id / 0 from silver_events",
        "select arrow_cast(name, 'Timestamp(Second, None)') from silver_events",
    ] {
        let error = client.query(sql, &[]).unwrap_err();
        let text = format!("{error:?}");
        let told = error.as_db_error().unwrap_or_else(|| panic!("{text}"));
        assert!(told.code().code().starts_with("22"), "{sql}: {text}");
        assert!(!text.contains("***") && !text.contains("Boston"), "{text}");
    }
}

#[test]
fn what_would_exhaust_stack_or_memory_is_refused() {
    let mut client = WORLD.connect("viewer");
    let sum = format!("select 1{}", " + 1".repeat(100_000));
    assert_eq!(code(client.query(&sum, &[])), "54001");
    let spaced = format!("select{}1", " ".repeat(200_000));
    assert_eq!(code(client.query(&spaced, &[])), "54001");
    assert_eq!(count(&mut client, &format!("select 1::bigint{}", " + 1".repeat(1_000))), 1_001);
    for call in ["repeat('x', 2000000000)", "array_repeat(1, 2000000000)", "range(0, 2000000000)"] {
        assert_eq!(code(client.query(&format!("select {call}"), &[])), "42883", "{call}");
    }
    // Each would be in the one around it as often as that one names it, and once more.
    let within = (0..12).fold("select 1 as v".to_owned(), |inner, _| {
        format!("select array({inner} order by 1, 1, 1, 1) as v")
    });
    assert_eq!(code(client.simple_query(&within)), "0A000");
    assert_eq!(code(client.query(&within, &[])), "0A000");
    // Each would be read twice as often as the one around it.
    for (begin, end, depth) in [("upper(", ")", 20), ("(select ", ")", 11), ("a.", "", 20)] {
        let value = if end.is_empty() { "" } else { "1" };
        let deep = format!("select 1 + {}{value}{}", begin.repeat(depth), end.repeat(depth));
        assert_eq!(code(client.simple_query(&deep)), "54001", "{begin}");
    }
    let values = format!("select '{{{}1}}'::bigint[]", "1,".repeat(200_000));
    assert_eq!(code(client.simple_query(&values)), "54001");
    // Forty joins of a table with itself, each of them of the one before.
    let joins = (1..40).map(|at| format!(", t{at} as (select a.n from t{0} a, t{0} b)", at - 1));
    let joins = joins.collect::<String>();
    let chain = format!("with t0 as (select 1 as n){joins} select count(*) from t39");
    assert_eq!(code(client.simple_query(&chain)), "54001");
    assert_eq!(code(client.query(&chain, &[])), "54001");
    let short =
        "with a as (select 1::bigint as n), b as (select x.n from a x, a y) select b.n from b, a";
    assert_eq!(count(&mut client, short), 1);
    let long = format!("select 1 from \"gold_kpis@v{}1\"", "0".repeat(100_000));
    assert_eq!(code(client.query(&long, &[])), "42P01");
    assert_eq!(count(&mut client, "select 1::bigint"), 1);
}

/// A server that a test may keep busy, and whose own limit to a statement is longer than any test.
fn patient(name: &str) -> World {
    let limits = Limits { statement_timeout: SERVERS, ..Limits::default() };
    World::empty(name, limits)
}

/// Its limit.
const SERVERS: Duration = Duration::from_mins(3);

#[test]
fn a_statement_that_takes_too_long_ends() {
    let world = patient("too-long");
    let mut client = world.connect("viewer");
    client.batch_execute("set statement_timeout = '150ms'").unwrap();
    let began = Instant::now();
    let error = client.query(ENDLESS, &[]).unwrap_err();
    let told = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(
        (told.code().code(), told.message()),
        ("57014", "canceling statement due to statement timeout")
    );
    assert!(began.elapsed() < SERVERS, "it was the server's limit");
    // Whatever comes next may take its time.
    client.batch_execute("set statement_timeout = 0").unwrap();
    assert_eq!(count(&mut client, "select 1::bigint"), 1);
}

#[test]
fn a_limit_that_a_text_sets_is_that_of_the_statements_behind_it_alone() {
    let world = patient("in-a-text");
    let mut client = world.connect("viewer");
    let began = Instant::now();
    for (before, endless) in [
        ("select 1".to_owned(), ENDLESS.to_owned()),
        (
            format!("declare c cursor with hold for {ENDLESS}; select 1"),
            "fetch all from c".to_owned(),
        ),
    ] {
        let text = format!(
            "{before}; set statement_timeout = '150ms'; {endless}; set statement_timeout = 0"
        );
        assert_eq!(code(client.batch_execute(&text)), "57014", "{text}");
    }
    // Nor does one of a transaction outlive it, where a statement of the same text has ended that.
    let mut client = world.connect("viewer");
    let shown = |client: &mut Client| {
        let shown = client.simple_query("show statement_timeout").unwrap();
        let rows = shown.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        rows.collect::<Vec<_>>()
    };
    let before = shown(&mut client);
    let text = format!("begin; set local statement_timeout = '150ms'; {ENDLESS}");
    assert_eq!(code(client.batch_execute(&text)), "57014");
    client.batch_execute("rollback").unwrap();
    assert_eq!(shown(&mut client), before);
    assert!(began.elapsed() < SERVERS, "it was the server's limit");
    assert_eq!(count(&mut client, "select 1::bigint"), 1);
}

#[test]
fn a_statement_that_is_called_off_ends() {
    let world = patient("called-off");
    let mut client = world.connect("viewer");
    let token = client.cancel_token();
    let over = AtomicBool::new(false);
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Before the statement begins there is nothing to call off: until it has ended.
            while !over.load(Ordering::SeqCst) {
                token.cancel_query(NoTls).unwrap();
                std::thread::park_timeout(Duration::from_millis(10));
            }
        });
        // It ends with the time that a statement has at the latest, and the other thread with it.
        let ended = client.query(ENDLESS, &[]);
        over.store(true, Ordering::SeqCst);
        ended.unwrap_err()
    });
    let told = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(
        (told.code().code(), told.message()),
        ("57014", "canceling statement due to user request")
    );
    // A request is not answered: the last of them may come late, and call off what runs then.
    let next = loop {
        match client.query_one("select 1::bigint", &[]) {
            Ok(row) => break row.get::<_, i64>(0),
            late => assert_eq!(code(late), "57014"),
        }
    };
    assert_eq!(next, 1);
}

#[test]
fn rows_and_memory_are_bounded() {
    let statement_timeout = SERVERS;
    let limits =
        Limits { rows: 100, memory: 16 << 20, threads: 1, statement_timeout, ..Limits::default() };
    let world = World::empty("bounded", limits);
    let mut client = world.connect("viewer");
    assert_eq!(client.query("select * from generate_series(1, 100)", &[]).unwrap().len(), 100);
    let error = client.query("select * from generate_series(1, 101)", &[]).unwrap_err();
    let told = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(told.code().code(), "54000");
    assert!(told.message().contains("more than 100 rows"));
    let greedy = "select count(*) from generate_series(1, 3000000) a \
                  join generate_series(1, 3000000) b on a.value = b.value";
    assert_eq!(code(client.query(greedy, &[])), "53200");
    assert_eq!(count(&mut client, "select count(*) from generate_series(1, 1000000)"), 1_000_000);
}

/// Of silver, as the newest checkpoint tells.
fn version(client: &mut Client) -> i64 {
    let newest = "select tables, versions from meta_checkpoints order by checkpoint desc limit 1";
    let row = client.query_one(newest, &[]).unwrap();
    let (tables, versions): (Vec<String>, Vec<i64>) = (row.get(0), row.get(1));
    versions[tables.iter().position(|table| table == "silver/events").unwrap()]
}

#[test]
fn a_query_sees_what_was_committed_just_before() {
    let world = World::new("fresh", Limits::default(), None);
    let mut client = world.connect("clinician");
    let old = version(&mut client);
    let before = count(&mut client, "select count(*) from silver_events");
    let prepared = client.prepare("select count(*) from silver_events").unwrap();
    more_events(world.data.parent().unwrap(), 13);
    let after = count(&mut client, "select count(*) from silver_events");
    assert!(after > before + 900, "{before} {after}");
    assert_eq!(client.query_one(&prepared, &[]).unwrap().get::<_, i64>(0), after);

    // Every version is still there under its number.
    let new = version(&mut client);
    let at = |version| format!("select count(*) from silver_events VERSION AS OF {version}");
    assert_eq!(count(&mut client, &at(new)), after);
    assert_eq!(count(&mut client, &at(old)), before);
    assert_eq!(code(client.query(&at(new + 1), &[])), "22023");
    let both = format!(
        "select count(*) from silver_events n left join silver_events version as of {old} o \
         on n.event_id = o.event_id and n.event_time = o.event_time and n.patient_id = o.patient_id \
         where o.patient_id is null"
    );
    assert!(count(&mut client, &both) > 0);
}

#[test]
fn now_is_when_a_statement_begins() {
    let mut client = WORLD.connect("viewer");
    let prepared = client.prepare("select now()").unwrap();
    for _ in 0..2 {
        let before = SystemTime::now() - Duration::from_millis(1);
        let told: SystemTime = client.query_one(&prepared, &[]).unwrap().get(0);
        assert!(before <= told && told <= SystemTime::now(), "{before:?} {told:?}");
    }
}

#[test]
fn the_audit_log_tells_who_read_what_and_no_value() {
    let world = World::new("audited", Limits::default(), None);
    let mut client = world.connect("clinician");
    client
        .query("select name, patient_id from silver_events where name = 'Quimby' limit 3", &[])
        .unwrap();
    client.query("select patient_id from silver_events limit 3", &[]).unwrap();
    assert!(client.query("select 'Quimby' from bronze_events", &[]).is_err());
    assert!(client.simple_query("insert into silver_events values ('Quimby')").is_err());
    let log = std::fs::read_to_string(world.audit_path()).unwrap();
    assert!(!log.contains("Quimby"), "{log}");
    let entry = |part: &str| {
        log.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part} in {log}"))
    };
    // A short answer leaves behind the entry of its end, a longer one is announced.
    let mut queries = log.lines().filter(|line| line.contains("\"action\":\"query\""));
    assert!(!queries.any(|line| line.contains("\"outcome\":\"begun\"")), "{log}");
    client.query("select value from generate_series(1, 5000)", &[]).unwrap();
    let later = std::fs::read_to_string(world.audit_path()).unwrap();
    let later: Vec<&str> = later.strip_prefix(&log).unwrap().lines().collect();
    let has = |at: usize, part: &str| later.get(at).is_some_and(|line| line.contains(part));
    assert!(has(0, "\"outcome\":\"begun\"") && has(1, "\"outcome\":\"done\""), "{later:?}");
    assert!(has(1, "\"rows\":5000") && later.len() == 2, "{later:?}");
    let read = entry("\"rows\":3");
    for part in [
        "\"actor\":\"clinician\",\"role\":\"clinician\",\"source\":\"127.0.0.1\",\"action\":\"query\"",
        "\"kind\":\"select\",\"tables\":[\"silver_events\"],\"columns\":1",
        "\"outcome\":\"done\"",
    ] {
        assert!(read.contains(part), "{part} in {read}");
    }
    entry("\"outcome\":\"failed\",\"reason\":\"42P01\"");
    entry("\"outcome\":\"refused\",\"reason\":\"25006\"");
    let entries = (log.lines().count() + later.len()) as u64;
    assert_eq!(verify(&world.audit_path(), &[]).unwrap().entries, entries);

    // Without a log there are no answers.
    let aside = world.audit_path().with_extension("aside");
    std::fs::rename(world.audit_path(), &aside).unwrap();
    let none = client.query_raw("select 1", Vec::<i64>::new()).map(|mut rows| rows.next());
    match none {
        Ok(Ok(None)) => panic!("an answer without a log"),
        Ok(Ok(Some(_))) => panic!("a row without a log"),
        Ok(Err(error)) | Err(error) => assert_eq!(error.code().unwrap().code(), "58030"),
    }
    assert!(world.config("viewer").connect(NoTls).is_err());
    std::fs::rename(&aside, world.audit_path()).unwrap();
    client.query("select 1", &[]).unwrap();
    verify(&world.audit_path(), &[]).unwrap();
}
