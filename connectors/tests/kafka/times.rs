//! The times of messages.

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use thalweg_connectors::clock;
use thalweg_connectors::kafka::KafkaSink;
use thalweg_connectors::testing::kafka_server::KafkaServer;
use thalweg_core::CheckpointId;

use crate::job::Job;

const MINUTE: i64 = 60_000_000;

/// Brokers refuse messages that are more than an hour ahead.
#[test]
fn an_event_whose_clock_is_hours_ahead_is_sent_with_the_time_of_sending() {
    let Some(kafka) = KafkaServer::shared() else { return };
    let at = [MINUTE, clock::now_micros() + 120 * MINUTE];
    let rows = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1, 2])) as _),
        ("at", Arc::new(TimestampMicrosecondArray::from(at.to_vec())) as _),
    ])
    .unwrap();
    for exactly_once in [true, false] {
        let job = Job::begin(kafka, 1);
        let new = if exactly_once { KafkaSink::exactly_once } else { KafkaSink::at_least_once };
        let sink = new(&job.cluster, job.topic.as_str()).timestamp("at");
        let mut writer = job.writer_of(&sink, rows.schema());
        let staged = job.runtime.block_on(async {
            writer.write(rows.clone()).await?;
            writer.close_epoch(CheckpointId(1)).await
        });
        let staged = staged.unwrap();
        if exactly_once {
            job.commit(&job.pending(1, staged)).unwrap();
        }
        let sent = kafka.committed_messages(&job.topic).unwrap();
        let times: Vec<i64> = sent.iter().map(|message| message.timestamp_ms.unwrap()).collect();
        assert_eq!((times.len(), times[0]), (2, MINUTE / 1_000));
        assert!(times[1] <= clock::now_micros() / 1_000, "{exactly_once}: {}", times[1]);
    }
}
