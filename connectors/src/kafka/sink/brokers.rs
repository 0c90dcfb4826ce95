//! A real cluster, by librdkafka. Its errors in our words.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg_core::{CheckpointId, Error, Result};

use super::cluster::{
    Answer, BrokerLimits, Cluster, Ends, FoundTopic, Message, Reading, Refusal, Transactions,
    attempts,
};
use super::config::KafkaSinkConfig;
use super::sessions::locked;
use crate::clock::{instant, now_micros};
use crate::kafka::cluster::Ask;
use crate::kafka::config::KafkaConfig;
use crate::kafka::consumer::GroupConsumer;
use crate::kafka::producer::{self, TopicWriter};
use crate::kafka::topic::TopicClient;
use crate::kafka::{DemoBroker, admin, client, delivery, requests};

/// How long one call may wait for a broker before it is called again.
const CALL: Duration = Duration::from_secs(10);
/// How long the first look at a marker may wait: where nobody may use its group, that is heard behind it.
const LOOK: Duration = Duration::from_secs(2);
/// Giving up an open transaction is a courtesy to its readers.
const ABORT: Duration = Duration::from_secs(2);
/// The marker's partition; any would do.
const PARTITION: i32 = 0;

/// The brokers that a sink's settings name.
pub(super) struct Brokers {
    config: KafkaSinkConfig,
    /// How many bytes at once each topic takes that was looked at, where its broker told.
    limits: Mutex<BTreeMap<String, usize>>,
}

impl Brokers {
    pub(super) fn new(config: KafkaSinkConfig) -> Self {
        Self { config, limits: Mutex::default() }
    }

    /// How to read from one topic.
    fn reader(&self, topic: &str) -> KafkaConfig {
        let mut reader = KafkaConfig::new(&self.config.bootstrap_servers, topic);
        reader.properties = client::connection_properties(&self.config.properties);
        reader
    }

    /// How long batches to a topic may be; `None` leaves that to librdkafka.
    fn batch_size(&self, topic: &str) -> Option<String> {
        let limit = locked(&self.limits).get(topic).copied()?;
        let own = self.config.properties.get(producer::BATCH_SIZE);
        producer::batch_size(limit, own.map(String::as_str))
    }

    fn markers(&self, topic: &str, app_id: &str, reading: Reading) -> Result<Markers> {
        let mut reader = self.reader(topic);
        reader.group_id = Some(app_id.to_owned());
        let consumer = GroupConsumer::at(&reader, isolation(reading))?;
        Ok(Markers { consumer, topic: topic.to_owned(), app_id: app_id.to_owned() })
    }
}

fn isolation(reading: Reading) -> &'static str {
    match reading {
        Reading::Settled => "read_committed",
        Reading::Unsettled => "read_uncommitted",
    }
}

impl Cluster for Brokers {
    fn topic(&self, topic: &str, create: bool) -> Result<Option<FoundTopic>> {
        let reader = self.reader(topic);
        let found = TopicClient::new(&reader)?;
        if found.partitions()?.is_none() {
            if !create {
                return Ok(None);
            }
            // The broker's own number of partitions.
            admin::ensure_topic(&self.config.bootstrap_servers, topic, -1, &reader.properties)?;
        }
        let cluster = found.cluster_id().unwrap_or_default();
        let limit = if DemoBroker::is_of(&cluster) {
            None
        } else {
            admin::topic_setting(&reader, "max.message.bytes")?
        };
        let limit = limit.and_then(|limit| limit.parse().ok());
        if let Some(limit) = limit {
            locked(&self.limits).insert(topic.to_owned(), limit);
        }
        Ok(Some(FoundTopic { cluster, limit }))
    }

    fn broker_limits(&self, topic: &str, found: &FoundTopic) -> Result<BrokerLimits> {
        if DemoBroker::is_of(&found.cluster) {
            return Ok(BrokerLimits::NONE);
        }
        Ok(BrokerLimits::of(&admin::broker_settings(&self.reader(topic))?))
    }

    fn producer(&self, topic: &str, app_id: &str) -> Result<Box<dyn Transactions>> {
        let config = &self.config;
        let timeout = config.transaction_timeout.as_millis().to_string();
        let message_timeout = config.message_timeout()?.to_string();
        let batch_size = self.batch_size(topic);
        let mut settings = vec![
            ("transactional.id", app_id),
            ("transaction.timeout.ms", timeout.as_str()),
            ("message.timeout.ms", message_timeout.as_str()),
            // The library may wait without end for a group coordinator that is gone (librdkafka #5456, #5511); a
            // connection that changes its state, as an idle one that is closed does, makes it look again.
            ("connections.max.idle.ms", "5000"),
            producer::ANY_LENGTH,
            requests::REPORTS,
        ];
        settings.extend(batch_size.as_deref().map(|bytes| (producer::BATCH_SIZE, bytes)));
        let writer = TopicWriter::with_settings(
            &config.bootstrap_servers,
            topic,
            &config.properties,
            &settings,
        )?;
        Ok(Box::new(TransactionalWriter {
            writer,
            brokers: Self::new(config.clone()),
            topic: topic.to_owned(),
            app_id: app_id.to_owned(),
            markers: OnceLock::new(),
        }))
    }

    fn marker(&self, topic: &str, app_id: &str, reading: Reading) -> Result<Option<CheckpointId>> {
        let markers = self.markers(topic, app_id, reading)?;
        attempts(self, || markers.read())
    }

    fn now(&self) -> Instant {
        instant()
    }

    fn wait(&self, pause: Duration) {
        std::thread::park_timeout(pause);
    }
}

/// What one sink has sent, as the broker remembers it.
struct Markers {
    consumer: GroupConsumer,
    topic: String,
    app_id: String,
}

impl Markers {
    fn read(&self) -> Answer<Option<CheckpointId>> {
        let refused = |error| refusal(&self.topic, &self.app_id, &error);
        let mut question = TopicPartitionList::new();
        question.add_partition(&self.topic, PARTITION);
        let ask = |patience: Duration| self.consumer.committed_offsets(question.clone(), patience);
        let found = ask(LOOK).or_else(|_| {
            if self.is_forbidden() {
                return Err(KafkaError::Global(Code::GroupAuthorizationFailed));
            }
            ask(CALL)
        });
        let found = found.map_err(refused)?;
        let all = found.elements();
        let Some(marker) = all.first() else { return Ok(None) };
        marker.error().map_err(refused)?;
        Ok(match marker.offset() {
            Offset::Offset(n) => u64::try_from(n).ok().map(CheckpointId),
            _ => None,
        })
    }

    /// Whether the group may not be used. The library asks who keeps it all the same, and says beside that it is refused.
    fn is_forbidden(&self) -> bool {
        let said = std::iter::from_fn(|| self.consumer.poll(Duration::ZERO));
        let mut codes = said.filter_map(|event| client::code(&event.err()?));
        codes.any(|code| code == Code::GroupAuthorizationFailed)
    }
}

struct TransactionalWriter {
    writer: TopicWriter,
    brokers: Brokers,
    topic: String,
    app_id: String,
    /// Made once the brokers have answered: nobody waits for the end of a consumer that never reached one.
    markers: OnceLock<Markers>,
}

impl TransactionalWriter {
    /// What a call says behind a message that was refused is a consequence.
    fn refused(&self) -> impl Fn(KafkaError) -> Refusal {
        |error| match self.writer.refused() {
            Some(error) => Refusal { may_pass: false, error },
            None => refusal(&self.topic, &self.app_id, &error),
        }
    }

    /// Why the transaction has failed, if it has. A message that it does not take any more does not tell; who would begin
    /// another one is told.
    fn cause(&self) -> Option<Error> {
        let error = self.writer.producer().begin_transaction().err()?;
        let has_failed = client::code(&error) != Some(Code::State);
        has_failed.then(|| refused(&self.topic, &self.app_id, &error))
    }

    /// A group that only this sink uses, and nobody joins.
    fn markers(&self) -> Answer<&Markers> {
        if let Some(markers) = self.markers.get() {
            return Ok(markers);
        }
        let markers = self.brokers.markers(&self.topic, &self.app_id, Reading::Settled);
        let markers = markers.map_err(|error| Refusal { may_pass: false, error })?;
        Ok(self.markers.get_or_init(|| markers))
    }
}

impl Transactions for TransactionalWriter {
    fn init(&self) -> Answer<()> {
        self.writer.producer().init_transactions(CALL).map_err(self.refused())
    }

    fn begin(&self) -> Answer<()> {
        self.writer.producer().begin_transaction().map_err(self.refused())
    }

    fn send(&self, message: Message<'_>) -> Result<()> {
        let time = message.time_at(now_micros() / 1_000);
        let sent = self.writer.send(message.key, Some(message.value), time);
        sent.map_err(|error| match self.cause() {
            Some(cause) if error.kind().is_retryable() => cause,
            _ => error,
        })
    }

    fn mark(&self, n: CheckpointId) -> Answer<()> {
        let group = self.markers()?.consumer.group_metadata().ok_or_else(|| Refusal {
            may_pass: false,
            error: Error::internal("a consumer without a group"),
        })?;
        let mut marker = TopicPartitionList::new();
        marker
            .add_partition_offset(&self.topic, PARTITION, Offset::Offset(n.0 as i64))
            .map_err(self.refused())?;
        let producer = self.writer.producer();
        producer.send_offsets_to_transaction(&marker, &group, CALL).map_err(self.refused())
    }

    fn commit(&self) -> Answer<()> {
        self.writer.producer().commit_transaction(CALL).map_err(self.refused())
    }

    fn abort(&self) {
        drop(self.writer.producer().abort_transaction(ABORT));
    }

    fn ends(&self) -> Result<Box<dyn Ends + '_>> {
        let client =
            |reading| TopicClient::at(&self.brokers.reader(&self.topic), isolation(reading));
        let (settled, unsettled) = (client(Reading::Settled)?, client(Reading::Unsettled)?);
        let partitions = settled.partitions()?.unwrap_or_default();
        Ok(Box::new(TopicEnds { settled, unsettled, partitions }))
    }

    fn marker(&self) -> Answer<Option<CheckpointId>> {
        self.markers()?.read()
    }

    fn report(&self) -> u64 {
        self.writer.requests().newest()
    }

    fn sent_after(&self, number: u64) -> Option<i64> {
        self.writer.requests().sent_after(number)
    }
}

struct TopicEnds {
    settled: TopicClient,
    unsettled: TopicClient,
    partitions: Vec<i32>,
}

impl Ends for TopicEnds {
    fn look(&self, reading: Reading) -> Answer<BTreeMap<i32, i64>> {
        let client = match reading {
            Reading::Settled => &self.settled,
            Reading::Unsettled => &self.unsettled,
        };
        // It has a patience of its own.
        let found = client.offsets(&self.partitions, Ask::High, CALL);
        found.map_err(|error| Refusal { may_pass: false, error })
    }
}

fn refusal(topic: &str, app_id: &str, error: &KafkaError) -> Refusal {
    Refusal { may_pass: may_pass(error), error: refused(topic, app_id, error) }
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

/// The library's error in our words. One that another instance caused, or the broker's own limit of time, is transient:
/// the next session finds out whose manifest is the newest.
fn refused(topic: &str, app_id: &str, error: &KafkaError) -> Error {
    let code = client::code(error);
    if let Some(refused) = delivery::error(code, topic) {
        return refused;
    }
    // Each chain and sink has another: what is granted once is what all of them begin with.
    let may_not_use = |what: &str, rights: &str| {
        let prefix = app_id.split_inclusive('/').next().unwrap_or(app_id);
        Error::config(format!(
            "no permission to use {what} `{app_id}` for topic `{topic}`: grant {rights} on {what}s with the prefix `{prefix}`"
        ))
    };
    match code {
        Some(Code::TransactionalIdAuthorizationFailed) => {
            may_not_use("transactional id", "WRITE and DESCRIBE")
        }
        Some(Code::GroupAuthorizationFailed) => may_not_use("group", "READ and DESCRIBE"),
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
    use thalweg_core::ErrorKind;

    use super::*;

    #[test]
    fn who_was_fenced_may_come_again_and_who_may_not_write_is_told_what_to_grant() {
        let told = |code| refused("t", "job/chain/0-of-1/sink", &KafkaError::Global(code));
        let kind = |code| told(code).kind();
        assert_eq!(kind(Code::InvalidProducerEpoch), ErrorKind::Transient);
        assert_eq!(kind(Code::TopicAuthorizationFailed), ErrorKind::InvalidConfig);
        assert!(!may_pass(&KafkaError::Global(Code::InvalidProducerEpoch)));
        assert!(may_pass(&KafkaError::Global(Code::UnstableOffsetCommit)));
        for code in [Code::TransactionalIdAuthorizationFailed, Code::GroupAuthorizationFailed] {
            let told = told(code);
            assert_eq!(told.kind(), ErrorKind::InvalidConfig);
            let told = told.to_string();
            assert!(told.contains("`job/chain/0-of-1/sink`"), "{told}");
            assert!(told.ends_with("with the prefix `job/`"), "{told}");
        }
    }

    #[test]
    fn a_batch_that_is_too_long_names_the_topics_limit() {
        let error = refused("t", "a", &KafkaError::Global(Code::MessageSizeTooLarge));
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("max.message.bytes"), "{error}");
    }

    #[test]
    fn batches_fit_into_the_topics_that_were_looked_at() {
        let mut config = KafkaSinkConfig::new("127.0.0.1:1");
        config.properties.insert("batch.size".to_owned(), "500".to_owned());
        let brokers = Brokers::new(config);
        locked(&brokers.limits).insert("small".to_owned(), 400);
        locked(&brokers.limits).insert("large".to_owned(), 4_000_000);
        assert_eq!(brokers.batch_size("small").as_deref(), Some("400"));
        assert_eq!(brokers.batch_size("large").as_deref(), Some("500"));
        assert_eq!(brokers.batch_size("unknown"), None);
    }
}
