//! Streams in Kafka topics, for whoever reads topics and not tables: silver and dead letters, exactly once, and alerts,
//! at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_connectors::kafka::{KafkaCommitter, KafkaSink, KafkaSinkConfig};
use thalweg_core::{Error, Result};

use super::alerts::AlertEvent;
use super::config::HealthcareConfig;
use super::quarantine::DeadLetter;
use super::record::Silver;

/// What a broker allows a transaction, unless its `transaction.max.timeout.ms` says otherwise.
const BROKERS_LIMIT: Duration = Duration::from_mins(15);

/// Where silver is mirrored to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MirrorSection {
    /// The topic; none: silver is not mirrored. The command line comes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// `host:port`, several separated by commas; the brokers that events come from by default. Alerts and dead
    /// letters go there, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_servers: Option<String>,
    /// How long sending one checkpoint may take, and how long readers wait behind a job that died sending. Default: a
    /// minute, or the checkpoint interval if that is longer, up to the 15 minutes that brokers allow.
    #[serde(with = "humantime_serde::option", skip_serializing_if = "Option::is_none")]
    pub transaction_timeout: Option<Duration>,
    /// Whether each checkpoint is sent by a producer of its own.
    pub strict: bool,
}

impl MirrorSection {
    /// How long a transaction may last, where `usual` is long enough for most. Behind a backlog a checkpoint has all that
    /// could be read in an interval, and may take as long to send.
    fn lasting(&self, usual: Duration, checkpoint_interval: Duration) -> Result<Duration> {
        let least = checkpoint_interval.min(BROKERS_LIMIT);
        let timeout = self.transaction_timeout.unwrap_or_else(|| usual.max(least));
        if timeout < least {
            return Err(Error::config(format!(
                "mirror.transaction_timeout must be at least {}, as long as rows gather for a checkpoint: raise it, or \
                 shorten the checkpoint interval",
                humantime::format_duration(least)
            )));
        }
        Ok(timeout)
    }
}

/// The topics and their cluster: a job has one that it writes to.
#[derive(Debug, Clone)]
pub struct Topics {
    cluster: Arc<KafkaCommitter>,
    mirror: Option<String>,
    alerts: Option<String>,
    dead_letters: Option<String>,
}

impl Topics {
    /// What the settings ask for; `None` when no topic is named.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] when a topic but no broker is named, or one topic for two purposes, or
    /// transactions are shorter than the time between checkpoints.
    pub fn of(config: &HealthcareConfig) -> Result<Option<Self>> {
        let HealthcareConfig { kafka, mirror, alerts, quarantine, runtime, .. } = config;
        let same = mirror.bootstrap_servers.is_none();
        let commands = alerts.commands_topic.as_ref().filter(|_| alerts.enabled);
        let read = [Some(&kafka.topic), commands];
        let alerts = alerts.topic.clone().filter(|_| alerts.enabled);
        let dead_letters = quarantine.dead_letters();
        let named = [mirror.topic.as_ref(), alerts.as_ref(), dead_letters];
        let named: Vec<&String> = named.into_iter().flatten().collect();
        if named.is_empty() {
            return Ok(None);
        }
        let servers = mirror.bootstrap_servers.as_ref().or(kafka.bootstrap_servers.as_ref());
        let servers = servers.ok_or_else(|| {
            Error::config(
                "a topic of silver, alerts or dead letters needs brokers with transactions: pass --mirror-servers host:port",
            )
        })?;
        if let Some(topic) = named.iter().find(|t| same && read.contains(&Some(**t))) {
            return Err(Error::config(format!(
                "topic `{topic}` cannot be read and hold what comes of it"
            )));
        }
        if named.iter().collect::<BTreeSet<_>>().len() < named.len() {
            return Err(Error::config("silver, alerts and dead letters need a topic each"));
        }
        let dead_letters = dead_letters.cloned();
        let mut sinks = KafkaSinkConfig::new(servers);
        sinks.properties.clone_from(&kafka.properties);
        sinks.strict = mirror.strict;
        if mirror.topic.is_some() || dead_letters.is_some() {
            let (usual, interval) = (sinks.transaction_timeout, runtime.checkpoint_interval);
            sinks.transaction_timeout = mirror.lasting(usual, interval)?;
        }
        let cluster = Arc::new(KafkaCommitter::new(sinks));
        Ok(Some(Self { cluster, mirror: mirror.topic.clone(), alerts, dead_letters }))
    }

    /// The sink of silver: a patient's events keep their order.
    pub(super) fn mirror(&self) -> Option<KafkaSink> {
        let sink = KafkaSink::exactly_once(&self.cluster, self.mirror.as_ref()?);
        let sink = sink.key_by(Silver::PATIENT_ID.name());
        Some(sink.timestamp(Silver::EVENT_TIME.name()))
    }

    /// The sink of dead letters; a message's time is when what was rejected was read.
    pub(super) fn dead_letters(&self) -> Option<KafkaSink> {
        let sink = KafkaSink::exactly_once(&self.cluster, self.dead_letters.as_ref()?);
        Some(sink.timestamp(DeadLetter::INGESTED_AT.name()))
    }

    /// The sink of alerts. Whoever is paged cannot wait for a checkpoint: after a restart a row may come again, with the
    /// same `alert_id` and `sequence`.
    pub(super) fn alerts(&self) -> Option<KafkaSink> {
        let sink = KafkaSink::at_least_once(&self.cluster, self.alerts.as_ref()?);
        let sink = sink.key_by(AlertEvent::PATIENT_ID.name());
        Some(sink.timestamp(AlertEvent::EVENT_TIME.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::healthcare::config::Rejected;

    fn config(mirror: Option<&str>, alerts: Option<&str>) -> HealthcareConfig {
        let mut config = HealthcareConfig::default();
        config.mirror.topic = mirror.map(str::to_owned);
        config.alerts.topic = alerts.map(str::to_owned);
        config
    }

    #[test]
    fn topics_need_brokers_and_are_not_their_own_source() {
        assert!(Topics::of(&config(None, None)).unwrap().is_none());
        for (mirror, alerts) in [(Some("silver"), None), (None, Some("alerts"))] {
            let mut config = config(mirror, alerts);
            let error = Topics::of(&config).unwrap_err();
            assert!(error.to_string().contains("--mirror-servers"), "{error}");
            config.kafka.bootstrap_servers = Some("127.0.0.1:1".to_owned());
            let topics = Topics::of(&config).unwrap().unwrap();
            assert_eq!(topics.mirror().is_some(), mirror.is_some());
            assert_eq!(topics.alerts().is_some(), alerts.is_some());

            let source = config.kafka.topic.clone();
            config.mirror.topic = mirror.map(|_| source.clone());
            config.alerts.topic = alerts.map(|_| source.clone());
            assert!(Topics::of(&config).is_err());
            config.mirror.bootstrap_servers = Some("127.0.0.1:2".to_owned());
            assert!(Topics::of(&config).unwrap().is_some());
        }
    }

    #[test]
    fn alerts_and_silver_need_a_topic_each_and_none_is_needed_without_alerts() {
        let mut config = config(Some("one"), Some("one"));
        config.kafka.bootstrap_servers = Some("127.0.0.1:1".to_owned());
        assert!(Topics::of(&config).is_err());
        config.alerts.enabled = false;
        assert!(Topics::of(&config).unwrap().unwrap().alerts().is_none());
    }

    #[test]
    fn dead_letters_go_to_a_topic_of_their_own_if_they_are_to() {
        let mut config = config(Some("silver"), None);
        config.kafka.bootstrap_servers = Some("127.0.0.1:1".to_owned());
        config.quarantine.topic = Some("silver".to_owned());
        assert!(Topics::of(&config).unwrap().unwrap().dead_letters().is_none());
        config.quarantine.on_undecodable = Some(Rejected::Topic);
        assert!(Topics::of(&config).is_err(), "one stage's alone need one, too");
        config.quarantine.on_undecodable = None;
        config.quarantine.on_rejected = Rejected::Topic;
        assert!(Topics::of(&config).is_err());
        config.quarantine.topic = Some("dead".to_owned());
        assert!(Topics::of(&config).unwrap().unwrap().dead_letters().is_some());
        let (mut reads, mut obeys) = (config.clone(), config);
        reads.kafka.topic = "dead".to_owned();
        obeys.alerts.commands_topic = Some("dead".to_owned());
        for config in [reads, obeys] {
            let error = Topics::of(&config).unwrap_err().to_string();
            assert!(error.contains("cannot be read and hold what comes of it"), "{error}");
        }
    }

    #[test]
    fn a_transaction_lasts_at_least_as_long_as_rows_gather_for_it() {
        let lasts = |timeout: &str, interval: &str| {
            let text = format!(
                "[kafka]\nbootstrap_servers = \"127.0.0.1:1\"\n[mirror]\ntopic = \"silver\"\nstrict = true\n{timeout}\n\
                 [runtime]\ncheckpoint_interval = \"{interval}\""
            );
            let topics = Topics::of(&HealthcareConfig::parse(&text).unwrap())?.unwrap();
            Ok::<_, Error>(format!("{:?}", topics.cluster))
        };
        for (timeout, interval, expected) in [
            ("", "1s", "60s"),
            ("", "5m", "300s"),
            ("", "1h", "900s"),
            ("transaction_timeout = \"10s\"", "1s", "10s"),
            ("transaction_timeout = \"15m\"", "1h", "900s"),
        ] {
            let cluster = lasts(timeout, interval).unwrap();
            assert!(cluster.contains(&format!("transaction_timeout: {expected}")), "{cluster}");
            assert!(cluster.contains("strict: true"), "{cluster}");
        }
        let error = lasts("transaction_timeout = \"1m\"", "2m").unwrap_err().to_string();
        assert!(error.contains("mirror.transaction_timeout must be at least 2m"), "{error}");
        // What is sent without transactions needs none.
        let mut config = config(None, Some("alerts"));
        config.kafka.bootstrap_servers = Some("127.0.0.1:1".to_owned());
        config.mirror.transaction_timeout = Some(Duration::from_secs(10));
        config.runtime.checkpoint_interval = Duration::from_mins(5);
        assert!(Topics::of(&config).is_ok());
    }
}
