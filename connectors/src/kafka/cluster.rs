//! What the source asks a cluster. Behind it stands librdkafka, or a simulation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thalweg_core::Result;

use super::config::KafkaConfig;
use super::fetch::Consumer;
use super::topic::TopicClient;
use crate::clock::instant;

/// Which offset of a partition to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// The first that the broker has.
    Low,
    /// The last stable one: up to here readers of committed messages can read.
    High,
    /// That of the first message with this timestamp (ms) or a later one; absent if there is none.
    At(i64),
}

/// A partition to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// Its number.
    pub partition: i32,
    /// The first offset to read.
    pub from: i64,
    /// The epoch of the leader that wrote the message before that offset, where it is known: if the leader of today says that
    /// the messages of this epoch end before the offset, the log was cut short, which is an error.
    pub epoch: Option<i32>,
}

/// The brokers, as the source of one topic reaches them, and the clock that its patience is compared with.
pub trait Cluster: Send + Sync + fmt::Debug {
    /// A client for questions.
    fn topic(&self) -> Result<Arc<dyn Topic>>;

    /// A consumer that reads nothing until partitions are assigned to it.
    fn consumer(&self) -> Result<Consumer>;

    /// By their clock.
    fn now(&self) -> Instant;
}

/// Questions about the topic. Blocking.
pub trait Topic: Send + Sync + fmt::Debug {
    /// Its partitions, ascending, whether or not they have a leader; `None` if it does not exist.
    fn partitions(&self) -> Result<Option<Vec<i32>>>;

    /// An offset for each of `partitions`; those without an answer to [`Ask::At`] are absent.
    fn offsets(
        &self,
        partitions: &[i32],
        ask: Ask,
        patience: Duration,
    ) -> Result<BTreeMap<i32, i64>>;

    /// The cluster's id, where it has one.
    fn cluster_id(&self) -> Option<String>;

    /// The id that the topic got when it was created; `None` from brokers that give none.
    fn id(&self) -> Result<Option<String>>;

    /// Writes group offsets, for lag tools.
    fn commit(&self, positions: &[(i32, i64)]) -> Result<()>;
}

/// The brokers that a source's settings name, by librdkafka.
#[derive(Debug)]
pub(super) struct Brokers(pub(super) Arc<KafkaConfig>);

impl Cluster for Brokers {
    fn topic(&self) -> Result<Arc<dyn Topic>> {
        Ok(Arc::new(TopicClient::new(&self.0)?))
    }

    fn consumer(&self) -> Result<Consumer> {
        Consumer::real(&self.0)
    }

    fn now(&self) -> Instant {
        instant()
    }
}

/// By its own methods of the same names.
impl Topic for TopicClient {
    fn partitions(&self) -> Result<Option<Vec<i32>>> {
        Self::partitions(self)
    }

    fn offsets(
        &self,
        partitions: &[i32],
        ask: Ask,
        patience: Duration,
    ) -> Result<BTreeMap<i32, i64>> {
        Self::offsets(self, partitions, ask, patience)
    }

    fn cluster_id(&self) -> Option<String> {
        Self::cluster_id(self)
    }

    fn id(&self) -> Result<Option<String>> {
        Self::id(self)
    }

    fn commit(&self, positions: &[(i32, i64)]) -> Result<()> {
        Self::commit(self, positions)
    }
}
