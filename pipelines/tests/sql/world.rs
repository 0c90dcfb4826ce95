//! The tables of a run, a user per role, and servers in this process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use postgres::{Client, Config, NoTls};
use thalweg_core::time::Clock;
use thalweg_objects::Place;
use thalweg_pipelines::healthcare::serve::{ROLES, TABLES, files, roles};
use thalweg_runtime::SystemClock;
use thalweg_serving::access::{Directory, Users};
use thalweg_serving::sql::{Limits, Listen, Served, SqlServer, SqlSettings, TlsFiles};

use super::support::{run_file, succeed, write_events};
use super::wire::Wire;

/// Tables that are read only, and their server.
pub(crate) static WORLD: LazyLock<World> =
    LazyLock::new(|| World::new("shared", Limits::default(), None));

pub(crate) struct World {
    pub(crate) data: PathBuf,
    pub(crate) served: Served,
    pub(crate) server: SqlServer,
    tokens: Vec<(String, String)>,
}

impl World {
    /// Two checkpoints of events, so that there are versions, in a folder of the tests' own that is made anew.
    pub(crate) fn new(name: &str, limits: Limits, tls: Option<TlsFiles>) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sql").join(name);
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).unwrap();
        let (data, input) = (folder.join("data"), folder.join("events.jsonl"));
        write_events(&input, 3_000, 7);
        succeed(&mut run_file(&data, &input));
        more_events(&folder, 11);
        Self::over(data, limits, tls)
    }

    /// A server over tables that are there.
    pub(crate) fn over(data: PathBuf, limits: Limits, tls: Option<TlsFiles>) -> Self {
        Self::by(Arc::new(SystemClock::default()), data, limits, tls)
    }

    /// One over no tables, in a folder of the test's own that is made anew: whatever its queries and connections take,
    /// they take it from no other test.
    pub(crate) fn empty(name: &str, limits: Limits) -> Self {
        Self::empty_by(Arc::new(SystemClock::default()), name, limits)
    }

    /// One whose rates go by this clock.
    pub(crate) fn empty_by(clock: Arc<dyn Clock>, name: &str, limits: Limits) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sql").join(name);
        drop(fs::remove_dir_all(&folder));
        Self::by(clock, folder.join("data"), limits, None)
    }

    fn by(clock: Arc<dyn Clock>, data: PathBuf, limits: Limits, tls: Option<TlsFiles>) -> Self {
        // However busy this machine is, a client comes in.
        let limits = Limits { login: Duration::from_mins(10), ..limits };
        fs::create_dir_all(&data).unwrap();
        let place = Place::from(data.as_path());
        let path = files::users_file(&place, None).unwrap();
        drop(fs::remove_file(&path));
        let mut tokens = Vec::new();
        for role in ROLES {
            let known = roles().named(role).unwrap();
            let token = Users::change(&path, |users| users.add(role, known)).unwrap();
            tokens.push((role.to_owned(), token.reveal().to_owned()));
        }
        let served = Served {
            audit: Arc::new(files::audit_log(&place, None).unwrap()),
            tables: TABLES.map(|(name, path)| (name.to_owned(), path.to_owned())).to_vec(),
            roles: Arc::new(roles()),
            directory: Arc::new(Directory::open(path, Arc::clone(&clock)).unwrap()),
            clock,
            place,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = SqlSettings {
            listen: Listen { address, tls, allow_remote: false },
            database: "healthcare".to_owned(),
            limits,
        };
        let server = SqlServer::start(&served, &settings).unwrap();
        Self { data, served, server, tokens }
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.address().port()
    }

    pub(crate) fn token(&self, role: &str) -> &str {
        &self.tokens.iter().find(|(name, _)| name == role).unwrap().1
    }

    pub(crate) fn config(&self, role: &str) -> Config {
        let mut config = Config::new();
        config.host("127.0.0.1").port(self.port()).user(role).password(self.token(role));
        config.dbname("healthcare");
        config
    }

    pub(crate) fn connect(&self, role: &str) -> Client {
        self.config(role).connect(NoTls).unwrap()
    }

    pub(crate) fn wire(&self, role: &str) -> Wire {
        Wire::open(self.server.address(), role, self.token(role))
    }

    pub(crate) fn audit_path(&self) -> PathBuf {
        files::audit_file(&self.served.place, None).unwrap()
    }
}

/// More events from another file, and so there is another version of each table.
pub(crate) fn more_events(folder: &Path, seed: u64) {
    let (data, input) = (folder.join("data"), folder.join("more.jsonl"));
    write_events(&input, 1_000, seed);
    succeed(run_file(&data, &input).arg("--fresh"));
}

/// The SQLSTATE of an error that the server told.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, postgres::Error>) -> String {
    let error = result.unwrap_err();
    error.code().unwrap_or_else(|| panic!("{error:?}")).code().to_owned()
}

pub(crate) fn count(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).unwrap().get(0)
}
