//! Parameters by hand, as texts: what a client declares them to be, or nothing; and the settings that it begins with.

use std::net::TcpStream;

use super::wire::{Message, Wire};
use super::world::{WORLD, code, count};

/// Numbers of types.
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const FLOAT8: u32 = 701;
const VARCHAR: u32 = 1043;
const TIMESTAMPTZ: u32 = 1184;
const INTERVAL: u32 = 1186;
const NUMERIC: u32 = 1700;
const INT4_ARRAY: u32 = 1007;

/// What a query with parameters gives: the type of its first column, and that of its first row as a text; or the code of the
/// error.
fn asked(
    wire: &mut Wire,
    sql: &str,
    parameters: &[(u32, Option<&str>)],
) -> Result<(u32, Option<String>), String> {
    let count = u16::try_from(parameters.len()).unwrap().to_be_bytes();
    let types: Vec<u8> = parameters.iter().flat_map(|(of, _)| of.to_be_bytes()).collect();
    wire.send(Some(b'P'), &[b"\0".as_slice(), sql.as_bytes(), b"\0", &count, &types].concat());
    let mut bind = [b"\0\0\0\0".as_slice(), &count].concat();
    for (_, value) in parameters {
        let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
        bind.extend_from_slice(&length.to_be_bytes());
        bind.extend_from_slice(value.unwrap_or_default().as_bytes());
    }
    wire.send(Some(b'B'), &[bind.as_slice(), b"\0\0"].concat());
    wire.send(Some(b'D'), b"P\0");
    wire.send(Some(b'E'), b"\0\0\0\0\0");
    wire.send(Some(b'S'), b"");
    let answers = wire.until_ready();
    let find = |kind: u8| answers.iter().find(|message| message.kind == kind);
    if let Some(error) = find(b'E') {
        return Err(error_code(error));
    }
    let columns = &find(b'T').unwrap().body;
    // Behind the name and the numbers of a table and a column.
    let name = columns[2..].iter().position(|byte| *byte == 0).unwrap();
    let of = columns[2 + name + 1 + 6..][..4].try_into().unwrap();
    let row = &find(b'D').unwrap().body;
    let is_null = row[2..6] == [255; 4];
    let text = (!is_null).then(|| String::from_utf8(row[6..].to_vec()).unwrap());
    Ok((u32::from_be_bytes(of), text))
}

fn error_code(error: &Message) -> String {
    let text = String::from_utf8_lossy(&error.body).into_owned();
    let code = text.split('\0').find_map(|part| part.strip_prefix('C'));
    code.unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[test]
fn a_parameter_has_the_type_that_is_declared_whatever_it_is_compared_with() {
    let mut wire = WORLD.wire("clinician");
    let numbers = "from generate_series(1, 90)";
    for (select, of, value, expected) in [
        (format!("select count(*) / $1 {numbers}"), FLOAT8, "60.0", "1.5"),
        (format!("select count(*) {numbers} where value > $1"), NUMERIC, "87.5", "3"),
        (format!("select count(*) {numbers} where value > $1"), FLOAT8, "87.5", "3"),
        (format!("select count(*) {numbers} where value = $1"), INT2, "7", "1"),
        (format!("select count(*) {numbers} where value = any($1)"), INT4_ARRAY, "{1,7,99}", "2"),
        (format!("select value {numbers} order by 1 desc limit $1"), INT2, "1", "90"),
        ("select now() - $1 < now()".to_owned(), INTERVAL, "1 day", "t"),
        (
            "select count(*) > 0 from silver_events where event_time > now() - $1".to_owned(),
            INTERVAL,
            "9999 days",
            "t",
        ),
        (
            "select count(*) from silver_events where event_time > $1".to_owned(),
            TIMESTAMPTZ,
            "9999-12-31 00:00:00+00",
            "0",
        ),
        ("select 'ab' like $1".to_owned(), VARCHAR, "a%", "t"),
    ] {
        let (_, told) = asked(&mut wire, &select, &[(of, Some(value))]).unwrap();
        assert_eq!(told.as_deref(), Some(expected), "{select}");
    }
    for (of, value) in [(INT4, "7"), (TEXT, "it''s"), (FLOAT8, "0.5"), (INT4_ARRAY, "{1,2}")] {
        let told = asked(&mut wire, "select $1", &[(of, Some(value))]).unwrap();
        assert_eq!(told, (of, Some(value.to_owned())));
        let none = asked(&mut wire, "select $1", &[(of, None)]).unwrap();
        assert_eq!(none, (of, None));
    }
    let time = (TIMESTAMPTZ, Some("2025-11-24 22:10:17+01"));
    let (of, told) = asked(&mut wire, "select $1", &[time]).unwrap();
    assert_eq!(of, TIMESTAMPTZ);
    assert!(told.unwrap().starts_with("2025-11-24 21:10:17"), "it is another instant");
    assert_eq!(asked(&mut wire, "select $1", &[(INT4, Some("x"))]).unwrap_err(), "22P02");
}

#[test]
fn a_null_of_no_type_keeps_its_place() {
    let mut wire = WORLD.wire("viewer");
    let parameters = [(0, None), (0, Some("it''s")), (INT4, Some("7"))];
    let both = "select coalesce($1, $2::text) || $3::text";
    let (_, told) = asked(&mut wire, both, &parameters).unwrap();
    assert_eq!(told.as_deref(), Some("it''s7"));
    let (_, told) = asked(&mut wire, "select $1", &[(0, None)]).unwrap();
    assert_eq!(told, None);
}

#[test]
fn what_is_not_a_value_for_the_library_is_one_for_the_client() {
    let mut wire = WORLD.wire("viewer");
    for (select, expected) in [
        ("select null::interval", None),
        ("select interval '1 day' where false union all select null::interval", None),
        ("select 1e308::double precision * 10", Some("Infinity")),
        ("select (-3e38::real) * 10::real", Some("-Infinity")),
        ("select 'NaN'::double precision", Some("NaN")),
    ] {
        let (_, told) = asked(&mut wire, select, &[]).unwrap();
        assert_eq!(told.as_deref(), expected, "{select}");
    }
    let zone = |time: &str, zone: &str| {
        format!("arrow_cast({time}, 'Timestamp(Microsecond, Some(\"{zone}\"))')")
    };
    let half = zone(&zone("0::bigint", "UTC"), "+05:30");
    let (of, told) = asked(&mut wire, &format!("select {half}"), &[]).unwrap();
    let told = told.unwrap();
    assert_eq!(of, TIMESTAMPTZ);
    assert!(told.starts_with("1970-01-01 00:00:00") && told.ends_with("+00"), "{told}");
    for inside in [
        "named_struct('a', arrow_cast('x'::bytea, 'FixedSizeBinary(1)'))",
        "make_array(1::decimal(38, 0))",
    ] {
        let told = asked(&mut wire, &format!("select {inside}"), &[]);
        assert_eq!(told.unwrap_err(), "0A000", "{inside}");
    }
}

#[test]
fn a_connection_begins_with_settings_and_a_transaction_gives_them_back() {
    let mut config = WORLD.config("viewer");
    config.application_name("tool").options("-c statement_timeout=432100");
    let mut client = config.connect(postgres::NoTls).unwrap();
    let mut shown = |before: &str, name: &str| {
        client.batch_execute(before).unwrap();
        client.query_one(&format!("show {name}"), &[]).unwrap().get::<_, String>(0)
    };
    assert_eq!(shown("", "application_name"), "tool");
    assert_eq!(shown("", "statement_timeout"), "432100");
    assert_eq!(shown("begin; set local statement_timeout = 700000", "statement_timeout"), "700000");
    assert_eq!(shown("commit", "statement_timeout"), "432100");
    assert_eq!(shown("begin; set application_name = 'x'; rollback", "application_name"), "tool");
    assert_eq!(shown("begin; set application_name = 'y'; commit", "application_name"), "y");
    assert_eq!(shown("discard all", "application_name"), "tool");
    config.options("-c statement_timeout=soon");
    assert_eq!(code(config.connect(postgres::NoTls).map(drop)), "22023");

    let number = "select current_setting('server_version_num')::bigint / 100";
    assert_eq!(count(&mut client, number), 1600);
    let row = client.query_one("select set_config('application_name', 'z', false)", &[]).unwrap();
    assert_eq!(row.get::<_, String>(0), "z");
    let row = client.query_one("select current_setting('application_name')", &[]).unwrap();
    assert_eq!(row.get::<_, String>(0), "z");
    assert_eq!(code(client.query("select current_setting('no.such')", &[])), "42704");
    let row = client.query_one("select current_setting('no.such', true)", &[]).unwrap();
    assert_eq!(row.get::<_, Option<String>>(0), None);
}

/// How a transaction is, as the server says when it is ready.
fn status(wire: &mut Wire<TcpStream>, sql: &str) -> char {
    wire.send(Some(b'Q'), format!("{sql}\0").as_bytes());
    wire.until_ready().last().map(|ready| char::from(ready.body[0])).unwrap()
}

#[test]
fn going_back_to_a_savepoint_heals_a_transaction() {
    let mut wire = WORLD.wire("viewer");
    assert_eq!(status(&mut wire, "begin"), 'T');
    assert_eq!(status(&mut wire, "savepoint s"), 'T');
    assert_eq!(status(&mut wire, "select no_such_column"), 'E');
    assert_eq!(status(&mut wire, "rollback to savepoint s"), 'T');
    assert_eq!(status(&mut wire, "select no_such_column"), 'E');
    wire.send(Some(b'P'), b"\0rollback to s\0\0\0");
    wire.send(Some(b'B'), b"\0\0\0\0\0\0\0\0");
    wire.send(Some(b'E'), b"\0\0\0\0\0");
    wire.send(Some(b'S'), b"");
    assert_eq!(wire.until_ready().last().unwrap().body, b"T");
    assert_eq!(status(&mut wire, "commit"), 'I');

    let mut client = WORLD.connect("viewer");
    assert_eq!(code(client.simple_query("rollback to savepoint s")), "25P01");
}
