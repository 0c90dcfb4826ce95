//! Commands about alerts on their way to the job: from the command line and from the dashboards alike.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use thalweg_connectors::kafka::{TopicWriter, count_partitions};
use thalweg_core::{Error, ErrorKind, Result};
use thalweg_serving::audit::Outcome;

use super::alerts::command::Command;

/// The topic of commands when nothing else is said.
pub const DEFAULT_COMMANDS_TOPIC: &str = "healthcare_alert_commands";

/// Takes commands, durably.
pub trait CommandSink: Send + Sync + fmt::Debug {
    /// Sends a command and waits, so long at most, until it is safe. Blocking.
    ///
    /// # Errors
    /// It is not known to be safe.
    fn send(&self, command: &Command, patience: Duration) -> Result<(), Undelivered>;
}

/// Why a command is not known to be safe.
#[derive(Debug)]
pub enum Undelivered {
    /// It means nothing, was not sent or was refused: it takes no effect.
    Refused(Error),
    /// It was sent, and nobody acknowledged it in time: it may still take effect.
    Unacknowledged(Error),
}

impl From<Error> for Undelivered {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Undelivered> for Error {
    fn from(undelivered: Undelivered) -> Self {
        let (Undelivered::Refused(error) | Undelivered::Unacknowledged(error)) = undelivered;
        error
    }
}

/// How the audit log says that sending a command ended.
pub fn outcome(sent: &Result<(), Undelivered>) -> Outcome {
    match sent {
        Ok(()) => Outcome::Done,
        Err(Undelivered::Refused(_)) => Outcome::Failed,
        Err(Undelivered::Unacknowledged(_)) => Outcome::Unknown,
    }
}

/// The topic that a job reads commands from.
#[derive(Clone)]
pub struct CommandTopic {
    servers: String,
    topic: String,
    properties: BTreeMap<String, String>,
}

impl fmt::Debug for CommandTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Properties can be secret.
        write!(f, "CommandTopic({} at {})", self.topic, self.servers)
    }
}

impl CommandTopic {
    /// `topic` of the brokers at `servers`; `properties` are librdkafka's.
    pub fn new(servers: &str, topic: &str, properties: &BTreeMap<String, String>) -> Self {
        Self {
            servers: servers.to_owned(),
            topic: topic.to_owned(),
            properties: properties.clone(),
        }
    }

    /// Whether it is there. It is not created: a job reads only a topic that was there when its chain began, and what is
    /// said into a new one nobody hears.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] when there is no such topic, and those of [`count_partitions`].
    pub fn check(&self) -> Result<()> {
        let Self { servers, topic, properties } = self;
        if count_partitions(servers, topic, properties)?.is_some() {
            return Ok(());
        }
        Err(Error::config(format!(
            "topic `{topic}` does not exist at {servers}, so no job reads commands from it: pass --topic, or --config \
             with the job's alerts.commands_topic"
        )))
    }
}

impl CommandSink for CommandTopic {
    fn send(&self, command: &Command, patience: Duration) -> Result<(), Undelivered> {
        let patient = command.check()?.patient.to_string();
        // A writer for each: they are few, and one that has failed once fails for ever.
        let writer = TopicWriter::new(&self.servers, &self.topic, &self.properties)?;
        writer.send(Some(patient.as_bytes()), Some(command.to_json()?.as_bytes()), None)?;
        writer.flush(patience).map_err(|error| match error.kind() {
            // A broker may have it, or append it later than we waited.
            ErrorKind::Transient => Undelivered::Unacknowledged(
                Error::transient("the command was not acknowledged, and may still take effect")
                    .with_source(error),
            ),
            _ => Undelivered::Refused(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::healthcare::alerts::command::Action;

    #[test]
    fn a_command_that_is_not_acknowledged_may_still_take_effect_and_one_that_is_none_does_not() {
        // It takes connections and never answers.
        let broker = TcpListener::bind("127.0.0.1:0").unwrap();
        let servers = broker.local_addr().unwrap().to_string();
        let topic = CommandTopic::new(&servers, "commands", &BTreeMap::new());
        let send = |alert: &str| {
            let command = Command {
                alert_id: alert.to_owned(),
                action: Action::Acknowledge,
                by: "nurse".to_owned(),
                minutes: None,
            };
            topic.send(&command, Duration::from_millis(50))
        };
        let sent = send("7/heart-rate-high/1764018010000000");
        assert_eq!(outcome(&sent), Outcome::Unknown);
        let told = Error::from(sent.unwrap_err()).to_string();
        assert!(told.contains("may still take effect"), "{told}");
        assert_eq!(outcome(&send("7")), Outcome::Failed);
    }
}
