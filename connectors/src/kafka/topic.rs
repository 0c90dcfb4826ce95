//! Questions about a topic: its partitions, their first and last offsets, the cluster it is in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use thalweg_core::{Error, Result};
use tracing::warn;

use super::client;
use super::cluster::Ask;
use super::config::KafkaConfig;
use super::consumer::GroupConsumer;
use super::topic_id::topic_id;
use crate::clock::instant;

/// How long a broker may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long one of several brokers may take.
const TURN: Duration = Duration::from_secs(3);

/// How often a broker is asked at the least: a process that was held up for a while has not waited for anybody.
const LEAST: u32 = 4;

/// Pause between two attempts; spent polling, which also drains librdkafka's events.
const PAUSE: Duration = Duration::from_millis(200);

/// Within this, what is queued already is polled.
const TICK: Duration = Duration::from_millis(1);

/// A client for metadata and offsets; never assigned a partition.
pub(super) struct TopicClient {
    consumer: GroupConsumer,
    servers: String,
    topic: String,
    made: Instant,
    /// Whether a broker has taken the credentials.
    has_answered: AtomicBool,
}

impl std::fmt::Debug for TopicClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TopicClient({} at {})", self.topic, self.servers)
    }
}

impl TopicClient {
    pub(super) fn new(config: &KafkaConfig) -> Result<Self> {
        Self::at(config, "read_committed")
    }

    /// The same; with `isolation` `read_uncommitted` the last offset is that of the last message.
    pub(super) fn at(config: &KafkaConfig, isolation: &str) -> Result<Self> {
        Ok(Self {
            consumer: GroupConsumer::at(config, isolation)?,
            servers: config.bootstrap_servers.clone(),
            topic: config.topic.clone(),
            made: instant(),
            has_answered: AtomicBool::new(false),
        })
    }

    /// The topic's partitions, ascending, whether or not they have a leader; `None` if it does not exist.
    ///
    /// # Errors
    /// When no broker answers.
    pub(super) fn partitions(&self) -> Result<Option<Vec<i32>>> {
        self.forget_errors();
        let started = instant();
        let (mut denials, mut asked, mut reason) = (0, 0, None);
        loop {
            asked += 1;
            let slice = Duration::from_secs(1);
            let problem = match self.consumer.fetch_metadata(Some(&self.topic), slice) {
                Ok(metadata) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    let topic = metadata.topics().iter().find(|t| t.name() == self.topic);
                    match topic.and_then(MetadataTopic::error) {
                        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => {
                            // A broker that has just started may not know its topics yet.
                            denials += 1;
                            if denials == 8 {
                                return Ok(None);
                            }
                            None
                        }
                        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION) => {
                            return Err(Error::config(format!(
                                "`{}` is no topic name",
                                self.topic
                            )));
                        }
                        Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) => {
                            return Err(self.unseen());
                        }
                        Some(error) => Some(RDKafkaErrorCode::from(error)),
                        None => {
                            let partitions =
                                topic.map(MetadataTopic::partitions).unwrap_or_default();
                            let mut ids: Vec<i32> =
                                partitions.iter().map(MetadataPartition::id).collect();
                            ids.sort_unstable();
                            let dense = ids.iter().enumerate().all(|(i, &id)| id == i as i32);
                            if !ids.is_empty() && dense {
                                return Ok(Some(ids));
                            }
                            Some(RDKafkaErrorCode::LeaderNotAvailable)
                        }
                    }
                }
                Err(KafkaError::MetadataFetch(code)) => Some(code),
                Err(error) => return Err(self.failed("read the metadata", &error)),
            };
            // librdkafka repeats itself after half a minute at the earliest.
            reason = self.pause().or(reason);
            if let Some((RDKafkaErrorCode::Authentication, reason)) = &reason
                && !self.has_answered.load(Ordering::Relaxed)
            {
                // The broker answers: waiting does not help. Once it has taken them, a handshake was cut.
                return Err(Error::config(format!(
                    "kafka at {} refuses the credentials: {reason}",
                    self.servers
                )));
            }
            if asked >= LEAST && started.elapsed() >= PATIENCE {
                return Err(match problem {
                    None => return Ok(None),
                    Some(_) => match reason {
                        Some((_, reason)) => Error::transient(format!(
                            "cannot reach kafka at {}: {reason}",
                            self.servers
                        )),
                        None => self.unreachable(),
                    },
                });
            }
        }
    }

    /// Throws away the errors that were told while nobody asked: they are no answer to what is asked now. What a new client
    /// was told is one, and would not be told again soon.
    fn forget_errors(&self) {
        if self.made.elapsed() < PATIENCE {
            return;
        }
        loop {
            let polled = instant();
            // Nothing before the time is over is an event of another kind, with more behind it.
            if self.consumer.poll(TICK).is_none() && polled.elapsed() >= TICK {
                break;
            }
        }
        drop(self.consumer.context().take_error());
    }

    /// An offset for each of `partitions`; those without an answer to [`Ask::At`] are absent.
    pub(super) fn offsets(
        &self,
        partitions: &[i32],
        ask: Ask,
        patience: Duration,
    ) -> Result<BTreeMap<i32, i64>> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let started = instant();
        loop {
            let answer = self.ask(partitions, ask, patience);
            let over = started.elapsed() >= patience;
            match answer {
                // A leader that is just changing.
                Err(error) if error.kind().is_retryable() && !over => drop(self.pause()),
                answer => return answer,
            }
        }
    }

    fn ask(&self, partitions: &[i32], ask: Ask, patience: Duration) -> Result<BTreeMap<i32, i64>> {
        let mut question = TopicPartitionList::with_capacity(partitions.len());
        for &partition in partitions {
            // A logical offset in place of a time asks for the first or the last offset.
            let at = match ask {
                Ask::Low => Offset::Beginning,
                Ask::High => Offset::End,
                Ask::At(millis) => Offset::Offset(millis.max(0)),
            };
            question
                .add_partition_offset(&self.topic, partition, at)
                .map_err(|e| self.failed("ask for offsets", &e))?;
        }
        let answer = self
            .consumer
            .offsets_for_times(question, patience)
            .map_err(|e| self.failed("read the offsets", &e))?;
        let mut offsets = BTreeMap::new();
        for element in answer.elements_for_topic(&self.topic) {
            element.error().map_err(|e| self.failed("read the offsets", &e))?;
            match element.offset() {
                Offset::Offset(offset) => {
                    offsets.insert(element.partition(), offset);
                }
                Offset::End if matches!(ask, Ask::At(_)) => {}
                _ => return Err(self.unreachable()),
            }
        }
        if !matches!(ask, Ask::At(_)) && partitions.iter().any(|p| !offsets.contains_key(p)) {
            return Err(self.unreachable());
        }
        Ok(offsets)
    }

    /// The cluster's id, where it has one.
    pub(super) fn cluster_id(&self) -> Option<String> {
        self.consumer.client().fetch_cluster_id(PATIENCE)
    }

    /// The id that the topic got when it was created; `None` from brokers that give none.
    pub(super) fn id(&self) -> Result<Option<String>> {
        let started = instant();
        let mut turn = 0;
        loop {
            let answer = self.ask_id(turn).map_err(|e| self.failed("read the id", &e));
            let over = started.elapsed() >= PATIENCE;
            match answer {
                Err(error) if error.kind().is_retryable() && !over => drop(self.pause()),
                answer => return answer,
            }
            turn += 1;
        }
    }

    /// Asks one of the brokers: each of them knows, but one that is just going does not answer, and one that is just
    /// coming may not know yet.
    fn ask_id(&self, turn: usize) -> KafkaResult<Option<String>> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), TURN)?;
        let brokers = metadata.brokers();
        let broker = turn.checked_rem(brokers.len()).and_then(|at| brokers.get(at));
        let broker = broker.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::AllBrokersDown))?;
        match topic_id(self.consumer.client(), broker.id(), &self.topic, TURN) {
            // A broker too old to describe topics gives them no ids either.
            Err(RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion) => {
                Ok(None)
            }
            answer => answer.map_err(KafkaError::MetadataFetch),
        }
    }

    /// Writes group offsets; failures arrive later and are logged.
    pub(super) fn commit(&self, positions: &[(i32, i64)]) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for &(partition, position) in positions {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(position))
                .map_err(|e| self.failed("show positions to lag tools", &e))?;
        }
        self.consumer
            .commit(&list, CommitMode::Async)
            .map_err(|e| self.failed("show positions to lag tools", &e))?;
        // Serves the answers to earlier commits. Where nobody may ask who keeps the group there is none for minutes.
        drop(self.consumer.poll(Duration::ZERO));
        if self.consumer.context().take_group_refusal() {
            warn!(
                "cannot show positions to lag tools: no permission to use the group of `group_id`, grant READ on it"
            );
        }
        Ok(())
    }

    /// The error for a topic that should be there.
    pub(super) fn missing(&self) -> Error {
        missing(&self.topic, &self.servers)
    }

    /// The error for a topic whose brokers do not even say whether it is there.
    fn unseen(&self) -> Error {
        Error::config(format!(
            "no permission to describe topic `{}` at {}: grant DESCRIBE on it, which READ and WRITE include",
            self.topic, self.servers
        ))
    }

    /// Polls until the pause is over: an event ends a poll. Returns why no broker can be talked to, if that is told; other
    /// errors, which may follow from it, say less. Refused credentials end the pause.
    fn pause(&self) -> Option<(RDKafkaErrorCode, String)> {
        let started = instant();
        let mut why = None;
        loop {
            let left = PAUSE.saturating_sub(started.elapsed());
            if left.is_zero() {
                return why;
            }
            drop(self.consumer.poll(left));
            match self.consumer.context().take_error() {
                Some(error @ (RDKafkaErrorCode::Authentication, _)) => return Some(error),
                Some(error @ (RDKafkaErrorCode::SSL | RDKafkaErrorCode::Resolve, _)) => {
                    why = Some(error);
                }
                _ => {}
            }
        }
    }

    fn unreachable(&self) -> Error {
        Error::transient(format!(
            "cannot reach kafka at {} within {} s: is it running?",
            self.servers,
            PATIENCE.as_secs()
        ))
    }

    fn failed(&self, what: &str, error: &KafkaError) -> Error {
        use RDKafkaErrorCode as Code;
        match client::code(error) {
            Some(
                Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::Resolve,
            ) => self.unreachable(),
            Some(Code::LeaderNotAvailable | Code::NotLeaderForPartition) => {
                Error::transient(format!(
                    "topic `{}` has partitions without leader at {}: is every broker running?",
                    self.topic, self.servers
                ))
            }
            Some(Code::TopicAuthorizationFailed) => self.unseen(),
            _ => Error::transient(format!(
                "cannot {what} of topic `{}` at {}: {}",
                self.topic,
                self.servers,
                client::reason(error)
            )),
        }
    }
}

/// The error for a topic that should be there.
pub(super) fn missing(topic: &str, servers: &str) -> Error {
    Error::config(format!("topic `{topic}` does not exist at {servers}: create it or pass --topic"))
}

/// The error for a topic that we may not read.
pub(super) fn forbidden(topic: &str, servers: &str) -> Error {
    Error::config(format!("no permission to read topic `{topic}` at {servers}: grant READ on it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_as_long_as_it_should_be_whatever_is_told_meanwhile() {
        let client = TopicClient::new(&KafkaConfig::new("127.0.0.1:1", "events")).unwrap();
        // That nobody answers is told within the first.
        for _ in 0..3 {
            let started = instant();
            assert_eq!(client.pause(), None);
            assert!(started.elapsed() >= PAUSE, "it took {:?}", started.elapsed());
        }
    }
}
