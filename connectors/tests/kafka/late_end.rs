//! Ends of transactions that the network holds back until a later transaction is open.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rdkafka::consumer::Consumer;
use thalweg_connectors::testing::kafka_server::{KafkaProxy, KafkaServer, or_skip, unique_topic};
use thalweg_core::connector::sink::Committer;
use thalweg_core::connector::staging::{DecidedCheckpoint, StagedBytes};
use thalweg_core::testing::MemoryStaging;
use thalweg_core::{CheckpointId, Result};

use crate::job::{Job, PATIENCE, Row, all, consumer, known, read};

/// Within this the broker gives up a transaction that a test wants it to, and a busy machine gets through another.
const SOON: Duration = Duration::from_secs(15);

/// A job whose every request goes through the proxy.
fn begin(kafka: &KafkaServer, proxy: &KafkaProxy, strict: bool, timeout: Duration) -> Job {
    let topic = unique_topic("late");
    kafka.create_topic(&topic, 1, &[]).unwrap();
    let job = Job::at(proxy.bootstrap_servers(), &topic).with(|config| {
        config.strict = strict;
        config.transaction_timeout = timeout;
    });
    job.open_at_last();
    job
}

/// Waits until the topic's end, as readers of this isolation see it, is at `offset` or behind it.
fn wait_for_end(servers: &str, topic: &str, isolation: &str, offset: i64) {
    let reader = consumer(servers, isolation);
    for tries in 0.. {
        if reader.fetch_watermarks(topic, 0, PATIENCE).unwrap().1 >= offset {
            return;
        }
        assert!(tries < 900, "the end does not get there");
        drop(reader.poll(Duration::from_millis(200)));
    }
}

/// What is staged. Before the second part is read, while the first is in the topic and its transaction open, the lost end
/// arrives.
#[derive(Debug)]
struct Late {
    staging: Arc<MemoryStaging>,
    proxy: Arc<KafkaProxy>,
    servers: String,
    topic: String,
    /// The topic's end before the transaction, and how many messages the first part has.
    before: i64,
    rows: i64,
    reads: AtomicUsize,
    answer: OnceLock<i16>,
}

impl DecidedCheckpoint for Late {
    fn read(&self, staged: &StagedBytes) -> Result<Vec<u8>> {
        if self.reads.fetch_add(1, Ordering::Relaxed) == 1 {
            let end = self.before + self.rows;
            wait_for_end(&self.servers, &self.topic, "read_uncommitted", end);
            self.answer.get_or_init(|| self.proxy.deliver_late().unwrap());
        }
        self.staging.read(staged)
    }

    fn is_newest(&self) -> Result<bool> {
        Ok(true)
    }
}

/// Commits checkpoints 2 and 3 behind a first one of 10 rows; the lost end arrives within 2.
fn go_on(job: &Job, kafka: &KafkaServer, proxy: &Arc<KafkaProxy>) {
    let servers = kafka.bootstrap_servers();
    let mut pending = job.stage(2, 10..20);
    pending.staged.extend(job.stage(2, 20..30).staged);
    let late = Arc::new(Late {
        staging: Arc::clone(&job.staging),
        proxy: Arc::clone(proxy),
        servers: servers.to_owned(),
        topic: job.topic.clone(),
        before: consumer(servers, "read_uncommitted")
            .fetch_watermarks(&job.topic, 0, PATIENCE)
            .unwrap()
            .1,
        rows: 10,
        reads: AtomicUsize::new(0),
        answer: OnceLock::new(),
    });
    let checkpoint: Arc<dyn DecidedCheckpoint> = Arc::clone(&late) as _;
    let committed = job.runtime.block_on(job.cluster.commit(&pending, &checkpoint)).unwrap();
    assert!(!committed.replayed);
    assert_ne!(late.answer.get(), Some(&0), "the broker has obeyed a late end");
    assert!(late.answer.get().is_some(), "the end was never delivered");
    assert_eq!(late.reads.load(Ordering::Relaxed), 2, "the transaction was disturbed");
    assert!(!job.commit(&job.stage(3, 30..40)).unwrap().replayed);
    // An independent reader, past the proxy.
    let mut ids: Vec<i64> = read(servers, &job.topic, "read_committed")
        .into_iter()
        .map(|(_, value)| serde_json::from_slice::<Row>(&value).unwrap().id)
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, all(0..40));
    assert_eq!(job.copy().open(&known(3)).unwrap().txn, Some(CheckpointId(3)));
}

#[test]
fn an_end_that_the_library_sent_twice_ends_no_later_transaction() {
    let Some((kafka, proxy)) = or_skip(KafkaServer::start_behind_proxy()) else { return };
    let proxy = Arc::new(proxy);
    for strict in [false, true] {
        let job = begin(&kafka, &proxy, strict, PATIENCE);
        // The connection breaks behind the request; the library connects and sends it again, and all is well.
        proxy.lose_next_end();
        assert!(!job.commit(&job.stage(1, 0..10)).unwrap().replayed);
        assert!(proxy.has_lost_an_end());
        go_on(&job, &kafka, &proxy);
    }
}

#[test]
fn an_end_that_arrives_when_its_producer_has_been_given_up_ends_no_later_transaction() {
    let Some((kafka, proxy)) = or_skip(KafkaServer::start_behind_proxy()) else { return };
    let proxy = Arc::new(proxy);
    let job = begin(&kafka, &proxy, false, SOON);
    let first = job.stage(1, 0..10);
    proxy.lose_next_end();
    proxy.stall_ends(true);
    std::thread::scope(|scope| {
        let committing = scope.spawn(|| job.commit(&first));
        assert!(proxy.has_lost_an_end());
        // What the library sends again is held up, too, until the broker has given the transaction up.
        wait_for_end(kafka.bootstrap_servers(), &job.topic, "read_committed", 10);
        proxy.stall_ends(false);
        assert!(!committing.join().unwrap().unwrap().replayed);
    });
    let tried = read(kafka.bootstrap_servers(), &job.topic, "read_uncommitted").len();
    assert!(tried > 10, "the first producer's messages, and the second's");
    go_on(&job, &kafka, &proxy);
}
