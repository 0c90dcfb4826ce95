//! A real Apache Kafka of one node, from its published jars, for as long as a command runs:
//!
//! `cargo run --release -p thalweg-examples --bin kafka -- COMMAND ARGS…`
//!
//! COMMAND finds its address in `KAFKA_BOOTSTRAP_SERVERS`. Without a command it runs until Ctrl-C. Needs Java 17 and
//! Maven. The JVM is set up to start quickly; `KAFKA_JVM_PERFORMANCE_OPTS="-Xmx1g -XX:+UseG1GC -XX:MaxGCPauseMillis=20"`,
//! which is near to what Kafka's scripts give it, makes it quicker in the long run.

use std::error::Error;
use std::process::Command;

use thalweg_connectors::testing::kafka_server::KafkaServer;
use thalweg_examples::Usage;

#[expect(clippy::print_stdout, reason = "the address is what it is run for")]
fn main() -> Result<(), Box<dyn Error>> {
    Usage("usage: kafka [COMMAND ARGUMENTS…]").help_if_asked();
    let kafka = KafkaServer::start_own(1)?;
    let servers = kafka.bootstrap_servers();
    println!("Kafka listens at {servers}");
    let mut args = std::env::args_os().skip(1);
    let Some(program) = args.next() else {
        loop {
            std::thread::park();
        }
    };
    let status =
        Command::new(program).args(args).env("KAFKA_BOOTSTRAP_SERVERS", servers).status()?;
    drop(kafka);
    std::process::exit(status.code().unwrap_or(1));
}
