//! What a simulation plays to be the brokers of the source of a topic.

pub use crate::kafka::cluster::{Ask, Assigned, Cluster, Topic};
pub use crate::kafka::fetch::Consumer;
pub use crate::kafka::played::{Played, PlayedError, PlayedMessage, Player};
