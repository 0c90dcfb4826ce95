//! At least once: messages leave as they come, and a checkpoint waits until the broker has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use futures::FutureExt;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use thalweg_core::connector::sink::{BoxFuture, SinkWriter, Staged};
use thalweg_core::{CheckpointId, Error, Result};
use tokio::sync::Notify;

use super::cluster::Message;
use super::config::MESSAGE_TIMEOUT;
use super::messages::{MessageFormat, messages};
use crate::clock::now_micros;
use crate::kafka::client;
use crate::kafka::delivery::{self, Failure, Failures};

/// How much longer a checkpoint waits for acknowledgements than librdkafka lets a message wait, so that the reason that it
/// gives is the one that is told.
const MARGIN: Duration = Duration::from_secs(30);

/// Sends the rows of one subtask.
pub(super) struct DirectWriter {
    format: MessageFormat,
    producer: ThreadedProducer<Deliveries>,
    patience: Duration,
    epoch: Arc<Epoch>,
}

/// The messages of one epoch that the broker has not acknowledged. The writer itself counts as one while it is open.
struct Epoch {
    outstanding: AtomicU64,
    rows: AtomicU64,
    done: Notify,
}

impl Epoch {
    fn open() -> Arc<Self> {
        Arc::new(Self {
            outstanding: AtomicU64::new(1),
            rows: AtomicU64::new(0),
            done: Notify::new(),
        })
    }

    fn release(&self) {
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }
}

impl DirectWriter {
    /// Brokers are not contacted yet.
    pub(super) fn new(format: MessageFormat, config: &ClientConfig) -> Result<Self> {
        let producer =
            config.create_with_context(Deliveries::default()).map_err(client::creation_error)?;
        let patience = patience(config.get(MESSAGE_TIMEOUT));
        Ok(Self { format, producer, patience, epoch: Epoch::open() })
    }

    async fn send(&self, batch: &RecordBatch) -> Result<()> {
        let encoded = self.format.encode(batch)?;
        let all = messages(&encoded).ok_or_else(|| Error::internal("messages without columns"))?;
        let now = now_micros() / 1_000;
        for message in all {
            self.send_one(message, now).await?;
        }
        Ok(())
    }

    async fn send_one(&self, message: Message<'_>, now_ms: i64) -> Result<()> {
        let topic = self.format.topic();
        self.epoch.outstanding.fetch_add(1, Ordering::AcqRel);
        let epoch = Arc::clone(&self.epoch);
        let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(topic, epoch);
        record.key = message.key;
        record.payload = Some(message.value);
        record.timestamp = message.time_at(now_ms);
        loop {
            self.check()?;
            // Asked for before the try, so that room made in between is not missed.
            let room = self.context().room.notified();
            match self.producer.send(record) {
                Ok(()) => {
                    self.epoch.rows.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    room.await;
                }
                Err((error, _)) => {
                    return Err(undelivered(topic, &Failure::of(&error), self.ended()));
                }
            }
        }
    }

    fn context(&self) -> &Deliveries {
        self.producer.client().context()
    }

    fn check(&self) -> Result<()> {
        match self.context().failed.get() {
            Some(failure) => Err(undelivered(self.format.topic(), &failure, self.ended())),
            None => Ok(()),
        }
    }

    fn ended(&self) -> Option<RDKafkaErrorCode> {
        client::ended(self.producer.client())
    }
}

impl SinkWriter for DirectWriter {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<()>> {
        async move { self.send(&batch).await }.boxed()
    }

    fn close_epoch(&mut self, _checkpoint: CheckpointId) -> BoxFuture<'static, Result<Staged>> {
        let epoch = std::mem::replace(&mut self.epoch, Epoch::open());
        let (topic, producer) = (self.format.topic().to_owned(), self.producer.clone());
        let patience = self.patience;
        epoch.release();
        async move {
            let acknowledged = tokio::time::timeout(patience, epoch.done.notified()).await;
            if let Some(failure) = producer.client().context().failed.get() {
                return Err(undelivered(&topic, &failure, client::ended(producer.client())));
            }
            acknowledged.map_err(|_| failed(&topic, "the broker does not answer"))?;
            let rows = epoch.rows.load(Ordering::Relaxed);
            Ok(Staged { items: Vec::new(), rows })
        }
        .boxed()
    }
}

/// How long a broker may take to acknowledge what was sent before a barrier, where a message may wait for so many ms. Zero
/// is without end for librdkafka, and so it is here; it refuses what is no number.
fn patience(message_timeout: Option<&str>) -> Duration {
    match message_timeout.and_then(|text| text.trim().parse::<u64>().ok()) {
        Some(millis) if millis > 0 => Duration::from_millis(millis).saturating_add(MARGIN),
        _ => Duration::MAX,
    }
}

fn failed(topic: &str, reason: &str) -> Error {
    Error::transient(format!("messages could not be delivered to topic `{topic}`: {reason}"))
}

/// `ended` is why the producer has ended itself, if it has.
fn undelivered(topic: &str, failure: &Failure, ended: Option<RDKafkaErrorCode>) -> Error {
    let told = delivery::error(failure.code, topic).or_else(|| delivery::error(ended, topic));
    told.unwrap_or_else(|| failed(topic, &failure.reason))
}

/// Hears of acknowledgements, on librdkafka's thread.
#[derive(Default)]
struct Deliveries {
    /// Once there is one everything fails.
    failed: Failures,
    room: Notify,
}

impl ClientContext for Deliveries {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(target: "librdkafka", facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Epoch>;

    fn delivery(&self, result: &DeliveryResult<'_>, epoch: Arc<Epoch>) {
        if let Err((error, _)) = result {
            self.failed.add(error);
        }
        epoch.release();
        self.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::ErrorKind;

    use super::*;

    #[test]
    fn who_may_not_write_is_told_what_to_grant_and_does_not_come_again() {
        let kind = |code, ended| {
            let failure = Failure { code: Some(code), reason: String::new() };
            let error = undelivered("t", &failure, ended);
            (error.kind(), error.to_string().contains("grant WRITE"))
        };
        let denied = kind(RDKafkaErrorCode::TopicAuthorizationFailed, None);
        assert_eq!(denied, (ErrorKind::InvalidConfig, true));
        let (purged, nowhere) =
            (RDKafkaErrorCode::PurgeQueue, RDKafkaErrorCode::ClusterAuthorizationFailed);
        assert_eq!(kind(purged, Some(nowhere)), (ErrorKind::InvalidConfig, true));
        assert_eq!(kind(purged, None), (ErrorKind::Transient, false));
        let away = kind(RDKafkaErrorCode::MessageTimedOut, None);
        assert_eq!(away, (ErrorKind::Transient, false));
    }

    #[test]
    fn a_checkpoint_waits_a_little_longer_than_a_message_may() {
        let of = |text| patience(Some(text)).as_secs();
        assert_eq!((of("60000"), of("600000"), of(" 500 ")), (90, 630, 30));
        assert_eq!(patience(Some("0")), Duration::MAX);
    }
}
