//! What callers of a test's Kafka hand in and what can go wrong.

use std::fmt::{self, Debug};
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rdkafka::error::KafkaError;

/// Why tests have no Kafka here.
#[derive(Debug, Clone, thiserror::Error)]
#[error("Kafka is unavailable: {reason}")]
pub struct Unavailable {
    reason: String,
}

impl Unavailable {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// What went wrong with a Kafka that had started. Never holds keys or payloads of records.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaServerError {
    /// The Kafka of `KAFKA_BOOTSTRAP_SERVERS` is not the test's to stop.
    #[error("this Kafka was not started by the test, so the test cannot stop or start it")]
    External,
    /// The server has fewer nodes.
    #[error("there is no Kafka node {0}")]
    NoSuchNode(usize),
    /// A node ended although nobody stopped it.
    #[error("Kafka node {node} ended with {status}; the end of its log:\n{log}")]
    Ended {
        /// The node's number, from 0.
        node: usize,
        /// How its JVM ended.
        status: ExitStatus,
        /// The last lines of its log, at the level WARN.
        log: String,
    },
    /// The operating system refused.
    #[error("could not {what}: {cause}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// The refusal.
        cause: io::Error,
    },
    /// Kafka, or its client, refused.
    #[error("could not {what}: {cause}")]
    Kafka {
        /// What was attempted.
        what: String,
        /// The refusal.
        cause: KafkaError,
    },
    /// Something did not come about in time.
    #[error("waited {after:?} in vain for {what}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
}

/// A record for [`KafkaServer::produce_all`](super::KafkaServer::produce_all).
#[derive(Clone, Copy, Default)]
pub struct Record<'a> {
    /// The partition to write to.
    pub partition: i32,
    /// The key, if any.
    pub key: Option<&'a [u8]>,
    /// The payload; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Milliseconds since 1970; `None` is now.
    pub timestamp_ms: Option<i64>,
}

impl Debug for Record<'_> {
    /// Tells sizes, not contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("partition", &self.partition)
            .field("key_bytes", &self.key.map(<[u8]>::len))
            .field("payload_bytes", &self.payload.map(<[u8]>::len))
            .field("timestamp_ms", &self.timestamp_ms)
            .finish()
    }
}

/// A message that was read back.
#[derive(Clone, PartialEq, Eq)]
pub struct Consumed {
    /// The partition it was in.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its timestamp, if it has one.
    pub timestamp_ms: Option<i64>,
    /// Its payload; empty for a tombstone.
    pub value: Vec<u8>,
}

impl Debug for Consumed {
    /// Tells sizes, not contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumed")
            .field("partition", &self.partition)
            .field("offset", &self.offset)
            .field("value_bytes", &self.value.len())
            .finish_non_exhaustive()
    }
}
