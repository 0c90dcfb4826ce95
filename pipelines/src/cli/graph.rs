//! `healthcare graph`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use thalweg_connectors::delta::DeltaCommitter;
use thalweg_core::Result;
use thalweg_core::crypto::MasterKey;
use thalweg_core::graph::JobGraph;
use thalweg_runtime::cli::GraphArgs;

use super::mirror::MirrorArgs;
use super::outcome::{Failure, usage};
use super::{input, load_config};
use crate::healthcare::config::HealthcareConfig;
use crate::healthcare::graph::Sources;
use crate::healthcare::healthcare_graph;
use crate::healthcare::topics::Topics;

/// Of which job, and how.
#[derive(Debug, Clone, Args)]
pub(super) struct GraphCommand {
    /// Configuration file of the job: topics that it names are part of the graph
    #[arg(long, value_name = "F.toml")]
    config: Option<PathBuf>,

    #[command(flatten)]
    mirror: MirrorArgs,
    #[command(flatten)]
    graph: GraphArgs,
}

/// Prints the graph; touches neither tables nor brokers.
pub(super) fn execute(command: &GraphCommand) -> Result<(), Failure> {
    let mut config = load_config(command.config.as_deref())?;
    command.mirror.apply(&mut config.mirror);
    super::print(&command.graph.render(&drawing(&config).map_err(usage)?));
    Ok(())
}

/// The graph of a job with these settings that reads from Kafka, to look at. They alone can be wrong.
pub(super) fn drawing(config: &HealthcareConfig) -> Result<JobGraph> {
    let mut config = config.clone();
    config.kafka.bootstrap_servers.get_or_insert_with(|| "127.0.0.1:9092".to_owned());
    let events = input::kafka(&config, input::format(&config))?;
    let sources = Sources { events, commands: input::commands(&config, true)? };
    let topics = Topics::of(&config)?;
    // Nothing is written below it: a graph is data.
    let committer = Arc::new(DeltaCommitter::new(std::env::temp_dir())?);
    let key = Arc::new(MasterKey::generate()?);
    healthcare_graph(&config, sources, &committer, topics.as_ref(), &key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_has_the_topics_that_the_settings_name_and_no_others() {
        let of_topics = ["mirror", "dead-letters", "alerts-topic", "alert-commands"];
        let drawn = |settings: &str| {
            let graph = drawing(&HealthcareConfig::parse(settings).unwrap()).unwrap();
            let uids: Vec<&str> = graph.nodes().iter().map(|node| node.uid.as_str()).collect();
            assert!(uids.contains(&"silver"), "{uids:?}");
            of_topics.map(|uid| uids.contains(&uid))
        };
        assert_eq!(drawn(""), [false; 4]);
        let settings = "
            [mirror]
            topic = 'a'
            [quarantine]
            on_rejected = 'topic'
            topic = 'b'
            [alerts]
            topic = 'c'
            commands_topic = 'd'";
        assert_eq!(drawn(settings), [true; 4]);
    }
}
