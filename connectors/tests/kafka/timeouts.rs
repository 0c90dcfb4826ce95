//! Transactions that take long, those that run out among them, and producers that are used once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::producer::Producer;
use thalweg_connectors::testing::kafka_server::KafkaServer;
use thalweg_core::connector::sink::{Committer, TargetExpectation};
use thalweg_core::connector::staging::{DecidedCheckpoint, StagedBytes};
use thalweg_core::testing::MemoryStaging;
use thalweg_core::{CheckpointId, Result};

use crate::job::{Job, PATIENCE, TEN, all, consumer, known};

#[test]
fn the_shortest_transaction_timeout_that_is_accepted_commits() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 1).with(|config| config.transaction_timeout = TEN);
    job.open(&TargetExpectation::default()).unwrap();
    job.commit(&job.stage(1, 0..10)).unwrap();
    job.commit(&job.stage(2, 10..20)).unwrap();
    assert_eq!(job.read("read_committed"), all(0..20));
}

/// What is staged. Reading the second part takes, the first time, until the broker has given up the transaction that
/// the first part is in.
#[derive(Debug)]
struct Stalled {
    staging: Arc<MemoryStaging>,
    servers: String,
    topic: String,
    reads: AtomicUsize,
}

impl DecidedCheckpoint for Stalled {
    fn read(&self, staged: &StagedBytes) -> Result<Vec<u8>> {
        if self.reads.fetch_add(1, Ordering::Relaxed) == 1 {
            let readable = consumer(&self.servers, "read_committed");
            for tries in 0.. {
                // Readers pass an open transaction when it has been aborted, by the record that says so.
                if readable.fetch_watermarks(&self.topic, 0, PATIENCE).unwrap().1 > 0 {
                    break;
                }
                assert!(tries < 900, "the transaction is never given up");
                drop(readable.poll(Duration::from_millis(200)));
            }
        }
        self.staging.read(staged)
    }

    fn is_newest(&self) -> Result<bool> {
        Ok(true)
    }
}

#[test]
fn a_checkpoint_whose_transaction_ran_out_while_it_was_sent_is_sent_again_and_once() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 1).with(|config| config.transaction_timeout = TEN);
    let mut pending = job.stage(1, 0..10);
    pending.staged.extend(job.stage(1, 10..20).staged);
    let stalled = Arc::new(Stalled {
        staging: Arc::clone(&job.staging),
        servers: job.servers.clone(),
        topic: job.topic.clone(),
        reads: AtomicUsize::new(0),
    });
    let checkpoint: Arc<dyn DecidedCheckpoint> = Arc::clone(&stalled) as _;
    let committed = job.runtime.block_on(job.cluster.commit(&pending, &checkpoint)).unwrap();
    assert!(!committed.replayed);
    // Two parts, twice. A busy machine may let the second try run out as well: a commit has three.
    let reads = stalled.reads.load(Ordering::Relaxed);
    assert!((4..=6).contains(&reads), "{reads} parts were read");
    assert_eq!(job.read("read_committed"), all(0..20));
    assert!(job.read("read_uncommitted").len() > 20, "the first try had sent messages");
    assert!(job.copy().commit(&pending).unwrap().replayed);
}

/// What is staged, and how often a session was begun: each asks first whether its manifest still is the newest.
#[derive(Debug)]
struct Asked(Arc<MemoryStaging>, AtomicUsize);

impl DecidedCheckpoint for Asked {
    fn read(&self, staged: &StagedBytes) -> Result<Vec<u8>> {
        self.0.read(staged)
    }

    fn is_newest(&self) -> Result<bool> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.is_newest()
    }
}

#[test]
fn a_strict_sink_begins_a_session_for_each_checkpoint() {
    let Some(kafka) = KafkaServer::shared() else { return };
    for (strict, sessions) in [(false, 1), (true, 4)] {
        let job = Job::begin(kafka, 1).with(|config| config.strict = strict);
        let asked = Arc::new(Asked(Arc::clone(&job.staging), AtomicUsize::new(0)));
        let checkpoint: Arc<dyn DecidedCheckpoint> = Arc::clone(&asked) as _;
        for n in 0..3 {
            let pending = job.stage(n as u64 + 1, n * 10..n * 10 + 10);
            let commit = || job.runtime.block_on(job.cluster.commit(&pending, &checkpoint));
            assert!(!commit().unwrap().replayed);
            // The same again, once: a new session finds the marker, an old one knows it.
            assert!(n != 2 || commit().unwrap().replayed);
        }
        assert_eq!(asked.1.load(Ordering::Relaxed), sessions);
        assert_eq!(job.read("read_committed"), all(0..30));
    }
}

#[test]
fn a_transaction_that_sleeps_longer_than_the_broker_waits_is_nobodys() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 1);
    job.commit(&job.stage(1, 0..10)).unwrap();
    let zombie = job.left_open("10000");
    // What comes behind an open transaction is seen once the broker has given it up.
    let behind = br#"{"id":100,"name":null}"#;
    kafka.produce(&job.topic, 0, None, Some(behind), None).unwrap();
    // A reader waits for that, and does not take the beginning of what is open for the end of the topic.
    let rows: Vec<i64> = (0..10).chain([100]).collect();
    assert_eq!(job.read("read_committed"), rows, "the broker waits for ever");
    assert!(zombie.commit_transaction(TEN).is_err());
    assert_eq!(job.copy().open(&known(1)).unwrap().txn, Some(CheckpointId(1)));
    job.copy().commit(&job.stage(2, 10..20)).unwrap();
    let rows: Vec<i64> = (0..20).chain([100]).collect();
    assert_eq!(job.read("read_committed"), rows);
}
