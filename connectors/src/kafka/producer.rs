//! Writes many messages into a topic, for tools that fill one: at least once, in order, compressed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
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
    /// [`thalweg_core::ErrorKind::Transient`] once any earlier message could not be delivered.
    pub fn send(
        &self,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        timestamp_ms: Option<i64>,
    ) -> Result<()> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic);
        record.key = key;
        record.payload = payload;
        record.timestamp = timestamp_ms;
        self.send_record(record)
    }

    /// Like [`TopicWriter::send`], to a partition of the caller's choice.
    pub fn send_to(
        &self,
        partition: i32,
        payload: Option<&[u8]>,
        timestamp_ms: Option<i64>,
    ) -> Result<()> {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).partition(partition);
        record.payload = payload;
        record.timestamp = timestamp_ms;
        self.send_record(record)
    }

    fn send_record(&self, mut record: BaseRecord<'_, [u8], [u8]>) -> Result<()> {
        loop {
            self.check()?;
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(QUEUE_WAIT);
                }
                Err((error, _)) => return Err(self.failed(&error)),
            }
        }
    }

    /// Waits until everything sent has been acknowledged.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::Transient`] if a message could not be delivered or `timeout` passes.
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
        let reason = deliveries.reason.lock().map(|r| r.clone()).unwrap_or_default();
        Err(Error::transient(format!(
            "{failed} messages could not be delivered to topic `{}` at {}: {reason}",
            self.topic, self.servers
        )))
    }

    fn failed(&self, error: &KafkaError) -> Error {
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
    reason: Mutex<String>,
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
                if let Ok(mut reason) = self.reason.lock()
                    && reason.is_empty()
                {
                    *reason = client::reason(error);
                }
                self.failed.fetch_add(1, Ordering::Release);
            }
        }
    }
}
