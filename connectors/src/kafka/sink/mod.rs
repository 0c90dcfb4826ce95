//! Kafka as a sink: exactly once by a transaction per checkpoint, or at least once without waiting for any.
//!
//! Exactly once (P28): rows wait in the checkpoint. Once the manifest stands, one transaction sends them and moves a
//! marker, the offset of a group that only this sink uses, to the checkpoint's number. Whoever finishes the same
//! checkpoint again reads the marker first. No row depends on how long a transaction may stay open: one that ran out is sent
//! again; only one that always takes longer never comes through, and says which setting to raise.

mod brokers;
#[cfg_attr(
    not(feature = "test-util"),
    allow(unreachable_pub, reason = "the simulation of a whole job plays them")
)]
pub(crate) mod cluster;
mod committer;
mod config;
mod decide;
mod direct;
mod limits;
mod messages;
mod session;
mod sessions;
#[cfg(test)]
mod simulation;
mod staged;

use std::sync::Arc;
use std::time::Duration;

use arrow_schema::SchemaRef;
use serde_json::json;
use thalweg_core::connector::sink::{Committer, Sink, SinkWriter, Target, WriterContext};
use thalweg_core::{Clearance, Result};

pub use committer::KafkaCommitter;
pub use config::KafkaSinkConfig;

use self::direct::DirectWriter;
use self::messages::MessageFormat;
use self::staged::StagedMessages;
use crate::epoch_writer::EpochWriter;

/// The kind of its targets.
pub(super) const KIND: &str = "kafka";

/// Bytes of batches that a writer holds before `write` waits.
const BUFFER_BYTES: usize = 16 << 20;

/// What a reader of the topic may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    ExactlyOnce,
    AtLeastOnce,
}

/// Sends each row as a JSON object to a topic.
///
/// **Shape** Value: the row's columns as JSON, nulls included, times as RFC 3339. Key: a column as text, or none.
/// **Time** Exactly once: visible to readers of committed messages one checkpoint late. At least once: at once.
/// **Errors** A message longer than the topic allows ends the job before its checkpoint is acknowledged. Exactly once:
/// brokers that end transactions sooner than [`KafkaSinkConfig::transaction_timeout`], or forget offsets within a day (within
/// twice [`KafkaSinkConfig::marker_refresh`] where that is less) or before that timeout has passed twice, are refused when the
/// job starts; those whose settings may not be read (`DESCRIBE_CONFIGS` on the cluster) are warned of.
///
/// ```
/// use std::sync::Arc;
/// use thalweg_connectors::kafka::{KafkaCommitter, KafkaSink, KafkaSinkConfig};
/// use thalweg_core::connector::sink::Sink;
/// let cluster = Arc::new(KafkaCommitter::new(KafkaSinkConfig::new("localhost:9092")));
/// let sink = KafkaSink::exactly_once(&cluster, "masked_events").key_by("patient_id");
/// assert_eq!(sink.describe(), "kafka masked_events");
/// ```
#[derive(Debug, Clone)]
pub struct KafkaSink {
    cluster: Arc<KafkaCommitter>,
    topic: String,
    delivery: Delivery,
    key: Option<String>,
    timestamp: Option<String>,
    clearance: Clearance,
}

impl KafkaSink {
    /// Each row once for readers with `isolation.level=read_committed`. Sinks of one job share one committer.
    pub fn exactly_once(cluster: &Arc<KafkaCommitter>, topic: impl Into<String>) -> Self {
        Self::new(cluster, topic, Delivery::ExactlyOnce)
    }

    /// Each row once or, after a restart, more often; visible within milliseconds.
    pub fn at_least_once(cluster: &Arc<KafkaCommitter>, topic: impl Into<String>) -> Self {
        Self::new(cluster, topic, Delivery::AtLeastOnce)
    }

    fn new(cluster: &Arc<KafkaCommitter>, topic: impl Into<String>, delivery: Delivery) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            topic: topic.into(),
            delivery,
            key: None,
            timestamp: None,
            clearance: Clearance::none(),
        }
    }

    /// The column that becomes the key, as text: rows of one key keep their order. Default: no key.
    #[must_use]
    pub fn key_by(mut self, column: impl Into<String>) -> Self {
        self.key = Some(column.into());
        self
    }

    /// The column of microseconds that becomes the message's time, or the time of sending where that lies ahead of it.
    /// Default: the time of sending.
    #[must_use]
    pub fn timestamp(mut self, column: impl Into<String>) -> Self {
        self.timestamp = Some(column.into());
        self
    }

    /// Which marked columns may enter. Default: none.
    #[must_use]
    pub fn clearance(mut self, clearance: Clearance) -> Self {
        self.clearance = clearance;
        self
    }

    fn format(&self, input: &SchemaRef) -> Result<MessageFormat> {
        MessageFormat::new(&self.topic, input, self.key.as_deref(), self.timestamp.as_deref())
    }
}

impl Sink for KafkaSink {
    fn describe(&self) -> String {
        format!("kafka {}", self.topic)
    }

    fn clearance(&self) -> Clearance {
        self.clearance.clone()
    }

    fn target(&self, input: &SchemaRef) -> Result<Target> {
        self.format(input)?;
        let definition = json!({ "exactly_once": self.delivery == Delivery::ExactlyOnce });
        Ok(Target { kind: KIND.to_owned(), path: self.topic.clone(), definition })
    }

    fn shares_target(&self) -> bool {
        true
    }

    fn check_interval(&self, interval: Duration) -> Result<()> {
        match self.delivery {
            Delivery::AtLeastOnce => Ok(()),
            Delivery::ExactlyOnce => self.cluster.check_interval(interval),
        }
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>> {
        let limit = self.cluster.message_limit(&self.topic);
        let format = self.format(&context.schema)?.limit(limit);
        Ok(match self.delivery {
            Delivery::AtLeastOnce => {
                Box::new(DirectWriter::new(format, &self.cluster.producer_settings(limit)?)?)
            }
            Delivery::ExactlyOnce => {
                let first = context.staging.first_checkpoint();
                let staged = StagedMessages::new(format, context.staging);
                Box::new(EpochWriter::new(staged, first, context.io, BUFFER_BYTES))
            }
        })
    }

    fn committer(&self) -> Arc<dyn Committer> {
        Arc::clone(&self.cluster) as Arc<dyn Committer>
    }
}
