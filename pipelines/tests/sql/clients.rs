//! psql, psycopg, JDBC and ODBC as people have them, and the queries of Power BI's and Grafana's definitions; `deltalake`
//! in Python says what a version holds.
//!
//! They come from the system's packages, from pip and from Maven. A machine without them skips, loudly, unless
//! `THALWEG_REQUIRE_CLIENTS` says that being unable to is a failure.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use thalweg_serving::sql::{Limits, Listen, SqlServer, SqlSettings, TlsFiles};

use super::installed::{done, jdbc, python, run};
use super::support::{run_file, shown, succeed};
use super::world::{WORLD, World, count};

/// As its package registers it.
const ODBC: &str = "PostgreSQL Unicode";

/// `None`: it is skipped.
pub(super) fn or_skip<T>(found: Result<T, String>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(why) if env::var_os("THALWEG_REQUIRE_CLIENTS").is_some() => panic!("{why}"),
        Err(why) => {
            eprintln!("SKIPPED: {why}");
            None
        }
    }
}

pub(super) fn psql(
    world: &World,
    role: &str,
    ssl: &str,
    commands: &[&str],
) -> Result<Output, String> {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", role]);
    psql.args(["-d", "healthcare", "-p"]).arg(world.port().to_string());
    psql.env("PGPASSWORD", world.token(role)).env("PGSSLMODE", ssl);
    for command in commands {
        psql.args(["-c", command]);
    }
    run(&mut psql)
}

pub(super) fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", shown(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn psql_lists_describes_and_reads() {
    let world = &*WORLD;
    let Some(output) = or_skip(psql(world, "clinician", "prefer", &["\\dt"])) else { return };
    let tables = said(&output);
    assert!(tables.contains("public|silver_events|table"), "{tables}");
    assert!(!tables.contains("bronze_events"), "{tables}");
    let described = said(&psql(world, "clinician", "prefer", &["\\d silver_events"]).unwrap());
    for column in ["patient_id|bigint", "heart_rate|double precision", "event_time|timestamp"] {
        assert!(described.contains(column), "{column} in {described}");
    }
    let mut client = world.connect("clinician");
    let expected = count(&mut client, "select count(*) from silver_events");
    let commands = [
        "select count(*) from silver_events",
        "select count(*) from silver_events version as of 0",
        "select current_database(), session_user, version()",
    ];
    let rows = said(&psql(world, "clinician", "prefer", &commands).unwrap());
    let mut lines = rows.lines();
    assert_eq!(lines.next(), Some(expected.to_string().as_str()));
    assert!(lines.next().unwrap().parse::<i64>().unwrap() < expected);
    let who = lines.next().unwrap();
    assert!(who.starts_with("healthcare|clinician|PostgreSQL 16.6"), "{who}");
    let refused = psql(world, "clinician", "prefer", &["drop table silver_events"]).unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("read-only"), "{}", shown(&refused));
}

/// What a script prints that finds the clinician's connection in `DSN`.
pub(super) fn psycopg(python: &Path, world: &World, script: &str) -> String {
    let (port, token) = (world.port(), world.token("clinician"));
    let dsn =
        format!("host=127.0.0.1 port={port} dbname=healthcare user=clinician password={token}");
    done(Command::new(python).args(["-c", script]).env("DSN", dsn)).unwrap()
}

#[test]
fn psycopg_reads_with_parameters_cursors_and_transactions() {
    let Some(python) = or_skip(python()) else { return };
    let world = &*WORLD;
    let script = "
import os, psycopg
with psycopg.connect(os.environ['DSN']) as c:
    n = c.execute('select count(*) from silver_events').fetchone()[0]
    with c.cursor(binary=True) as cur:
        cur.execute('select patient_id, event_time, heart_rate from silver_events where patient_id > %s limit %s', (1000, 5))
        rows = cur.fetchall()
    assert len(rows) == 5 and rows[0][1].tzinfo is not None and isinstance(rows[0][0], int), rows
    many = list(c.cursor().stream('select patient_id from silver_events'))
    assert len(many) == n, (len(many), n)
    for _ in range(10):
        c.execute('select %s::text', ('x',), prepare=True)
    c.rollback()
    try:
        c.execute('delete from silver_events')
        raise SystemExit('it was allowed')
    except psycopg.errors.ReadOnlySqlTransaction:
        c.rollback()
    assert c.execute('select 1').fetchone() == (1,)
    print(n)
";
    let output = psycopg(&python, world, script);
    let mut client = world.connect("clinician");
    let expected = count(&mut client, "select count(*) from silver_events");
    assert_eq!(output.trim(), expected.to_string());
}

#[test]
fn psycopg_reads_by_named_cursors_what_it_reads_at_once() {
    let Some(python) = or_skip(python()) else { return };
    let world = &*WORLD;
    let script = "
import os, psycopg
sql = 'select event_id, patient_id, event_time, heart_rate from silver_events where patient_id > %s'
with psycopg.connect(os.environ['DSN']) as c:
    plain = sorted(c.execute(sql, (1000,)).fetchall(), key=repr)
    assert len(plain) > 1000, len(plain)
    for binary in (False, True):
        with c.cursor(name='by pieces', binary=binary) as cur:
            cur.itersize = 100
            cur.execute(sql, (1000,))
            assert [d.name for d in cur.description] == ['event_id', 'patient_id', 'event_time', 'heart_rate']
            first = [cur.fetchone(), *cur.fetchmany(7)]
            rows = first + list(cur)
            assert len(first) == 8 and sorted(rows, key=repr) == plain, (binary, len(rows))
    with c.cursor(name='held', withhold=True) as cur:
        cur.execute(sql, (1000,))
        rows = cur.fetchmany(10)
        c.commit()
        rows += cur.fetchall()
        assert sorted(rows, key=repr) == plain, len(rows)
    c.rollback()
    with c.cursor(name='moved') as cur:
        cur.execute(sql, (1000,))
        assert len(cur.fetchmany(5)) == 5
        cur.scroll(10)
        assert len(cur.fetchall()) == len(plain) - 15
    c.rollback()
    try:
        c.execute('fetch 1 from held')
        raise SystemExit('it is still there')
    except psycopg.errors.InvalidCursorName:
        c.rollback()
    try:
        c.cursor(name='back', scrollable=True).execute('select 1')
        raise SystemExit('it was allowed')
    except psycopg.errors.FeatureNotSupported:
        c.rollback()
    print(len(plain))
";
    let output = psycopg(&python, world, script);
    let mut client = world.connect("clinician");
    let sql = "select count(*) from silver_events where patient_id > 1000";
    assert_eq!(output.trim(), count(&mut client, sql).to_string());
}

#[test]
fn a_version_holds_what_delta_lake_in_python_says() {
    let Some(python) = or_skip(python()) else { return };
    let world = &*WORLD;
    let script = "
import sys, deltalake
newest = deltalake.DeltaTable(sys.argv[1]).version()
for v in range(newest + 1):
    a = deltalake.DeltaTable(sys.argv[1], version=v).get_add_actions(flatten=True)
    print(v, sum(x or 0 for x in a.column('num_records').to_pylist()))
";
    for (name, path) in [("silver_events", "silver/events"), ("gold_kpis", "gold/kpis")] {
        let mut command = Command::new(&python);
        let output = done(command.args(["-c", script]).arg(world.data.join(path))).unwrap();
        let mut client = world.connect("admin");
        let mut versions = 0;
        for line in output.lines() {
            let (version, rows) = line.split_once(' ').unwrap();
            let sql = format!("select count(*) from {name} version as of {version}");
            assert_eq!(count(&mut client, &sql).to_string(), rows, "{sql}");
            versions += 1;
        }
        assert!(versions > 1, "{output}");
    }
}

/// `.ci/bi` asks DataFusion in Python the same, over the same tables; here it is this server's SQL that answers.
#[test]
fn every_query_of_power_bi_and_grafana_is_answered_for_a_viewer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let check = root.join(".ci/bi");
    // It installs what it needs, whatever it is asked.
    if or_skip(done(Command::new(&check).arg("--help"))).is_none() {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sql/bi");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    let (data, input) = (folder.join("data"), folder.join("events.jsonl"));
    let mut events = Command::new("python3");
    events.arg(root.join("pipelines/benches/events.py")).arg("20000").arg(&input);
    done(events.args(["--per-second", "80"])).unwrap();
    succeed(&mut run_file(&data, &input));
    let world = World::over(data, Limits::default(), None);
    let mut queries = Command::new(check);
    queries.arg("--sql");
    queries.arg(format!("postgresql://viewer@127.0.0.1:{}/healthcare", world.port()));
    let said = done(queries.env("PGPASSWORD", world.token("viewer"))).unwrap();
    assert!(said.contains(" queries run\n") && said.ends_with("no faults\n"), "{said}");
}

#[test]
fn jdbc_reads_metadata_and_rows() {
    let Some(jar) = or_skip(jdbc()) else { return };
    let world = &*WORLD;
    let folder = world.data.parent().unwrap();
    let source = folder.join("Main.java");
    fs::write(
        &source,
        r#"
import java.sql.*;
public class Main {
    public static void main(String[] a) throws Exception {
        try (Connection c = DriverManager.getConnection(a[0], a[1], a[2])) {
            StringBuilder tables = new StringBuilder();
            try (ResultSet r = c.getMetaData().getTables(null, "public", "%", new String[] {"TABLE"})) {
                while (r.next()) tables.append(r.getString("TABLE_NAME")).append(' ');
            }
            System.out.println(tables);
            DatabaseMetaData m = c.getMetaData();
            for (ResultSet r : new ResultSet[] {
                    m.getPrimaryKeys(null, "public", "silver_events"), m.getImportedKeys(null, "public", "silver_events"),
                    m.getIndexInfo(null, "public", "silver_events", false, true) }) {
                if (r.next()) throw new IllegalStateException("a key");
            }
            if (m.getDefaultTransactionIsolation() != Connection.TRANSACTION_READ_COMMITTED)
                throw new IllegalStateException("the isolation of transactions");
            StringBuilder types = new StringBuilder(" ");
            try (ResultSet r = m.getTypeInfo()) {
                while (r.next()) types.append(r.getString("TYPE_NAME")).append('=').append(r.getInt("DATA_TYPE")).append(' ');
            }
            System.out.println(types);
            // Now the driver knows all types, and asks about each of them.
            for (ResultSet r : new ResultSet[] {
                    m.getUDTs(null, null, "%", null),
                    m.getUDTs(null, "public", "%", new int[] {Types.STRUCT, Types.DISTINCT}) }) {
                if (r.next()) throw new IllegalStateException("a type that a user has defined");
            }
            try (ResultSet r = m.getCatalogs()) {
                if (!r.next() || !r.getString("TABLE_CAT").equals("healthcare") || r.next())
                    throw new IllegalStateException("another database than the one that is served");
            }
            // Who may do what is not told: whoever sees a table may read it. No function lies beside the tables.
            for (ResultSet r : new ResultSet[] {
                    m.getTablePrivileges(null, "public", "silver_events"),
                    m.getColumnPrivileges(null, "public", "silver_events", "%"),
                    m.getFunctions(null, "public", "%") }) {
                if (r.next()) throw new IllegalStateException("a privilege or a function");
            }
            try (ResultSet r = m.getFunctions(null, null, "array_in")) {
                r.next();
                System.out.println(r.getString("FUNCTION_SCHEM") + ' ' + r.getShort("FUNCTION_TYPE"));
            }
            try (ResultSet r = m.getFunctionColumns(null, null, "pg_get_keywords", "%")) {
                if (!r.next()) throw new IllegalStateException("it returns something");
            }
            c.setReadOnly(true);
            c.setAutoCommit(false);
            try (PreparedStatement s = c.prepareStatement(
                    "select patient_id, heart_rate, event_time from silver_events where patient_id >= ? order by 1")) {
                s.setFetchSize(100);
                s.setLong(1, 1000);
                int n = 0;
                for (int again = 0; again < 7; again++) {
                    n = 0;
                    try (ResultSet r = s.executeQuery()) {
                        while (r.next()) { r.getLong(1); r.getDouble(2); r.getTimestamp(3); n++; }
                    }
                }
                System.out.println(n);
            }
            c.commit();
            try (Statement s = c.createStatement()) {
                s.executeUpdate("delete from silver_events");
            } catch (SQLException e) { System.out.println(e.getSQLState()); }
            c.rollback();
        }
    }
}
"#,
    )
    .unwrap();
    let mut java = Command::new("java");
    java.arg("-cp").arg(jar).arg(source);
    java.arg(format!("jdbc:postgresql://127.0.0.1:{}/healthcare?sslmode=prefer", world.port()));
    java.args(["clinician", world.token("clinician")]);
    let output = done(&mut java).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].contains("silver_events ") && !lines[0].contains("bronze"), "{output}");
    // As java.sql.Types has them: BIGINT, TIMESTAMP.
    assert!(lines[1].contains(" int8=-5 ") && lines[1].contains(" timestamptz=93 "), "{output}");
    let mut client = world.connect("clinician");
    let expected = count(&mut client, "select count(*) from silver_events");
    assert_eq!(lines[2..], ["pg_catalog 1", expected.to_string().as_str(), "25006"]);
}

/// Runs a script against pyodbc; `options` are its driver's.
fn odbc(world: &World, role: &str, options: &str, script: &str) -> Result<String, String> {
    done(Command::new("odbcinst").args(["-q", "-d", "-n", ODBC]))?;
    let dsn = format!(
        "Driver={{{ODBC}}};Server=127.0.0.1;Port={};Database=healthcare;Uid={role};Pwd={};{options}",
        world.port(),
        world.token(role)
    );
    done(Command::new(python()?).args(["-c", script]).env("DSN", dsn))
}

#[test]
fn odbc_reads_metadata_and_rows() {
    let world = &*WORLD;
    let script = "
import datetime, os, pyodbc
def connect(more=''):
    return pyodbc.connect(os.environ['DSN'] + more)
def refusal(c, sql):
    try:
        c.execute(sql)
    except pyodbc.Error as error:
        c.rollback()
        return error.args[0]
with connect() as c:
    cursor = c.cursor()
    tables = [row.table_name for row in cursor.tables(schema='public', tableType='TABLE')]
    assert 'silver_events' in tables and 'bronze_events' not in tables, tables
    assert [row.table_schem for row in cursor.tables(catalog='', schema='%', table='')] == ['public']
    assert len(cursor.tables(catalog='%', schema='', table='').fetchall()) == 1
    assert ('TABLE',) in [(row.table_type,) for row in cursor.tables(catalog='', schema='', table='', tableType='%')]
    columns = {row.column_name: row.type_name for row in cursor.columns(table='silver_events')}
    assert (columns['patient_id'], columns['event_time'], columns['oxygen']) == ('int8', 'timestamptz', 'bool'), columns
    for keys in [cursor.primaryKeys, cursor.statistics, cursor.foreignKeys]:
        assert keys('silver_events').fetchall() == []
    assert cursor.foreignKeys(foreignTable='silver_events').fetchall() == []
    assert cursor.procedureColumns('none').fetchall() == []
    assert 'int8' in [row.type_name for row in cursor.getTypeInfo()]
    assert tuple(c.execute('select null, 7, null, 7').fetchone()) == (None, 7, None, 7)
    assert refusal(c, 'delete from silver_events') == '25006'
    assert refusal(c, 'select * from bronze_events') == '42P01'
    n = c.execute('select count(*) from silver_events').fetchval()
    assert c.execute('select count(*) from silver_events version as of 0').fetchval() < n
found = []
for prepare in '01':
    with connect(f'BoolsAsChar=0;UseServerSidePrepare={prepare}') as c:
        found.append([tuple(row) for row in c.execute(
            'select patient_id, event_time, heart_rate, fast, event_type from '
            '(select *, heart_rate > 80 as fast from silver_events) where patient_id >= ? '
            'and event_time > ? and fast = ? and event_type = ? order by event_id limit ?',
            1000, datetime.datetime(2020, 1, 1, 0, 0, 0, 1), False, 'vitals', 3)])
assert found[0] == found[1] and len(found[0]) == 3, found
assert [type(value) for value in found[0][0]] == [int, datetime.datetime, float, bool, str], found
print(n)
";
    let Some(output) = or_skip(odbc(world, "clinician", "", script)) else { return };
    let mut client = world.connect("clinician");
    let expected = count(&mut client, "select count(*) from silver_events");
    assert_eq!(output.trim(), expected.to_string());
}

#[test]
fn odbc_fetches_by_cursors_what_it_reads_at_once() {
    let world = &*WORLD;
    let script = "
import os, pyodbc
sql = ('select event_id, patient_id, event_time, heart_rate, event_type from silver_events '
       'where patient_id >= ? and event_type = ?')
def rows(options, autocommit=False):
    with pyodbc.connect(os.environ['DSN'] + options, autocommit=autocommit) as c:
        assert 'silver_events' in [row.table_name for row in c.cursor().tables(schema='public')]
        # Another one is read in the meantime, and one is left.
        left = c.cursor().execute('select event_id from silver_events')
        left.fetchmany(150)
        cursor = c.execute(sql, 1000, 'vitals')
        found = [tuple(row) for row in cursor.fetchmany(120)]
        other = c.execute('select patient_id from silver_events').fetchall()
        found += [tuple(row) for row in cursor.fetchall()]
        assert c.execute('select count(*) from silver_events').fetchval() == len(other)
        if not autocommit:
            c.commit()
        assert c.execute('select 1').fetchval() == 1
        # Once more on a statement that had a cursor.
        assert len(cursor.execute(sql, 1000, 'vitals').fetchall()) == len(found)
        return sorted(found, key=repr)
plain = rows('UseDeclareFetch=0')
assert len(plain) > 500, len(plain)
for options in ['', 'UseServerSidePrepare=0;']:
    for autocommit in (False, True):
        assert rows('UseDeclareFetch=1;Fetch=100;' + options, autocommit) == plain, (options, autocommit)
with pyodbc.connect(os.environ['DSN'] + 'UseDeclareFetch=1;Fetch=100') as c:
    for _ in range(2):
        try:
            c.execute('select * from bronze_events')
            raise SystemExit('it was allowed')
        except pyodbc.Error as error:
            assert error.args[0] == '42P01', error
        c.rollback()
        assert c.execute('select count(*) from silver_events').fetchval() > 0
print(len(plain))
";
    let Some(output) = or_skip(odbc(world, "clinician", "", script)) else { return };
    let mut client = world.connect("clinician");
    let sql =
        "select count(*) from silver_events where patient_id >= 1000 and event_type = 'vitals'";
    assert_eq!(output.trim(), count(&mut client, sql).to_string());
}

/// A certificate for this machine that nobody but itself has signed, in a folder that is made anew; `None`: it is skipped.
pub(super) fn certificate(folder: &Path) -> Option<TlsFiles> {
    drop(fs::remove_dir_all(folder));
    fs::create_dir_all(folder).unwrap();
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    openssl.args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext"]);
    openssl.arg("subjectAltName=DNS:localhost,IP:127.0.0.1").arg("-keyout").arg(&key);
    let made = or_skip(done(openssl.arg("-out").arg(&cert)));
    made.map(|_| TlsFiles { cert, key })
}

#[test]
fn a_certificate_with_the_key_of_another_stops_the_start() {
    let world = World::empty("keys", Limits::default());
    let folder = world.data.parent().unwrap();
    let Some(own) = certificate(&folder.join("own")) else { return };
    let Some(other) = certificate(&folder.join("other")) else { return };
    let refused = |tls: TlsFiles| {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = SqlSettings {
            listen: Listen { address, tls: Some(tls), allow_remote: false },
            database: "healthcare".to_owned(),
            limits: Limits::default(),
        };
        SqlServer::start(&world.served, &settings).err().map(|problem| problem.to_string())
    };
    let mixed = TlsFiles { cert: own.cert.clone(), key: other.key };
    let said = refused(mixed).expect("it has started");
    assert!(said.contains("own/cert.pem and "), "{said}");
    assert!(said.ends_with("other/key.pem do not belong together"), "{said}");
    assert_eq!(refused(own), None);
}

#[test]
fn with_a_certificate_only_tls_comes_in() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sql/tls");
    let Some(tls) = certificate(&folder) else { return };
    let cert = tls.cert.clone();
    let world = World::over(folder.join("data"), Limits::default(), Some(tls));
    let plain = world.config("viewer").connect(postgres::NoTls).err().unwrap();
    assert_eq!(plain.code().unwrap().code(), "28000");
    let Some(output) = or_skip(psql(&world, "viewer", "require", &["select 40 + 2"])) else {
        return;
    };
    assert_eq!(said(&output).trim(), "42");
    let mut psql = Command::new("psql");
    psql.args(["-X", "-A", "-t", "-c", "select 40 + 2"]).env("PGPASSWORD", world.token("viewer"));
    psql.arg(format!(
        "host=127.0.0.1 port={} user=viewer dbname=healthcare sslmode=verify-full sslrootcert={}",
        world.port(),
        cert.display()
    ));
    assert_eq!(said(&run(&mut psql).unwrap()).trim(), "42");
    let script = "
import os, pyodbc
print(pyodbc.connect(os.environ['DSN']).execute('select 40 + 2').fetchval())
";
    let options = format!("SSLmode=verify-ca;pqopt={{sslrootcert={}}};", cert.display());
    for options in ["SSLmode=require;", &options] {
        let Some(output) = or_skip(odbc(&world, "viewer", options, script)) else { return };
        assert_eq!(output.trim(), "42");
    }
}
