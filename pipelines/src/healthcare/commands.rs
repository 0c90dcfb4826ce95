//! Commands about alerts on their way to the job: from the command line and from the dashboards alike.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use thalweg_connectors::kafka::{TopicWriter, count_partitions};
use thalweg_core::{Error, Result};

use super::alerts::command::Command;

/// The topic of commands when nothing else is said.
pub const DEFAULT_COMMANDS_TOPIC: &str = "healthcare_alert_commands";

/// Takes commands, durably.
pub trait CommandSink: Send + Sync + fmt::Debug {
    /// Sends a command and waits, so long at most, until it is safe. Blocking.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] for a command that means nothing,
    /// [`thalweg_core::ErrorKind::Transient`] when nobody took it in time.
    fn send(&self, command: &Command, patience: Duration) -> Result<()>;
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
    fn send(&self, command: &Command, patience: Duration) -> Result<()> {
        let patient = command.check()?.patient.to_string();
        // A writer for each: they are few, and one that has failed once fails for ever.
        let writer = TopicWriter::new(&self.servers, &self.topic, &self.properties)?;
        writer.send(Some(patient.as_bytes()), Some(command.to_json()?.as_bytes()), None)?;
        writer.flush(patience)
    }
}
