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
        apply(self.mirror_topic.as_ref(), self.mirror_servers.as_ref(), section);
    }
}

/// The copy of silver that a job makes, for those who finish or check what it began.
#[derive(Debug, Clone, Args)]
pub(super) struct MirroredArgs {
    /// Topic that the job mirrors silver to, where a checkpoint may wait for it [default: mirror.topic of --config]
    #[arg(long, value_name = "T", global = true)]
    mirror_topic: Option<String>,

    /// Brokers of that topic [default: `mirror.bootstrap_servers`, else `kafka.bootstrap_servers`, of --config]
    #[arg(long, value_name = "H:P", global = true)]
    mirror_servers: Option<String>,
}

impl MirroredArgs {
    /// `section` with what was given here.
    pub(super) fn apply(&self, section: &mut MirrorSection) {
        apply(self.mirror_topic.as_ref(), self.mirror_servers.as_ref(), section);
    }
}

fn apply(topic: Option<&String>, servers: Option<&String>, section: &mut MirrorSection) {
    if let Some(topic) = topic {
        section.topic = Some(topic.clone());
    }
    if let Some(servers) = servers {
        section.bootstrap_servers = Some(servers.clone());
    }
}
