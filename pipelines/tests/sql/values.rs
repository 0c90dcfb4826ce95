//! Times, templates, patterns and names that PostgreSQL has otherwise than the engine below.

use postgres::{Client, SimpleQueryMessage};

use super::world::{WORLD, code, count};

/// The first value of an answer as a text.
fn told(client: &mut Client, sql: &str) -> String {
    let messages = client.simple_query(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let value = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    value.unwrap_or_else(|| panic!("{sql}: no value"))
}

#[test]
fn no_other_time_zone_than_utc_is_set() {
    let mut client = WORLD.connect("viewer");
    for sql in [
        "set time zone 'America/New_York'",
        "set session timezone to 'Europe/Berlin'",
        "set time zone -5",
        "set time zone interval '-08:00' hour to minute",
        "begin; set local timezone = 'Asia/Tokyo'",
        "select set_config('TimeZone', 'Europe/London', false)",
    ] {
        assert_eq!(code(client.batch_execute(sql)), "22023", "{sql}");
        client.batch_execute("rollback").unwrap();
    }
    client
        .batch_execute(
            "set time zone 'utc'; set session timezone to 'Etc/UTC'; set time zone 0; \
             set time zone interval '+00:00' hour to minute; set time zone local; \
             set timezone to default; reset timezone; set timezone = 'Etc/GMT+0'; select set_config('TimeZone', 'UTC', false)",
        )
        .unwrap();
    for sql in ["show timezone", "show time zone", "select current_setting('TimeZone')"] {
        assert_eq!(told(&mut client, sql), "UTC", "{sql}");
    }
    // One that a connection begins with is a wish.
    let mut config = WORLD.config("viewer");
    let mut client = config.options("-c TimeZone=Europe/Berlin").connect(postgres::NoTls).unwrap();
    assert_eq!(told(&mut client, "show timezone"), "UTC");
}

#[test]
fn clocks_of_other_zones_are_asked_for_by_at_time_zone() {
    let mut client = WORLD.connect("clinician");
    let evening = "'2025-11-24T21:00:00Z'::timestamptz at time zone 'America/New_York'";
    for (sql, of, expected) in [
        (format!("select {evening}"), "timestamp", "2025-11-24 16:00:00"),
        (format!("select cast({evening} as timestamp)"), "timestamp", "2025-11-24 16:00:00"),
        (
            "select '2025-11-24T16:00:00'::timestamp at time zone 'America/New_York'".to_owned(),
            "timestamptz",
            "2025-11-24 21:00:00",
        ),
        (
            format!("select date_trunc('day', {evening}) at time zone 'America/New_York'"),
            "timestamptz",
            "2025-11-24 05:00:00",
        ),
        (format!("select to_char({evening}, 'HH24:MI')"), "text", "16:00"),
        (
            "select '2150-07-01T12:00:00Z'::timestamptz at time zone 'America/New_York'".to_owned(),
            "timestamp",
            "2150-07-01 08:00:00",
        ),
    ] {
        assert_eq!(client.prepare(&sql).unwrap().columns()[0].type_().name(), of, "{sql}");
        let told = told(&mut client, &sql);
        assert!(told.starts_with(expected), "{sql}: {told}");
    }
    let moved = "select count(*) from silver_events \
                 where event_time at time zone 'America/New_York' <> event_time at time zone 'UTC' - interval '5 hours'";
    assert_eq!(count(&mut client, moved), 0);
    let zone = "select ('2025-11-24T21:00:00Z'::timestamptz at time zone $1)::text";
    let row = client.query_one(zone, &[&"Asia/Kolkata"]).unwrap();
    assert!(row.get::<_, String>(0).contains("02:30"), "{row:?}");
    for zone in ["Nowhere", "+05:00", "CET"] {
        let sql = format!("select now() at time zone '{zone}'");
        assert_eq!(code(client.simple_query(&sql)), "22023", "{zone}");
    }
    assert_eq!(code(client.simple_query("select 7 at time zone 'UTC'")), "0A000");
}

#[test]
fn templates_are_those_of_postgres() {
    let mut client = WORLD.connect("clinician");
    let seconds = count(
        &mut client,
        "select count(distinct date_trunc('second', event_time)) from silver_events",
    );
    assert!(seconds > 1);
    let written = "select count(*) from (select to_char(event_time, 'YYYY-MM-DD HH24:MI:SS') as s \
                   from silver_events group by to_char(event_time, 'YYYY-MM-DD HH24:MI:SS'))";
    assert_eq!(count(&mut client, written), seconds);
    for (sql, expected) in [
        (
            "select to_char(min(event_time), 'YYYY-MM-DD\"T\"HH24') from silver_events",
            "2025-11-24T21",
        ),
        ("select to_char(date '2026-03-08', 'FMDD Mon YYYY, Q')", "8 Mar 2026, 1"),
        ("select to_date('08.03.2026', 'DD.MM.YYYY')", "2026-03-08"),
        ("select to_date('08.03.2026', 'DD.MM.YY')", "2026-03-08"),
        ("select to_timestamp('2026 00:00:09.5', 'YYYY HH24:MI:SS.MS')", "2026-01-01 00:00:09.5"),
        ("select to_char('2026-03-08T15:04:09.007'::timestamp, 'SS.FMMS')", "09.007"),
        ("select to_date(s, 'YYYY') from (values ('2026')) as t(s)", "2026-01-01"),
        ("select to_timestamp('2026-03-08 15:04', 'YYYY-MM-DD HH24:MI')", "2026-03-08 15:04:00"),
        ("select to_timestamp(0)", "1970-01-01 00:00:00"),
    ] {
        let told = told(&mut client, sql);
        assert!(told.starts_with(expected), "{sql}: {told}");
    }
    let row = client.query_one("select to_char(date '2026-03-08', $1)", &[&"Mon DD"]).unwrap();
    assert_eq!(row.get::<_, String>(0), "Mar 08");
    for (sql, expected) in [
        ("select to_char(7, '999')", "0A000"),
        ("select to_char(now(), '%H:%M')", "0A000"),
        ("select to_date('2026', 'IYYY')", "0A000"),
        ("select to_date('soon', 'YYYY-MM-DD')", "22007"),
        ("select to_timestamp('2026 12:00:60', 'YYYY HH24:MI:SS')", "22007"),
        ("select to_timestamp('9999-01-01', 'YYYY-MM-DD')", "22008"),
    ] {
        assert_eq!(code(client.simple_query(sql)), expected, "{sql}");
        assert_eq!(code(client.query(sql, &[])), expected, "{sql}");
    }
}

#[test]
fn format_writes_values_and_names_as_postgres_does() {
    let mut client = WORLD.connect("viewer");
    for (sql, expected) in [
        ("select format('%I %I', 'order', 'name')", "\"order\" name"),
        ("select format('%s %L %s', 1 = 1, false, 7)", "t 'f' 7"),
        ("select format('%s', value = 2) from generate_series(1, 1)", "f"),
        ("select format('%s|%L', null, null)", "|NULL"),
    ] {
        assert_eq!(told(&mut client, sql), expected, "{sql}");
    }
    let row = client.query_one("select format('%s-%I', $1, $2)", &[&"a", &"Order"]).unwrap();
    assert_eq!(row.get::<_, String>(0), "a-\"Order\"");
}

#[test]
fn a_cast_has_the_name_of_its_column_and_the_second_one_a_number() {
    let mut client = WORLD.connect("clinician");
    let sql = "select event_time, event_time::date, (event_time)::text from silver_events limit 1";
    let prepared = client.prepare(sql).unwrap();
    let names: Vec<&str> = prepared.columns().iter().map(postgres::Column::name).collect();
    assert_eq!(names, ["event_time", "event_time:2", "event_time:3"]);
    assert_eq!(client.query(&prepared, &[]).unwrap().len(), 1);
}

#[test]
fn a_pattern_has_the_sign_of_its_escape() {
    let mut client = WORLD.connect("clinician");
    for (condition, expected) in [
        ("'50%' like '50/%' escape '/'", true),
        ("'50x' like '50/%' escape '/'", false),
        ("'50x' not like '50!%' escape '!'", true),
        ("'A_b' ilike 'a#_B' escape '#'", true),
        ("'Axb' ilike 'a#_B' escape '#'", false),
        (r"'a\x' like 'a\%' escape '/'", true),
        (r"'a\x' like 'a\%' escape ''", true),
        (r"'a%' like 'a\%' escape '\'", true),
    ] {
        let row = client.query_one(&format!("select {condition}"), &[]).unwrap();
        assert_eq!(row.get::<_, bool>(0), expected, "{condition}");
    }
    for (text, expected) in [("50%", true), ("50x", false)] {
        let row = client.query_one("select $1::text like $2 escape '/'", &[&text, &"50/%"]);
        assert_eq!(row.unwrap().get::<_, bool>(0), expected, "{text}");
    }
    let vitals = "select count(*) from silver_events where event_type = 'vitals'";
    let vitals = count(&mut client, vitals);
    let contains =
        "select count(*) from silver_events where event_type like '%' || $1 || '%' escape '/'";
    for (part, expected) in [("ital", vitals), ("_ital", vitals), ("/_ital", 0)] {
        let row = client.query_one(contains, &[&part]).unwrap();
        assert_eq!(row.get::<_, i64>(0), expected, "{part}");
    }
    for sql in ["select 'a' like 'a' escape '//'", "select 'a' like 'a/' escape '/'"] {
        assert_eq!(code(client.simple_query(sql)), "22025", "{sql}");
    }
}
