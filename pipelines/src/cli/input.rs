//! Where events come from, and the job over them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use thalweg_connectors::delta::DeltaCommitter;
use thalweg_connectors::file::JsonLinesSource;
use thalweg_connectors::kafka::{KafkaSource, Start};
use thalweg_core::connector::decode::Format;
use thalweg_core::connector::source::Source;
use thalweg_core::{Error, Result};
use thalweg_objects::Access;
use thalweg_runtime::{CheckpointStorage, JobBuilder};

use super::DataArgs;
use crate::healthcare::config::{HealthcareConfig, KafkaSection};
use crate::healthcare::mirror::Mirror;
use crate::healthcare::{HealthcareFormat, healthcare_graph};

/// Where events come from.
#[derive(Debug, Clone, Args)]
pub(super) struct InputArgs {
    /// Kafka brokers
    #[arg(long, value_name = "H:P", conflicts_with = "input")]
    pub(super) bootstrap_servers: Option<String>,

    /// Kafka topic [default: `healthcare_events`]
    #[arg(long, value_name = "T", requires = "bootstrap_servers")]
    pub(super) topic: Option<String>,

    /// Where a new job starts reading: earliest, latest, or a time such as 2025-11-24T21:00:00Z [default: earliest]
    #[arg(long, value_name = "START", requires = "bootstrap_servers")]
    pub(super) start: Option<Start>,

    /// File of JSON lines to read to its end
    #[arg(long, value_name = "FILE.jsonl")]
    pub(super) input: Option<PathBuf>,
}

impl InputArgs {
    /// `section` with what was given here.
    pub(super) fn apply(&self, section: &mut KafkaSection) {
        if let Some(servers) = &self.bootstrap_servers {
            section.bootstrap_servers = Some(servers.clone());
        }
        if let Some(topic) = &self.topic {
            topic.clone_into(&mut section.topic);
        }
        if let Some(start) = self.start {
            section.start = start;
        }
    }
}

/// Events of the topic that the settings name.
pub(super) fn kafka(config: &HealthcareConfig) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(KafkaSource::new(config.kafka.source()?, format(config))))
}

fn format(config: &HealthcareConfig) -> Arc<dyn Format> {
    Arc::new(HealthcareFormat::new(&config.decoding))
}

/// Says at once, and before anything is created, that there is no such file.
pub(super) fn check(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(Error::config(format!("{} is not a file", path.display()))),
        Err(error) => {
            Err(Error::config(format!("cannot read {}", path.display())).with_source(error))
        }
    }
}

/// Events of a file.
pub(super) fn file(config: &HealthcareConfig, path: &Path) -> Arc<dyn Source> {
    Arc::new(JsonLinesSource::new(path, format(config)))
}

/// The healthcare job over a source.
pub(super) fn job(
    config: &HealthcareConfig,
    data: &DataArgs,
    source: Arc<dyn Source>,
    storage: Arc<dyn CheckpointStorage>,
) -> Result<JobBuilder> {
    let key = data.key(storage.as_ref())?;
    let committer = Arc::new(DeltaCommitter::at(&data.data_dir, &Access::from_environment())?);
    let mirror = Mirror::of(&config.mirror, &config.kafka)?;
    let graph = healthcare_graph(config, source, &committer, mirror.as_ref(), &key)?;
    Ok(JobBuilder::new(graph, storage, key).settings(config.runtime.clone()))
}
