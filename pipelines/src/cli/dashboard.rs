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
use thalweg_serving::access::{Directory, Role, Roles};
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
}

impl DashboardArgs {
    /// A quiet job prints no link, so nobody could come.
    pub(super) fn is_wanted(&self, quiet: bool) -> bool {
        !self.no_serve && (self.http.is_some() || !quiet)
    }

    /// Whether the address is safe. A job does not begin with one that is not.
    ///
    /// # Errors
    /// As [`At::check`].
    pub(super) fn check(&self) -> Result<()> {
        self.at().check()
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
            // Beside an object store there is no users file: the link alone opens.
            let users = files::users_file(data, None).ok();
            let desk = Desk { answers, journal: journal(data, None)? };
            at.start(listener, data, job, doorkeeper(users)?, desk)
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
    let secret = gate.link(Visitor::new("operator", OPERATOR, |_| true));
    drop(writeln!(io::stderr(), "dashboard: http://{address}/?token={secret}"));
}

/// The role of whoever follows the link: it is in no users file.
const OPERATOR: &str = "";

/// Where visitors' commands about alerts go, if the settings name brokers and a topic.
pub(super) fn answers(config: &HealthcareConfig) -> Option<Answers> {
    let servers = config.kafka.bootstrap_servers.as_deref()?;
    let topic = input::commands_topic(config)?;
    let topic = CommandTopic::new(servers, topic, &config.kafka.properties);
    Some(Answers::new(Arc::new(topic), config.alerts.max_snooze))
}

/// The audit log. Beside an object store there is none unless one is named.
///
/// # Errors
/// It cannot be opened, or is damaged.
pub(super) fn journal(data: &Place, named: Option<&Path>) -> Result<Journal> {
    match (data, named) {
        (Place::Remote(_), None) => Ok(Journal::default()),
        _ => files::audit_log(data, named).map(Journal::new),
    }
}

/// Lets in the users of a file, or nobody but those who follow the link.
///
/// # Errors
/// The file is damaged, or others than its owner may read it.
pub(super) fn doorkeeper(users: Option<PathBuf>) -> Result<Arc<dyn Doorkeeper>> {
    let Some(users) = users else { return Ok(Arc::new(())) };
    let directory = Directory::open(users, Arc::new(SystemClock::default()))?;
    Ok(Arc::new(Users { directory, roles: roles() }))
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
        let may_read = move |table: &str| policy.columns(table).is_some();
        Some(Visitor::new(&user.name, user.role.as_str(), may_read))
    }

    fn still(&self, visitor: &Visitor) -> bool {
        let role = visitor.role();
        role == OPERATOR || self.directory.still(visitor.name(), &Role::new(role)).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
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
}
