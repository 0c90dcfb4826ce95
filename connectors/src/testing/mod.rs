//! Test support: a real Apache Kafka that starts and stops with a test.

#[cfg(feature = "kafka")]
pub mod kafka_server;
