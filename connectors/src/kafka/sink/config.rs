//! What a Kafka sink needs to know.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use thalweg_core::{Error, Result};

use crate::kafka::config::is_secret;

/// Settings that the promise depends on; nobody else may set them.
const OURS: [&str; 6] = [
    "transactional.id",
    "transaction.timeout.ms",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "max.in.flight.requests.per.connection",
];

/// A transaction lives for one commit only; a shorter limit would cut off commits that merely wait for a new leader.
const SHORTEST_TRANSACTION: Duration = Duration::from_secs(10);
const REFRESH: Duration = Duration::from_hours(24);
const TRANSACTION: Duration = Duration::from_mins(1);

/// The cluster that a job's Kafka sinks write to.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSinkConfig {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// Any further librdkafka setting (`compression.type`, `security.protocol`, ...).
    pub properties: BTreeMap<String, String>,
    /// How long the broker keeps a transaction open that nobody ends; 60 s by default. It bounds how long readers wait
    /// behind a job that died while committing and is not started again. No row depends on it: an epoch that was cut
    /// off is sent again from its checkpoint.
    pub transaction_timeout: Duration,
    /// After how long a sink's marker is written again although the sink had no rows; a day by default. Must be less
    /// than the broker's `offsets.retention.minutes`, a week by default.
    pub marker_refresh: Duration,
}

impl KafkaSinkConfig {
    /// The defaults for a cluster.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            properties: BTreeMap::new(),
            transaction_timeout: TRANSACTION,
            marker_refresh: REFRESH,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        if let Some(key) = self.properties.keys().find(|key| OURS.contains(&key.as_str())) {
            return Err(Error::config(format!(
                "kafka property `{key}` is set by thalweg itself for sinks: remove it"
            )));
        }
        if self.transaction_timeout < SHORTEST_TRANSACTION {
            return Err(Error::config(format!(
                "the transaction timeout of a kafka sink must be at least {} s",
                SHORTEST_TRANSACTION.as_secs()
            )));
        }
        Ok(())
    }
}

impl fmt::Debug for KafkaSinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |key: &str, value: &str| {
            if is_secret(key) { "[redacted]".to_owned() } else { value.to_owned() }
        };
        let properties: BTreeMap<_, _> =
            self.properties.iter().map(|(key, value)| (key, shown(key, value))).collect();
        f.debug_struct("KafkaSinkConfig")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("properties", &properties)
            .field("transaction_timeout", &self.transaction_timeout)
            .field("marker_refresh", &self.marker_refresh)
            .finish()
    }
}
