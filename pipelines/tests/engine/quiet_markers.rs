//! Brokers forget a sink's marker when nothing has been committed for long: a job in which nothing happens writes it again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch};
use thalweg_connectors::kafka::{KafkaCommitter, KafkaSink, KafkaSinkConfig};
use thalweg_connectors::memory::MemorySource;
use thalweg_connectors::testing::kafka_server::{KafkaServer, unique_topic};
use thalweg_core::checkpoint::Manifest;
use thalweg_core::prelude::*;
use thalweg_core::{ErrorKind, Result};
use thalweg_runtime::{JobHandle, Settings};

use crate::bench::{Bench, brisk, wait_for};

const JOB: &str = "quiet";
const SINK: &str = "out";

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Number {
    n: i64,
}

/// A job of ten rows behind which nothing comes; whose input stays `open`, or which stops there.
fn start(bench: &Bench, kafka: &KafkaServer, topic: &str, open: bool) -> Result<JobHandle> {
    let rows =
        RecordBatch::try_new(Number::schema(), vec![Arc::new(Int64Array::from_iter_values(0..10))]);
    // What is due is written again at every chance.
    let mut config = KafkaSinkConfig::new(kafka.bootstrap_servers());
    config.marker_refresh = Duration::ZERO;
    let cluster = Arc::new(KafkaCommitter::new(config));
    let source = MemorySource::new(Number::schema()).split("a", [rows.unwrap()]).endless();
    if open {
        source.handle();
    }
    let env = StreamEnvironment::new(JOB);
    env.source::<Number>("numbers", source).sink(SINK, KafkaSink::exactly_once(&cluster, topic));
    let settings = Settings { idle_checkpoint_interval: Duration::from_millis(50), ..brisk(1) };
    bench.job(env.build().unwrap(), settings).start()
}

/// The group whose offset is the sink's marker.
fn group(bench: &Bench) -> String {
    let names = bench.storage.list("").unwrap();
    let newest = names.iter().filter_map(|name| Manifest::number_of(name)).max().unwrap();
    let bytes = bench.storage.read(&Manifest::name(newest)).unwrap().unwrap();
    Manifest::app_id(JOB, &Manifest::decode(&bytes).unwrap().chain, SINK)
}

#[test]
fn a_job_in_which_nothing_happens_writes_the_marker_of_its_sink_again() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = unique_topic("quiet");
    kafka.create_topic(&topic, 1, &[]).unwrap();
    let bench = Bench::new();
    // Once behind rows, and once behind a start that reads none: nor is a finished checkpoint of rows there to help.
    for _ in 0..2 {
        let job = start(&bench, kafka, &topic, true).unwrap();
        wait_for("the rows", || kafka.watermarks(&topic, 0).unwrap().1 > 10);
        wait_for("a checkpoint of nothing", || {
            job.is_finished() || job.metrics().checkpoint.load(Ordering::Relaxed) > 3
        });
        let group = group(&bench);
        kafka.delete_group(&group).unwrap();
        wait_for("the marker", || {
            job.is_finished() || !kafka.group_positions(&group, &topic).unwrap().is_empty()
        });
        job.stopper().stop();
        job.join().unwrap();
    }
    assert_eq!(kafka.committed_messages(&topic).unwrap().len(), 10);
}

#[test]
fn a_marker_that_is_gone_behind_the_first_commit_of_a_chain_is_told_from_one_that_was_never_written()
 {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = unique_topic("quiet");
    kafka.create_topic(&topic, 1, &[]).unwrap();
    let bench = Bench::new();
    let stopped = start(&bench, kafka, &topic, false).unwrap().join().unwrap();
    // The newest checkpoint is the first one with rows: whether they were sent the marker alone knows.
    assert_eq!((stopped.checkpoint, stopped.written[SINK]), (1, 10));
    kafka.delete_group(&group(&bench)).unwrap();
    let again = start(&bench, kafka, &topic, false).and_then(JobHandle::join);
    assert_eq!(again.unwrap_err().kind(), ErrorKind::DataLoss);
    assert_eq!(kafka.committed_messages(&topic).unwrap().len(), 10);
}
