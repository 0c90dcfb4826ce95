//! Readers of whole topics: librdkafka's, and Apache Kafka's own console consumer, which shares nothing with the code
//! under test.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::kafka_jars::{Jars, run_bounded};
use super::{Consumed, KafkaServerError, unique};

const TIMEOUT: Duration = Duration::from_mins(3);
/// For topics of any size: it reads some ten thousand messages a second at the least.
const LONG_TIMEOUT: Duration = Duration::from_mins(30);
const POLL: Duration = Duration::from_millis(500);
const MOST_QUIET: u32 = 120;
/// It stops once no message has come for this long.
const QUIET_MS: &str = "8000";

/// All committed messages of a topic, from each partition's beginning to its last stable offset.
pub(super) fn committed_messages(
    bootstrap_servers: &str,
    topic: &str,
) -> Result<Vec<Consumed>, KafkaServerError> {
    let failed = |cause| KafkaServerError::Kafka { what: format!("read topic {topic}"), cause };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap_servers).set("group.id", "thalweg-test-reader");
    config.set("isolation.level", "read_committed").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let metadata = consumer.fetch_metadata(Some(topic), POLL * 20).map_err(failed)?;
    let found =
        metadata.topics().iter().flat_map(MetadataTopic::partitions).map(MetadataPartition::id);
    let mut open: Vec<i32> = found.collect();
    let mut list = TopicPartitionList::new();
    for partition in &open {
        list.add_partition_offset(topic, *partition, Offset::Beginning).map_err(failed)?;
    }
    consumer.assign(&list).map_err(failed)?;
    let (mut messages, mut quiet) = (Vec::new(), 0);
    while !open.is_empty() {
        match consumer.poll(POLL) {
            None if quiet == MOST_QUIET => {
                let error = KafkaError::MessageConsumption(RDKafkaErrorCode::RequestTimedOut);
                return Err(failed(error));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|p| *p != partition),
            // A broker that comes back is waited for.
            None | Some(Err(_)) => quiet += 1,
            Some(Ok(message)) => {
                quiet = 0;
                messages.push(Consumed {
                    partition: message.partition(),
                    offset: message.offset(),
                    timestamp_ms: message.timestamp().to_millis(),
                    value: message.payload().unwrap_or_default().to_vec(),
                });
            }
        }
    }
    Ok(messages)
}

/// All committed messages of a topic, each one a line.
pub(super) fn committed_lines(
    jars: &Jars,
    bootstrap_servers: &str,
    topic: &str,
) -> Result<Vec<String>, KafkaServerError> {
    let folder = std::env::temp_dir().join(format!("thalweg-consumer-{}", unique()));
    fs::create_dir(&folder).map_err(unusable)?;
    let output = folder.join("messages");
    let ran = consume(jars, bootstrap_servers, topic, &output, TIMEOUT);
    let text = fs::read_to_string(&output).map_err(unusable);
    fs::remove_dir_all(&folder).map_err(unusable)?;
    ran?;
    Ok(text?.lines().map(ToOwned::to_owned).collect())
}

/// Writes all committed messages of a topic to a file, each one a line. What the consumer says of itself is beside it.
pub(super) fn committed_to(
    jars: &Jars,
    bootstrap_servers: &str,
    topic: &str,
    output: &Path,
) -> Result<(), KafkaServerError> {
    consume(jars, bootstrap_servers, topic, output, LONG_TIMEOUT)
}

fn consume(
    jars: &Jars,
    bootstrap_servers: &str,
    topic: &str,
    output: &Path,
    timeout: Duration,
) -> Result<(), KafkaServerError> {
    let mut consumer = Command::new("sh");
    // Messages apart from what the tool says about itself.
    consumer.args(["-c", "out=$1; shift; exec \"$@\" >\"$out\"", "sh"]).arg(output);
    // Unconfigured, it logs to standard output.
    let options = ["-Xmx256m", "-XX:+UseSerialGC", "-Dorg.apache.logging.log4j.level=OFF", "-cp"];
    consumer.arg(&jars.java).args(options).arg(&jars.class_path);
    consumer.arg("org.apache.kafka.tools.consumer.ConsoleConsumer");
    consumer.args(["--bootstrap-server", bootstrap_servers, "--topic", topic, "--from-beginning"]);
    consumer.args(["--isolation-level", "read_committed", "--timeout-ms", QUIET_MS]);
    run_bounded(consumer, &output.with_extension("log"), timeout)
        .map_err(|reason| unusable(io::Error::other(reason)))
}

fn unusable(cause: io::Error) -> KafkaServerError {
    KafkaServerError::Io { what: "run the console consumer", cause }
}
