//! Readers of whole topics: librdkafka's, and Apache Kafka's own console consumer, which shares nothing with the code
//! under test.

use std::fs;
use std::io;
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
    let io = |cause| KafkaServerError::Io { what: "run the console consumer", cause };
    fs::create_dir(&folder).map_err(io)?;
    let (output, log) = (folder.join("messages"), folder.join("log"));
    let mut consumer = Command::new("sh");
    // Messages apart from what the tool says about itself.
    consumer.args(["-c", "out=$1; shift; exec \"$@\" >\"$out\"", "sh"]).arg(&output);
    // Unconfigured, it logs to standard output.
    let options = ["-Xmx256m", "-XX:+UseSerialGC", "-Dorg.apache.logging.log4j.level=OFF", "-cp"];
    consumer.arg(&jars.java).args(options).arg(&jars.class_path);
    consumer.arg("org.apache.kafka.tools.consumer.ConsoleConsumer");
    consumer.args(["--bootstrap-server", bootstrap_servers, "--topic", topic, "--from-beginning"]);
    consumer.args(["--isolation-level", "read_committed", "--timeout-ms", QUIET_MS]);
    let ran = run_bounded(consumer, &log, TIMEOUT);
    let text = fs::read_to_string(&output).map_err(io);
    fs::remove_dir_all(&folder).map_err(io)?;
    ran.map_err(|reason| io(io::Error::other(reason)))?;
    Ok(text?.lines().map(ToOwned::to_owned).collect())
}
