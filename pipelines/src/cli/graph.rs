//! `healthcare graph`.

use std::sync::Arc;

use thalweg_connectors::delta::DeltaCommitter;
use thalweg_core::Result;
use thalweg_core::crypto::MasterKey;
use thalweg_core::graph::JobGraph;
use thalweg_runtime::cli::GraphArgs;

use super::input;
use crate::healthcare::config::HealthcareConfig;
use crate::healthcare::healthcare_graph;

/// Prints the graph; touches neither tables nor brokers.
pub(super) fn execute(args: &GraphArgs) -> Result<()> {
    super::print(&args.render(&drawing()?));
    Ok(())
}

/// The pipeline's graph with the default settings, to look at.
pub(super) fn drawing() -> Result<JobGraph> {
    let mut config = HealthcareConfig::load(None)?;
    config.kafka.bootstrap_servers.get_or_insert_with(|| "127.0.0.1:9092".to_owned());
    let source = input::kafka(&config, input::format(&config))?;
    // Nothing is written below it: a graph is data.
    let committer = Arc::new(DeltaCommitter::new(std::env::temp_dir())?);
    let key = Arc::new(MasterKey::generate()?);
    healthcare_graph(&config, source, &committer, None, &key)
}
