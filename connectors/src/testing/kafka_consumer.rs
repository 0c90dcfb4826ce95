//! Readers of whole topics: librdkafka's, and Apache Kafka's own console consumer, which shares nothing with the code
//! under test.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::kafka_jars::{Jars, run_bounded};
use super::kafka_passing::{ask, partitions};
use super::kafka_transactions::wait_for_ends;
use super::{Consumed, KafkaServerError, unique};

const TIMEOUT: Duration = Duration::from_mins(10);
/// For topics of any size: it reads some ten thousand messages a second at the least.
const LONG_TIMEOUT: Duration = Duration::from_mins(30);
const POLL: Duration = Duration::from_millis(500);
const MOST_QUIET: u32 = 120;
/// It gives up once no message has come for this long, which a busy machine may take. It is told how many there are, so
/// that it need not wait for the end.
const QUIET_MS: &str = "60000";

/// All committed messages of a topic, from each partition's beginning to its last stable offset.
pub(super) fn committed_messages(
    bootstrap_servers: &str,
    topic: &str,
) -> Result<Vec<Consumed>, KafkaServerError> {
    let mut messages = Vec::new();
    each_committed(bootstrap_servers, topic, |message| {
        messages.push(Consumed {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            value: message.payload().unwrap_or_default().to_vec(),
        });
    })?;
    Ok(messages)
}

/// The positions that a group has in a topic, by partition; none where it has not been told any.
pub(super) fn group_positions(
    bootstrap_servers: &str,
    group: &str,
    topic: &str,
) -> Result<BTreeMap<i32, i64>, KafkaServerError> {
    let what = format!("read the positions of group {group} in topic {topic}");
    let failed = |cause| KafkaServerError::Kafka { what: what.clone(), cause };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap_servers).set("group.id", group);
    config.set("enable.auto.commit", "false").set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let mut list = TopicPartitionList::new();
    for partition in ask(&what, || partitions(&consumer, topic, POLL * MOST_QUIET))? {
        list.add_partition(topic, partition);
    }
    let told = ask(&what, || consumer.committed_offsets(list.clone(), POLL * MOST_QUIET))?;
    let at = |offset| match offset {
        Offset::Offset(at) => Some(at),
        _ => None,
    };
    let told = told.elements();
    Ok(told.iter().filter_map(|one| Some((one.partition(), at(one.offset())?))).collect())
}

/// Hands on all committed messages of a topic, from each partition's beginning to its last stable offset, once that is behind
/// what is there by now.
fn each_committed(
    bootstrap_servers: &str,
    topic: &str,
    mut each: impl FnMut(&BorrowedMessage<'_>),
) -> Result<(), KafkaServerError> {
    wait_for_ends(bootstrap_servers, topic)?;
    let what = format!("read topic {topic}");
    let failed = |cause| KafkaServerError::Kafka { what: what.clone(), cause };
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap_servers).set("group.id", "thalweg-test-reader");
    config.set("isolation.level", "read_committed").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true").set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let mut open = ask(&what, || partitions(&consumer, topic, POLL * MOST_QUIET))?;
    let mut list = TopicPartitionList::new();
    for partition in &open {
        list.add_partition_offset(topic, *partition, Offset::Beginning).map_err(failed)?;
    }
    consumer.assign(&list).map_err(failed)?;
    let mut quiet = 0;
    while !open.is_empty() {
        match consumer.poll(POLL) {
            None if quiet >= MOST_QUIET => {
                let error = KafkaError::MessageConsumption(RDKafkaErrorCode::RequestTimedOut);
                return Err(failed(error));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|p| *p != partition),
            // A broker that comes back is waited for.
            None | Some(Err(_)) => quiet += 1,
            Some(Ok(message)) => {
                quiet = 0;
                each(&message);
            }
        }
    }
    Ok(())
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
    let (mut messages, mut seen) = (0_u64, BTreeMap::new());
    each_committed(bootstrap_servers, topic, |message| {
        // Behind a change of the leader's epoch librdkafka may give the same message again.
        let newest = seen.entry(message.partition()).or_insert(-1);
        if message.offset() > *newest {
            *newest = message.offset();
            messages += 1;
        }
    })?;
    if messages == 0 {
        // To the tool no number is every number.
        return fs::write(output, "").map_err(unusable);
    }
    let mut consumer = Command::new("sh");
    // Messages apart from what the tool says about itself.
    consumer.args(["-c", "out=$1; shift; exec \"$@\" >\"$out\"", "sh"]).arg(output);
    // Unconfigured, it logs to standard output.
    let options = ["-Xmx256m", "-XX:+UseSerialGC", "-Dorg.apache.logging.log4j.level=OFF", "-cp"];
    consumer.arg(&jars.java).args(options).arg(&jars.class_path);
    consumer.arg("org.apache.kafka.tools.consumer.ConsoleConsumer");
    consumer.args(["--bootstrap-server", bootstrap_servers, "--topic", topic, "--from-beginning"]);
    consumer.args(["--isolation-level", "read_committed", "--timeout-ms", QUIET_MS]);
    consumer.args(["--max-messages", &messages.to_string()]);
    let failed = |reason: String| unusable(io::Error::other(reason));
    run_bounded(consumer, &output.with_extension("log"), timeout).map_err(failed)?;
    // It ends well as well where it has given up.
    let lines = lines(output).map_err(unusable)?;
    if lines < messages {
        return Err(failed(format!("it gave up behind {lines} of {messages} messages")));
    }
    Ok(())
}

fn lines(file: &Path) -> io::Result<u64> {
    let mut lines = 0;
    for line in BufReader::new(File::open(file)?).split(b'\n') {
        line?;
        lines += 1;
    }
    Ok(lines)
}

fn unusable(cause: io::Error) -> KafkaServerError {
    KafkaServerError::Io { what: "run the console consumer", cause }
}
