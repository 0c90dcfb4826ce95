//! Writes many messages into a topic, for tools that fill one: at least once, in order, compressed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use thalweg_core::{Error, Result};
use tracing::debug;

use super::client;
use super::delivery::{self, Failures};
use super::requests::Requests;

pub(super) const TUNING: [(&str, &str); 9] = [
    ("client.id", "thalweg-writer"),
    ("enable.idempotence", "true"),
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    ("batch.num.messages", "10000"),
    ("queue.buffering.max.messages", "200000"),
    ("queue.buffering.max.kbytes", "65536"),
    // A broker that is away for a minute is an error and not a longer wait.
    ("message.timeout.ms", "60000"),
    // The same partition for a key as Java's producers choose.
    ("partitioner", "murmur2_random"),
];

/// For sinks, where a message may be as long as its topic takes, which is checked before.
pub(super) const ANY_LENGTH: (&str, &str) = ("message.max.bytes", "1000000000");

/// What librdkafka puts into a batch at most where nothing else is said, in bytes.
const BATCH_BYTES: usize = 1_000_000;

/// The setting that bounds a batch.
pub(super) const BATCH_SIZE: &str = "batch.size";

/// [`BATCH_SIZE`] for a topic that takes `limit` bytes: brokers compare their limit with batches, not with messages. A user's
/// smaller one stands. None is returned where theirs is no number, for librdkafka to refuse it. It counts more than a broker
/// does, the headers of the batch and of its request among them, and a message that is alone in its batch is sent whatever its
/// length.
pub(super) fn batch_size(limit: usize, own: Option<&str>) -> Option<String> {
    let wanted = match own {
        None => BATCH_BYTES,
        Some(own) => own.trim().parse::<usize>().ok()?,
    };
    Some(wanted.min(limit).max(1).to_string())
}

/// How long one look at a full queue lasts.
const QUEUE_WAIT: Duration = Duration::from_millis(10);

/// A producer for one topic. Idempotent: the broker drops what librdkafka sends twice. After a crash the caller
/// may send again what it had sent, hence at least once.
pub struct TopicWriter {
    producer: ThreadedProducer<Deliveries>,
    servers: String,
    topic: String,
}

impl fmt::Debug for TopicWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicWriter({} at {})", self.topic, self.servers)
    }
}

impl TopicWriter {
    /// A writer to `topic`; `properties` are librdkafka's and override this writer's own choices.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] for a wrong property. Brokers are not contacted yet.
    pub fn new(
        bootstrap_servers: &str,
        topic: &str,
        properties: &BTreeMap<String, String>,
    ) -> Result<Self> {
        Self::with_settings(bootstrap_servers, topic, properties, &[])
    }

    /// As [`TopicWriter::new`], with settings that nothing overrides.
    pub(super) fn with_settings(
        bootstrap_servers: &str,
        topic: &str,
        properties: &BTreeMap<String, String>,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let mut config = client::base(bootstrap_servers, &TUNING, properties)?;
        for (key, value) in settings {
            config.set(*key, *value);
        }
        let producer =
            config.create_with_context(Deliveries::default()).map_err(client::creation_error)?;
        Ok(Self { producer, servers: bootstrap_servers.to_owned(), topic: topic.to_owned() })
    }

    /// Queues a message, and blocks while the queue is full. No payload makes a tombstone, no timestamp the time of
    /// sending; messages with a key go to that key's partition.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::Transient`] once any earlier message could not be delivered,
    /// [`thalweg_core::ErrorKind::InvalidConfig`] when the topic takes none like it: its batch was too long, say, or it has no
    /// key and the topic is compacted.
    pub fn send(
        &self,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        timestamp_ms: Option<i64>,
    ) -> Result<()> {
        while !self.offer(key, payload, timestamp_ms)? {}
        Ok(())
    }

    /// As [`TopicWriter::send`], but gives up when the queue is still full a moment later; whether the message was queued.
    ///
    /// # Errors
    /// As [`TopicWriter::send`].
    pub fn offer(
        &self,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        timestamp_ms: Option<i64>,
    ) -> Result<bool> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic);
        record.key = key;
        record.payload = payload;
        record.timestamp = timestamp_ms;
        self.offer_record(record)
    }

    /// Like [`TopicWriter::send`], to a partition of the caller's choice.
    pub fn send_to(
        &self,
        partition: i32,
        payload: Option<&[u8]>,
        timestamp_ms: Option<i64>,
    ) -> Result<()> {
        loop {
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).partition(partition);
            record.payload = payload;
            record.timestamp = timestamp_ms;
            if self.offer_record(record)? {
                return Ok(());
            }
        }
    }

    fn offer_record(&self, record: BaseRecord<'_, [u8], [u8]>) -> Result<bool> {
        self.check()?;
        match self.producer.send(record) {
            Ok(()) => Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                self.producer.poll(QUEUE_WAIT);
                Ok(false)
            }
            Err((error, _)) => Err(self.failed(&error)),
        }
    }

    /// Waits until everything sent has been acknowledged.
    ///
    /// # Errors
    /// As [`TopicWriter::send`], and [`thalweg_core::ErrorKind::Transient`] if `timeout` passes.
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        let flushed = self.producer.flush(timeout);
        self.check()?;
        match flushed {
            Ok(()) => Ok(()),
            Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)) => {
                Err(Error::transient(format!(
                    "{} messages for topic `{}` were not acknowledged by kafka at {} within {} s: is it running?",
                    self.producer.in_flight_count(),
                    self.topic,
                    self.servers,
                    timeout.as_secs_f32()
                )))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    pub(super) fn producer(&self) -> &impl Producer<Deliveries> {
        &self.producer
    }

    /// What the library has reported of its requests, if it was asked to.
    pub(super) fn requests(&self) -> &Requests {
        &self.producer.client().context().requests
    }

    /// Messages that the broker has neither acknowledged nor refused, and that have not been given up.
    pub fn waiting(&self) -> u64 {
        u64::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    /// Messages that the broker has acknowledged.
    pub fn delivered(&self) -> u64 {
        self.producer.client().context().delivered.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<()> {
        let deliveries = self.producer.client().context();
        let failed = deliveries.failed.load(Ordering::Acquire);
        if failed == 0 {
            return Ok(());
        }
        if let Some(refused) = self.refused() {
            return Err(refused);
        }
        let reason = deliveries.failures.get().map(|failure| failure.reason).unwrap_or_default();
        Err(Error::transient(format!(
            "{failed} messages could not be delivered to topic `{}` at {}: {reason}",
            self.topic, self.servers
        )))
    }

    /// Why a message was not delivered that never will be, or why none is any more.
    pub(super) fn refused(&self) -> Option<Error> {
        let client = self.producer.client();
        let told = |code| delivery::error(code, &self.topic);
        let failure = client.context().failures.get().and_then(|failure| told(failure.code));
        failure.or_else(|| told(client::ended(client)))
    }

    fn failed(&self, error: &KafkaError) -> Error {
        let refused = delivery::error(client::code(error), &self.topic);
        if let Some(refused) = refused.or_else(|| self.refused()) {
            return refused;
        }
        Error::transient(format!(
            "cannot write to topic `{}` at {}: {}",
            self.topic,
            self.servers,
            client::reason(error)
        ))
    }
}

/// Counts acknowledgements, and hears of requests.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
    failures: Failures,
    requests: Requests,
}

impl ClientContext for Deliveries {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(target: "librdkafka", facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", %error, "{reason}");
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.requests.reported(statistics);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                self.failures.add(error);
                self.failed.fetch_add(1, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_batch_is_longer_than_its_topic_takes() {
        let of = |limit, own| batch_size(limit, own).unwrap();
        assert_eq!(of(1_048_588, None), "1000000");
        assert_eq!(of(400, None), "400");
        assert_eq!(of(400, Some("1000000")), "400");
        assert_eq!(of(400, Some("100")), "100");
        assert_eq!(of(4_000_000, Some(" 2000000 ")), "2000000");
        assert_eq!(of(0, None), "1");
        assert_eq!(batch_size(400, Some("much")), None);
    }
}
