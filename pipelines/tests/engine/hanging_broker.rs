//! A broker that hangs holds up nobody but those who read from it: the threads of the actors go on in time.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch};
use thalweg_connectors::generator::{GeneratorSource, from_fn};
use thalweg_connectors::kafka::{KafkaConfig, KafkaSource, TopicWriter};
use thalweg_connectors::testing::kafka_server::{KafkaServer, or_skip, unique_topic};
use thalweg_core::prelude::*;
use thalweg_core::testing::NoColumns;
use thalweg_operators::prelude::*;
use thalweg_runtime::{JobMetrics, SystemClock};

use crate::bench::{Bench, brisk, wait_for};

/// For how long the broker hangs, and longer on a busy machine: as many looks as go into that.
const HANGS: Duration = Duration::from_secs(6);
/// How often it is looked whether rows and checkpoints have come.
const LOOK: Duration = Duration::from_millis(2);
/// What a busy machine may add to the hundredths of a second in which rows and checkpoints follow each other. Whoever waits
/// for the broker waits for longer.
const JITTER: Duration = Duration::from_secs(4);
const ROWS: u64 = 1_000;

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
pub(crate) struct Message {
    partition: i32,
    offset: i64,
    #[record(sensitivity = "phi.raw")]
    payload: Option<Vec<u8>>,
}

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Beat {
    n: i64,
}

fn graph(config: KafkaConfig, bench: &Bench) -> JobGraph {
    let env = StreamEnvironment::new("beats");
    env.source::<Message>("messages", KafkaSource::new(config, Arc::new(NoColumns)))
        .apply("columns", Project::columns(["partition", "offset"]))
        .sink("messages-table", bench.store.sink("messages"));
    let rows = from_fn(Beat::schema(), |from, to| {
        let n = Int64Array::from_iter_values(from as i64..to as i64);
        Ok(RecordBatch::try_new(Beat::schema(), vec![Arc::new(n)]).unwrap())
    });
    let beats = GeneratorSource::new("beats", rows, Arc::new(SystemClock::default()));
    env.source::<Beat>("beats", beats.rows_per_second(Some(200.0)))
        .sink("beats-table", bench.store.sink("beats"));
    env.build().unwrap()
}

fn send(kafka: &KafkaServer, topic: &str) {
    let writer = TopicWriter::new(kafka.bootstrap_servers(), topic, &BTreeMap::new()).unwrap();
    for n in 0..ROWS {
        writer.send(None, Some(n.to_string().as_bytes()), None).unwrap();
    }
    writer.flush(Duration::from_mins(3)).unwrap();
}

fn read(metrics: &JobMetrics, source: &str) -> u64 {
    metrics.nodes().get(source).map_or(0, |rows| rows.0)
}

/// The longest times without a row of `beats` and without a checkpoint, of `all` the time that it is looked. It is counted in
/// looks: where the machine has no time for the job, it has little for this thread.
fn longest_pauses(metrics: &JobMetrics, all: Duration) -> [Duration; 2] {
    let all = (all.as_millis() / LOOK.as_millis()) as u32;
    let mut longest = [0; 2];
    let (mut counts, mut since) = ([0; 2], [0; 2]);
    for looks in 0..all {
        let checkpoint = metrics.checkpoint.load(Ordering::Relaxed);
        let seen = [read(metrics, "beats"), checkpoint];
        for (at, seen) in seen.into_iter().enumerate() {
            longest[at] = longest[at].max(looks - since[at]);
            if seen != counts[at] {
                (counts[at], since[at]) = (seen, looks);
            }
        }
        std::thread::park_timeout(LOOK);
    }
    longest.map(|looks| LOOK * looks)
}

#[test]
fn a_broker_that_hangs_holds_up_neither_the_workers_nor_the_coordinator() {
    let Some(kafka) = or_skip(KafkaServer::start_own(1)) else { return };
    let topic = unique_topic("hangs");
    kafka.create_topic(&topic, 2, &[]).unwrap();
    send(&kafka, &topic);
    // Whatever a source asks a broker, it asks often.
    let config = KafkaConfig {
        group_id: Some(topic.clone()),
        discovery_interval: Duration::from_millis(500),
        ..KafkaConfig::new(kafka.bootstrap_servers(), &topic)
    };
    let bench = Bench::new();
    // Both sources, their chains and their sinks share one worker.
    let job = bench.job(graph(config, &bench), brisk(1)).start().unwrap();
    let metrics = Arc::clone(job.metrics());
    let until = |what: &str, done: &dyn Fn() -> bool| {
        wait_for(what, || {
            assert!(!job.is_finished(), "the job ended early");
            done()
        });
    };
    until("rows of both", &|| {
        bench.store.rows("messages") == ROWS && bench.store.rows("beats") > 0
    });

    kafka.freeze().unwrap();
    let [rows, checkpoints] = std::thread::scope(|scope| {
        let late = scope.spawn(|| send(&kafka, &topic));
        let pauses = longest_pauses(&metrics, HANGS);
        assert!(!late.is_finished(), "the broker does not hang");
        kafka.thaw().unwrap();
        pauses
    });
    println!("while the broker hung: {rows:?} without a row, {checkpoints:?} without a checkpoint");
    assert!(rows < JITTER && checkpoints < JITTER, "{rows:?} {checkpoints:?}");
    assert_eq!(metrics.attempts.load(Ordering::Relaxed), 1);

    until("the late messages", &|| bench.store.rows("messages") == 2 * ROWS);
    job.stopper().stop();
    job.join().unwrap();
}
