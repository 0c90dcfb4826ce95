//! What comes of a consumer: messages, ends of partitions, errors. It is librdkafka's or, in a simulation, a played one; a build
//! that has no simulations knows one kind, and nothing is asked at a message.

use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message as _, Timestamp};
use rdkafka::topic_partition_list::TopicPartitionList;
use thalweg_core::Result;

use super::client;
use super::cluster::Assigned;
use super::config::KafkaConfig;
use super::consumer::GroupConsumer;
use super::leader_epoch;
#[cfg(feature = "test-util")]
use super::played::{PlayedMessage, Player, Playing};
use crate::clock::instant;

/// Reads what is assigned to it.
pub struct Consumer(Kind);

enum Kind {
    /// And the topic that it reads.
    Real(GroupConsumer, String),
    #[cfg(feature = "test-util")]
    Played(Playing),
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Consumer")
    }
}

/// What a poll comes to.
pub(super) enum Event<'a> {
    Message(Message<'a>),
    /// A partition was read to its end, for now, and which offset that is, where it is told.
    End(i32, Option<i64>),
    Trouble(KafkaError),
}

/// One message.
pub(super) enum Message<'a> {
    Real(BorrowedMessage<'a>),
    #[cfg(feature = "test-util")]
    Played(PlayedMessage),
}

impl Consumer {
    pub(super) fn real(config: &KafkaConfig) -> Result<Self> {
        Ok(Self(Kind::Real(GroupConsumer::new(config)?, config.topic.clone())))
    }

    /// One that `player` plays.
    #[cfg(feature = "test-util")]
    pub fn played(player: Box<dyn Player>) -> Self {
        Self(Kind::Played(Playing::new(player)))
    }

    /// Adds partitions to those that are read.
    pub(super) fn assign(&mut self, partitions: &[Assigned]) -> KafkaResult<()> {
        match &mut self.0 {
            Kind::Real(consumer, topic) => {
                let mut list = TopicPartitionList::with_capacity(partitions.len());
                for partition in partitions {
                    leader_epoch::add(&mut list, topic, partition)?;
                }
                consumer.incremental_assign(&list)
            }
            #[cfg(feature = "test-util")]
            Kind::Played(playing) => {
                playing.player.assign(partitions);
                Ok(())
            }
        }
    }

    /// Reads a partition no further.
    pub(super) fn unassign(&mut self, partition: i32) -> KafkaResult<()> {
        match &mut self.0 {
            Kind::Real(consumer, topic) => {
                let mut list = TopicPartitionList::with_capacity(1);
                list.add_partition(topic, partition);
                consumer.incremental_unassign(&list)
            }
            #[cfg(feature = "test-util")]
            Kind::Played(playing) => {
                playing.player.unassign(partition);
                Ok(())
            }
        }
    }

    /// What comes next within `timeout`.
    pub(super) fn poll(&mut self, timeout: Duration) -> Option<Event<'_>> {
        match &mut self.0 {
            Kind::Real(consumer, _) => Some(match consumer.poll(timeout)? {
                Ok(message) => Event::Message(Message::Real(message)),
                Err(KafkaError::PartitionEOF(number)) => {
                    Event::End(number, consumer.context().take_eof_offset())
                }
                Err(error) => Event::Trouble(error),
            }),
            #[cfg(feature = "test-util")]
            Kind::Played(playing) => playing.poll(timeout),
        }
    }

    /// Whether the error that came last was told to be of a log that was cut short.
    pub(super) fn was_cut(&mut self) -> bool {
        match &mut self.0 {
            Kind::Real(consumer, _) => {
                let said = consumer.context().take_error();
                said.is_some_and(|(_, reason)| client::is_truncation(&reason))
            }
            #[cfg(feature = "test-util")]
            Kind::Played(playing) => std::mem::take(&mut playing.cut),
        }
    }

    /// The time that its timeouts are of.
    pub(super) fn now(&self) -> Instant {
        match &self.0 {
            Kind::Real(..) => instant(),
            #[cfg(feature = "test-util")]
            Kind::Played(playing) => playing.player.now(),
        }
    }
}

impl Message<'_> {
    pub(super) fn partition(&self) -> i32 {
        match self {
            Self::Real(message) => message.partition(),
            #[cfg(feature = "test-util")]
            Self::Played(message) => message.partition,
        }
    }

    pub(super) fn offset(&self) -> i64 {
        match self {
            Self::Real(message) => message.offset(),
            #[cfg(feature = "test-util")]
            Self::Played(message) => message.offset,
        }
    }

    /// That of the leader that wrote it; negative where it is unknown.
    pub(super) fn epoch(&self) -> i32 {
        match self {
            Self::Real(message) => leader_epoch::epoch_of(message),
            #[cfg(feature = "test-util")]
            Self::Played(message) => message.epoch,
        }
    }

    pub(super) fn timestamp(&self) -> Timestamp {
        match self {
            Self::Real(message) => message.timestamp(),
            #[cfg(feature = "test-util")]
            Self::Played(message) => Timestamp::CreateTime(message.timestamp_ms),
        }
    }

    pub(super) fn payload(&self) -> Option<&[u8]> {
        match self {
            Self::Real(message) => message.payload(),
            #[cfg(feature = "test-util")]
            Self::Played(message) => message.payload.as_deref(),
        }
    }
}
