//! The command line of `healthcare`: one file per command. Errors are one line and exit code 1; wrong usage is 2,
//! wrong settings among it ([`load_config`]); commands for schedulers have more ([`outcome`]).

mod access;
mod act;
mod alerts;
mod audit;
mod checkpoints;
mod cron;
mod dashboard;
mod decrypt;
mod demo;
mod graph;
mod input;
mod maintain;
mod mirror;
mod monitor;
mod outcome;
mod produce;
mod quality;
mod refresh;
mod report;
mod reports;
mod run;
mod schedule;
mod serve;
mod umask;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use thalweg_core::Result;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::crypto::{KeyOrigin, MasterKey};
use thalweg_objects::{Access, Place};
use thalweg_runtime::cli::{CheckpointsArgs, init_logging};
use thalweg_runtime::{CheckpointStorage, LocalStorage, ObjectStorage};

use self::outcome::{Failure, exit_code, usage};
pub use self::schedule::Schedule;
use crate::healthcare::config::{self, HealthcareConfig};
use crate::healthcare::decrypt::DecryptArgs;
use crate::healthcare::keys;
use crate::healthcare::produce::ProduceArgs;

/// Below the data folder.
const CHECKPOINTS: &str = "checkpoints";

/// Vitals from Kafka or a file into bronze, silver, quarantine and gold Delta tables, exactly once.
#[derive(Debug, Parser)]
#[command(name = "healthcare", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the pipeline; with neither brokers (here or in --config) nor --input, over a simulated hospital
    Run(run::RunCommand),
    /// Send events of a simulated hospital to a Kafka topic
    Produce(ProduceArgs),
    /// Acknowledge or snooze an alert
    Alerts(alerts::AlertsArgs),
    /// Print the pipeline's graph
    Graph(graph::GraphCommand),
    /// List, inspect, verify, rewind or resolve checkpoints
    Checkpoints {
        #[command(flatten)]
        job: JobArgs,
        #[command(flatten)]
        mirror: mirror::MirroredArgs,
        /// File of the audit log, which tells of rewind and resolve [default: DIR.audit.jsonl, beside a folder]
        #[arg(long, value_name = "F", global = true)]
        audit_log: Option<PathBuf>,
        #[command(flatten)]
        checkpoints: CheckpointsArgs,
    },
    /// Merge small files of the tables, look after their logs, remove old files; beside a running job or without one.
    /// Exit codes: 0 done, 1 failed, 2 wrong usage, 99 nothing to do
    Maintain(maintain::MaintainArgs),
    /// Judge the data of a day: completeness, validity, uniqueness, volume, freshness, schema, privacy. Exit codes:
    /// 0 good, 1 failed, 2 wrong usage, 3 not good enough, 99 the day has not begun
    Quality(quality::QualityArgs),
    /// Compare the gold tables of a day with silver and put right what differs; beside a running job or without one.
    /// Exit codes: 0 done, 1 failed or windows of a day that is over are open, 2 wrong usage, 99 all was right
    Refresh(refresh::RefreshArgs),
    /// Sum a day up on one page. Exit codes: 0 done, 1 failed, 2 wrong usage, 99 nothing happened
    Report(report::ReportArgs),
    /// Look at a job once: checkpoints, arrivals, gold, lag; tell a webhook when something is wrong. Exit codes: 0 well,
    /// 1 not, 2 wrong usage
    Monitor(monitor::MonitorArgs),
    /// Run maintain, refresh, quality, report and monitor when [schedule] of the configuration file says
    Schedule(cron::ScheduleArgs),
    /// Print decrypted events of bronze or quarantine to someone who has the key
    Decrypt(DecryptArgs),
    /// Serve the tables of a job that runs elsewhere or has ended: dashboards, and SQL over the PostgreSQL protocol
    Serve(serve::ServeArgs),
    /// Add, list or remove those who may ask
    Users {
        #[command(flatten)]
        access: access::AccessArgs,
        #[command(subcommand)]
        command: access::UsersCommand,
    },
    /// Check the log of who asked for what
    Audit {
        #[command(flatten)]
        audit: audit::AuditArgs,
        #[command(subcommand)]
        command: audit::AuditCommand,
    },
    /// Print a commented configuration file with every default
    Config,
}

/// Where a job keeps its tables, and its settings.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// Configuration file (see `healthcare config`)
    #[arg(long, value_name = "F.toml", global = true)]
    pub config: Option<PathBuf>,

    /// Folder of the tables and checkpoints, or URL of their prefix in an object store (s3://, az://, abfss://, gs://)
    #[arg(long, value_name = "DIR", default_value = "data", global = true)]
    pub data_dir: Place,
}

/// A job: where it keeps its tables, and the key they are sealed with.
#[derive(Debug, Clone, Args)]
pub struct JobArgs {
    #[command(flatten)]
    data: DataArgs,

    /// File of the encryption key [default: DIR.key, beside a folder]; `THALWEG_PHI_KEY` overrides it
    #[arg(long, value_name = "F", global = true)]
    pub key_file: Option<PathBuf>,
}

/// The settings in `file`. What is wrong there is wrong usage, of whatever command.
fn load_config(file: Option<&Path>) -> Result<HealthcareConfig, Failure> {
    HealthcareConfig::load(file).map_err(usage)
}

impl DataArgs {
    fn load_config(&self) -> Result<HealthcareConfig, Failure> {
        load_config(self.config.as_deref())
    }

    /// The checkpoints, to be looked at beside a running job. A place that has none is wrong usage, too.
    fn checkpoints_read_only(&self) -> Result<Arc<dyn CheckpointStorage>, Failure> {
        checkpoints_beside(&self.data_dir).map_err(usage)
    }
}

/// The checkpoints of the job whose tables are there, to be looked at beside it.
fn checkpoints_beside(data: &Place) -> Result<Arc<dyn CheckpointStorage>> {
    Ok(match data.join(CHECKPOINTS) {
        Place::Folder(folder) => Arc::new(LocalStorage::open_read_only(folder)?),
        Place::Remote(remote) => {
            Arc::new(ObjectStorage::open_read_only(&remote, &Access::from_environment())?)
        }
    })
}

impl JobArgs {
    /// The checkpoints, opened for a job.
    fn checkpoints(&self) -> Result<Arc<dyn CheckpointStorage>> {
        let place = &self.data.data_dir;
        Ok(match place.join(CHECKPOINTS) {
            Place::Folder(folder) => Arc::new(LocalStorage::open(folder)?),
            Place::Remote(remote) => {
                keys::check(place, self.key_file.as_deref())?;
                Arc::new(ObjectStorage::open(&remote, &Access::from_environment())?)
            }
        })
    }

    /// The key of an existing job; a new one, with a warning, for a job that has no checkpoints yet.
    fn key(&self, storage: &dyn CheckpointStorage) -> Result<Arc<MasterKey>> {
        let (place, key_file) = (&self.data.data_dir, self.key_file.as_deref());
        let has_checkpoints =
            storage.list("")?.iter().any(|name| Manifest::number_of(name).is_some());
        if has_checkpoints {
            return Ok(Arc::new(keys::load(place, key_file)?.0));
        }
        let (key, origin) = keys::load_or_create(place, key_file)?;
        if origin == KeyOrigin::Created {
            tracing::warn!(
                data = %place,
                "made a new encryption key: keep a copy, without it bronze and quarantine cannot be read"
            );
        }
        Ok(Arc::new(key))
    }
}

impl Cli {
    /// Does what was asked for.
    pub fn execute(self) -> ExitCode {
        let _failpoints = thalweg_core::failpoint::init();
        // Every command: no panic of any of them may quote what it worked on.
        init_logging(match &self.command {
            Command::Run(command) => command.is_quiet(),
            Command::Produce(args) => args.quiet,
            _ => false,
        });
        if let Err(error) = umask::set() {
            return exit_code(Err(Failure::Usage(error)));
        }
        match self.command {
            Command::Run(command) => exit_code(run::execute(&command)),
            Command::Produce(args) => exit_code(produce::execute(&args)),
            Command::Alerts(args) => exit_code(alerts::execute(&args)),
            Command::Graph(command) => exit_code(graph::execute(&command)),
            Command::Checkpoints { job, mirror, audit_log, checkpoints } => {
                let log = audit_log.as_deref();
                exit_code(checkpoints::execute(&job, &mirror, log, &checkpoints.command))
            }
            Command::Maintain(args) => maintain::execute(&args),
            Command::Quality(args) => quality::execute(&args),
            Command::Refresh(args) => refresh::execute(&args),
            Command::Report(args) => report::execute(&args),
            Command::Monitor(args) => monitor::execute(&args),
            Command::Schedule(args) => exit_code(cron::execute(&args)),
            Command::Decrypt(args) => exit_code(decrypt::execute(&args)),
            Command::Serve(args) => exit_code(serve::execute(&args)),
            Command::Users { access, command } => exit_code(access::execute(&access, &command)),
            Command::Audit { audit, command } => exit_code(audit::execute(&audit, &command)),
            Command::Config => {
                print(&config::commented_default());
                ExitCode::SUCCESS
            }
        }
    }
}

/// Writes to standard output; a reader that went away is no error.
fn print(text: &str) {
    use std::io::Write;
    drop(std::io::stdout().write_all(text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;
    use crate::healthcare::config::MirrorSection;

    #[test]
    fn checkpoints_takes_its_options_before_and_behind_what_is_to_be_done() {
        let options = ["--data-dir", "d", "--config", "c.toml", "--key-file", "k"];
        let mirror = ["--mirror-topic", "t", "--mirror-servers", "h:1"];
        let options = [&options[..], &mirror[..]].concat();
        for what in [
            &["list"][..],
            &["inspect", "7"],
            &["verify"],
            &["rewind", "--to", "1"],
            &["resolve", "--sink", "s", "--void", "1"],
        ] {
            for words in [[&options[..], what].concat(), [what, &options[..]].concat()] {
                let words = ["healthcare", "checkpoints"].iter().chain(&words);
                let line = Cli::try_parse_from(words).unwrap();
                let Command::Checkpoints { job, mirror, .. } = line.command else { panic!() };
                assert_eq!(job.data.data_dir, Place::from(Path::new("d")));
                assert_eq!(job.data.config.as_deref(), Some(Path::new("c.toml")));
                assert_eq!(job.key_file.as_deref(), Some(Path::new("k")));
                let mut section = MirrorSection::default();
                mirror.apply(&mut section);
                assert_eq!(section.topic.as_deref(), Some("t"));
                assert_eq!(section.bootstrap_servers.as_deref(), Some("h:1"));
            }
        }
    }

    #[test]
    fn what_would_do_nothing_is_no_option() {
        for words in [
            &["quality", "--date", "2025-11-24", "--key-file", "k"][..],
            &["refresh", "--date", "2025-11-24", "--key-file", "k"],
            &["report", "--date", "2025-11-24", "--key-file", "k"],
            &["monitor", "--key-file", "k"],
            &["maintain", "--key-file", "k"],
            &["schedule", "--key-file", "k"],
            &["audit", "verify", "--users-file", "u"],
            &["alerts", "acknowledge", "1/a/1", "--by", "Joy", "--users-file", "u"],
        ] {
            let refused = Cli::try_parse_from(["healthcare"].iter().chain(words)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::UnknownArgument, "{words:?}");
        }
    }
}
