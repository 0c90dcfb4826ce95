//! Messages that leave at once: a checkpoint waits for them.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
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
    for _ in 0..100 {
        if job.read("read_committed").len() == 5_000 {
            break;
        }
    }
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
fn an_at_least_once_checkpoint_waits_out_whatever_passes() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS as REPLICAS,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as MOVED,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as TIMEOUT,
    };
    let brokers = MockCluster::new(3).unwrap();
    brokers.create_topic("mirror", 1, 3).unwrap();
    brokers.partition_leader("mirror", 0, Some(1)).unwrap();
    let servers = brokers.bootstrap_servers();
    let job = Job::at(&servers, "mirror");
    let mut writer = job.writer(&KafkaSink::at_least_once(&job.cluster, "mirror"));
    let troubles: [&dyn Fn(); 5] = [
        &|| brokers.request_errors(RDKafkaApiKey::Produce, &[MOVED; 3]),
        &|| brokers.request_errors(RDKafkaApiKey::Produce, &[TIMEOUT, REPLICAS, TIMEOUT]),
        &|| brokers.broker_round_trip_time(1, Duration::from_millis(300)).unwrap(),
        &|| {
            brokers.partition_leader("mirror", 0, Some(2)).unwrap();
            brokers.broker_down(1).unwrap();
        },
        &|| brokers.broker_up(1).unwrap(),
    ];
    for (n, trouble) in (0..).zip(troubles) {
        let closed = job.runtime.block_on(async {
            writer.write(batch(n * 1_000..n * 1_000 + 500)).await?;
            trouble();
            writer.write(batch(n * 1_000 + 500..n * 1_000 + 1_000)).await?;
            writer.close_epoch(CheckpointId(n.cast_unsigned() + 1)).await
        });
        assert_eq!(closed.unwrap().rows, 1_000);
        // What a checkpoint has waited for is there.
        let mut ids = job.read("read_committed");
        ids.dedup();
        assert_eq!(ids, all(0..n * 1_000 + 1_000));
    }
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
