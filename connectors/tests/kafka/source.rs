//! The Kafka source against a real Apache Kafka.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use thalweg_connectors::kafka::{KafkaConfig, KafkaSource, OnDataLoss, Start, ensure_topic};
use thalweg_connectors::testing::kafka_server::{KafkaServer, or_skip, unique_topic};
use thalweg_core::ErrorKind;
use thalweg_core::connector::source::Source;

use crate::kafka_support::{Seen, WAIT, at, failure, numbers, produce, reader, source, writer};

/// How long an answer of a broker may take, which a busy machine may hold up.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// Within this a reader has ended that does not wait for a broker. One that does would wait for its answers a minute each.
const AT_ONCE: Duration = Duration::from_secs(45);

pub(crate) fn topic(kafka: &KafkaServer, partitions: i32) -> String {
    let topic = unique_topic("source");
    kafka.create_topic(&topic, partitions, &[]).unwrap();
    topic
}

pub(crate) fn open(kafka: &KafkaServer, topic: &str) -> KafkaSource {
    source(KafkaConfig::new(kafka.bootstrap_servers(), topic))
}

pub(crate) fn transactional(kafka: &KafkaServer, id: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap_servers())
        .set("transactional.id", id)
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

pub(crate) fn send(producer: &BaseProducer, topic: &str, payload: &str) {
    let record = BaseRecord::<(), str>::to(topic).partition(0).payload(payload);
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

#[test]
fn a_start_by_time_begins_at_the_first_message_of_that_time() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = topic(kafka, 2);
    let base = 1_750_000_000_000;
    for step in 0..10 {
        let payload = step.to_string();
        kafka
            .produce(&topic, 0, None, Some(payload.as_bytes()), Some(base + step * 1_000))
            .unwrap();
    }
    kafka.produce(&topic, 1, None, Some(b"old"), Some(base - 1)).unwrap();
    let mut config = KafkaConfig::new(kafka.bootstrap_servers(), &topic);
    for (micros, expected) in [
        (base * 1_000 + 4_000_000, [4, 1]),
        (base * 1_000 + 4_000_001, [5, 1]),
        (base * 1_000 + 60_000_000, [10, 1]),
        (0, [0, 0]),
    ] {
        config.start = Start::Timestamp(micros);
        let splits = source(config.clone()).start_splits().unwrap();
        assert_eq!(splits.iter().map(|s| s.position).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn the_time_at_which_the_broker_appended_is_used_where_the_topic_says_so() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = unique_topic("append-time");
    kafka.create_topic(&topic, 1, &[("message.timestamp.type", "LogAppendTime")]).unwrap();
    kafka.produce(&topic, 0, None, Some(b"x"), Some(1_000)).unwrap();
    let source = open(kafka, &topic);
    let mut seen = Seen::default();
    seen.read(reader(&source, source.start_splits().unwrap()).as_mut(), |seen| seen.count() == 1);
    let time = seen.rows["partition-00000"][0].timestamp.unwrap();
    assert!(time > 1_700_000_000_000_000, "{time}");
}

#[test]
fn partitions_added_later_are_found_and_read_from_their_beginning() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = topic(kafka, 1);
    let servers = kafka.bootstrap_servers();
    let mut config = KafkaConfig::new(servers, &topic);
    config.start = Start::Latest;
    let source = source(config);
    let splits = source.start_splits().unwrap();
    let mut reader = reader(&source, splits.clone());
    kafka.add_partitions(&topic, 3).unwrap();
    produce(servers, &topic, 3, 0..300);
    let found = source.discover(&splits).unwrap();
    let found_at: Vec<_> = found.iter().map(|split| (split.id.as_str(), split.position)).collect();
    assert_eq!(found_at, [("partition-00001", 0), ("partition-00002", 0)]);
    reader.assign(found).unwrap();
    let mut seen = Seen::default();
    seen.read(reader.as_mut(), |seen| seen.count() == 300);
    assert_eq!(seen.payloads(), numbers(0..300));
}

#[test]
fn a_new_partition_whose_beginning_is_gone_follows_the_policy() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = topic(kafka, 2);
    produce(kafka.bootstrap_servers(), &topic, 2, 0..20);
    kafka.delete_records(&topic, 1, 4).unwrap();
    let mut config = KafkaConfig::new(kafka.bootstrap_servers(), &topic);
    let known = source(config.clone()).start_splits().unwrap();
    let error = source(config.clone()).discover(&known[..1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    config.on_data_loss = OnDataLoss::Reset;
    let lenient = source(config);
    assert_eq!(lenient.discover(&known[..1]).unwrap()[0].position, 4);
    assert_eq!(lenient.losses(), 1);
}

#[test]
fn deleted_messages_are_data_loss_unless_the_policy_is_to_go_on() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = topic(kafka, 2);
    produce(kafka.bootstrap_servers(), &topic, 2, 0..200);
    let strict = open(kafka, &topic);
    let splits = strict.start_splits().unwrap();
    let identity = strict.identity().unwrap();
    kafka.delete_records(&topic, 0, 30).unwrap();

    let error = strict.verify(&identity, &splits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.to_string().contains("begins at offset 30, behind position 0"), "{error}");
    let error = failure(reader(&strict, splits.clone()).as_mut(), &mut Seen::default());
    assert_eq!(error.kind(), ErrorKind::DataLoss);

    let mut config = KafkaConfig::new(kafka.bootstrap_servers(), &topic);
    config.on_data_loss = OnDataLoss::Reset;
    let lenient = source(config);
    lenient.verify(&identity, &splits).unwrap();
    let mut seen = Seen::default();
    seen.read(reader(&lenient, splits).as_mut(), |seen| seen.count() == 170);
    assert_eq!(seen.rows["partition-00000"][0].offset, 30);
    assert_eq!(seen.rows["partition-00001"].len(), 100);
    assert_eq!(lenient.losses(), 1);
}

#[test]
fn a_killed_broker_that_starts_again_loses_nothing() {
    let Some(kafka) = or_skip(KafkaServer::start_own(1)) else { return };
    let topic = topic(&kafka, 3);
    let servers = kafka.bootstrap_servers();
    let source = open(&kafka, &topic);
    let mut reader = reader(&source, source.start_splits().unwrap());
    let mut seen = Seen::default();
    for round in 0..2 {
        produce(servers, &topic, 3, round * 3_000..(round + 1) * 3_000);
        seen.read(reader.as_mut(), |seen| seen.count() > round * 3_000);
        kafka.kill9().unwrap();
        for _ in 0..20 {
            seen.take(reader.poll(WAIT).unwrap());
        }
        kafka.start_again().unwrap();
        seen.read(reader.as_mut(), |seen| seen.count() == (round + 1) * 3_000);
    }
    assert_eq!(seen.payloads(), numbers(0..6_000));
    let restored = at(&source.start_splits().unwrap(), &seen.positions);
    source.verify(&source.identity().unwrap(), &restored).unwrap();
}

#[test]
fn only_committed_rows_are_read_and_positions_pass_aborted_and_control_records() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = topic(kafka, 1);
    let producer = transactional(kafka, &topic);
    for (payload, commit) in [("1", true), ("aborted", false), ("2", true), ("aborted too", false)]
    {
        producer.begin_transaction().unwrap();
        send(&producer, &topic, payload);
        producer.flush(PATIENCE).unwrap();
        if commit {
            producer.commit_transaction(PATIENCE).unwrap();
        } else {
            producer.abort_transaction(PATIENCE).unwrap();
        }
    }
    let config = KafkaConfig::new(kafka.bootstrap_servers(), &topic);
    let latest = source(KafkaConfig { start: Start::Latest, ..config.clone() });
    let source = source(config);
    let splits = source.start_splits().unwrap();
    let mut reader = reader(&source, splits.clone());
    let mut seen = Seen::default();
    // Each transaction is a message and a control record.
    seen.read(reader.as_mut(), |seen| seen.positions.get("partition-00000") == Some(&8));
    assert_eq!(seen.payloads(), ["1", "2"]);
    assert_eq!(source.lag(&at(&splits, &seen.positions)), Some(0));

    // An open transaction holds readers at its beginning, and its rows come when it is committed.
    producer.begin_transaction().unwrap();
    send(&producer, &topic, "3");
    producer.flush(PATIENCE).unwrap();
    produce(kafka.bootstrap_servers(), &topic, 1, 4..5);
    for _ in 0..10 {
        seen.take(reader.poll(WAIT).unwrap());
    }
    assert_eq!(seen.positions["partition-00000"], 8);
    assert_eq!(latest.start_splits().unwrap()[0].position, 8);
    producer.commit_transaction(PATIENCE).unwrap();
    seen.read(reader.as_mut(), |seen| seen.positions["partition-00000"] == 11);
    assert_eq!(seen.payloads(), ["1", "2", "3", "4"]);

    // Everything before a position that a control record has moved is gone: nothing is missing.
    kafka.delete_records(&topic, 0, 11).unwrap();
    let resumed = at(&splits, &seen.positions);
    source.verify(&source.identity().unwrap(), &resumed).unwrap();
    let mut reader = self::reader(&source, resumed);
    produce(kafka.bootstrap_servers(), &topic, 1, 5..6);
    let mut later = Seen::default();
    later.read(reader.as_mut(), |seen| seen.positions.get("partition-00000") == Some(&12));
    assert_eq!(later.payloads(), ["5"]);
}

#[test]
fn holes_that_compaction_has_left_are_passed_and_can_be_begun_in() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = unique_topic("compacted");
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "1000"),
        ("min.cleanable.dirty.ratio", "0.001"),
    ];
    kafka.create_topic(&topic, 1, &settings).unwrap();
    // One message in three has a key of its own, the others share one. Each begins a segment by its time.
    for offset in 0..30 {
        let text = offset.to_string();
        let key: &[u8] = if offset % 3 == 1 { text.as_bytes() } else { b"shared" };
        let time = 1_750_000_000_000 + offset * 10_000;
        let stored = kafka.produce(&topic, 0, Some(key), Some(text.as_bytes()), Some(time));
        assert_eq!(stored.unwrap(), offset);
    }
    // The newest segment is not compacted, so the shared key has a last message in front of it as well.
    let left = |offset: &i64| offset % 3 == 1 || [27, 29].contains(offset);
    let left: Vec<i64> = (0..30).filter(left).collect();
    let compacted = (0..600).any(|_| {
        thread::park_timeout(Duration::from_millis(100));
        let messages = kafka.committed_messages(&topic).unwrap();
        messages.iter().map(|message| message.offset).eq(left.iter().copied())
    });
    assert!(compacted, "the broker has not compacted the topic");

    let source = open(kafka, &topic);
    let (identity, splits) = (source.identity().unwrap(), source.start_splits().unwrap());
    assert_eq!(splits[0].position, 0);
    let split = splits[0].id.clone();
    // From the beginning, which is a hole, too; from others; from a message.
    for position in [0, 2, 3, 13, 26] {
        let from = at(&splits, &BTreeMap::from([(split.clone(), position)]));
        source.verify(&identity, &from).unwrap();
        let mut seen = Seen::default();
        seen.read(reader(&source, from).as_mut(), |seen| seen.positions.get(&split) == Some(&30));
        let read: Vec<i64> = seen.rows[&split].iter().map(|row| row.offset).collect();
        let expected: Vec<i64> = left.iter().copied().filter(|o| *o >= position).collect();
        assert_eq!(read, expected, "from {position}");
    }
    let bounded = open(kafka, &topic).bounded();
    let mut seen = Seen::default();
    let all = bounded.start_splits().unwrap();
    seen.read(reader(&bounded, all).as_mut(), |seen| seen.exhausted);
    assert_eq!((seen.count(), seen.positions[&split]), (left.len(), 30));
}

#[test]
fn a_bounded_run_ends_behind_a_last_aborted_transaction() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = topic(kafka, 1);
    produce(kafka.bootstrap_servers(), &topic, 1, 0..3);
    let producer = transactional(kafka, &topic);
    producer.begin_transaction().unwrap();
    send(&producer, &topic, "aborted");
    producer.flush(PATIENCE).unwrap();
    producer.abort_transaction(PATIENCE).unwrap();
    let source = open(kafka, &topic).bounded();
    // The broker acknowledges an abort before it has written the control record: ask until it is there.
    let splits = (0..5_000)
        .map(|_| {
            thread::park_timeout(Duration::from_millis(10));
            source.start_splits().unwrap()
        })
        .find(|splits| splits[0].end == Some(5))
        .expect("the control record of the aborted transaction is never counted");
    let mut seen = Seen::default();
    seen.read(reader(&source, splits).as_mut(), |seen| seen.exhausted);
    assert_eq!(seen.payloads(), numbers(0..3));
    assert_eq!(seen.positions["partition-00000"], 5);
}

#[test]
fn a_deleted_topic_is_data_loss_for_a_reader_and_at_a_restart() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = topic(kafka, 1);
    produce(kafka.bootstrap_servers(), &topic, 1, 0..10);
    let source = open(kafka, &topic);
    let (identity, splits) = (source.identity().unwrap(), source.start_splits().unwrap());
    let mut reader = reader(&source, splits.clone());
    let mut seen = Seen::default();
    seen.read(reader.as_mut(), |seen| seen.count() == 10);
    kafka.delete_topic(&topic).unwrap();
    let error = failure(reader.as_mut(), &mut seen);
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.to_string().contains("does not exist any more"), "{error}");
    let error = source.verify(&identity, &splits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
}

#[test]
fn a_topic_created_again_and_shorter_is_data_loss() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = topic(kafka, 2);
    let servers = kafka.bootstrap_servers();
    produce(servers, &topic, 2, 0..40);
    let source = open(kafka, &topic);
    let (identity, mut splits) = (source.identity().unwrap(), source.start_splits().unwrap());
    splits[0].position = 20;
    splits[1].position = 20;
    kafka.delete_topic(&topic).unwrap();
    kafka.create_topic(&topic, 2, &[]).unwrap();
    produce(servers, &topic, 2, 0..10);
    let error = source.verify(&identity, &splits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.to_string().contains("created again"), "{error}");
    // Where no id was remembered, the positions tell.
    let error = source.verify(&without_id(&identity), &splits).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.to_string().contains("truncated or re-created"), "{error}");
    let error = failure(reader(&source, splits).as_mut(), &mut Seen::default());
    assert_eq!(error.kind(), ErrorKind::DataLoss);
}

#[test]
fn a_topic_created_again_and_longer_is_data_loss() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = topic(kafka, 1);
    let servers = kafka.bootstrap_servers();
    produce(servers, &topic, 1, 0..10);
    let source = open(kafka, &topic);
    let (identity, mut splits) = (source.identity().unwrap(), source.start_splits().unwrap());
    splits[0].position = 10;
    source.verify(&identity, &splits).unwrap();
    // The same topic, however long it has become.
    produce(servers, &topic, 1, 10..20);
    open(kafka, &topic).verify(&identity, &splits).unwrap();
    kafka.delete_topic(&topic).unwrap();
    kafka.create_topic(&topic, 1, &[]).unwrap();
    produce(servers, &topic, 1, 0..40);
    for again in [&source, &open(kafka, &topic)] {
        let error = again.verify(&identity, &splits).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        let text = error.to_string();
        assert!(text.contains("created again") && text.contains("--fresh"), "{text}");
        assert!(text.contains("on_data_loss = \"reset\""), "{text}");
    }
    // What was stored by a version that knew no ids is gone on from, and so is what the policy lets pass.
    source.verify(&without_id(&identity), &splits).unwrap();
    let config = KafkaConfig::new(servers, &topic);
    let lenient = self::source(KafkaConfig { on_data_loss: OnDataLoss::Reset, ..config });
    lenient.verify(&identity, &splits).unwrap();
    assert_eq!(lenient.losses(), 1);
}

fn without_id(identity: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut older = identity.clone();
    assert!(older.remove("topic_id").is_some(), "{identity:?}");
    older
}

#[test]
fn committed_positions_are_shown_to_lag_tools() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = topic(kafka, 2);
    let config = KafkaConfig {
        group_id: Some(topic.clone()),
        ..KafkaConfig::new(kafka.bootstrap_servers(), &topic)
    };
    produce(kafka.bootstrap_servers(), &topic, 2, 0..100);
    let source = source(config);
    let mut splits = source.start_splits().unwrap();
    splits[0].position = 7;
    splits[1].position = 9;
    for _ in 0..600 {
        source.committed(&splits).unwrap();
        thread::park_timeout(Duration::from_millis(100));
        let shown = kafka.group_positions(&topic, &topic).unwrap();
        if shown == BTreeMap::from([(0, 7), (1, 9)]) {
            return;
        }
    }
    panic!("the positions were not shown");
}

/// Its consumer has asked for the group's coordinator, who never answers.
#[test]
fn a_source_of_a_broker_that_hangs_ends_at_once() {
    let Some(kafka) = or_skip(KafkaServer::start_own(1)) else { return };
    let topic = topic(&kafka, 1);
    let config = KafkaConfig {
        group_id: Some(topic.clone()),
        ..KafkaConfig::new(kafka.bootstrap_servers(), &topic)
    };
    let source = source(config);
    let splits = source.start_splits().unwrap();
    let reader = reader(&source, splits.clone());
    kafka.freeze().unwrap();
    source.committed(&splits).unwrap();
    let (gone, is_gone) = mpsc::channel();
    thread::spawn(move || {
        drop((reader, source));
        gone.send(()).unwrap();
    });
    is_gone.recv_timeout(AT_ONCE).expect("the source waits for its broker");
}

#[test]
fn a_topic_is_created_once() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = unique_topic("created");
    let none = BTreeMap::new();
    assert_eq!(ensure_topic(kafka.bootstrap_servers(), &topic, 5, &none).unwrap(), 5);
    assert_eq!(ensure_topic(kafka.bootstrap_servers(), &topic, 2, &none).unwrap(), 5);
    let writer = writer(kafka.bootstrap_servers(), &topic);
    for key in ["a", "a", "a"] {
        writer.send(Some(key.as_bytes()), Some(b"x"), None).unwrap();
    }
    writer.flush(PATIENCE).unwrap();
    let source = open(kafka, &topic);
    let mut seen = Seen::default();
    seen.read(reader(&source, source.start_splits().unwrap()).as_mut(), |seen| seen.count() == 3);
    // Java's murmur2 of "a" is 0xa2d0b27c, of which the low 31 bits choose the partition.
    assert_eq!(
        seen.rows.keys().collect::<Vec<_>>(),
        [&format!("partition-{:05}", 0x22d0_b27c % 5)]
    );
}
