//! Reads partitions from explicit offsets and hands out their messages in batches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use arrow_schema::SchemaRef;
use rdkafka::error::KafkaError;
use rdkafka::message::Timestamp;
use thalweg_core::connector::decode::Decoder;
use thalweg_core::connector::source::{Polled, SourceReader, Split, SplitBatch};
use thalweg_core::{Error, Result};

use super::client;
use super::cluster::{Cluster, Topic};
use super::config::KafkaConfig;
use super::fetch::{Consumer, Event};
use super::leader_epoch::{self, LastRead};
use super::loss::cut_short;
use super::source::partition_of;
use super::stall::Stall;
use super::trouble::Health;
use crate::calendar::EVENT;
use crate::clock::now_micros;
use crate::provenance::{BatchLimits, MessageBatcher};

/// How long the first row of a batch waits for more when the broker has nothing ready.
pub(super) const LINGER: Duration = Duration::from_millis(2);

pub(super) struct KafkaReader {
    pub(super) config: Arc<KafkaConfig>,
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) consumer: Consumer,
    /// Asks for offsets when the consumer says that a position is gone.
    pub(super) topic: Option<Arc<dyn Topic>>,
    schema: SchemaRef,
    decoder: Box<dyn Decoder>,
    bounded: bool,
    limits: BatchLimits,
    pub(super) losses: Arc<AtomicU64>,
    pub(super) partitions: BTreeMap<i32, Partition>,
    /// Decided but not yet handed out, at most a batch for each partition.
    ready: VecDeque<Polled>,
    pub(super) health: Health,
    pub(super) stall: Stall,
}

/// A partition that is being read.
pub(super) struct Partition {
    split: String,
    /// Behind the last message taken, so also behind all rows of `rows`.
    pub(super) position: i64,
    /// The last message taken, where its leader's epoch is known.
    pub(super) last: Option<LastRead>,
    /// What is stored with the position, as said last.
    told: BTreeMap<String, String>,
    pub(super) end: Option<i64>,
    rows: MessageBatcher,
    /// When the first of `rows` was read, if there are any.
    since: Instant,
}

impl Partition {
    fn is_finished(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }

    /// Queues what is to be stored with the position, if that is news.
    fn tell(&mut self, ready: &mut VecDeque<Polled>) {
        let properties = leader_epoch::properties(self.last, self.position);
        if properties != self.told {
            self.told.clone_from(&properties);
            ready.push_back(Polled::Properties { split: self.split.clone(), properties });
        }
    }
}

impl SourceReader for KafkaReader {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        let now = self.consumer.now();
        let mut list = Vec::with_capacity(splits.len());
        for split in splits {
            if split.is_finished() {
                continue;
            }
            let number = partition_of(&split.id)?;
            let last = LastRead::stored_in(&split);
            list.push(leader_epoch::assigned(number, split.position, last));
            let rows = MessageBatcher::new(&self.config.topic, number, Arc::clone(&self.schema));
            let partition = Partition {
                split: split.id,
                position: split.position,
                last,
                told: split.properties,
                end: split.end,
                rows: rows.with_limits(self.limits),
                since: now,
            };
            if self.partitions.insert(number, partition).is_some() {
                return Err(Error::internal(format!("partition {number} was assigned twice")));
            }
        }
        if list.is_empty() {
            return Ok(());
        }
        self.consumer.assign(&list).map_err(|e| self.broken("assign partitions", &e))
    }

    fn poll(&mut self, max_wait: Duration) -> Result<Polled> {
        if let Some(polled) = self.ready.pop_front() {
            return Ok(polled);
        }
        if self.bounded && self.partitions.is_empty() {
            return Ok(Polled::Exhausted);
        }
        let max_wait = max_wait.min(Duration::from_hours(1));
        let started = self.consumer.now();
        let oldest = self.partitions.values().filter(|p| p.rows.rows() > 0).map(|p| p.since).min();
        let mut first = oldest;
        let deadline = oldest.unwrap_or(started).min(started) + max_wait;
        let mut asked = false;
        loop {
            let now = self.consumer.now();
            if (asked && now >= deadline) || !self.ready.is_empty() {
                break;
            }
            asked = true;
            let until = first.map_or(deadline, |first| deadline.min(first + LINGER));
            // In whole milliseconds: the client spins through the rest of one.
            let timeout = until.saturating_duration_since(now).as_millis() as u64;
            let timeout = Duration::from_millis(timeout);
            match self.consumer.poll(timeout) {
                None => {
                    self.nothing_came(now)?;
                    break;
                }
                Some(Event::Message(message)) => {
                    let Some(partition) = self.partitions.get_mut(&message.partition()) else {
                        continue;
                    };
                    let offset = message.offset();
                    if offset < partition.position {
                        // Behind the last message there were only markers and aborted records: a message there is of
                        // a log that was cut short.
                        if partition.last.take_if(|last| offset >= last.end).is_some() {
                            partition.tell(&mut self.ready);
                            cut_short(&self.config, &self.losses)?;
                        }
                        continue;
                    }
                    let full = if partition.end.is_some_and(|end| offset >= end) {
                        partition.position = partition.end.unwrap_or(offset);
                        true
                    } else {
                        if partition.rows.rows() == 0 {
                            partition.since = now;
                            first.get_or_insert(now);
                        }
                        partition.position = offset + 1;
                        partition.last = LastRead::new(message.epoch(), offset + 1);
                        let timestamp = micros(message.timestamp());
                        partition.rows.push(offset, offset + 1, timestamp, message.payload());
                        partition.rows.is_full() || partition.is_finished()
                    };
                    let number = message.partition();
                    drop(message);
                    self.present();
                    if full {
                        self.hand_out(number, None)?;
                    }
                }
                Some(Event::End(number, offset)) => {
                    self.present();
                    self.at_end(number, offset)?;
                }
                Some(Event::Trouble(error)) => self.trouble(&error)?,
            }
        }
        self.hand_out_old()?;
        Ok(self.ready.pop_front().unwrap_or(Polled::Nothing))
    }
}

impl KafkaReader {
    pub(super) fn new(
        config: Arc<KafkaConfig>,
        cluster: Arc<dyn Cluster>,
        schema: SchemaRef,
        decoder: Box<dyn Decoder>,
        bounded: bool,
        limits: BatchLimits,
        losses: Arc<AtomicU64>,
    ) -> Result<Self> {
        Ok(Self {
            consumer: cluster.consumer()?,
            config,
            cluster,
            topic: None,
            schema,
            decoder,
            bounded,
            limits,
            losses,
            partitions: BTreeMap::new(),
            ready: VecDeque::new(),
            health: Health::default(),
            stall: Stall::default(),
        })
    }

    /// Queues a partition's rows, then `beyond` if its position moved past them without a row. Lets go of a
    /// partition that has been read to its end.
    pub(super) fn hand_out(&mut self, number: i32, beyond: Option<i64>) -> Result<()> {
        let Some(partition) = self.partitions.get_mut(&number) else {
            return Ok(());
        };
        let mut behind_rows = None;
        if partition.rows.rows() > 0 {
            let (batch, next_positions) =
                partition.rows.finish(self.decoder.as_mut(), now_micros())?;
            behind_rows = next_positions.last().copied();
            // Said before its rows: at no barrier a position is stored with the epoch of an earlier message.
            partition.tell(&mut self.ready);
            let split = partition.split.clone();
            self.ready.push_back(Polled::Rows(SplitBatch { split, batch, next_positions }));
        }
        if let Some(position) = beyond {
            partition.position = position;
        }
        if behind_rows != Some(partition.position) && (beyond.is_some() || partition.is_finished())
        {
            partition.tell(&mut self.ready);
            self.ready.push_back(Polled::Advanced {
                split: partition.split.clone(),
                position: partition.position,
            });
        }
        if partition.is_finished() {
            self.partitions.remove(&number);
            self.let_go(number)?;
        }
        Ok(())
    }

    /// Queues all rows that have waited long enough: those of this poll if nothing else is ready, otherwise only
    /// those that an earlier poll left behind, so that a busy partition cannot hold back a quiet one.
    fn hand_out_old(&mut self) -> Result<()> {
        let all = self.ready.is_empty();
        let now = self.consumer.now();
        let old: Vec<i32> = self
            .partitions
            .iter()
            .filter(|(_, p)| {
                p.rows.rows() > 0 && (all || now.saturating_duration_since(p.since) >= LINGER)
            })
            .map(|(&number, _)| number)
            .collect();
        for number in old {
            self.hand_out(number, None)?;
        }
        Ok(())
    }

    /// The end of a partition, for now: beyond the last message there may be control and aborted records.
    fn at_end(&mut self, number: i32, reported: Option<i64>) -> Result<()> {
        let Some(partition) = self.partitions.get(&number) else {
            return Ok(());
        };
        let Some(offset) = reported else {
            return Ok(());
        };
        let offset = partition.end.map_or(offset, |end| offset.min(end));
        if offset > partition.position { self.hand_out(number, Some(offset)) } else { Ok(()) }
    }

    /// Says what is to be stored with a partition's position, if that is news.
    pub(super) fn tell(&mut self, number: i32) {
        if let Some(partition) = self.partitions.get_mut(&number) {
            partition.tell(&mut self.ready);
        }
    }

    fn let_go(&mut self, number: i32) -> Result<()> {
        self.consumer.unassign(number).map_err(|e| self.broken("let go of partitions", &e))
    }

    pub(super) fn broken(&self, what: &str, error: &KafkaError) -> Error {
        Error::transient(format!(
            "cannot {what} of topic `{}` at {}: {}",
            self.config.topic,
            self.config.bootstrap_servers,
            client::reason(error)
        ))
    }
}

/// The broker's time in µs, whoever set it. A producer may set any number: one of another year than 2 to 9998 counts as none.
/// It, or a window around it, could not be stored.
fn micros(timestamp: Timestamp) -> Option<i64> {
    let micros = timestamp.to_millis()?.checked_mul(1_000)?;
    EVENT.has_micros(micros).then_some(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_none_counts_as_none() {
        assert_eq!(micros(Timestamp::NotAvailable), None);
        assert_eq!(micros(Timestamp::CreateTime(1_500)), Some(1_500_000));
        assert_eq!(micros(Timestamp::LogAppendTime(-1_500)), Some(-1_500_000));
        // The first millisecond of the year 2 and the last of 9998, and those that are too many as microseconds.
        let (first, last) = (-62_104_060_800_000, 253_370_764_799_999);
        for time in [first, last] {
            assert_eq!(micros(Timestamp::CreateTime(time)), Some(time * 1_000));
        }
        for beyond in [first - 1, last + 1, i64::MAX / 1_000, i64::MAX, i64::MIN] {
            assert_eq!(micros(Timestamp::CreateTime(beyond)), None, "{beyond}");
        }
    }
}
