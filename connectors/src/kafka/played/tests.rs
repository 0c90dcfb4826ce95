//! The source over brokers that a test plays.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thalweg_core::connector::source::{Polled, Source, SourceReader, Split};
use thalweg_core::testing::NoColumns;
use thalweg_core::{ErrorKind, Result};

use super::*;
use crate::clock::instant;
use crate::kafka::cluster::{Ask, Cluster, Topic};
use crate::kafka::fetch::Consumer;
use crate::kafka::reader::LINGER;
use crate::kafka::source::split_id;
use crate::kafka::{KafkaConfig, KafkaSource, OnDataLoss, Start};
use crate::provenance::BATCH_ROWS;

const WAIT: Duration = Duration::from_millis(50);

/// They, their topic and its consumers.
#[derive(Debug, Clone)]
struct Brokers {
    id: Option<&'static str>,
    partitions: i32,
    /// What comes to a consumer first.
    planned: Vec<Played>,
    /// How long each message of the first partition takes, if there always is one more.
    busy: Option<Duration>,
    /// The end of each partition, if a message arrives behind every question for offsets.
    growing: Option<Arc<AtomicU64>>,
    start: Instant,
    /// Nanoseconds since the start.
    passed: Arc<AtomicU64>,
}

impl Brokers {
    fn new(planned: &[Played]) -> Self {
        Self {
            id: Some("one"),
            partitions: 2,
            planned: planned.to_vec(),
            busy: None,
            growing: None,
            start: instant(),
            passed: Arc::default(),
        }
    }

    fn passed(&self) -> Duration {
        Duration::from_nanos(self.passed.load(Ordering::Relaxed))
    }

    fn wait(&self, long: Duration) {
        self.passed.fetch_add(long.as_nanos() as u64, Ordering::Relaxed);
    }

    fn source(&self, on_data_loss: OnDataLoss) -> KafkaSource {
        let config = KafkaConfig { on_data_loss, ..KafkaConfig::new("nowhere", "events") };
        KafkaSource::on_cluster(config, Arc::new(NoColumns), Arc::new(self.clone()))
    }

    /// Of both partitions.
    fn reader(&self) -> Box<dyn SourceReader> {
        let mut reader = self.source(OnDataLoss::Fail).reader().unwrap();
        reader.assign(splits()).unwrap();
        reader
    }
}

impl Cluster for Brokers {
    fn topic(&self) -> Result<Arc<dyn Topic>> {
        Ok(Arc::new(self.clone()))
    }

    fn consumer(&self) -> Result<Consumer> {
        let planned = self.planned.iter().cloned().collect();
        Ok(Consumer::played(Box::new(Script { brokers: self.clone(), planned, next: 0 })))
    }

    fn now(&self) -> Instant {
        self.start + self.passed()
    }
}

impl Topic for Brokers {
    fn partitions(&self) -> Result<Option<Vec<i32>>> {
        Ok(Some((0..self.partitions).collect()))
    }

    fn offsets(&self, partitions: &[i32], ask: Ask, _: Duration) -> Result<BTreeMap<i32, i64>> {
        let end = self.growing.as_ref().map_or(0, |end| end.fetch_add(1, Ordering::Relaxed));
        let offset = match ask {
            Ask::Low => 0,
            Ask::High => end as i64,
            // There is none with such a time yet.
            Ask::At(_) => return Ok(BTreeMap::new()),
        };
        Ok(partitions.iter().map(|partition| (*partition, offset)).collect())
    }

    fn cluster_id(&self) -> Option<String> {
        None
    }

    fn id(&self) -> Result<Option<String>> {
        Ok(self.id.map(str::to_owned))
    }

    fn commit(&self, _: &[(i32, i64)]) -> Result<()> {
        Ok(())
    }
}

struct Script {
    brokers: Brokers,
    planned: VecDeque<Played>,
    /// Of the busy partition.
    next: i64,
}

impl Player for Script {
    fn assign(&mut self, _: &[Assigned]) {}

    fn unassign(&mut self, _: i32) {}

    fn poll(&mut self, timeout: Duration) -> Option<Played> {
        if let Some(planned) = self.planned.pop_front() {
            return Some(planned);
        }
        self.brokers.wait(self.brokers.busy.unwrap_or(timeout));
        self.brokers.busy?;
        self.next += 1;
        Some(message(0, self.next - 1))
    }

    fn now(&self) -> Instant {
        self.brokers.now()
    }
}

fn message(partition: i32, offset: i64) -> Played {
    let (epoch, timestamp_ms) = (3, 1_000);
    Played::Message(PlayedMessage { partition, offset, epoch, timestamp_ms, payload: None })
}

fn splits() -> Vec<Split> {
    let split = |partition| Split {
        id: split_id(partition),
        position: 0,
        end: None,
        properties: BTreeMap::new(),
    };
    [0, 1].map(split).into()
}

/// The positions behind the rows that come in so many polls.
fn read(reader: &mut dyn SourceReader, polls: usize) -> Result<Vec<i64>> {
    let mut positions = Vec::new();
    for _ in 0..polls {
        if let Polled::Rows(rows) = reader.poll(WAIT)? {
            positions.extend(rows.next_positions);
        }
    }
    Ok(positions)
}

#[test]
fn a_busy_partition_does_not_hold_back_a_quiet_one() {
    let mut brokers = Brokers::new(&[message(1, 0)]);
    // Batches of the busy one are full before any row has waited long enough.
    let batch = LINGER / 2;
    brokers.busy = Some(batch / BATCH_ROWS as u32);
    let mut reader = brokers.reader();
    let came = (0..32).any(|_| {
        let polled = reader.poll(WAIT).unwrap();
        matches!(polled, Polled::Rows(rows) if rows.split == split_id(1))
    });
    let passed = brokers.passed();
    assert!(came, "it has not come within {passed:?}");
    assert!((LINGER..=LINGER + batch).contains(&passed), "it came after {passed:?}");
}

#[test]
fn a_start_at_a_time_passes_over_nothing_that_arrives_meanwhile() {
    let brokers = Brokers { growing: Some(Arc::default()), ..Brokers::new(&[]) };
    let config =
        KafkaConfig { start: Start::Timestamp(1_000), ..KafkaConfig::new("nowhere", "events") };
    let source = KafkaSource::on_cluster(config, Arc::new(NoColumns), Arc::new(brokers));
    let positions: Vec<i64> = source.start_splits().unwrap().iter().map(|s| s.position).collect();
    // The time is asked for when the end is 2.
    assert_eq!(positions, [1, 1]);
}

/// As librdkafka may hand it out behind another assignment.
#[test]
fn a_message_that_comes_again_is_no_row_again() {
    let brokers = Brokers::new(&[0, 1, 0, 1, 2].map(|offset| message(0, offset)));
    assert_eq!(read(brokers.reader().as_mut(), 8).unwrap(), [1, 2, 3]);
}

#[test]
fn a_reader_goes_on_behind_a_handshake_that_failed() {
    let cut = Played::Refused(PlayedError::Unauthenticated);
    let brokers = Brokers::new(&[message(0, 0), cut, message(0, 1)]);
    assert_eq!(read(brokers.reader().as_mut(), 8).unwrap(), [1, 2]);
}

#[test]
fn a_message_where_there_was_none_is_of_a_log_that_was_cut_short() {
    let end = Played::End { partition: 0, offset: 5 };
    let brokers = Brokers::new(&[message(0, 0), end, message(0, 3)]);
    let error = read(brokers.reader().as_mut(), 8).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.to_string().contains("was cut short"), "{error}");
}

#[test]
fn a_broker_that_knows_fewer_partitions_ends_a_job_only_where_the_topic_may_be_another() {
    let verify = |then: Option<&str>, brokers: &Brokers, on_data_loss| {
        let mut identity = BTreeMap::from([("topic".to_owned(), "events".to_owned())]);
        identity.extend(then.map(|id| ("topic_id".to_owned(), id.to_owned())));
        let verified = brokers.source(on_data_loss).verify(&identity, &splits());
        verified.map_err(|error| (error.kind(), error.to_string()))
    };
    let known = Brokers::new(&[]);
    verify(Some("one"), &known, OnDataLoss::Fail).unwrap();
    let fewer = Brokers { partitions: 1, ..known.clone() };
    let (kind, told) = verify(Some("one"), &fewer, OnDataLoss::Fail).unwrap_err();
    assert_eq!(kind, ErrorKind::Transient, "{told}");
    assert!(told.contains("knows fewer partitions of topic `events`"), "{told}");
    // Another one, and where no id tells.
    let another = Brokers { id: Some("two"), ..fewer.clone() };
    let nameless = Brokers { id: None, ..fewer.clone() };
    for (then, brokers) in [(Some("one"), &another), (Some("one"), &nameless), (None, &fewer)] {
        let (kind, told) = verify(then, brokers, OnDataLoss::Reset).unwrap_err();
        assert_eq!(kind, ErrorKind::DataLoss, "{told}");
        assert!(told.contains("has no partition 1 any more"), "{told}");
    }
}

#[test]
fn a_reader_leaves_it_to_the_next_start_whether_a_partition_is_gone() {
    let known = Brokers::new(&[Played::Refused(PlayedError::Unknown)]);
    assert!(read(known.reader().as_mut(), 2).unwrap().is_empty());
    let fewer = Brokers { partitions: 1, ..known };
    let error = read(fewer.reader().as_mut(), 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
}
