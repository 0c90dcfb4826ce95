//! The demo: librdkafka's in-process broker and a simulated hospital, so that one command shows the whole path.

use std::sync::Arc;
use std::time::Duration;

use thalweg_connectors::kafka::{DemoBroker, TopicWriter};
use thalweg_core::Result;
use thalweg_runtime::SystemClock;

use crate::healthcare::config::{DEFAULT_TOPIC, HealthcareConfig};
use crate::healthcare::feed::{Feed, FeedSettings};
use crate::healthcare::hospital::{Hospital, HospitalSettings};

/// Partitions of the demo's topic.
const PARTITIONS: i32 = 4;
/// Events per second. The broker keeps 5 MiB per partition: at about 350 bytes an event one holds a minute of this, so
/// two checkpoint intervals and a restart fit many times over (P29).
const RATE: f64 = 1_000.0;
/// Event time runs this much faster than the clock, so that minutes fill within seconds.
const SPEED: f64 = 60.0;

/// A running broker and hospital; both stop when dropped, the hospital first.
#[derive(Debug)]
pub(super) struct Demo {
    _hospital: Feed,
    broker: DemoBroker,
}

impl Demo {
    /// Starts both. `events` bounds what the hospital sends.
    pub(super) fn start(config: &HealthcareConfig, events: Option<u64>) -> Result<Self> {
        let broker = DemoBroker::start(DEFAULT_TOPIC, PARTITIONS)?;
        let servers = broker.bootstrap_servers();
        let writer = TopicWriter::new(servers, DEFAULT_TOPIC, &config.kafka.properties)?;
        let settings = HospitalSettings {
            bad: 0.01,
            late: 0.01,
            late_by: Duration::from_mins(5),
            ..HospitalSettings::default()
        };
        // The broker's time is event time: nothing then looks as if it came from the future.
        let feed = FeedSettings { rate: RATE, events, simulated_timestamps: true };
        let hospital = Feed::start(
            Hospital::new(settings.pace(RATE, SPEED)),
            writer,
            feed,
            Arc::new(SystemClock::default()),
        )?;
        Ok(Self { _hospital: hospital, broker })
    }

    /// Where the broker listens.
    pub(super) fn bootstrap_servers(&self) -> &str {
        self.broker.bootstrap_servers()
    }
}
