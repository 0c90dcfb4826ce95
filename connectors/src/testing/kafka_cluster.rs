//! What a simulation plays to be the brokers of the committer of Kafka topics.

pub use crate::kafka::sink::cluster::{
    Answer, BrokerLimits, Cluster, Ends, FoundTopic, Message, Reading, Refusal, Transactions,
    attempts,
};
