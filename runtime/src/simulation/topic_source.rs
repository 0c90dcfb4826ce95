//! The real Kafka source over the topic that is played. A job that reads on and on comes to an end once nothing more arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_schema::SchemaRef;
use thalweg_connectors::kafka::{KafkaConfig, KafkaSource, OnDataLoss};
use thalweg_core::connector::source::{Polled, Source, SourceReader, Split};
use thalweg_core::{Error, Record, Result};

use super::consumer::SourceCluster;
use super::endings::last_read;
use super::input::Row;
use super::lines::{format, row};
use super::steps;
use super::topic::Log;
use super::world::{Mutation, World};

/// What the source calls the topic: no sink sends to one of this name.
pub(super) const TOPIC: &str = "input";
/// Often enough that a partition is found while its first messages are new.
const DISCOVERY: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct TopicSource {
    world: Arc<World>,
    process: u64,
    kafka: Arc<KafkaSource>,
    /// Partitions that some reader of this process has.
    assigned: Arc<Mutex<BTreeSet<String>>>,
}

impl TopicSource {
    pub(super) fn new(world: &Arc<World>, process: u64) -> Self {
        let (extent, resets) = {
            let topic = world.topic();
            (topic.extent, topic.resets)
        };
        let config = KafkaConfig {
            group_id: Some("simulated".to_owned()),
            start: extent.start,
            discovery_interval: DISCOVERY,
            on_data_loss: if resets { OnDataLoss::Reset } else { OnDataLoss::Fail },
            ..KafkaConfig::new("simulated", TOPIC)
        };
        let cluster = SourceCluster { world: Arc::clone(world), process, bursts: extent.bounded };
        let kafka = KafkaSource::on_cluster(config, format(), Arc::new(cluster));
        let kafka = kafka.in_batches(extent.limits);
        let kafka = Arc::new(if extent.bounded { kafka.bounded() } else { kafka });
        Self { world: Arc::clone(world), process, kafka, assigned: Arc::default() }
    }
}

/// How many losses the source has counted is the topic's to know.
fn tell_losses(world: &World, process: u64, kafka: &KafkaSource) {
    if steps::lives() {
        let losses = kafka.losses();
        world.topic().counted.insert(process, losses);
    }
}

/// The source goes on behind `offsets` of a split and has read none of them.
fn audit_skip(world: &World, process: u64, kafka: &KafkaSource, split: &str, offsets: Range<i64>) {
    let skipped = world.topic().skip(process, partition_of(split), offsets, kafka.losses());
    if let Err(what) = skipped {
        world.violation(what);
    }
}

impl Source for TopicSource {
    fn describe(&self) -> String {
        self.kafka.describe()
    }
    fn schema(&self) -> SchemaRef {
        Row::schema()
    }
    /// Where its splits have no end, the topic goes on as long as anything may arrive.
    fn is_bounded(&self) -> bool {
        true
    }
    fn identity(&self) -> Result<BTreeMap<String, String>> {
        self.kafka.identity()
    }
    fn start_splits(&self) -> Result<Vec<Split>> {
        let splits = self.kafka.start_splits()?;
        let begun = self.world.topic().begin(&splits);
        if let Err(what) = begun {
            self.world.violation(what);
        }
        Ok(splits)
    }
    fn discover(&self, known: &[Split]) -> Result<Vec<Split>> {
        let found = self.kafka.discover(known);
        tell_losses(&self.world, self.process, &self.kafka);
        let found = found?;
        for split in &found {
            let before = 0..split.position;
            audit_skip(&self.world, self.process, &self.kafka, &split.id, before);
        }
        self.world.topic().counters.found += found.len() as u64;
        Ok(found)
    }
    fn discovery_interval(&self) -> Option<Duration> {
        self.kafka.discovery_interval()
    }
    fn verify(&self, identity: &BTreeMap<String, String>, restored: &[Split]) -> Result<()> {
        self.kafka.verify(identity, restored)
    }
    fn seal_position(&self, split: &mut Split) -> Result<()> {
        self.kafka.seal_position(split)
    }
    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(Reader {
            world: Arc::clone(&self.world),
            process: self.process,
            kafka: Arc::clone(&self.kafka),
            inner: self.kafka.reader()?,
            positions: BTreeMap::new(),
            assigned: Arc::clone(&self.assigned),
        }))
    }
    fn committed(&self, splits: &[Split]) -> Result<()> {
        self.kafka.committed(splits)
    }
    fn losses(&self) -> u64 {
        self.kafka.losses()
    }
    fn lag(&self, splits: &[Split]) -> Option<u64> {
        self.kafka.lag(splits)
    }
}

struct Reader {
    world: Arc<World>,
    process: u64,
    kafka: Arc<KafkaSource>,
    inner: Box<dyn SourceReader>,
    /// Behind what was handed out of each split.
    positions: BTreeMap<String, i64>,
    assigned: Arc<Mutex<BTreeSet<String>>>,
}

/// The partition of a split.
pub(super) fn partition_of(split: &str) -> i32 {
    split.trim_start_matches("partition-").parse().unwrap()
}

impl Reader {
    fn assigned(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything that will ever be there was handed out, and every partition has a reader. A source that has an end
    /// knows it by itself.
    fn is_at_end(&self) -> bool {
        let known = self.assigned().len();
        let topic = self.world.topic();
        let at_end = |(split, position): (&String, &i64)| {
            topic.logs.get(partition_of(split) as usize).is_some_and(|log| *position >= log.end())
        };
        let is_complete = topic.is_complete() && !topic.extent.bounded;
        is_complete && known == topic.logs.len() && self.positions.iter().all(at_end)
    }

    /// The position of a split becomes `position`; what lies between the one before and `read` was not read.
    fn go_on(&mut self, split: &str, read: i64, position: i64) {
        let before = self.positions.insert(split.to_owned(), position).unwrap_or_default();
        if !steps::lives() {
            return;
        }
        if read < before {
            self.world.violation(format!("{split} goes back to {read}"));
        } else if before < read {
            audit_skip(&self.world, self.process, &self.kafka, split, before..read);
        }
    }

    /// A batch has so many rows.
    fn weigh(&self, rows: usize) {
        if !steps::lives() {
            return;
        }
        let most = {
            let mut topic = self.world.topic();
            let most = topic.extent.most_rows();
            topic.counters.full += u64::from(rows == most);
            most
        };
        if rows > most {
            self.world.violation(format!("a batch has {rows} rows and is full at {most}"));
        }
    }

    /// What is made wrong on purpose.
    fn mutate(&self, split: &mut Split) {
        match self.world.mutation {
            Mutation::ResumesLate if split.position > 0 => split.position += 1,
            Mutation::ResumesSilently => {
                let topic = self.world.topic();
                let low = topic.logs.get(partition_of(&split.id) as usize).map(Log::low);
                split.position = split.position.max(low.unwrap_or_default());
            }
            Mutation::ResumesAtGroup => {
                let group = self.world.topic().group.get(&partition_of(&split.id)).copied();
                split.position = group.unwrap_or(split.position);
            }
            Mutation::EndsAnew => {
                let topic = self.world.topic();
                let now = topic.logs.get(partition_of(&split.id) as usize).map(Log::stable);
                split.end = split.end.and(now);
            }
            _ => {}
        }
    }
}

impl SourceReader for Reader {
    fn assign(&mut self, mut splits: Vec<Split>) -> Result<()> {
        for split in &mut splits {
            self.positions.insert(split.id.clone(), split.position);
            let goes_on = split.end.is_some() && !split.is_finished() && last_read(split).is_some();
            self.world.topic().counters.bounded += u64::from(goes_on);
            self.mutate(split);
            self.assigned().insert(split.id.clone());
        }
        self.inner.assign(splits)
    }

    fn poll(&mut self, max_wait: Duration) -> Result<Polled> {
        if !steps::lives() {
            return Err(Error::internal("killed"));
        }
        if self.is_at_end() {
            return Ok(Polled::Exhausted);
        }
        let polled = self.inner.poll(max_wait);
        tell_losses(&self.world, self.process, &self.kafka);
        let mut polled = polled?;
        match &mut polled {
            Polled::Rows(rows) => {
                for position in &rows.next_positions {
                    self.go_on(&rows.split, position - 1, *position);
                }
                self.weigh(rows.batch.num_rows());
                rows.batch = row(&rows.batch)?;
            }
            Polled::Advanced { split, position } => self.go_on(split, *position, *position),
            Polled::Properties { .. } | Polled::Nothing | Polled::Exhausted => {}
        }
        Ok(polled)
    }
}
