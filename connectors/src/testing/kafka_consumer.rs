//! Apache Kafka's own console consumer: a reader of topics that shares nothing with the code under test.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use super::kafka_jars::{Jars, run_bounded};
use super::{KafkaServerError, unique};

const TIMEOUT: Duration = Duration::from_mins(3);
/// It stops once no message has come for this long.
const QUIET_MS: &str = "8000";

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
