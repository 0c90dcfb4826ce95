//! Test support: a real Apache Kafka that starts and stops with a test, and object stores that misbehave.

#[cfg(feature = "delta")]
pub mod faulty_store;
#[cfg(any(feature = "delta", feature = "kafka"))]
pub use crate::in_place::{InPlace, work_in_place};
#[cfg(feature = "kafka")]
pub mod kafka_cluster;
#[cfg(feature = "kafka")]
#[allow(
    clippy::disallowed_methods,
    reason = "it waits for another process, with a bound, outside of any job"
)]
pub mod kafka_server;
#[cfg(feature = "kafka")]
pub mod kafka_topic;
