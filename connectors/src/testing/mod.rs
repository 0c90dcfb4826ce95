//! Test support: a real Apache Kafka that starts and stops with a test, and object stores that misbehave.

#[cfg(feature = "delta")]
pub mod faulty_store;
#[cfg(feature = "delta")]
pub use crate::delta::in_place::{InPlace, work_in_place};
#[cfg(feature = "kafka")]
#[allow(
    clippy::disallowed_methods,
    reason = "it waits for another process, with a bound, outside of any job"
)]
pub mod kafka_server;
