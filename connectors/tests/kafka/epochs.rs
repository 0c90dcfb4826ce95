//! Logs that were cut short and have grown again, as by an unclean election: epochs of leaders tell.

use std::path::PathBuf;

use rdkafka::producer::Producer;
use thalweg_connectors::kafka::{KafkaConfig, OnDataLoss};
use thalweg_connectors::testing::kafka_server::{KafkaServer, or_skip};
use thalweg_core::ErrorKind;
use thalweg_core::connector::source::Source;

use crate::kafka_support::{Seen, failure, numbers, produce, reader, source};
use crate::source::{PATIENCE, open, send, topic, transactional};

/// A topic of one partition with messages 0 to 19, of which a follower that lagged has the first ten.
struct Log {
    kafka: KafkaServer,
    topic: String,
    file: PathBuf,
    kept: u64,
}

impl Log {
    fn of_twenty() -> Option<Self> {
        let kafka = or_skip(KafkaServer::start_own(1))?;
        let topic = topic(&kafka, 1);
        produce(kafka.bootstrap_servers(), &topic, 1, 0..10);
        let file = kafka.log_file(&topic, 0).unwrap();
        let kept = std::fs::metadata(&file).unwrap().len();
        produce(kafka.bootstrap_servers(), &topic, 1, 10..20);
        Some(Self { kafka, topic, file, kept })
    }

    /// The follower becomes the leader, and takes 20 to 44.
    fn cut_and_grow(&self) {
        self.kafka.kill9().unwrap();
        let file = std::fs::File::options().write(true).open(&self.file).unwrap();
        file.set_len(self.kept).unwrap();
        self.kafka.start_again().unwrap();
        produce(self.kafka.bootstrap_servers(), &self.topic, 1, 20..45);
    }
}

#[test]
fn a_log_that_was_cut_short_and_has_grown_again_while_it_is_read_is_data_loss() {
    let Some(log) = Log::of_twenty() else { return };
    let Log { kafka, topic, .. } = &log;
    let servers = kafka.bootstrap_servers();
    let source = open(kafka, topic);
    let config = KafkaConfig::new(servers, topic);
    let lenient = self::source(KafkaConfig { on_data_loss: OnDataLoss::Reset, ..config });
    let splits = source.start_splits().unwrap();
    let (mut reader, mut lenient) = (reader(&source, splits.clone()), reader(&lenient, splits));
    let (mut seen, mut passed) = (Seen::default(), Seen::default());
    seen.read(reader.as_mut(), |seen| seen.count() == 20);
    passed.read(lenient.as_mut(), |seen| seen.count() == 20);

    log.cut_and_grow();
    assert_eq!(kafka.watermarks(topic, 0).unwrap(), (0, 35));

    let error = failure(reader.as_mut(), &mut seen);
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    let told = error.to_string();
    assert!(told.contains("was cut short") && told.contains("--fresh"), "{told}");
    assert_eq!(seen.count(), 20, "nothing behind the cut was handed out");
    // The policy lets it pass, from the position on.
    passed.read(lenient.as_mut(), |seen| seen.count() == 35);
    assert_eq!(
        passed.payloads(),
        numbers(0..45)
            .into_iter()
            .filter(|n| !(20..30).contains(&n.parse::<i32>().unwrap()))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_log_that_was_cut_short_and_has_grown_again_while_nobody_read_is_data_loss() {
    let Some(log) = Log::of_twenty() else { return };
    let Log { kafka, topic, .. } = &log;
    let servers = kafka.bootstrap_servers();
    let source = open(kafka, topic);
    let (identity, splits) = (source.identity().unwrap(), source.start_splits().unwrap());
    let mut seen = Seen::default();
    seen.read(reader(&source, splits.clone()).as_mut(), |seen| seen.count() == 20);
    let mut stored = seen.stored(&source, &splits);
    assert!(stored[0].properties.contains_key("leader_epoch"), "{stored:?}");

    log.cut_and_grow();
    let source = open(kafka, topic);
    source.verify(&identity, &stored).unwrap();
    let mut seen = Seen::default();
    let error = failure(reader(&source, stored.clone()).as_mut(), &mut seen);
    assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
    let told = error.to_string();
    assert!(told.contains("was cut short") && told.contains("--fresh"), "{told}");
    assert_eq!(seen.count(), 0, "nothing behind the cut was handed out");
    // The policy lets it pass, from the position on, and no start behind it counts it again.
    let config = KafkaConfig::new(servers, topic);
    let lenient = self::source(KafkaConfig { on_data_loss: OnDataLoss::Reset, ..config });
    let mut passed = Seen::default();
    passed.read(reader(&lenient, stored.clone()).as_mut(), |seen| seen.count() == 15);
    assert_eq!((passed.payloads(), lenient.losses()), (numbers(30..45), 1));
    let behind = passed.stored(&lenient, &stored);
    produce(servers, topic, 1, 45..50);
    passed.read(reader(&source, behind).as_mut(), |seen| seen.count() == 20);
    // What a version that stored no epochs has stored is gone on from.
    stored[0].properties.clear();
    seen.read(reader(&source, stored).as_mut(), |seen| seen.count() == 20);
}

#[test]
fn a_restart_behind_markers_and_aborted_messages_reads_on() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let topic = topic(kafka, 1);
    let producer = transactional(kafka, &topic);
    for (payload, is_kept) in [("0", true), ("aborted", false)] {
        producer.begin_transaction().unwrap();
        send(&producer, &topic, payload);
        producer.flush(PATIENCE).unwrap();
        if is_kept {
            producer.commit_transaction(PATIENCE).unwrap();
        } else {
            producer.abort_transaction(PATIENCE).unwrap();
        }
    }
    let source = open(kafka, &topic);
    let splits = source.start_splits().unwrap();
    let split = splits[0].id.clone();
    let mut seen = Seen::default();
    seen.read(reader(&source, splits.clone()).as_mut(), |seen| {
        seen.positions.get(&split) == Some(&4)
    });
    let stored = seen.stored(&source, &splits);
    assert_eq!(stored[0].properties.get("leader_epoch_end").map(String::as_str), Some("1"));
    producer.begin_transaction().unwrap();
    send(&producer, &topic, "1");
    producer.commit_transaction(PATIENCE).unwrap();
    seen.read(reader(&source, stored).as_mut(), |seen| seen.count() == 2);
    assert_eq!((seen.payloads(), seen.rows[&split][1].offset), (numbers(0..2), 4));
}
