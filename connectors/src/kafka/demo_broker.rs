//! A Kafka broker inside this process, so that a demo needs nothing installed.

use std::collections::BTreeMap;
use std::fmt;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use thalweg_core::{Error, Result};

use super::client;
use super::source::CLUSTER;

/// What librdkafka's names of its mock clusters begin with. A real cluster's id has no such beginning.
const CLUSTERS: &str = "mockCluster";

/// librdkafka's mock cluster on a local port. It lives until dropped, so keep it outside of what is restarted (P29).
///
/// Limits, none of which can be set: 5 MiB (as stored, so compressed) and 100,000 message sets a partition, the
/// oldest dropped without a word; memory only, gone at exit; one thread; no transactions (aborted messages are
/// shown), no search by time (`Start::Timestamp` means the end), no topic administration, no credentials. A read
/// that finds nothing returns after the whole `fetch.wait.max.ms`, which bounds how soon a message is seen.
pub struct DemoBroker {
    client: BaseConsumer<DefaultConsumerContext>,
    servers: String,
}

impl fmt::Debug for DemoBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DemoBroker({})", self.servers)
    }
}

impl DemoBroker {
    /// Starts a broker that has `topic` with `partitions` partitions.
    pub fn start(topic: &str, partitions: i32) -> Result<Self> {
        // Hung on a client and not made by itself, because that kind may move between threads.
        let client: BaseConsumer = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .set_log_level(RDKafkaLogLevel::Emerg)
            .create()
            .map_err(client::creation_error)?;
        let Some(servers) = client.client().mock_cluster().map(|c| c.bootstrap_servers()) else {
            return Err(Error::internal("the demo broker did not start"));
        };
        let broker = Self { client, servers };
        broker.create_topic(topic, partitions)?;
        Ok(broker)
    }

    /// Creates another topic.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: the broker has it already.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        let Some(cluster) = self.client.client().mock_cluster() else {
            return Err(Error::internal("the demo broker is gone"));
        };
        cluster.create_topic(topic, partitions, 1).map_err(|e| {
            Error::config(format!("the demo broker cannot create topic `{topic}`: {e}"))
        })
    }

    /// Whether a [`KafkaSource`](super::KafkaSource) of this identity read from such a broker, of whatever process.
    pub fn has_served(identity: &BTreeMap<String, String>) -> bool {
        identity.get(CLUSTER).is_some_and(|id| Self::is_of(id))
    }

    /// Whether a cluster of this id is such a broker. Who asks it for settings waits in vain: it names no controller.
    pub(super) fn is_of(cluster: &str) -> bool {
        cluster.starts_with(CLUSTERS)
    }

    /// Where clients find it: `127.0.0.1:port`.
    pub fn bootstrap_servers(&self) -> &str {
        &self.servers
    }
}
