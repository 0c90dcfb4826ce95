//! Where silver is mirrored to, on the command line.

use clap::Args;

use crate::healthcare::config::MirrorSection;

/// A copy of silver in a topic.
#[derive(Debug, Clone, Args)]
pub(super) struct MirrorArgs {
    /// Also send silver, masked, to this Kafka topic, exactly once
    #[arg(long, value_name = "T")]
    mirror_topic: Option<String>,

    /// Brokers of the mirror topic [default: those that events come from]
    #[arg(long, value_name = "H:P")]
    mirror_servers: Option<String>,
}

impl MirrorArgs {
    /// `section` with what was given here.
    pub(super) fn apply(&self, section: &mut MirrorSection) {
        if let Some(topic) = &self.mirror_topic {
            section.topic = Some(topic.clone());
        }
        if let Some(servers) = &self.mirror_servers {
            section.bootstrap_servers = Some(servers.clone());
        }
    }
}
