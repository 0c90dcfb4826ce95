//! `healthcare alerts`: what somebody says about an alert.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use thalweg_core::checkpoint::Manifest;
use thalweg_core::checkpoint::manifest::SourceSnapshot;
use thalweg_core::{Error, Result, error};
use thalweg_objects::Place;
use thalweg_runtime::SystemClock;
use thalweg_serving::audit::{Action as Audited, AuditLog};

use super::audit::{AuditArgs, Deed};
use super::outcome::{Failure, usage};
use super::{CHECKPOINTS, checkpoints_beside, load_config};
use crate::healthcare::alerts::command::{Action, Command};
use crate::healthcare::commands::{
    CommandSink, CommandTopic, DEFAULT_COMMANDS_TOPIC, Undelivered, outcome,
};
use crate::healthcare::graph::COMMANDS;
use crate::healthcare::manifests::Manifests;
use crate::healthcare::serve::files;

/// How long the broker's acknowledgement may take.
const FLUSH: Duration = Duration::from_secs(30);

/// Arguments of `healthcare alerts`.
#[derive(Debug, Clone, Args)]
pub(super) struct AlertsArgs {
    #[command(flatten)]
    audit: AuditArgs,
    #[command(subcommand)]
    action: ActionArgs,
}

#[derive(Debug, Clone, Subcommand)]
enum ActionArgs {
    /// Say that somebody looks after an alert
    Acknowledge(CommandArgs),
    /// Silence an alert for a while
    Snooze {
        #[command(flatten)]
        command: CommandArgs,

        /// For how long, in event time; the job's `alerts.max_snooze` is the most
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
        minutes: i64,
    },
}

#[derive(Debug, Clone, Args)]
struct CommandArgs {
    /// The alert, by its `alert_id`
    #[arg(value_name = "ALERT")]
    alert_id: String,

    /// Who says so
    #[arg(long, value_name = "NAME")]
    by: String,

    /// Kafka brokers of the job [default: `kafka.bootstrap_servers` of --config]
    #[arg(long, value_name = "H:P")]
    bootstrap_servers: Option<String>,

    /// The topic that the job reads commands from [default: `alerts.commands_topic` of --config, else
    /// `healthcare_alert_commands`]
    #[arg(long, value_name = "T")]
    topic: Option<String>,

    /// The job's configuration file: `alerts.commands_topic`, `kafka.bootstrap_servers` and kafka.properties (TLS, SASL)
    /// are used
    #[arg(long, value_name = "F.toml")]
    config: Option<PathBuf>,
}

/// Sends the command, and writes down that it is sent; it takes effect when the job has read it.
pub(super) fn execute(args: &AlertsArgs) -> Result<(), Failure> {
    let AlertsArgs { audit, action } = args;
    let (args, action, minutes) = match action {
        ActionArgs::Acknowledge(command) => (command, Action::Acknowledge, None),
        ActionArgs::Snooze { command, minutes } => (command, Action::Snooze, Some(*minutes)),
    };
    let command = Command { alert_id: args.alert_id.clone(), action, by: args.by.clone(), minutes };
    // Before anything is asked or written for it.
    command.check().map_err(usage)?;
    let mut config = load_config(args.config.as_deref())?;
    if let Some(servers) = &args.bootstrap_servers {
        config.kafka.bootstrap_servers = Some(servers.clone());
    }
    let servers = config.kafka.servers().map_err(Failure::Usage)?;
    let topic = args.topic.as_ref().or(config.alerts.commands_topic.as_ref());
    let name = topic.map_or(DEFAULT_COMMANDS_TOPIC, String::as_str);
    let topic = CommandTopic::new(servers, name, &config.kafka.properties);
    let log = audit_log(audit).map_err(usage)?;
    let mut deed = Deed::by_operator(Audited::Alert);
    action.name().clone_into(&mut deed.event.kind);
    // The alert's name has a patient's number in it.
    deed.event.subject = log.digest(&command.alert_id);
    deed.begun(&log)?;
    let heard = check_job(&audit.data_dir, name).and_then(|()| topic.check());
    let sent = heard.map_err(Undelivered::from);
    let sent = sent.and_then(|()| topic.send(&command, FLUSH));
    deed.ended_as(outcome(&sent), &log, sent.map_err(Error::from))?;
    super::print(&format!("sent to topic `{name}`\n"));
    Ok(())
}

/// Whether the job whose data are there, if there is one, reads commands from the topic. Whoever may not look at its
/// checkpoints may send all the same.
///
/// # Errors
/// [`thalweg_core::ErrorKind::InvalidConfig`]: it does not.
fn check_job(data: &Place, topic: &str) -> Result<()> {
    match newest(data) {
        Ok(None) => Ok(()),
        Ok(Some(manifest)) => match unheard(&manifest.sources, topic) {
            None => Ok(()),
            Some(why) => Err(Error::config(format!("the job of {data} reads {why}"))),
        },
        Err(error) => {
            tracing::warn!(
                error = error::chain(&error),
                "cannot tell whether the job reads commands"
            );
            Ok(())
        }
    }
}

fn newest(data: &Place) -> Result<Option<Manifest>> {
    match data.join(CHECKPOINTS) {
        Place::Folder(folder) if !folder.is_dir() => Ok(None),
        _ => Manifests(checkpoints_beside(data)?.as_ref()).newest(),
    }
}

/// What a job of these sources reads instead of commands from the topic, and what to do.
fn unheard(sources: &[SourceSnapshot], topic: &str) -> Option<String> {
    let Some(commands) = sources.iter().find(|source| source.uid.as_str() == COMMANDS) else {
        return Some("no commands: run it with alerts.commands_topic".to_owned());
    };
    let read = commands.identity.get("topic").filter(|read| *read != topic)?;
    Some(format!("commands from topic `{read}`, not `{topic}`: pass --topic {read}"))
}

/// Beside the data folder, or where it was named: the command itself needs no folder, the job may be on another machine.
fn audit_log(args: &AuditArgs) -> Result<AuditLog> {
    match (&args.data_dir, &args.audit_log) {
        (_, Some(named)) => AuditLog::open(named, Arc::new(SystemClock::default())),
        (Place::Folder(folder), None) if !folder.is_dir() => Err(Error::config(format!(
            "there is no data folder {} beside which the command is written down: pass --data-dir or --audit-log",
            folder.display()
        ))),
        (data, None) => files::audit_log(data, None),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::OperatorUid;

    use super::*;

    fn source(uid: &str, topic: &str) -> SourceSnapshot {
        SourceSnapshot {
            uid: OperatorUid::new(uid).unwrap(),
            identity: [("topic".to_owned(), topic.to_owned())].into(),
            splits: Vec::new(),
            rows: 0,
            watermark: None,
        }
    }

    #[test]
    fn a_command_that_the_job_would_not_read_is_told() {
        let events = source("events", "said");
        let why = unheard(std::slice::from_ref(&events), "said").unwrap();
        assert!(why.contains("alerts.commands_topic"), "{why}");
        let both = [events, source(COMMANDS, "said")];
        assert_eq!(unheard(&both, "said"), None);
        let why = unheard(&both, "other").unwrap();
        assert!(why.contains("--topic said"), "{why}");
    }
}
