//! What can be set about the pipeline. Every setting has a default that works; a file names those that differ.

mod mistake;
mod properties;
mod schedule;
mod secrets;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_connectors::delta::{Compaction, SAFE_RETENTION, Vacuum};
use thalweg_connectors::kafka::{KafkaConfig, OnDataLoss, Start};
use thalweg_core::graph::DEFAULT_MAX_PARALLELISM;
use thalweg_core::{Error, Result};
use thalweg_runtime::Settings;

pub use super::alerts::config::{AlertsSection, AnomaliesSection, News2Section, SignalLostSection};
use super::alerts::rules::Rules;
pub use super::daily::limits::QualitySection;
pub use super::monitor::MonitorSection;
pub use super::quarantine::{QuarantineSection, Rejected};
pub use super::rules::{Range, Ranges};
pub use super::topics::MirrorSection;
pub use schedule::ScheduleSection;
pub use template::commented_default;

/// The topic that is read when nothing else is said.
pub const DEFAULT_TOPIC: &str = "healthcare_events";

/// All settings of the pipeline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthcareConfig {
    /// Where events come from.
    pub kafka: KafkaSection,
    /// A copy of silver in a topic.
    pub mirror: MirrorSection,
    /// How messages are read.
    pub decoding: Decoding,
    /// What is possible.
    pub ranges: Ranges,
    /// What becomes of rejected messages.
    pub quarantine: QuarantineSection,
    /// How event time advances.
    pub time: TimeSection,
    /// Whom alerts go to, and limits of single vitals.
    pub alerts: AlertsSection,
    /// The early warning score.
    pub news2: News2Section,
    /// When nothing is heard of a monitored patient.
    pub signal_lost: SignalLostSection,
    /// Values that are unusual for their patient.
    pub anomalies: AnomaliesSection,
    /// How the job runs.
    pub runtime: Settings,
    /// How the tables are kept in shape while it runs.
    pub maintenance: MaintenanceSection,
    /// When a day's data are good.
    pub quality: QualitySection,
    /// When the job is well.
    pub monitor: MonitorSection,
    /// When `healthcare schedule` does what.
    pub schedule: ScheduleSection,
}

/// Where events come from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSection {
    /// `host:port`, several separated by commas; the command line comes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap_servers: Option<String>,
    /// The topic to read; the command line comes first.
    pub topic: String,
    /// Consumer group under which positions are shown to lag tools; none by default. Never read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// Where a new chain begins: `earliest`, `latest`, or a time; the command line comes first.
    pub start: Start,
    /// How often to look for new partitions.
    #[serde(with = "humantime_serde")]
    pub discovery_interval: Duration,
    /// What to do about a position that the broker no longer has: `fail` or `reset`.
    pub on_data_loss: OnDataLoss,
    /// Any further setting of librdkafka, for sources and `produce` alike.
    #[serde(
        deserialize_with = "properties::deserialize",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub properties: BTreeMap<String, String>,
}

impl Default for KafkaSection {
    fn default() -> Self {
        let KafkaConfig {
            topic,
            group_id,
            start,
            properties,
            discovery_interval,
            on_data_loss,
            ..
        } = KafkaConfig::new("", DEFAULT_TOPIC);
        Self {
            bootstrap_servers: None,
            topic,
            group_id,
            start,
            discovery_interval,
            on_data_loss,
            properties,
        }
    }
}

impl KafkaSection {
    /// The brokers.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] when none is named.
    pub fn servers(&self) -> Result<&str> {
        self.bootstrap_servers.as_deref().ok_or_else(|| {
            Error::config(
                "no kafka broker is named: pass --bootstrap-servers host:port, or a --config file with kafka.bootstrap_servers",
            )
        })
    }

    /// What the Kafka source needs.
    ///
    /// # Errors
    /// As [`KafkaSection::servers`].
    pub fn source(&self) -> Result<KafkaConfig> {
        Ok(self.source_at(self.servers()?))
    }

    fn source_at(&self, servers: &str) -> KafkaConfig {
        KafkaConfig {
            group_id: self.group_id.clone(),
            start: self.start,
            properties: self.properties.clone(),
            discovery_interval: self.discovery_interval,
            on_data_loss: self.on_data_loss,
            ..KafkaConfig::new(servers, &self.topic)
        }
    }
}

impl fmt::Debug for KafkaSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Kafka's own type knows which properties are secret.
        self.source_at(self.bootstrap_servers.as_deref().unwrap_or_default()).fmt(f)
    }
}

/// How messages are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decoding {
    /// Longer messages are not looked into.
    pub max_message_bytes: usize,
    /// How far ahead of its arrival an event may claim to have happened.
    #[serde(with = "humantime_serde")]
    pub future_cap: Duration,
}

impl Default for Decoding {
    fn default() -> Self {
        Self { max_message_bytes: 1 << 20, future_cap: Duration::from_hours(24) }
    }
}

/// How event time advances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeSection {
    /// How far out of order events may be.
    #[serde(with = "humantime_serde")]
    pub out_of_orderness: Duration,
    /// How far ahead of its arrival an event may claim to have happened and still move event time.
    #[serde(with = "humantime_serde")]
    pub ahead: Duration,
    /// A partition without events for this long no longer holds the others back.
    #[serde(with = "humantime_serde")]
    pub idle_after: Duration,
    /// Length of the windows of the gold tables.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// How much longer than the watermark says a window stays open.
    #[serde(with = "humantime_serde")]
    pub allowed_lateness: Duration,
}

impl Default for TimeSection {
    fn default() -> Self {
        Self {
            out_of_orderness: Duration::from_secs(30),
            ahead: Duration::from_mins(10),
            idle_after: Duration::from_mins(1),
            window: Duration::from_mins(1),
            allowed_lateness: Duration::ZERO,
        }
    }
}

/// How the tables are kept in shape while the job runs.
///
/// It is on by default: a job that is left alone writes a file per table and checkpoint, tens of thousands a day, and
/// readers slow down with each. The first run comes after one interval, so a short job never sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaintenanceSection {
    /// Time between two runs; zero: never.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Time between two runs that merge small files; zero: with the rest.
    #[serde(with = "humantime_serde")]
    pub merge_interval: Duration,
    /// How long files that are no longer in a table stay for readers of older versions.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// Fewer small files are not merged.
    pub min_files: usize,
}

impl Default for MaintenanceSection {
    fn default() -> Self {
        Self {
            interval: Duration::from_hours(1),
            merge_interval: Duration::from_mins(5),
            retention: Vacuum::default().retention,
            min_files: Compaction::default().min_files,
        }
    }
}

impl HealthcareConfig {
    /// The settings in the file at `path`, over the defaults; the defaults when there is no path.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`]: one line that names the file, the place in it and what is wrong.
    pub fn load(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::config(format!("cannot read configuration file {}", path.display()))
                .with_source(e)
        })?;
        let config =
            Self::parse(&text).map_err(|e| Error::config(format!("{}: {e}", path.display())))?;
        secrets::warn(path, &config);
        Ok(config)
    }

    /// The settings in `text`, over the defaults.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`].
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self =
            toml::from_str(text).map_err(|e| Error::config(mistake::told(text, &e)))?;
        config.check()?;
        Ok(config)
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] naming the setting.
    pub fn check(&self) -> Result<()> {
        self.ranges.check()?;
        self.quarantine.check()?;
        self.alerts.check()?;
        self.news2.check()?;
        self.signal_lost.check()?;
        self.anomalies.check()?;
        let rules = Rules::new(self)?;
        rules.check()?;
        if self.alerts.enabled {
            rules.check_ranges(&self.ranges)?;
        }
        let runtime = self.runtime.check(DEFAULT_MAX_PARALLELISM);
        runtime.map_err(|e| Error::config(format!("runtime.{e}")))?;
        let wrong = |what: &str| Err(Error::config(what.to_owned()));
        if self.kafka.topic.is_empty() {
            return wrong("kafka.topic must not be empty");
        }
        if self.kafka.discovery_interval.is_zero() {
            return wrong("kafka.discovery_interval must be longer than 0s");
        }
        // More than a gibibyte is longer than a line of a file may be, and than what a batch could hold.
        if !(1..=1 << 30).contains(&self.decoding.max_message_bytes) {
            return wrong("decoding.max_message_bytes must be 1 to 1073741824");
        }
        if self.time.window < Duration::from_millis(1) {
            return wrong("time.window must be at least 1ms");
        }
        if self.time.idle_after.is_zero() {
            return wrong("time.idle_after must be more than 0s");
        }
        // How much more a vacuum takes is the tables' word: `delta.deletedFileRetentionDuration`, a week by default.
        if self.maintenance.retention < SAFE_RETENTION {
            return wrong("maintenance.retention must be at least 1h");
        }
        if self.maintenance.min_files < 2 {
            return wrong("maintenance.min_files must be at least 2");
        }
        if self.monitor.webhook_attempts == 0 {
            return wrong("monitor.webhook_attempts must be at least 1");
        }
        self.quality.check()?;
        self.schedule.check()
    }
}
