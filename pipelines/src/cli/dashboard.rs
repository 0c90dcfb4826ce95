//! The dashboards beside a job or alone. A job that has begun never fails because of them.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use thalweg_connectors::delta::DeltaFollower;
use thalweg_core::{Error, Result, error};
use thalweg_objects::{Access, Place};
use thalweg_runtime::SystemClock;
use thalweg_serving::access::{Columns, Directory, Role, Roles};
use thalweg_serving::http::{Board, Doorkeeper, Gate, HttpServer, Journal, Limits, Visitor};

use super::input;
use crate::healthcare::commands::CommandTopic;
use crate::healthcare::config::HealthcareConfig;
use crate::healthcare::dashboard::{Answers, Desk, Observed, feed::feed, site};
use crate::healthcare::serve::{files, roles};

/// Where dashboards are served when nothing else is said.
pub(super) const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8300);

/// Whether and where a job serves its dashboards.
#[derive(Debug, Clone, Args)]
pub(super) struct DashboardArgs {
    /// Serve the dashboards here [default: 127.0.0.1:8300, or a free port when that is taken]
    #[arg(long, value_name = "ADDR", conflicts_with = "no_serve")]
    http: Option<SocketAddr>,

    /// A proxy with TLS stands before the dashboards: --http may then be an address that other machines reach, and
    /// browsers send the cookie over TLS alone
    #[arg(long, conflicts_with = "no_serve")]
    behind_proxy: bool,

    /// Serve no dashboards
    #[arg(long)]
    no_serve: bool,

    /// File of the users who may look [default: DIR.users.toml, beside a folder]
    #[arg(long, value_name = "F", conflicts_with = "no_serve")]
    users_file: Option<PathBuf>,

    /// File of the audit log, which says who looked, and who began anew [default: DIR.audit.jsonl, beside a folder]
    #[arg(long, value_name = "F")]
    audit_log: Option<PathBuf>,
}

impl DashboardArgs {
    /// A quiet job prints no link, so nobody could come.
    pub(super) fn is_wanted(&self, quiet: bool) -> bool {
        !self.no_serve && (self.http.is_some() || !quiet)
    }

    /// Whether the address is safe, and users are written down. A job does not begin otherwise, unless it serves no
    /// dashboards.
    ///
    /// # Errors
    /// As [`At::check`] and [`check_log`].
    pub(super) fn check(&self, data: &Place, quiet: bool) -> Result<()> {
        if !self.is_wanted(quiet) {
            return Ok(());
        }
        self.at().check()?;
        check_log(data, self.users_file.as_deref(), self.audit_log())
    }

    /// The audit log's file, where one is named.
    pub(super) fn audit_log(&self) -> Option<&Path> {
        self.audit_log.as_deref()
    }

    fn at(&self) -> At {
        At { address: self.http, behind_proxy: self.behind_proxy }
    }

    /// Serves beside a job; what cannot be served is a warning.
    pub(super) fn beside_job(
        &self,
        data: &Place,
        job: Observed,
        answers: Option<Answers>,
    ) -> Option<HttpServer> {
        let at = self.at();
        let started = at.listen().and_then(|listener| {
            let (users, log) = (self.users_file.as_deref(), self.audit_log.as_deref());
            let (doorkeeper, journal) = reception(data, users, log)?;
            at.start(listener, data, job, doorkeeper, Desk { answers, journal })
        });
        match started {
            Ok(server) => Some(server),
            Err(problem) => {
                tracing::warn!(error = error::chain(&problem), "the dashboard is not served");
                None
            }
        }
    }
}

/// Where dashboards are served, and whether a proxy with TLS stands before them.
#[derive(Debug, Clone, Copy)]
pub(super) struct At {
    pub(super) address: Option<SocketAddr>,
    pub(super) behind_proxy: bool,
}

impl At {
    /// Whether this is safe: tokens and cookies cross no network in clear.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: other machines could reach it, and nobody said that a proxy
    /// encrypts what they send.
    pub(super) fn check(&self) -> Result<()> {
        match self.address {
            Some(address) if !address.ip().is_loopback() && !self.behind_proxy => {
                Err(Error::config(format!(
                    "--http {address} can be reached from other machines, without encryption: put a proxy with TLS before it and pass --behind-proxy, or listen on 127.0.0.1"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Listens where it was asked to, or at the default address or at a free port.
    ///
    /// # Errors
    /// As [`At::check`]; the address is taken or none of this machine.
    pub(super) fn listen(&self) -> Result<TcpListener> {
        self.check()?;
        let wanted = self.address.unwrap_or(DEFAULT);
        let bound = match TcpListener::bind(wanted) {
            Err(taken) if self.address.is_none() && taken.kind() == io::ErrorKind::AddrInUse => {
                TcpListener::bind(SocketAddr::new(wanted.ip(), 0))
            }
            bound => bound,
        };
        bound.map_err(|e| error::io(format!("listen at {wanted}"), e))
    }

    /// Serves the tables below `data` and prints the link to them.
    ///
    /// # Errors
    /// There are no threads, or the place of the tables is none.
    pub(super) fn start(
        &self,
        listener: TcpListener,
        data: &Place,
        job: Observed,
        doorkeeper: Arc<dyn Doorkeeper>,
        desk: Desk,
    ) -> Result<HttpServer> {
        let address = listener.local_addr().map_err(|e| error::io("listen", e))?;
        let follower = DeltaFollower::at(data, &Access::from_environment())?;
        let remote = matches!(data, Place::Remote(_));
        let board = Arc::new(Board::default());
        let gate = Gate::new(doorkeeper, address.port(), Arc::new(SystemClock::default()));
        let gate = if self.behind_proxy { gate.behind_tls() } else { gate };
        let gate = gate.noting(desk.journal.clone());
        let gate = gate.on_spent_link(move |gate| print_link(address, gate));
        print_link(address, &gate);
        let app = site(&board, follower.clone(), job.clone(), desk).behind(&gate);
        HttpServer::start(listener, app, Limits::default(), feed(board, follower, job, remote))
    }
}

/// Who can read the program's output may see all that the dashboards show. The link is for the person who started the
/// program, not for a log; where nobody listens any more it is lost.
fn print_link(address: SocketAddr, gate: &Gate) {
    let secret = gate.link(Visitor::new(LINKED, OPERATOR, |_| true));
    drop(writeln!(io::stderr(), "dashboard: http://{address}/?token={secret}"));
}

/// The name of whoever follows the link. No user can be called so: they are told apart where looks and streams are counted.
const LINKED: &str = "(operator)";
/// The role of whoever follows the link: it is in no users file.
const OPERATOR: &str = "";

/// Where visitors' commands about alerts go, if the settings name brokers and a topic.
pub(super) fn answers(config: &HealthcareConfig) -> Option<Answers> {
    let servers = config.kafka.bootstrap_servers.as_deref()?;
    let topic = input::commands_topic(config)?;
    let topic = CommandTopic::new(servers, topic, &config.kafka.properties);
    Some(Answers::new(Arc::new(topic), config.alerts.max_snooze))
}

/// Whether an audit log can tell what users do: over an object store none does unless it is named.
///
/// # Errors
/// [`thalweg_core::ErrorKind::InvalidConfig`]: there are users, and no log is named.
fn check_log(data: &Place, users: Option<&Path>, log: Option<&Path>) -> Result<()> {
    if matches!(data, Place::Remote(_)) && users.is_some() {
        return files::audit_file(data, log).map(drop);
    }
    Ok(())
}

/// Who lets visitors in, and where it is written down. Beside an object store neither file stands unless it is named:
/// then the link alone opens and nobody writes, which is said on standard error. Users are never let in unwritten.
///
/// # Errors
/// As [`check_log`]; the audit log cannot be opened, or is damaged; the users file is, or others than its owner may read
/// it.
pub(super) fn reception(
    data: &Place,
    users: Option<&Path>,
    log: Option<&Path>,
) -> Result<(Arc<dyn Doorkeeper>, Journal)> {
    check_log(data, users, log)?;
    if let Some(lacks) = lacking(data, users, log) {
        drop(writeln!(io::stderr(), "warning: {lacks}"));
    }
    let stands = |named: Option<&Path>| named.is_some() || matches!(data, Place::Folder(_));
    let doorkeeper: Arc<dyn Doorkeeper> = if stands(users) {
        let directory =
            Directory::open(files::users_file(data, users)?, Arc::new(SystemClock::default()))?;
        Arc::new(Users { directory, roles: roles() })
    } else {
        Arc::new(())
    };
    let journal =
        if stands(log) { Journal::new(files::audit_log(data, log)?) } else { Journal::default() };
    Ok((doorkeeper, journal))
}

/// What dashboards over an object store lack that they would have beside a folder. With users they lack nothing:
/// [`check_log`].
fn lacking(data: &Place, users: Option<&Path>, log: Option<&Path>) -> Option<String> {
    const NO_USERS: &str = "nobody but who follows the link comes in (pass --users-file)";
    const NO_LOG: &str = "nothing says who looked at what (pass --audit-log)";
    let Place::Remote(place) = data else { return None };
    let lacks = match (users, log) {
        (Some(_), _) => return None,
        (None, Some(_)) => NO_USERS.to_owned(),
        (None, None) => format!("{NO_LOG}, and {NO_USERS}"),
    };
    Some(format!("dashboards over {place}: {lacks}"))
}

/// Users by their tokens, each in a role.
#[derive(Debug)]
struct Users {
    directory: Directory,
    roles: Roles,
}

impl Doorkeeper for Users {
    fn admit(&self, token: &str, from: IpAddr) -> Option<Visitor> {
        // A users file that cannot be read lets nobody in.
        let user = self.directory.authenticate(token, from).ok().flatten()?;
        let policy = self.roles.policy(user.role.as_str())?.clone();
        // Pages know of no columns: a table of which some are hidden is not shown at all.
        let may_read = move |table: &str| policy.columns(table) == Some(&Columns::All);
        Some(Visitor::new(&user.name, user.role.as_str(), may_read).marked(user.mark()))
    }

    fn still(&self, visitor: &Visitor) -> bool {
        let (name, role) = (visitor.name(), visitor.role());
        let is_here = |mark| self.directory.still(name, &Role::new(role), mark).unwrap_or(false);
        role == OPERATOR || visitor.mark().is_some_and(is_here)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_serving::access::{self, Policy};
    use thalweg_serving::audit::{Action, Event, Outcome};

    use super::*;

    #[test]
    fn other_machines_need_a_proxy_that_encrypts() {
        let check = |address: Option<&str>, behind_proxy| {
            At { address: address.map(|a| a.parse().unwrap()), behind_proxy }.check()
        };
        assert!(check(None, false).is_ok());
        assert!(check(Some("127.0.0.1:1"), false).is_ok());
        assert!(check(Some("[::1]:1"), false).is_ok());
        assert!(check(Some("10.0.0.1:1"), true).is_ok());
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            let refused = check(Some(address), false).unwrap_err().to_string();
            assert!(refused.contains("--behind-proxy"), "{refused}");
        }
    }

    #[test]
    fn who_signed_in_with_a_token_that_was_replaced_may_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let replace = |users: &mut access::Users| {
            drop(users.remove("nurse"));
            users.add("nurse", Role::new("viewer"))
        };
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let token = access::Users::change(&path, replace).unwrap();
        let directory = Directory::open(&path, Arc::new(SystemClock::default())).unwrap();
        let door = Users { directory, roles: roles() };
        let visitor = door.admit(token.reveal(), here).unwrap();
        assert!(door.still(&visitor));
        let next = access::Users::change(&path, replace).unwrap();
        assert!(!door.still(&visitor));
        assert!(door.admit(token.reveal(), here).is_none());
        assert!(door.still(&door.admit(next.reveal(), here).unwrap()));
        assert!(door.still(&Visitor::new(LINKED, OPERATOR, |_| true)), "by the link");
    }

    #[test]
    fn who_follows_the_link_has_nobody_s_name_and_is_written_down_with_it() {
        assert!(access::Users::default().add(LINKED, Role::new("viewer")).is_err());
        assert_eq!(Event::new(LINKED, Action::Login, Outcome::Done).actor, LINKED);
    }

    #[test]
    fn a_table_of_which_a_role_may_not_see_every_column_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let add = |users: &mut access::Users| users.add("nurse", Role::new("viewer"));
        let token = access::Users::change(&path, add).unwrap();
        let directory = Directory::open(&path, Arc::new(SystemClock::default())).unwrap();
        let policy = Policy::default()
            .table("gold_kpis", Columns::All)
            .table("gold_patient_vitals", Columns::only(["events"]));
        let door = Users { directory, roles: Roles::default().role("viewer", policy) };
        let visitor = door.admit(token.reveal(), IpAddr::V4(Ipv4Addr::LOCALHOST)).unwrap();
        assert!(visitor.may_read("gold_kpis"));
        assert!(!visitor.may_read("gold_patient_vitals"), "the patient is hidden");
        assert!(!visitor.may_read("silver_events"));
    }

    #[test]
    fn who_acts_on_a_job_without_dashboards_is_written_down_too() {
        use clap::Parser;

        #[derive(Debug, Parser)]
        struct Line {
            #[command(flatten)]
            dashboard: DashboardArgs,
        }

        let line = |option, file| Line::try_parse_from(["run", "--no-serve", option, file]);
        let Line { dashboard } = line("--audit-log", "l").unwrap();
        assert_eq!(dashboard.audit_log(), Some(Path::new("l")));
        let refused = line("--users-file", "u").unwrap_err();
        assert_eq!(refused.kind(), clap::error::ErrorKind::ArgumentConflict);
    }

    #[test]
    fn over_an_object_store_what_is_not_named_is_missing_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let (users, log) = (folder.path().join("users.toml"), folder.path().join("audit.jsonl"));
        let (users, log) = (Some(users.as_path()), Some(log.as_path()));
        let bucket: Place = "s3://bucket/data".parse().unwrap();
        let lacks = |users, log| {
            let said = lacking(&bucket, users, log).unwrap_or_default();
            (said.contains("--users-file"), said.contains("--audit-log"))
        };
        assert_eq!(lacks(None, None), (true, true));
        assert_eq!(lacks(None, log), (true, false));
        assert_eq!(lacking(&bucket, users, log), None);
        assert_eq!(lacking(&Place::from(folder.path()), None, None), None);
        let has_log = |named| !reception(&bucket, None, named).unwrap().1.digest("x").is_empty();
        assert!(has_log(log) && !has_log(None));
    }

    #[test]
    fn over_an_object_store_users_come_in_only_where_a_log_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (users, log) = (folder.path().join("users.toml"), folder.path().join("audit.jsonl"));
        let bucket: Place = "s3://bucket/data".parse().unwrap();
        let refused = reception(&bucket, Some(users.as_path()), None).err().unwrap().to_string();
        assert!(refused.contains("--audit-log"), "{refused}");
        let check = |data: &Place, log: Option<&Path>, http: Option<SocketAddr>| {
            let job = DashboardArgs {
                http,
                behind_proxy: false,
                no_serve: false,
                users_file: Some(users.clone()),
                audit_log: log.map(Path::to_owned),
            };
            job.check(data, true)
        };
        let refused = check(&bucket, None, Some(DEFAULT)).unwrap_err().to_string();
        assert!(refused.contains("--audit-log"), "{refused}");
        assert!(check(&bucket, Some(log.as_path()), Some(DEFAULT)).is_ok());
        assert!(check(&bucket, None, None).is_ok(), "a quiet job serves nothing");
        assert!(check(&Place::from(folder.path()), None, Some(DEFAULT)).is_ok());
    }
}
