//! A topic as a source: a split for each partition, its position the next offset to read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_schema::SchemaRef;
use thalweg_core::connector::decode::Format;
use thalweg_core::connector::source::{Source, SourceReader, Split};
use thalweg_core::{Error, Result};
use tracing::info;

use super::client;
use super::cluster::{Ask, Brokers, Cluster, Topic};
use super::config::{KafkaConfig, Start};
use super::leader_epoch;
use super::loss::{Loss, created_again, deleted, fewer_partitions, no_partition};
use super::reader::KafkaReader;
use super::topic::{PATIENCE, missing};
use crate::provenance::{BatchLimits, source_schema};

/// What the identity calls the cluster's id.
pub(super) const CLUSTER: &str = "cluster";

/// What the identity calls the topic's id.
const TOPIC_ID: &str = "topic_id";

/// How old the ends may be from which [`Source::lag`] is computed.
const LAG_MEMORY: Duration = Duration::from_secs(1);

/// How long asking for the ends may take.
const LAG_PATIENCE: Duration = Duration::from_secs(1);

/// A Kafka topic.
///
/// **Shape.** The provenance columns of [`crate::provenance::source_schema`], then those of the format; a row for
/// each committed message, tombstones (null payload) and empty payloads included. Keys and headers are not read.
///
/// **Time.** `kafka_timestamp` is the broker's, whether set by the producer or at the append; null where a message
/// has none, or one of another year than 2 to 9998.
///
/// **Guarded.** The cluster and the topic, by the ids that the checkpoint remembers, at each start: a topic that was
/// deleted and created again is not gone on with, however long it is. Every position, by the offsets that the broker
/// still has, and by the epoch of the leader that wrote the message before it, at each start and while reading. Messages
/// of aborted transactions are never seen.
///
/// **Not guarded**: a log cut short by an unclean leader election that has grown again past our position by the time a
/// reader begins, where no epoch of a leader is stored with the position: in checkpoints of older versions, before the
/// first message is read, and from brokers before Apache Kafka 2.4. It looks like more of the same log. So does a topic
/// that was created again where no id is known: from brokers before Apache Kafka 2.8, and in chains of checkpoints begun
/// without one.
#[derive(Debug)]
pub struct KafkaSource {
    config: Arc<KafkaConfig>,
    format: Arc<dyn Format>,
    schema: SchemaRef,
    bounded: bool,
    limits: BatchLimits,
    cluster: Arc<dyn Cluster>,
    client: Mutex<Option<Arc<dyn Topic>>>,
    ends: Mutex<Option<(Instant, BTreeMap<i32, i64>)>>,
    losses: Arc<AtomicU64>,
}

impl KafkaSource {
    /// The topic of `config`, its messages decoded by `format`. Nothing is contacted yet.
    pub fn new(config: KafkaConfig, format: Arc<dyn Format>) -> Self {
        let config = Arc::new(config);
        let cluster = Arc::new(Brokers(Arc::clone(&config)));
        Self::over(config, format, cluster)
    }

    /// The topic of `cluster`, which stands for the one that `config` names.
    #[cfg(feature = "test-util")]
    pub fn on_cluster(
        config: KafkaConfig,
        format: Arc<dyn Format>,
        cluster: Arc<dyn Cluster>,
    ) -> Self {
        Self::over(Arc::new(config), format, cluster)
    }

    fn over(config: Arc<KafkaConfig>, format: Arc<dyn Format>, cluster: Arc<dyn Cluster>) -> Self {
        Self {
            config,
            schema: source_schema(format.as_ref()),
            format,
            bounded: false,
            limits: BatchLimits::default(),
            cluster,
            client: Mutex::new(None),
            ends: Mutex::new(None),
            losses: Arc::default(),
        }
    }

    /// Reads up to the last stable offset that each partition has when the chain begins, and no further.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.bounded = true;
        self
    }

    /// Its batches are full at `limits`.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn in_batches(mut self, limits: BatchLimits) -> Self {
        self.limits = limits;
        self
    }

    fn client(&self) -> Result<Arc<dyn Topic>> {
        let mut kept = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = kept.as_ref() {
            return Ok(Arc::clone(client));
        }
        let client = self.cluster.topic()?;
        Ok(Arc::clone(kept.insert(client)))
    }

    fn partitions(&self) -> Result<Vec<i32>> {
        let client = self.client()?;
        let partitions = client.partitions().inspect_err(|_| self.forget_client())?;
        partitions.ok_or_else(|| missing(&self.config.topic, &self.config.bootstrap_servers))
    }

    /// It may have forgotten its brokers for good (`stall`): the next question is another client's.
    fn forget_client(&self) {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whether the topic is the one that was read, and has what comes next.
    fn compare(
        &self,
        client: &dyn Topic,
        identity: &BTreeMap<String, String>,
        restored: &[Split],
    ) -> Result<()> {
        let topic = &self.config.topic;
        let existing = client.partitions()?;
        if let Some(remembered) = identity.get("topic").filter(|remembered| *remembered != topic) {
            return Err(Error::incompatible(format!(
                "the checkpoint is of topic `{remembered}` and not of `{topic}`: pass --topic {remembered}, or --fresh for a new run"
            )));
        }
        if let (Some(then), Some(now)) = (identity.get(CLUSTER), client.cluster_id())
            && *then != now
        {
            return Err(Error::incompatible(format!(
                "the checkpoint is of kafka cluster {then}, but {} is cluster {now}: pass the old --bootstrap-servers, or --fresh for a new run",
                self.config.bootstrap_servers
            )));
        }
        let mut positions = BTreeMap::new();
        for split in restored.iter().filter(|split| !split.is_finished()) {
            positions.insert(partition_of(&split.id)?, split.position);
        }
        let partitions: Vec<i32> = positions.keys().copied().collect();
        let existing = existing.ok_or_else(|| deleted(topic))?;
        let then = identity.get(TOPIC_ID);
        let now = if then.is_some() { client.id()? } else { None };
        let is_same = then.zip(now.as_ref()).map(|(then, now)| then == now);
        if is_same == Some(false) {
            created_again(&self.config, &self.losses)?;
        }
        if let Some(&gone) = partitions.iter().find(|p| !existing.contains(p)) {
            let is_behind = is_same == Some(true);
            let error = if is_behind { fewer_partitions } else { no_partition };
            return Err(error(topic, gone));
        }
        let low = client.offsets(&partitions, Ask::Low, PATIENCE)?;
        let high = client.offsets(&partitions, Ask::High, PATIENCE)?;
        for (partition, position) in positions {
            let (Some(&low), Some(&high)) = (low.get(&partition), high.get(&partition)) else {
                continue;
            };
            if position < low || position > high {
                Loss { partition, position, low, high: Some(high) }.report(&self.config)?;
            }
        }
        Ok(())
    }

    pub(super) fn kafka_reader(&self) -> Result<KafkaReader> {
        KafkaReader::new(
            Arc::clone(&self.config),
            Arc::clone(&self.cluster),
            Arc::clone(&self.schema),
            self.format.decoder(),
            self.bounded,
            self.limits,
            Arc::clone(&self.losses),
        )
    }
}

impl Source for KafkaSource {
    fn describe(&self) -> String {
        format!("kafka topic {} at {}", self.config.topic, self.config.bootstrap_servers)
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn is_bounded(&self) -> bool {
        self.bounded
    }

    fn identity(&self) -> Result<BTreeMap<String, String>> {
        // The question for partitions gives the clear error when nobody answers.
        self.partitions()?;
        let mut identity = BTreeMap::from([("topic".to_owned(), self.config.topic.clone())]);
        let client = self.client()?;
        identity.extend(client.cluster_id().map(|id| (CLUSTER.to_owned(), id)));
        identity.extend(client.id()?.map(|id| (TOPIC_ID.to_owned(), id)));
        Ok(identity)
    }

    fn start_splits(&self) -> Result<Vec<Split>> {
        let partitions = self.partitions()?;
        let client = self.client()?;
        let low = client.offsets(&partitions, Ask::Low, PATIENCE)?;
        // Before a time, for which it stands where no message is behind that: what arrives in between is read.
        let high = client.offsets(&partitions, Ask::High, PATIENCE)?;
        let start = match self.config.start {
            Start::Earliest => low.clone(),
            Start::Latest => BTreeMap::new(),
            // A message has whole milliseconds: the first at or behind a time is that of the time rounded up.
            Start::Timestamp(micros) => {
                let millis = micros.div_euclid(1_000) + i64::from(micros.rem_euclid(1_000) > 0);
                client.offsets(&partitions, Ask::At(millis), PATIENCE)?
            }
        };
        let mut splits = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let (Some(&low), Some(&high)) = (low.get(&partition), high.get(&partition)) else {
                return Err(Error::transient(format!(
                    "no offsets of partition {partition} are known"
                )));
            };
            let position = start.get(&partition).copied().unwrap_or(high).max(low);
            splits.push(Split {
                id: split_id(partition),
                position,
                end: self.bounded.then_some(high.max(position)),
                properties: BTreeMap::new(),
            });
        }
        Ok(splits)
    }

    fn seal_position(&self, split: &mut Split) -> Result<()> {
        leader_epoch::seal(split);
        Ok(())
    }

    fn discover(&self, known: &[Split]) -> Result<Vec<Split>> {
        if self.bounded {
            return Ok(Vec::new());
        }
        let known: BTreeSet<&str> = known.iter().map(|split| split.id.as_str()).collect();
        let mut new = self.partitions()?;
        new.retain(|&partition| !known.contains(split_id(partition).as_str()));
        let low = self.client()?.offsets(&new, Ask::Low, PATIENCE)?;
        let mut splits = Vec::with_capacity(low.len());
        for (partition, low) in low {
            if low > 0 {
                let loss = Loss { partition, position: 0, low, high: None };
                loss.pass(&self.config, &self.losses)?;
            }
            info!(topic = %self.config.topic, partition, position = low, "partition found");
            splits.push(Split {
                id: split_id(partition),
                position: low,
                end: None,
                properties: BTreeMap::new(),
            });
        }
        Ok(splits)
    }

    fn discovery_interval(&self) -> Option<Duration> {
        (!self.bounded).then_some(self.config.discovery_interval)
    }

    fn verify(&self, identity: &BTreeMap<String, String>, restored: &[Split]) -> Result<()> {
        let client = self.client()?;
        self.compare(client.as_ref(), identity, restored).inspect_err(|_| self.forget_client())
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(self.kafka_reader()?))
    }

    fn committed(&self, splits: &[Split]) -> Result<()> {
        if self.config.group_id.is_none() {
            return Ok(());
        }
        let mut positions = Vec::with_capacity(splits.len());
        for split in splits {
            positions.push((partition_of(&split.id)?, split.position));
        }
        self.client()?.commit(&positions)
    }

    fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    fn lag(&self, splits: &[Split]) -> Option<u64> {
        let partitions: Vec<i32> = splits.iter().flat_map(|s| partition_of(&s.id)).collect();
        // Whoever asks the broker already will know soon; nobody queues up for it.
        let mut ends = self.ends.try_lock().ok()?;
        let now = self.cluster.now();
        let fresh = ends.as_ref().is_some_and(|(at, ends)| {
            now.saturating_duration_since(*at) < LAG_MEMORY
                && partitions.iter().all(|partition| ends.contains_key(partition))
        });
        if !fresh {
            let asked = self.client().ok()?.offsets(&partitions, Ask::High, LAG_PATIENCE).ok()?;
            *ends = Some((now, asked));
        }
        let (_, ends) = ends.as_ref()?;
        let behind = splits.iter().map(|split| {
            let end = split.end.or_else(|| ends.get(&partition_of(&split.id).ok()?).copied())?;
            Some(u64::try_from(end - split.position).unwrap_or(0))
        });
        behind.sum()
    }
}

/// The name of a partition's split.
pub(super) fn split_id(partition: i32) -> String {
    format!("partition-{partition:05}")
}

/// The partition that a split's name means.
pub(super) fn partition_of(id: &str) -> Result<i32> {
    let number = id.strip_prefix("partition-").and_then(|number| number.parse::<i32>().ok());
    number.filter(|&partition| partition >= 0 && split_id(partition) == id).ok_or_else(|| {
        Error::incompatible(format!("split `{}` is not of a kafka topic", client::one_line(id)))
    })
}
