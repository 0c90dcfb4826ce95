//! `healthcare serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use thalweg_core::{Result, error};
use thalweg_runtime::SystemClock;
use thalweg_serving::access::Directory;
use thalweg_serving::http::HttpServer;
use thalweg_serving::sql::{Limits, Listen, Served, SqlServer, SqlSettings, TlsFiles};

use super::access::AccessArgs;
use super::outcome::{Failure, usage};
use super::{dashboard, graph, load_config};
use crate::healthcare::dashboard::{Desk, Observed};
use crate::healthcare::serve::{TABLES, files, roles};

/// The database's name.
const DATABASE: &str = "healthcare";

/// What is served, where, and how much of it.
#[derive(Debug, Clone, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    access: AccessArgs,

    /// Configuration file of the job, whose graph the dashboards draw; where it names brokers and a topic of commands,
    /// alerts can be acknowledged and snoozed there
    #[arg(long, value_name = "F.toml")]
    config: Option<PathBuf>,

    /// Serve the dashboards here; they are what is served when nothing else is asked for [default address:
    /// 127.0.0.1:8300, or a free port when that is taken]
    #[arg(long, value_name = "ADDR", num_args = 0..=1)]
    #[expect(
        clippy::option_option,
        reason = "not given, given without an address, given with one"
    )]
    http: Option<Option<SocketAddr>>,

    /// A proxy with TLS stands before the dashboards: --http may then be an address that other machines reach, and
    /// browsers send the cookie over TLS alone
    #[arg(long)]
    behind_proxy: bool,

    /// Serve SQL over the PostgreSQL protocol here [default address: 127.0.0.1:5433]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:5433")]
    sql: Option<SocketAddr>,

    /// Certificate chain in PEM, for SQL; with it, connections without TLS are refused
    #[arg(long, value_name = "F", requires = "tls_key", requires = "sql")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate in PEM
    #[arg(long, value_name = "F", requires = "tls_cert", requires = "sql")]
    tls_key: Option<PathBuf>,

    /// Let other machines reach SQL; needs a certificate
    #[arg(long, requires = "sql")]
    allow_remote: bool,

    /// How long a SQL statement may run
    #[arg(long, value_name = "D", default_value = "1m", value_parser = some_time)]
    statement_timeout: Duration,

    /// How many rows a SQL statement may return
    #[arg(long, value_name = "N", default_value_t = Limits::default().rows, value_parser = clap::value_parser!(u64).range(1..))]
    max_rows: u64,

    /// How much memory all running SQL statements may use, in MiB
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..))]
    sql_memory: u32,

    /// How many threads SQL statements run on
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    sql_threads: u16,
}

/// A duration. With none, every statement would be cancelled as it begins.
fn some_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => {
            Err("no statement ends in no time: say more than 0".to_owned())
        }
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// Serves until it is asked to end.
pub(super) fn execute(args: &ServeArgs) -> Result<(), Failure> {
    let http = (args.http.is_some() || args.sql.is_none()).then(|| dashboards(args)).transpose()?;
    let sql = args.sql.map(|address| sql(args, address)).transpose()?;
    let ended = wait();
    drop((http, sql));
    ended.map_err(Failure::from)
}

fn dashboards(args: &ServeArgs) -> Result<HttpServer, Failure> {
    let AccessArgs { audit, users_file } = &args.access;
    let (place, users, log) = (&audit.data_dir, users_file.as_deref(), audit.audit_log.as_deref());
    let (doorkeeper, journal) = dashboard::reception(place, users, log)?;
    let config = load_config(args.config.as_deref())?;
    let desk = Desk { answers: dashboard::answers(&config), journal };
    let at = dashboard::At { address: args.http.flatten(), behind_proxy: args.behind_proxy };
    let listener = at.listen()?;
    let drawing = graph::drawing(&config).map_err(usage)?;
    let job = Observed::graph(&drawing).ahead(config.time.ahead);
    at.start(listener, place, job, doorkeeper, desk).map_err(Failure::from)
}

fn sql(args: &ServeArgs, address: SocketAddr) -> Result<SqlServer> {
    let served = served(&args.access)?;
    let sql = SqlServer::start(&served, &settings(args, address))?;
    super::print(&format!("sql: postgresql://{}/{DATABASE}\n", sql.address()));
    Ok(sql)
}

fn served(access: &AccessArgs) -> Result<Served> {
    let clock = Arc::new(SystemClock::default());
    let place = access.audit.data_dir.clone();
    let users = files::users_file(&place, access.users_file.as_deref())?;
    let audit = files::audit_log(&place, access.audit.audit_log.as_deref())?;
    Ok(Served {
        place,
        tables: TABLES.map(|(name, path)| (name.to_owned(), path.to_owned())).to_vec(),
        roles: Arc::new(roles()),
        directory: Arc::new(Directory::open(users, Arc::clone(&clock) as _)?),
        audit: Arc::new(audit),
        clock,
    })
}

fn settings(args: &ServeArgs, address: SocketAddr) -> SqlSettings {
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    SqlSettings {
        listen: Listen {
            address,
            tls: tls.map(|(cert, key)| TlsFiles { cert, key }),
            allow_remote: args.allow_remote,
        },
        database: DATABASE.to_owned(),
        limits: Limits {
            statement_timeout: args.statement_timeout,
            rows: args.max_rows,
            memory: (args.sql_memory as usize) << 20,
            threads: usize::from(args.sql_threads),
            ..Limits::default()
        },
    }
}

/// For Ctrl-C, or what service managers send.
fn wait() -> Result<()> {
    let failed = |e| error::io("listen for signals", e);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
            tokio::select! {
                done = tokio::signal::ctrl_c() => done.map_err(failed),
                _ = terminate.recv() => Ok(()),
            }
        }
        #[cfg(not(unix))]
        tokio::signal::ctrl_c().await.map_err(failed)
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArgs,
    }

    #[test]
    fn limits_that_would_refuse_every_statement_are_wrong_usage() {
        for words in [["--statement-timeout", "0s"], ["--max-rows", "0"]] {
            let refused = Line::try_parse_from(["serve"].iter().chain(&words)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ValueValidation, "{words:?}");
        }
        let words = ["serve", "--statement-timeout", "1ms", "--max-rows", "1"];
        let Line { serve } = Line::try_parse_from(words).unwrap();
        assert_eq!((serve.statement_timeout, serve.max_rows), (Duration::from_millis(1), 1));
    }
}
