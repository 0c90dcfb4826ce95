//! Brokers that die, or hang, while checkpoints are committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};
use thalweg_connectors::testing::kafka_server::{KafkaServer, or_skip, wait_for_ends};
use thalweg_core::connector::sink::Committer;
use thalweg_core::connector::staging::{DecidedCheckpoint, StagedBytes};
use thalweg_core::testing::MemoryStaging;
use thalweg_core::{CheckpointId, ErrorKind, Result};

use crate::job::{Job, PATIENCE, TEN, all, known};

#[test]
fn commits_while_the_broker_dies_again_and_again_are_in_the_topic_once() {
    let Some(kafka) = or_skip(KafkaServer::start_own(1)) else { return };
    let job = Job::begin(&kafka, 2);
    let (kill, kills) = std::sync::mpsc::channel::<()>();
    let mut unclear = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for () in kills {
                kafka.kill9().unwrap();
                kafka.start_again().unwrap();
            }
        });
        for n in 0..16 {
            let pending = job.stage(n as u64 + 1, n * 500..n * 500 + 500);
            if n % 8 == 3 {
                kill.send(()).unwrap();
            }
            unclear += job.commit_at_last(&pending, |_| ());
        }
        drop(kill);
    });
    println!("{unclear} commits had to be tried again");
    assert_eq!(job.read("read_committed"), all(0..8_000));
}

#[test]
fn commits_go_on_while_each_of_three_brokers_dies_in_turn() {
    let Some(kafka) = or_skip(KafkaServer::start_own(3)) else { return };
    let job = Job::begin(&kafka, 6);
    for n in 0..9 {
        let pending = job.stage(n as u64 + 1, n * 100..n * 100 + 100);
        let node = n as usize / 3;
        match n % 3 {
            // With two of three replicas the topic, the coordinator and the marker's group move on.
            1 => kafka.kill9_node(node).unwrap(),
            2 => kafka.start_node_again(node).unwrap(),
            _ => {}
        }
        job.commit_at_last(&pending, |_| ());
    }
    assert_eq!(job.read("read_committed"), all(0..900));
    assert_eq!(job.copy().open(&known(9)).unwrap().txn, Some(CheckpointId(9)));
}

/// Longer than three sessions wait for a broker, each a minute.
const LIMIT: Duration = Duration::from_mins(5);

/// What is staged. Before its second part is read, with the first on its way, the broker hangs.
#[derive(Debug)]
struct Hanging {
    staging: Arc<MemoryStaging>,
    kafka: Arc<KafkaServer>,
    topic: String,
    reads: AtomicUsize,
}

impl DecidedCheckpoint for Hanging {
    fn read(&self, staged: &StagedBytes) -> Result<Vec<u8>> {
        if self.reads.fetch_add(1, Ordering::Relaxed) == 1 {
            // Unlike a consumer's, its end waits for nobody.
            let asking: BaseProducer = ClientConfig::new()
                .set("bootstrap.servers", self.kafka.bootstrap_servers())
                .create()
                .unwrap();
            let ask =
                |patience: Duration| asking.client().fetch_watermarks(&self.topic, 0, patience);
            ask(PATIENCE).unwrap();
            self.kafka.freeze().unwrap();
            // It takes a moment until it answers nobody.
            let silent = (0..60).any(|_| ask(Duration::from_secs(2)).is_err());
            assert!(silent, "a broker that is stopped goes on answering");
        }
        self.staging.read(staged)
    }

    fn is_newest(&self) -> Result<bool> {
        Ok(true)
    }
}

#[test]
fn a_commit_to_a_broker_that_hangs_ends_and_is_made_up_for() {
    let Some(kafka) = or_skip(KafkaServer::start_own(1)) else { return };
    let kafka = Arc::new(kafka);
    let job = Job::begin(&kafka, 1).with(|config| config.transaction_timeout = TEN);
    job.commit(&job.stage(1, 0..10)).unwrap();
    // Behind the end of the first transaction, which may be told before it is there.
    wait_for_ends(&job.servers, &job.topic).unwrap();
    let (_, from) = kafka.watermarks(&job.topic, 0).unwrap();
    let mut pending = job.stage(2, 10..20);
    pending.staged.extend(job.stage(2, 20..30).staged);
    let checkpoint: Arc<dyn DecidedCheckpoint> = Arc::new(Hanging {
        staging: Arc::clone(&job.staging),
        kafka: Arc::clone(&kafka),
        topic: job.topic.clone(),
        reads: AtomicUsize::new(0),
    });
    let commit = job.cluster.commit(&pending, &checkpoint);
    let ended = job.runtime.block_on(async { tokio::time::timeout(LIMIT, commit).await });
    kafka.thaw().unwrap();
    let error = ended.expect("the commit does not end").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    // The next attempt finishes the same checkpoint.
    let tries = job.commit_at_last(&pending, |error| {
        // A broker that thaws may forget to end a transaction (KAFKA-20734): then an operator has to.
        if error.to_string().contains("has not ended") {
            println!("it hangs: {:?}", kafka.abort_transaction(&job.topic, 0, from));
        }
    });
    let found = job.read("read_committed");
    let in_all = job.read("read_uncommitted").len();
    assert_eq!(found, all(0..30), "{tries} tries again, {in_all} messages in all");
    assert_eq!(job.copy().open(&known(2)).unwrap().txn, Some(CheckpointId(2)));
}
