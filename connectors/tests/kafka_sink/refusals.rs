//! What would break the promise is refused: brokers, topics, settings, messages.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use thalweg_connectors::kafka::{DemoBroker, KafkaCommitter, KafkaSink, KafkaSinkConfig};
use thalweg_connectors::testing::kafka_server::{KafkaServer, unique_topic};
use thalweg_core::connector::sink::TargetExpectation;
use thalweg_core::{CheckpointId, ErrorKind};

use crate::job::{Job, known};

#[test]
fn a_topic_created_again_or_in_another_cluster_is_data_loss() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 1);
    let id = job.open(&TargetExpectation::default()).unwrap().id;
    job.commit(&job.stage(1, 0..10)).unwrap();
    let expected = |id: &str| TargetExpectation { id: Some(id.to_owned()), ..known(1) };
    assert!(job.copy().open(&expected(&id)).is_ok());
    let elsewhere = job.copy().open(&expected("another/topic")).unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::DataLoss);
    kafka.delete_topic(&job.topic).unwrap();
    let gone = job.copy().open(&expected(&id)).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::DataLoss);
    kafka.create_topic(&job.topic, 1, &[]).unwrap();
    let anew = job.copy().open(&expected(&id)).unwrap_err();
    assert_eq!(anew.kind(), ErrorKind::DataLoss, "{anew}");
}

#[test]
fn a_message_longer_than_the_topic_takes_is_refused_before_the_checkpoint() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = unique_topic("small");
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "400")]).unwrap();
    let job = Job::at(kafka.bootstrap_servers(), &topic);
    job.open(&TargetExpectation::default()).unwrap();
    let write = |text: String| {
        let rows = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![1])) as _),
            ("name", Arc::new(StringArray::from(vec![text])) as _),
        ]);
        let mut writer = job.writer(&KafkaSink::exactly_once(&job.cluster, &topic));
        job.runtime.block_on(async {
            writer.write(rows.unwrap()).await?;
            writer.close_epoch(CheckpointId(1)).await
        })
    };
    let error = write("x".repeat(600)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("max.message.bytes"), "{error}");
    // One that just fits is taken by the broker as well.
    let fits = job.pending(1, write("x".repeat(250)).unwrap());
    job.commit(&fits).unwrap();
    assert_eq!(job.read("read_committed"), [1]);
}

#[test]
fn a_broker_without_transactions_is_refused() {
    let broker = DemoBroker::start("mirror", 1).unwrap();
    let job = Job::at(broker.bootstrap_servers(), "mirror");
    job.open(&TargetExpectation::default()).unwrap();
    let error = job.commit(&job.stage(1, 0..3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
}

#[test]
fn settings_that_the_promise_depends_on_are_refused() {
    let mut config = KafkaSinkConfig::new("127.0.0.1:1");
    config.properties.insert("transactional.id".into(), "mine".into());
    let refused = |config: KafkaSinkConfig| {
        let job = Job::at("127.0.0.1:1", "t");
        let job = Job { cluster: Arc::new(KafkaCommitter::new(config)), ..job };
        job.open(&TargetExpectation::default()).unwrap_err()
    };
    assert!(refused(config).to_string().contains("transactional.id"));
    let mut config = KafkaSinkConfig::new("127.0.0.1:1");
    config.transaction_timeout = Duration::from_secs(1);
    assert_eq!(refused(config).kind(), ErrorKind::InvalidConfig);
}

#[test]
fn a_transaction_timeout_beyond_the_brokers_is_named() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 1);
    let mut config = KafkaSinkConfig::new(kafka.bootstrap_servers());
    config.transaction_timeout = Duration::from_hours(24);
    let job = Job { cluster: Arc::new(KafkaCommitter::new(config)), ..job };
    let error = job.commit(&job.stage(1, 0..1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("transaction.max.timeout.ms"), "{error}");
}
