//! A transaction per checkpoint and the marker beside it: each row is in the topic once, whoever dies or wakes up.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::producer::Producer;
use thalweg_connectors::testing::kafka_server::{KafkaServer, unique_topic};
use thalweg_core::connector::sink::Committer;
use thalweg_core::connector::staging::DecidedCheckpoint;
use thalweg_core::{CheckpointId, ErrorKind};

use crate::job::{Believed, Job, PATIENCE, Row, TEN, all, known, read};

#[test]
fn a_checkpoint_is_sent_once_however_often_it_is_finished() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 3);
    let first = job.stage(1, 0..100);
    assert_eq!(first.rows, 100);
    assert!(job.read("read_uncommitted").is_empty(), "nothing leaves before the manifest");
    assert!(!job.commit(&first).unwrap().replayed);
    // An attempt of the same process that failed behind its commit, then other processes.
    assert!(job.commit(&first).unwrap().replayed);
    assert!(job.copy().commit(&first).unwrap().replayed);
    let second = job.stage(2, 100..120);
    let copy = job.copy();
    assert!(!copy.commit(&second).unwrap().replayed);
    assert!(copy.copy().commit(&second).unwrap().replayed);
    assert_eq!(job.read("read_committed"), all(0..120));
    assert_eq!(job.read("read_uncommitted"), all(0..120));
    assert_eq!(job.copy().open(&known(2)).unwrap().txn, Some(CheckpointId(2)));
    for (key, value) in read(&job.servers, &job.topic, "read_committed") {
        let row: Row = serde_json::from_slice(&value).unwrap();
        assert_eq!(key, row.name.map(String::into_bytes));
    }
}

#[test]
fn rows_of_one_key_keep_their_order() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 4);
    for n in 0..5 {
        job.commit(&job.stage(n as u64 + 1, n * 50..n * 50 + 50)).unwrap();
    }
    let mut last: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    for (key, value) in read(&job.servers, &job.topic, "read_committed") {
        let id = serde_json::from_slice::<Row>(&value).unwrap().id;
        assert!(last.insert(key.unwrap(), id).is_none_or(|before| before < id));
    }
    assert_eq!(last.len(), 5);
}

#[test]
fn a_transaction_that_a_dead_process_left_open_is_aborted_and_sent_anew() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 1);
    job.commit(&job.stage(1, 0..10)).unwrap();
    let dead = job.left_open("600000");
    assert_eq!(job.read("read_uncommitted").len(), 11);
    // Nor does a restart wait until the broker gives the transaction up, which takes ten minutes.
    let copy = job.copy();
    let (target, expected) = (copy.target(), known(1));
    let open = copy.cluster.open(&target, &copy.app_id, &expected, false);
    let opened = copy.runtime.block_on(async { tokio::time::timeout(PATIENCE, open).await });
    assert_eq!(opened.unwrap().unwrap().txn, Some(CheckpointId(1)));
    copy.commit(&job.stage(2, 10..20)).unwrap();
    // Nobody waits behind the open transaction any more, and its message is nobody's.
    assert_eq!(job.read("read_committed"), all(0..20));
    assert!(dead.commit_transaction(TEN).is_err());
}

#[test]
fn an_instance_that_wakes_up_late_is_fenced_and_takes_nothing_from_the_owner() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let zombie = Job::begin(kafka, 1);
    zombie.commit(&zombie.stage(1, 0..10)).unwrap();
    let late = zombie.stage(2, 10..20);
    let owner = zombie.copy();
    owner.commit(&late).unwrap();
    owner.commit(&owner.stage(3, 20..30)).unwrap();
    // Its producer was fenced, and its manifest is no longer the newest.
    zombie.staging.supersede();
    assert_eq!(zombie.commit(&late).unwrap_err().kind(), ErrorKind::Fenced);
    let staged = owner.stage(4, 30..40);
    let newest: Arc<dyn DecidedCheckpoint> = Arc::new(Believed(Arc::clone(&owner.staging)));
    let committed = owner.runtime.block_on(owner.cluster.commit(&staged, &newest)).unwrap();
    assert!(!committed.replayed, "the owner's session was left alone");
    assert_eq!(owner.read("read_committed"), all(0..40));
    // Even one that believes its manifest the newest finds the marker ahead.
    let believer = owner.copy();
    let newest: Arc<dyn DecidedCheckpoint> = Arc::new(Believed(Arc::clone(&owner.staging)));
    let error = believer.runtime.block_on(believer.cluster.commit(&late, &newest)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(owner.read("read_committed"), all(0..40));
}

#[test]
fn a_marker_that_is_gone_stops_the_job_before_it_sends_anything_twice() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 1);
    job.commit(&job.stage(1, 0..10)).unwrap();
    assert_eq!(job.copy().open(&known(2)).unwrap_err().kind(), ErrorKind::DataLoss);
    assert!(job.copy().open(&known(1)).is_ok());
    job.forget_marker();
    let error = job.copy().open(&known(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.to_string().contains("--fresh"), "{error}");
}

#[test]
fn a_topic_that_nobody_made_is_made_at_the_first_start() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::at(kafka.bootstrap_servers(), &unique_topic("new"));
    job.open_at_last();
    job.commit(&job.stage(1, 0..3)).unwrap();
    assert_eq!(job.read("read_committed"), all(0..3));
}

#[test]
fn rows_that_are_given_up_move_the_marker_and_send_nothing() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let job = Job::begin(kafka, 1);
    let lost = job.stage(1, 0..10);
    let void = job.runtime.block_on(job.cluster.void(&lost)).unwrap();
    assert!(!void.replayed);
    assert!(job.copy().commit(&lost).unwrap().replayed);
    assert!(job.read("read_uncommitted").is_empty());
}
