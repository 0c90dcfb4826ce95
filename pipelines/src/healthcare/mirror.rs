//! A copy of silver in a Kafka topic, exactly once: for whoever reads topics and not tables.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thalweg_connectors::kafka::{KafkaCommitter, KafkaSink, KafkaSinkConfig};
use thalweg_core::{Error, Result};

use super::config::KafkaSection;
use super::record::Silver;

/// Where silver is mirrored to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MirrorSection {
    /// The topic; none: silver is not mirrored. The command line comes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// `host:port`, several separated by commas; the brokers that events come from by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_servers: Option<String>,
}

/// The topic and its cluster.
#[derive(Debug, Clone)]
pub struct Mirror {
    cluster: Arc<KafkaCommitter>,
    topic: String,
}

impl Mirror {
    /// What the sections ask for; `None` when no topic is named.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] when a topic but no broker is named, or the topic that is read.
    pub fn of(mirror: &MirrorSection, kafka: &KafkaSection) -> Result<Option<Self>> {
        let Some(topic) = &mirror.topic else { return Ok(None) };
        let same = mirror.bootstrap_servers.is_none();
        let servers = mirror.bootstrap_servers.as_ref().or(kafka.bootstrap_servers.as_ref());
        let servers = servers.ok_or_else(|| {
            Error::config(
                "a mirror topic needs brokers with transactions: pass --mirror-servers host:port",
            )
        })?;
        if same && *topic == kafka.topic {
            return Err(Error::config(format!(
                "topic `{topic}` cannot be read and be the mirror of what was read"
            )));
        }
        let mut config = KafkaSinkConfig::new(servers);
        config.properties.clone_from(&kafka.properties);
        Ok(Some(Self { cluster: Arc::new(KafkaCommitter::new(config)), topic: topic.clone() }))
    }

    /// The sink: a patient's events keep their order.
    pub(super) fn sink(&self) -> KafkaSink {
        KafkaSink::exactly_once(&self.cluster, &self.topic)
            .key_by(Silver::PATIENT_ID.name())
            .timestamp(Silver::EVENT_TIME.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_needs_a_topic_and_brokers_and_is_not_its_own_source() {
        let mut kafka = KafkaSection::default();
        let mirror = |topic: &str| MirrorSection {
            topic: Some(topic.to_owned()),
            ..MirrorSection::default()
        };
        assert!(Mirror::of(&MirrorSection::default(), &kafka).unwrap().is_none());
        let error = Mirror::of(&mirror("silver"), &kafka).unwrap_err();
        assert!(error.to_string().contains("--mirror-servers"), "{error}");
        kafka.bootstrap_servers = Some("127.0.0.1:1".to_owned());
        assert!(Mirror::of(&mirror("silver"), &kafka).unwrap().is_some());
        assert!(Mirror::of(&mirror(&kafka.topic), &kafka).is_err());
        let elsewhere = MirrorSection {
            bootstrap_servers: Some("127.0.0.1:2".to_owned()),
            ..mirror(&kafka.topic)
        };
        assert!(Mirror::of(&elsewhere, &kafka).unwrap().is_some());
    }
}
