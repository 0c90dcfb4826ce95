//! When rows arrive in a topic.

use std::time::Duration;

use hdrhistogram::Histogram;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;

use super::schedule::Schedule;
use super::{Result, histogram};

/// The only column that is looked at.
#[derive(serde::Deserialize)]
struct Row {
    event_id: u64,
}

/// Produces and reads; latencies of the rows that `kafka_to_kafka` lets through, one in five.
pub(crate) fn measure(
    servers: &str,
    topic: &str,
    out: &str,
    schedule: &Schedule,
) -> Result<Histogram<u64>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "latency")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "latest")
        .create()?;
    let timeout = Duration::from_secs(10);
    let metadata = consumer.fetch_metadata(Some(out), timeout)?;
    let partitions = metadata.topics().first().map_or(0, |t| t.partitions().len());
    let mut from = rdkafka::TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions)? {
        let (_, end) = consumer.fetch_watermarks(out, partition, timeout)?;
        from.add_partition_offset(out, partition, rdkafka::Offset::Offset(end))?;
    }
    consumer.assign(&from)?;
    let expected = schedule.events().div_ceil(5);
    let mut arrived = 0;
    let mut latencies = histogram()?;
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| schedule.produce(servers, topic).map_err(|e| e.to_string()));
        while arrived < expected && !schedule.is_over() {
            let Some(message) = consumer.poll(Duration::from_millis(10)) else { continue };
            let message = message?;
            let seen = schedule.now();
            let row: Row = serde_json::from_slice(message.payload().unwrap_or_default())?;
            arrived += 1;
            let due = schedule.due(row.event_id);
            if due >= schedule.measured_from() {
                latencies.record((seen - due).max(1).cast_unsigned())?;
            }
        }
        producer.join().map_err(|_| "the producer panicked")??;
        if arrived < expected {
            return Err(format!("{} rows did not arrive", expected - arrived).into());
        }
        Ok(latencies)
    })
}
