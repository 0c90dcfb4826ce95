//! What a Kafka sink needs to know.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use thalweg_core::{Error, Result};

use crate::kafka::config::is_secret;
use crate::kafka::properties::{by_one_name, canonical};

/// Settings that the promise depends on; nobody else may set them.
const OURS: [&str; 5] = [
    "transactional.id",
    "transaction.timeout.ms",
    "enable.idempotence",
    "acks",
    "max.in.flight.requests.per.connection",
];

/// How long a message may wait for its acknowledgement.
pub(super) const MESSAGE_TIMEOUT: &str = "message.timeout.ms";

/// A transaction lives for one commit only; a shorter limit would cut off commits that merely wait for a new leader.
const SHORTEST_TRANSACTION: Duration = Duration::from_secs(10);
const REFRESH: Duration = Duration::from_hours(24);
const TRANSACTION: Duration = Duration::from_mins(1);
/// What a broker allows a transaction, unless its `transaction.max.timeout.ms` says otherwise.
const BROKERS_LIMIT: Duration = Duration::from_mins(15);

/// The cluster that a job's Kafka sinks write to.
#[derive(Clone, PartialEq, Eq)]
pub struct KafkaSinkConfig {
    /// `host:port`, several separated by commas.
    pub bootstrap_servers: String,
    /// Any further librdkafka setting (`compression.type`, `security.protocol`, ...).
    pub properties: BTreeMap<String, String>,
    /// How long the broker keeps a transaction open; 60 s by default. It bounds how long readers wait behind a job that
    /// died while committing and is not started again, and how long sending one checkpoint may take: one that was cut
    /// off is sent again, from its beginning. No more than the brokers' `transaction.max.timeout.ms`, 15 minutes by default.
    pub transaction_timeout: Duration,
    /// After how long a sink's marker is written again although the sink had no rows, behind a checkpoint of the job, which
    /// takes one an hour when nothing happens; a day by default, or half of the brokers' `offsets.retention.minutes`, a week by
    /// default, where that is less and they tell. Behind a start the first checkpoint does, behind an error one after a 24th of
    /// this time.
    pub marker_refresh: Duration,
    /// Whether each checkpoint is sent by a producer of its own; not by default. The broker then refuses whatever the
    /// network still holds of the transaction before, at the price of a few more round trips, and of waiting at each
    /// checkpoint for the transactions that other producers have open in the topic. Without it a producer is given up when
    /// it met an error, or sent the end of a transaction or its marker twice.
    pub strict: bool,
}

impl KafkaSinkConfig {
    /// The defaults for a cluster.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            properties: BTreeMap::new(),
            transaction_timeout: TRANSACTION,
            marker_refresh: REFRESH,
            strict: false,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        by_one_name(&self.properties)?;
        if let Some(key) = self.properties.keys().find(|key| OURS.contains(&canonical(key))) {
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

    /// Behind a backlog a checkpoint has all that could be read in an `interval`, and may take as long to send.
    pub(super) fn check_interval(&self, interval: Duration) -> Result<()> {
        let least = interval.min(BROKERS_LIMIT);
        if self.transaction_timeout < least {
            return Err(Error::config(format!(
                "transaction_timeout of a kafka sink must be at least {} s, as long as rows gather for a checkpoint: raise it, \
                 or shorten the checkpoint interval",
                least.as_secs_f64()
            )));
        }
        Ok(())
    }

    /// How long a message of a transaction may wait for its acknowledgement, in ms: as long as the transaction is open,
    /// or less if a property says so. librdkafka makes no producer whose messages outlast its transactions.
    pub(super) fn message_timeout(&self) -> Result<u128> {
        let limit = self.transaction_timeout.as_millis();
        let own = self.properties.iter().find(|(key, _)| canonical(key) == MESSAGE_TIMEOUT);
        let Some((key, text)) = own else { return Ok(limit) };
        // Zero would be no limit at all.
        let millis = text.trim().parse::<u128>().ok().filter(|millis| (1..=limit).contains(millis));
        millis.ok_or_else(|| {
            Error::config(format!(
                "kafka property `{key}` must be 1 to {limit} for an exactly-once sink, since no message outlasts its \
                 transaction: lower it, or raise transaction_timeout"
            ))
        })
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
            .field("strict", &self.strict)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_lasts_as_long_as_rows_gather_for_it_or_as_brokers_allow() {
        let mut config = KafkaSinkConfig::new("127.0.0.1:1");
        config.check_interval(Duration::from_mins(1)).unwrap();
        let told = config.check_interval(Duration::from_secs(90)).unwrap_err().to_string();
        assert!(told.contains("at least 90 s") && told.contains("interval"), "{told}");
        config.transaction_timeout = BROKERS_LIMIT;
        config.check_interval(Duration::from_hours(1)).unwrap();
    }

    #[test]
    fn a_message_waits_no_longer_than_its_transaction_is_open() {
        let mut config = KafkaSinkConfig::new("127.0.0.1:1");
        assert_eq!(config.message_timeout().unwrap(), 60_000);
        config.transaction_timeout = Duration::from_secs(10);
        assert_eq!(config.message_timeout().unwrap(), 10_000);
        for key in [MESSAGE_TIMEOUT, "delivery.timeout.ms", "topic.delivery.timeout.ms"] {
            let mut config = config.clone();
            for (text, expected) in [
                ("500", Some(500)),
                ("10000", Some(10_000)),
                ("10001", None),
                ("0", None),
                ("", None),
            ] {
                config.properties.insert(key.to_owned(), text.to_owned());
                assert_eq!(config.message_timeout().ok(), expected, "{key} = {text}");
            }
            let error = config.message_timeout().unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("transaction_timeout"), "{error}");
        }
    }

    #[test]
    fn what_the_promise_depends_on_is_refused_whichever_way_it_is_spelled() {
        for key in ["acks", "request.required.acks", "max.in.flight", "topic.acks"] {
            let mut config = KafkaSinkConfig::new("127.0.0.1:1");
            config.properties.insert(key.to_owned(), "1".to_owned());
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}` is set by thalweg itself")), "{error}");
        }
        let mut config = KafkaSinkConfig::new("127.0.0.1:1");
        config.properties.insert(MESSAGE_TIMEOUT.to_owned(), "500".to_owned());
        config.properties.insert("delivery.timeout.ms".to_owned(), "600".to_owned());
        assert!(config.check().unwrap_err().to_string().contains("different values"));
    }
}
