//! What a reader does about events that are not messages.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use thalweg_core::{Error, Result};
use tracing::{info, warn};

use super::client;
use super::cluster::{Ask, Topic};
use super::leader_epoch;
use super::loss::{Loss, cut_short, deleted, fewer_partitions};
use super::reader::KafkaReader;
use super::stall::Stall;
use super::topic::{PATIENCE, forbidden};

/// Spurious `offset out of range` answers in a row, without a message between, before they are believed.
const MAX_DENIALS: u32 = 20;

/// How the reader's broker is doing.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The broker is away, and that has been said.
    away: bool,
    denials: u32,
}

impl KafkaReader {
    /// The broker has answered: says once that it is back.
    pub(super) fn present(&mut self) {
        self.health.denials = 0;
        self.stall = Stall::default();
        if self.health.away {
            self.health.away = false;
            info!(topic = %self.config.topic, "kafka answers again");
        }
    }

    /// Deals with an event that is not a message. Most pass; what would lose or skip a message does not.
    pub(super) fn trouble(&mut self, error: &KafkaError) -> Result<()> {
        let Some(code) = client::code(error) else {
            return Err(self.broken("read", error));
        };
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return Err(self.broken("read", error));
        }
        match code {
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::NotCoordinator
            // librdkafka says so, too, of a connection that is cut in its SASL handshake. The next start tells.
            | Code::Authentication => {
                if !self.health.away {
                    self.health.away = true;
                    warn!(
                        topic = %self.config.topic, servers = %self.config.bootstrap_servers, %code,
                        "no answer from kafka, reading goes on when it is back"
                    );
                }
                Ok(())
            }
            // Reading needs no group; showing positions does, and says so itself.
            Code::GroupAuthorizationFailed => Ok(()),
            Code::AutoOffsetReset | Code::OffsetOutOfRange => {
                let is_cut = self.consumer.was_cut();
                // A position that is gone has a clearer error.
                let lost = self.out_of_range(is_cut)?;
                if is_cut && !lost { cut_short(&self.config, &self.losses) } else { Ok(()) }
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                self.unknown_partition()
            }
            Code::TopicAuthorizationFailed => {
                Err(forbidden(&self.config.topic, &self.config.bootstrap_servers))
            }
            // librdkafka skips what it cannot unpack: stop before the messages behind it arrive.
            Code::BadCompression | Code::NotImplemented => Err(Error::config(format!(
                "topic `{}` has messages that cannot be unpacked: gzip, snappy, lz4 and zstd are known, and a batch may take \
                 as much as kafka property `receive.message.max.bytes` says",
                self.config.topic
            ))),
            _ => Err(self.broken("read", error)),
        }
    }

    /// A fetch was refused because of its offset, or a log `is_cut`. The broker is asked, because a follower that lags
    /// says the same. Returns whether a position is gone, which the policy let pass.
    fn out_of_range(&mut self, is_cut: bool) -> Result<bool> {
        let numbers: Vec<i32> = self.partitions.keys().copied().collect();
        let topic = self.topic()?;
        let low = topic.offsets(&numbers, Ask::Low, PATIENCE)?;
        let high = topic.offsets(&numbers, Ask::High, PATIENCE)?;
        let mut list = Vec::new();
        let (mut lost, mut behind) = (false, false);
        for &number in &numbers {
            let (Some(&low), Some(&high), Some(partition)) =
                (low.get(&number), high.get(&number), self.partitions.get_mut(&number))
            else {
                continue;
            };
            let mut position = partition.position;
            let is_lost = position < low || position > high;
            // Markers are left of what was read last: that may be asked for no more, and nothing is lost.
            let is_behind = !is_lost && partition.last.is_some_and(|last| last.end < low);
            behind |= is_behind;
            // What was read last is of another log else: whose it was that is cut is not shown.
            if is_cut || is_lost || is_behind {
                partition.last = None;
            }
            let (last, end) = (partition.last, partition.end);
            self.tell(number);
            if is_lost {
                lost = true;
                let loss = Loss { partition: number, position, low, high: Some(high) };
                loss.pass(&self.config, &self.losses)?;
                position = end.map_or(low, |end| low.min(end));
                self.hand_out(number, Some(position))?;
            }
            if self.partitions.contains_key(&number) {
                list.push(leader_epoch::assigned(number, position, last));
            }
        }
        let is_explained = lost || is_cut || behind;
        self.health.denials = if is_explained { 0 } else { self.health.denials + 1 };
        if self.health.denials >= MAX_DENIALS {
            return Err(Error::transient(format!(
                "kafka refuses the positions in topic `{}` although it has them",
                self.config.topic
            )));
        }
        if !is_explained {
            warn!(topic = %self.config.topic, "kafka refused an offset that it has: asking again");
        }
        if !list.is_empty() {
            // librdkafka has stopped fetching the refused partition, and which it was is not shown: all of them begin
            // again. By another consumer: one that has heard of a leader compares no epochs with it any more, and its
            // events outlive an assignment.
            self.consumer = self.cluster.consumer()?;
            let assigned = self.consumer.assign(&list);
            assigned.map_err(|e| self.broken("assign partitions", &e))?;
        }
        Ok(lost)
    }

    /// Somebody does not know a partition: a broker that is behind, or the topic is another one. By its id the next start tells.
    fn unknown_partition(&mut self) -> Result<()> {
        let existing = match self.topic()?.partitions() {
            Ok(existing) => existing,
            // No answer: the consumer keeps trying, and says so again.
            Err(error) if error.kind().is_retryable() => return Ok(()),
            Err(error) => return Err(error),
        };
        let name = &self.config.topic;
        let existing = existing.ok_or_else(|| deleted(name))?;
        match self.partitions.keys().find(|number| !existing.contains(number)) {
            Some(&gone) => Err(fewer_partitions(name, gone)),
            None => Ok(()),
        }
    }

    pub(super) fn topic(&mut self) -> Result<&dyn Topic> {
        if self.topic.is_none() {
            self.topic = Some(self.cluster.topic()?);
        }
        self.topic.as_deref().ok_or_else(|| Error::internal("a client vanished"))
    }
}
