//! A consumer that a simulation plays, in the words of librdkafka's.

use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::cluster::Assigned;
use super::fetch::{Event, Message};

/// Who plays it.
pub trait Player: Send {
    /// Partitions are to be read as well. An end is told of each, and again when it has moved.
    fn assign(&mut self, partitions: &[Assigned]);

    /// A partition is to be read no further.
    fn unassign(&mut self, partition: i32);

    /// What comes next, after `timeout` at the latest.
    fn poll(&mut self, timeout: Duration) -> Option<Played>;

    /// By the clock of its timeouts.
    fn now(&self) -> Instant;
}

/// What a poll comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Played {
    /// A message of a transaction that was committed, or of none.
    Message(PlayedMessage),
    /// A partition was read to its end, for now.
    End {
        /// Which.
        partition: i32,
        /// Behind markers and aborted records.
        offset: i64,
    },
    /// An error.
    Refused(PlayedError),
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayedMessage {
    /// The partition that it is in.
    pub partition: i32,
    /// Where in it.
    pub offset: i64,
    /// Of the leader that wrote it; negative: unknown.
    pub epoch: i32,
    /// When it was made.
    pub timestamp_ms: i64,
    /// What it holds; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
}

/// An error of a consumer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlayedError {
    /// A broker does not answer.
    NoAnswer,
    /// A broker refuses the credentials, or cuts a connection in its handshake.
    Unauthenticated,
    /// Another one leads.
    NoLeader,
    /// A broker does not know a partition.
    Unknown,
    /// An offset is refused; its partition is read no further.
    OutOfRange,
    /// A log ends before the offset, for the epoch that came with it; its partition is read no further.
    CutShort,
}

impl PlayedError {
    fn code(self) -> Code {
        match self {
            Self::NoAnswer => Code::BrokerTransportFailure,
            Self::Unauthenticated => Code::Authentication,
            Self::NoLeader => Code::NotLeaderForPartition,
            Self::Unknown => Code::UnknownTopicOrPartition,
            Self::OutOfRange | Self::CutShort => Code::AutoOffsetReset,
        }
    }
}

/// What stands in librdkafka's place.
pub(super) struct Playing {
    pub(super) player: Box<dyn Player>,
    /// Whether the error that came last was of a log that was cut short.
    pub(super) cut: bool,
}

impl Playing {
    pub(super) fn new(player: Box<dyn Player>) -> Self {
        Self { player, cut: false }
    }

    pub(super) fn poll(&mut self, timeout: Duration) -> Option<Event<'static>> {
        Some(match self.player.poll(timeout)? {
            Played::Message(message) => Event::Message(Message::Played(message)),
            Played::End { partition, offset } => Event::End(partition, Some(offset)),
            Played::Refused(error) => {
                self.cut = error == PlayedError::CutShort;
                Event::Trouble(KafkaError::MessageConsumption(error.code()))
            }
        })
    }
}

#[cfg(test)]
mod tests;
