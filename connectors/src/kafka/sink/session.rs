//! One transactional producer and the marker beside it. Blocking.
//!
//! A session that met an error is given up: what a broker makes of a transaction with an unknown outcome is settled by
//! the next session's first step, and read from the marker (P28). So is one whose transactions went well at a second
//! attempt of the library's: the broker takes what arrives late of the first for the transaction that is open then.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg_core::{CheckpointId, Error, Result, failpoint};

use super::config::KafkaSinkConfig;
use super::messages::Message;
use crate::clock::{instant, now_micros};
use crate::kafka::client;
use crate::kafka::config::KafkaConfig;
use crate::kafka::consumer::GroupConsumer;
use crate::kafka::producer::{self, TopicWriter};
use crate::kafka::requests;

/// How long one call may wait for a broker before it is called again.
const CALL: Duration = Duration::from_secs(10);
/// Calls until a step is given up.
const CALLS: u32 = 6;
/// Giving up an open transaction is a courtesy to its readers.
const ABORT: Duration = Duration::from_secs(2);
/// The marker's partition; any would do.
const PARTITION: i32 = 0;

/// What one sink has sent, as the broker remembers it.
pub(super) struct Marker {
    consumer: GroupConsumer,
    topic: String,
}

impl Marker {
    /// `group` is the sink's application id: nobody else uses it, and nobody joins it.
    pub(super) fn new(config: &KafkaSinkConfig, topic: &str, group: &str) -> Result<Self> {
        Self::at(config, topic, group, "read_committed")
    }

    /// One that does not wait for open transactions. A dead process may have left one that only the broker's timeout
    /// or the next session ends.
    pub(super) fn unsettled(config: &KafkaSinkConfig, topic: &str, group: &str) -> Result<Self> {
        Self::at(config, topic, group, "read_uncommitted")
    }

    fn at(config: &KafkaSinkConfig, topic: &str, group: &str, isolation: &str) -> Result<Self> {
        let mut reader = KafkaConfig::new(&config.bootstrap_servers, topic);
        reader.properties = client::connection_properties(&config.properties);
        reader.group_id = Some(group.to_owned());
        let consumer = GroupConsumer::at(&reader, isolation)?;
        Ok(Self { consumer, topic: topic.to_owned() })
    }

    /// The newest checkpoint that was sent. Waits for the outcome of a transaction that is open or being ended, unless
    /// it is [`Self::unsettled`].
    pub(super) fn read(&self) -> Result<Option<CheckpointId>> {
        let mut question = TopicPartitionList::new();
        question.add_partition(&self.topic, PARTITION);
        let answer = attempts(&self.topic, || {
            let found = self.consumer.committed_offsets(question.clone(), CALL)?;
            match found.elements().first() {
                Some(marker) => marker.error().map(|()| marker.offset()),
                None => Ok(Offset::Invalid),
            }
        })?;
        Ok(match answer {
            Offset::Offset(n) => u64::try_from(n).ok().map(CheckpointId),
            _ => None,
        })
    }
}

/// A producer that has fenced every earlier one of its sink.
pub(super) struct Session {
    writer: TopicWriter,
    marker: Marker,
    /// How long the broker keeps a transaction open.
    timeout: Duration,
    /// Transactions that went well.
    transactions: i64,
    /// When the last of them began.
    written: Option<Instant>,
    /// The library's newest report when the last of them ended.
    report: u64,
}

impl Session {
    /// Ends whatever an earlier session left open, and from now on refuses it.
    pub(super) fn begin(config: &KafkaSinkConfig, topic: &str, app_id: &str) -> Result<Self> {
        let timeout = config.transaction_timeout.as_millis().to_string();
        let message_timeout = config.message_timeout()?.to_string();
        let settings = [
            ("transactional.id", app_id),
            ("transaction.timeout.ms", timeout.as_str()),
            ("message.timeout.ms", message_timeout.as_str()),
            // The library may wait without end for a group coordinator that is gone (librdkafka #5456, #5511); a
            // connection that changes its state, as an idle one that is closed does, makes it look again.
            ("connections.max.idle.ms", "5000"),
            producer::ANY_LENGTH,
            requests::REPORTS,
        ];
        let writer = TopicWriter::with_settings(
            &config.bootstrap_servers,
            topic,
            &config.properties,
            &settings,
        )?;
        attempts(topic, || writer.producer().init_transactions(CALL))?;
        let marker = Marker::new(config, topic, app_id)?;
        let timeout = config.transaction_timeout;
        Ok(Self { writer, marker, timeout, transactions: 0, written: None, report: 0 })
    }

    pub(super) fn marker(&self) -> Result<Option<CheckpointId>> {
        self.marker.read()
    }

    /// When it has written the marker; one that has not found it as old as may be.
    pub(super) fn written(&self) -> Option<Instant> {
        self.written
    }

    /// Whether nothing of its transactions can be on its way any more: what would harm a later one was sent once for each.
    /// Blocking, until the library has reported.
    pub(super) fn is_settled(&self) -> bool {
        let sent = self.writer.requests().sent_after(self.report);
        sent.is_some_and(|sent| sent <= self.transactions)
    }

    /// Sends the messages and moves the marker to `n`, both or neither. After an error the outcome is unknown and the
    /// session must not be used again.
    pub(super) fn commit(
        &mut self,
        n: CheckpointId,
        send: impl FnOnce(&mut dyn FnMut(Message<'_>) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let begun = instant();
        let Err(error) = self.transaction(n, send) else {
            self.transactions += 1;
            self.written = Some(begun);
            self.report = self.writer.requests().newest();
            return Ok(());
        };
        let open = begun.elapsed();
        drop(self.writer.producer().abort_transaction(ABORT));
        Err(if open < self.timeout {
            error
        } else {
            outlived(&self.marker.topic, open, self.timeout, error)
        })
    }

    fn transaction(
        &self,
        n: CheckpointId,
        send: impl FnOnce(&mut dyn FnMut(Message<'_>) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        let (topic, producer) = (&self.marker.topic, self.writer.producer());
        producer.begin_transaction().map_err(|e| refused(topic, &e))?;
        let now = now_micros() / 1_000;
        send(&mut |message| {
            self.writer.send(message.key, Some(message.value), message.time_at(now))
        })?;
        failpoint::hit("messages.sent")?;
        let group = self.marker.consumer.group_metadata();
        let group = group.ok_or_else(|| Error::internal("a consumer without a group"))?;
        let mut marker = TopicPartitionList::new();
        marker
            .add_partition_offset(topic, PARTITION, Offset::Offset(n.0 as i64))
            .map_err(|e| refused(topic, &e))?;
        attempts(topic, || producer.send_offsets_to_transaction(&marker, &group, CALL))?;
        failpoint::hit("messages.marked")?;
        attempts(topic, || producer.commit_transaction(CALL))?;
        failpoint::hit("messages.committed")
    }
}

/// Calls again as long as the library says that this helps.
fn attempts<T>(topic: &str, mut call: impl FnMut() -> Result<T, KafkaError>) -> Result<T> {
    let mut calls = 0;
    loop {
        calls += 1;
        match call() {
            Ok(value) => return Ok(value),
            Err(error) if calls < CALLS && may_pass(&error) => {}
            Err(error) => return Err(refused(topic, &error)),
        }
    }
}

fn may_pass(error: &KafkaError) -> bool {
    match error {
        KafkaError::Transaction(error) => error.is_retriable(),
        other => matches!(
            client::code(other),
            Some(
                Code::OperationTimedOut
                    | Code::RequestTimedOut
                    | Code::NotCoordinator
                    | Code::CoordinatorNotAvailable
                    | Code::CoordinatorLoadInProgress
                    | Code::UnstableOffsetCommit
                    | Code::BrokerTransportFailure
            )
        ),
    }
}

/// The error of a transaction that was open for longer than the broker keeps one: what the library says of it, that the
/// producer was fenced, say, is the consequence.
fn outlived(topic: &str, open: Duration, timeout: Duration, error: Error) -> Error {
    if !error.kind().is_retryable() {
        return error;
    }
    Error::transient(format!(
        "the transaction to topic `{topic}` failed after {} s, and the broker ends it after {} s: if sending one \
         checkpoint takes so long, raise transaction_timeout",
        open.as_secs(),
        timeout.as_secs()
    ))
    .with_source(error)
}

/// The library's error in our words. One that another instance caused, or the broker's own limit of time, is transient:
/// the next session finds out whose manifest is the newest.
fn refused(topic: &str, error: &KafkaError) -> Error {
    let code = match error {
        KafkaError::Transaction(error) => Some(error.code()),
        other => client::code(other),
    };
    let may_not = |what: &str| Error::config(format!("no permission to {what}: grant it"));
    match code {
        Some(Code::TransactionalIdAuthorizationFailed) => {
            may_not("use transactional ids that begin with the job's name (WRITE, DESCRIBE)")
        }
        Some(Code::GroupAuthorizationFailed) => {
            may_not("use groups that begin with the job's name (READ)")
        }
        Some(Code::InvalidTimestamp) => Error::config(format!(
            "topic `{topic}` refuses the time of a message: look at this machine's clock, and at the topic's \
             message.timestamp.before.max.ms and message.timestamp.after.max.ms"
        )),
        Some(Code::TopicAuthorizationFailed) => may_not(&format!("write to topic `{topic}`")),
        Some(Code::InvalidTransactionTimeout) => Error::config(
            "the transaction timeout of the kafka sink is longer than the broker's \
             transaction.max.timeout.ms: shorten one or raise the other",
        ),
        Some(Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) => {
            Error::transient(format!("the producer of transactions to topic `{topic}` was fenced"))
        }
        _ => Error::transient(format!(
            "the transaction to topic `{topic}` failed: {}",
            client::reason(error)
        )),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::{ErrorKind, error};

    use super::*;

    #[test]
    fn a_transaction_that_was_open_too_long_names_the_setting_and_no_other_instance() {
        let fenced = refused("t", &KafkaError::Global(Code::InvalidProducerEpoch));
        let (open, timeout) = (Duration::from_secs(13), Duration::from_secs(10));
        let late = outlived("t", open, timeout, fenced);
        assert_eq!(late.kind(), ErrorKind::Transient);
        let shown = error::chain(&late);
        assert!(shown.contains("raise transaction_timeout") && shown.contains("13 s"), "{shown}");
        assert!(shown.contains("fenced") && !shown.contains("another instance"), "{shown}");
        let forbidden = refused("t", &KafkaError::Global(Code::TopicAuthorizationFailed));
        let kind = outlived("t", open, timeout, forbidden).kind();
        assert_eq!(kind, ErrorKind::InvalidConfig);
    }
}
