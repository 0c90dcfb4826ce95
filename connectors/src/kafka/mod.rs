//! Kafka: a source with exact positions, sinks, a bulk producer for tools, and a broker in the process for demos.
//!
//! Partitions are assigned with explicit offsets, never subscribed to, and group offsets are written for lag tools
//! only: where reading goes on is decided by checkpoints alone. An offset that is gone is an error or a counted
//! reset, never a silent jump.

pub mod admin;
mod client;
#[cfg_attr(
    not(feature = "test-util"),
    allow(unreachable_pub, reason = "the simulation of a whole job plays them")
)]
pub(crate) mod cluster;
pub mod config;
mod consumer;
mod delivery;
pub mod demo_broker;
#[cfg_attr(
    not(feature = "test-util"),
    allow(unreachable_pub, reason = "the simulation of a whole job plays it")
)]
pub(crate) mod fetch;
mod leader_epoch;
mod loss;
#[cfg(feature = "test-util")]
pub(crate) mod played;
pub mod producer;
mod properties;
mod reader;
mod requests;
pub mod sink;
pub mod source;
mod stall;
mod topic;
mod topic_id;
mod trouble;

pub use admin::{count_partitions, ensure_topic};
pub use config::{KafkaConfig, OnDataLoss, Start};
pub use demo_broker::DemoBroker;
pub use producer::TopicWriter;
pub use sink::{KafkaCommitter, KafkaSink, KafkaSinkConfig};
pub use source::KafkaSource;
