//! The SQL server, given bytes by somebody unknown and messages by somebody who has logged in and sees tables with rows.
//!
//! Whatever comes, the server answers or hangs up, nothing of it panics, and no answer has a secret or a path of the machine in it.
#![no_main]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a panic is a finding")]

mod rows;
mod support;
#[path = "../tests/sql/wire.rs"]
#[allow(dead_code, reason = "tests of the server use the rest")]
mod wire;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use support::Hurried;
use tempfile::TempDir;
use thalweg_core::time::Clock;
use thalweg_objects::Place;
use thalweg_pipelines::healthcare::serve::{self, TABLES};
use thalweg_serving::access::{Columns, Directory, Roles, Users};
use thalweg_serving::audit::AuditLog;
use thalweg_serving::sql::{Limits, Listen, Served, SqlServer, SqlSettings};
use wire::Wire;

/// A server that does not answer for this long hangs.
const PATIENCE: Duration = Duration::from_mins(2);
/// What a statement may take: one that joins tables with themselves is not to keep other inputs waiting, and one over these
/// small tables is to come to its end without optimisation, too.
const STATEMENT: Duration = Duration::from_millis(200);
/// How often a query is asked that has to be answered: it may run out of its time on a busy machine.
const TRIES: usize = 100;

/// How many inputs of a session have been sent.
static ENDS: AtomicU64 = AtomicU64::new(0);

struct World {
    folder: TempDir,
    token: String,
    server: SqlServer,
    session: Mutex<Option<TcpStream>>,
}

static WORLD: LazyLock<World> = LazyLock::new(World::start);

impl World {
    fn start() -> Self {
        support::panics_are_findings();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // Tables without a rule and one with hidden columns; some are not there for this role.
        let steward = serve::roles().policy("steward").unwrap().clone();
        let policy = steward.table("silver_events", Columns::All);
        let roles = Roles::default().role("viewer", policy);
        let role = roles.named("viewer").unwrap();
        let token = Users::change(&at("users.toml"), |users| users.add("viewer", role)).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(Hurried::default());
        rows::fill(&at("data"));
        let served = Served {
            place: Place::from(at("data").as_path()),
            tables: TABLES.map(|(name, path)| (name.to_owned(), path.to_owned())).to_vec(),
            roles: Arc::new(roles),
            directory: Arc::new(Directory::open(at("users.toml"), Arc::clone(&clock)).unwrap()),
            audit: Arc::new(AuditLog::open(at("audit.jsonl"), Arc::clone(&clock)).unwrap()),
            clock,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let limits = Limits {
            statement_timeout: STATEMENT,
            rows: 1_000,
            memory: 64 << 20,
            login: PATIENCE,
            ..Limits::default()
        };
        let settings = SqlSettings {
            listen: Listen { address, tls: None, allow_remote: false },
            database: "healthcare".to_owned(),
            limits,
        };
        let server = SqlServer::start(&served, &settings).unwrap();
        let token = token.reveal().to_owned();
        answers_with_rows(server.address(), &token);
        Self { folder, token, server, session: Mutex::default() }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// All that is said until `enough`, or until the server hangs up; whether it has.
    fn hear(&self, stream: &mut TcpStream, enough: impl Fn(&[u8]) -> bool) -> bool {
        let (mut said, mut part) = (Vec::new(), [0; 1 << 14]);
        let closed = loop {
            match stream.read(&mut part) {
                Ok(0) => break true,
                Ok(read) => said.extend_from_slice(&part[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break true,
                // libFuzzer has a timer.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    panic!("the server does not answer: {error}; it said {}", said.escape_ascii())
                }
            }
            if enough(&said) {
                break false;
            }
        };
        let folder = self.folder.path().to_str().unwrap();
        for secret in [folder, self.token.as_str()] {
            let told = said.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!told, "an answer tells what it must not");
        }
        closed
    }
}

/// What the seeds ask for is there, in an older version, too: without it no scan is fuzzed, and no row is encoded.
fn answers_with_rows(address: SocketAddr, token: &str) {
    let mut wire = Wire::open(address, "viewer", token);
    for from in [
        "gold_kpis",
        "gold_patient_vitals",
        "meta_checkpoints",
        "quarantine_events",
        "silver_events version as of 1",
    ] {
        let question = format!("select * from {from} limit 1\0");
        let mut is_answered = || {
            wire.send(Some(b'Q'), question.as_bytes());
            wire.until_ready().iter().any(|message| message.kind == b'D')
        };
        assert!((0..TRIES).any(|_| is_answered()), "no rows of {from}");
    }
}

/// Bytes from somebody who has said nothing yet.
fn unknown(world: &World, bytes: &[u8]) {
    let mut stream = world.connect();
    // A server that refuses them may hang up before it has read them all.
    drop(stream.write_all(bytes));
    drop(stream.shutdown(Shutdown::Write));
    world.hear(&mut stream, |_| false);
}

/// Messages of a session: kind, length, content; behind them a question that is answered at the end.
fn known(world: &World, mut bytes: &[u8]) {
    let mut session = world.session.lock().unwrap();
    let mut stream = session.take().unwrap_or_else(|| {
        let stream = Wire::open(world.server.address(), "viewer", &world.token).0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    });
    let mut sent = Vec::new();
    while let [kind, length, rest @ ..] = bytes {
        let (content, next) = rest.split_at(rest.len().min(usize::from(*length)));
        frame(&mut sent, *kind, content);
        bytes = next;
    }
    // Settings are told at once, however busy this machine is: a query may run out of its time.
    let end = format!("the end of {}", ENDS.fetch_add(1, Ordering::Relaxed));
    frame(&mut sent, b'S', b"");
    frame(&mut sent, b'Q', b"rollback\0");
    frame(&mut sent, b'Q', b"reset all\0");
    frame(&mut sent, b'Q', format!("set application_name = '{end}'\0").as_bytes());
    frame(&mut sent, b'Q', b"show application_name\0");
    drop(stream.write_all(&sent));
    let closed = world.hear(&mut stream, |said| {
        let is_told = said.windows(end.len()).any(|part| part == end.as_bytes());
        is_told && said.ends_with(b"Z\0\0\0\x05I")
    });
    *session = (!closed).then_some(stream);
}

fn frame(sent: &mut Vec<u8>, kind: u8, content: &[u8]) {
    sent.push(kind);
    let length = u32::try_from(content.len() + 4).unwrap();
    sent.extend_from_slice(&length.to_be_bytes());
    sent.extend_from_slice(content);
}

fuzz_target!(|bytes: &[u8]| {
    match bytes {
        [way, rest @ ..] if way % 4 == 0 => unknown(&WORLD, rest),
        [_, rest @ ..] => known(&WORLD, rest),
        [] => {}
    }
});
