//! What an operator does about transactions, by Apache Kafka's own tool.

use std::io;
use std::process::Command;
use std::time::Duration;

use super::kafka_jars::{Jars, run_bounded};
use super::{KafkaServerError, unique};

const TIMEOUT: Duration = Duration::from_mins(5);

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
