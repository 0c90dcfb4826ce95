//! Messages that leave at once: a checkpoint waits for them.

use std::sync::Arc;
use std::time::Duration;

use thalweg_connectors::kafka::{DemoBroker, KafkaCommitter, KafkaSink, KafkaSinkConfig};
use thalweg_connectors::testing::kafka_server::KafkaServer;
use thalweg_core::connector::sink::Staged;
use thalweg_core::{CheckpointId, ErrorKind};

use crate::job::{Job, all, batch};

#[test]
fn at_least_once_messages_are_there_before_the_checkpoint_and_a_checkpoint_waits_for_them() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 2);
    let sink = KafkaSink::at_least_once(&job.cluster, &job.topic);
    let mut writer = job.writer(&sink);
    job.runtime.block_on(writer.write(batch(0..5_000))).unwrap();
    // Nothing was closed, and readers have it all the same.
    let sent = (0..200).any(|_| {
        std::thread::park_timeout(Duration::from_millis(100));
        job.read("read_committed").len() == 5_000
    });
    assert!(sent, "they wait for something");
    assert_eq!(job.read("read_committed"), all(0..5_000));
    let closed = job.runtime.block_on(async {
        writer.write(batch(5_000..6_000)).await?;
        let closing = writer.close_epoch(CheckpointId(1));
        // Rows of the next epoch are not counted.
        writer.write(batch(6_000..6_001)).await?;
        closing.await
    });
    assert_eq!(closed.unwrap(), Staged { items: Vec::new(), rows: 6_000 });
    let ids = job.read("read_committed");
    assert!(ids.len() >= 6_000, "{}", ids.len());
}

#[test]
fn an_at_least_once_checkpoint_fails_when_the_broker_is_gone() {
    let broker = DemoBroker::start("mirror", 1).unwrap();
    let servers = broker.bootstrap_servers().to_owned();
    let job = Job::at(&servers, "mirror");
    let mut config = KafkaSinkConfig::new(&servers);
    config.properties.insert("message.timeout.ms".into(), "500".into());
    let cluster = Arc::new(KafkaCommitter::new(config));
    let sink = KafkaSink::at_least_once(&cluster, "mirror");
    let mut writer = job.writer(&sink);
    drop(broker);
    let closed = job.runtime.block_on(async {
        writer.write(batch(0..10)).await?;
        writer.close_epoch(CheckpointId(1)).await
    });
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Transient);
}
