//! Where events come from, and the job over them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use thalweg_connectors::delta::DeltaCommitter;
use thalweg_connectors::file::{JsonLinesSource, MAX_LINE};
use thalweg_connectors::json::JsonFormat;
use thalweg_connectors::kafka::{KafkaSource, Start};
use thalweg_core::connector::decode::Format;
use thalweg_core::connector::source::Source;
use thalweg_core::{Error, Result};
use thalweg_objects::Access;
use thalweg_runtime::{CheckpointStorage, JobBuilder};

use super::JobArgs;
use crate::healthcare::alerts::command::CommandMessage;
use crate::healthcare::config::{HealthcareConfig, KafkaSection};
use crate::healthcare::dashboard::tap::Tap;
use crate::healthcare::graph::Sources;
use crate::healthcare::topics::Topics;
use crate::healthcare::{HealthcareFormat, tapped_graph};

/// Where events come from.
#[derive(Debug, Clone, Args)]
pub(super) struct InputArgs {
    /// Kafka brokers [default: `kafka.bootstrap_servers` of --config]
    #[arg(long, value_name = "H:P", conflicts_with = "input")]
    pub(super) bootstrap_servers: Option<String>,

    /// Kafka topic [default: kafka.topic of --config, `healthcare_events`]
    #[arg(long, value_name = "T", conflicts_with = "input")]
    pub(super) topic: Option<String>,

    /// Where a new job starts reading: earliest, latest, or a time such as 2025-11-24T21:00:00Z [default:
    /// kafka.start of --config, earliest]
    #[arg(long, value_name = "START", conflicts_with = "input")]
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

    /// Refuses what says more about a topic of brokers that neither this nor `section`, to which it was applied, names:
    /// the simulated hospital would have it for nothing.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`].
    pub(super) fn check(&self, section: &KafkaSection) -> Result<()> {
        if self.topic.is_some() || self.start.is_some() {
            section.servers()?;
        }
        Ok(())
    }
}

/// How the settings want messages to be read. It counts what it comes across.
pub(super) fn format(config: &HealthcareConfig) -> HealthcareFormat {
    HealthcareFormat::new(&config.decoding)
}

/// Events of the topic that the settings name.
pub(super) fn kafka(
    config: &HealthcareConfig,
    format: HealthcareFormat,
) -> Result<Arc<dyn Source>> {
    Ok(Arc::new(KafkaSource::new(config.kafka.source()?, Arc::new(format))))
}

/// Commands about alerts, if the settings name a topic of them. They come beside events from Kafka only: a job over a
/// file ends, commands do not.
pub(super) fn commands(
    config: &HealthcareConfig,
    is_kafka: bool,
) -> Result<Option<Arc<dyn Source>>> {
    let Some(topic) = commands_topic(config) else { return Ok(None) };
    if !is_kafka {
        return Err(Error::config(
            "alerts.commands_topic is read beside events from Kafka only: leave it out for a file",
        ));
    }
    if *topic == config.kafka.topic {
        return Err(Error::config(
            "alerts.commands_topic is the topic that events come from: name another",
        ));
    }
    let mut source = config.kafka.source()?;
    topic.clone_into(&mut source.topic);
    // Not lag that anybody should look at, and none of it is skipped.
    source.group_id = None;
    source.start = Start::Earliest;
    Ok(Some(Arc::new(KafkaSource::new(source, command_format()?))))
}

/// A source in place of [`commands`], for a job that reads nothing.
pub(super) fn unread_commands(config: &HealthcareConfig) -> Result<Option<Arc<dyn Source>>> {
    if commands_topic(config).is_none() {
        return Ok(None);
    }
    Ok(Some(Arc::new(JsonLinesSource::new(Path::new("unused"), command_format()?))))
}

/// The topic of commands about alerts, if there are any.
pub(super) fn commands_topic(config: &HealthcareConfig) -> Option<&String> {
    config.alerts.commands_topic.as_ref().filter(|_| config.alerts.enabled)
}

fn command_format() -> Result<Arc<dyn Format>> {
    Ok(Arc::new(JsonFormat::of::<CommandMessage>()?))
}

/// Events of a file. Lines that the settings allow are read whole, since the first bytes of a good event are no event; and so
/// are those up to [`MAX_LINE`] that are only for bronze, which has messages as they were sent.
pub(super) fn file(
    path: &Path,
    format: HealthcareFormat,
    config: &HealthcareConfig,
) -> Arc<dyn Source> {
    let longest = config.decoding.max_message_bytes.max(MAX_LINE);
    Arc::new(JsonLinesSource::new(path, Arc::new(format)).max_line(longest))
}

/// Whether a file is read in one piece. The pieces of a longer one are read side by side, so that a patient's events
/// come in no order: alerts would not be the same twice. Commands that look at checkpoints need not know: they take the
/// sinks from the manifest, whether or not the graph has alerts.
pub(super) fn is_one_piece(file: &dyn Source) -> Result<bool> {
    Ok(file.start_splits()?.len() <= 1)
}

/// The healthcare job over a source, with a tap for dashboards if they are served.
pub(super) fn job(
    config: &HealthcareConfig,
    args: &JobArgs,
    sources: Sources,
    storage: Arc<dyn CheckpointStorage>,
    tap: Option<&Arc<Tap>>,
) -> Result<JobBuilder> {
    let key = args.key(storage.as_ref())?;
    let place = &args.data.data_dir;
    let committer = Arc::new(DeltaCommitter::at(place, &Access::from_environment())?);
    let topics = Topics::of(config)?;
    let graph = tapped_graph(config, sources, &committer, topics.as_ref(), &key, tap)?;
    Ok(JobBuilder::new(graph, storage, key).settings(config.runtime.clone()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use clap::Parser;
    use thalweg_core::connector::source::Polled;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        input: InputArgs,
    }

    #[test]
    fn a_topic_and_a_start_need_brokers_that_are_named_here_or_in_the_file() {
        for (words, is_enough) in [
            (&["run"][..], true),
            (&["run", "--topic", "t"], false),
            (&["run", "--start", "latest"], false),
            (&["run", "--topic", "t", "--bootstrap-servers", "h:1"], true),
        ] {
            let Line { input } = Line::try_parse_from(words).unwrap();
            for (named, is_enough) in [(None, is_enough), (Some("b:1".to_owned()), true)] {
                let mut section = KafkaSection { bootstrap_servers: named, ..Default::default() };
                input.apply(&mut section);
                assert_eq!(input.check(&section).is_ok(), is_enough, "{words:?}");
            }
        }
        for more in [["--topic", "t"], ["--start", "latest"], ["--bootstrap-servers", "h:1"]] {
            let words = ["run", "--input", "f"].iter().chain(&more);
            assert!(Line::try_parse_from(words).is_err(), "{more:?}");
        }
    }

    #[test]
    fn a_topic_of_commands_needs_events_of_another_topic() {
        let mut config = HealthcareConfig::default();
        assert!(commands(&config, false).unwrap().is_none());
        config.alerts.commands_topic = Some("commands".to_owned());
        config.kafka.bootstrap_servers = Some("127.0.0.1:1".to_owned());
        assert!(commands(&config, true).unwrap().is_some());
        let refused = commands(&config, false).unwrap_err().to_string();
        assert!(refused.contains("events from Kafka only"), "{refused}");
        config.kafka.topic = "commands".to_owned();
        let refused = commands(&config, true).unwrap_err().to_string();
        assert!(refused.contains("name another"), "{refused}");
        config.alerts.enabled = false;
        assert!(commands(&config, false).unwrap().is_none());
    }

    /// Its first bytes would be no JSON, whatever the settings say.
    #[test]
    fn a_long_line_that_the_settings_allow_is_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let line = format!("{{\"name\":\"{}\"}}", "x".repeat(MAX_LINE));
        std::fs::write(&path, &line).unwrap();
        let mut config = HealthcareConfig::default();
        config.decoding.max_message_bytes = line.len();
        let source = file(&path, format(&config), &config);
        let mut reader = source.reader().unwrap();
        reader.assign(source.start_splits().unwrap()).unwrap();
        let Polled::Rows(rows) = reader.poll(Duration::ZERO).unwrap() else { panic!("no rows") };
        let column = |name: &str| rows.batch.column_by_name(name).unwrap();
        assert_eq!(column("payload").as_binary::<i32>().value(0).len(), line.len());
        assert!(column("decode_errors").is_null(0));
    }
}
