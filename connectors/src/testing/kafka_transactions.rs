//! Transactions of others: their ends, which a reader waits for, and what an operator does about them by Apache Kafka's own
//! tool.

use std::io;
use std::process::Command;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::kafka_clients::wait_until;
use super::kafka_jars::{Jars, run_bounded};
use super::kafka_passing::{ask, partitions};
use super::{KafkaServerError, unique};

const TIMEOUT: Duration = Duration::from_mins(5);
const PATIENCE: Duration = Duration::from_mins(2);

/// Waits until every transaction that has messages in a topic by now has ended in each partition. A broker answers an end
/// before it has written it there, and readers of committed messages see the end of the topic in front of it meanwhile.
pub fn wait_for_ends(bootstrap_servers: &str, topic: &str) -> Result<(), KafkaServerError> {
    let what = format!("look where topic {topic} ends");
    let client = |isolation: &str| -> Result<BaseConsumer, KafkaServerError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap_servers).set("group.id", "thalweg-test-ends");
        config.set("isolation.level", isolation).set("allow.auto.create.topics", "false");
        config.create().map_err(|cause| KafkaServerError::Kafka { what: what.clone(), cause })
    };
    let (all, settled) = (client("read_uncommitted")?, client("read_committed")?);
    for partition in ask(&what, || partitions(&all, topic, PATIENCE))? {
        let (_, end) = ask(&what, || all.fetch_watermarks(topic, partition, PATIENCE))?;
        let ended = format!("the end of the transactions in {topic}/{partition}");
        wait_until(&ended, PATIENCE, || {
            let look = || settled.fetch_watermarks(topic, partition, PATIENCE);
            ask(&what, look).map(|(_, stable)| stable >= end)
        })?;
    }
    Ok(())
}

/// Aborts the transaction that began at offset `from` of a partition, and has not ended there.
pub(super) fn abort(
    jars: &Jars,
    bootstrap_servers: &str,
    (topic, partition): (&str, i32),
    from: i64,
) -> Result<(), KafkaServerError> {
    let mut tool = Command::new(&jars.java);
    tool.args(["-Xmx256m", "-XX:+UseSerialGC", "-cp"]).arg(&jars.class_path);
    tool.args(["org.apache.kafka.tools.TransactionsCommand"]);
    tool.args(["--bootstrap-server", bootstrap_servers, "abort", "--topic", topic]);
    tool.args(["--partition", &partition.to_string(), "--start-offset", &from.to_string()]);
    let log = std::env::temp_dir().join(format!("thalweg-transactions-{}.log", unique()));
    let ran = run_bounded(tool, &log, TIMEOUT);
    drop(std::fs::remove_file(&log));
    ran.map_err(|reason| KafkaServerError::Io {
        what: "abort a transaction",
        cause: io::Error::other(reason),
    })
}
