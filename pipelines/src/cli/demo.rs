//! The demo: librdkafka's in-process broker and a simulated hospital, so that one command shows the whole path.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use thalweg_connectors::kafka::{DemoBroker, TopicWriter};
use thalweg_core::{Result, error};

use super::input::DEFAULT_TOPIC;
use crate::healthcare::config::HealthcareConfig;
use crate::healthcare::hospital::{Hospital, HospitalOptions};

/// Partitions of the demo's topic.
const PARTITIONS: i32 = 4;
/// Events per second. The broker keeps 5 MiB per partition: at about 350 bytes an event this fills one in a minute, so
/// two checkpoint intervals and a restart fit many times over.
const RATE: u64 = 1_000;
/// Pause between portions.
const PORTION: Duration = Duration::from_millis(50);
/// Event time runs this much faster than the clock, so that minutes fill within seconds.
const SPEED: f64 = 60.0;

/// A running broker and hospital; stops when dropped.
pub(super) struct Demo {
    broker: DemoBroker,
    stop: Arc<AtomicBool>,
    hospital: Option<JoinHandle<()>>,
}

impl Demo {
    /// Starts both. `events` bounds what the hospital sends.
    pub(super) fn start(config: &HealthcareConfig, events: Option<u64>) -> Result<Self> {
        let broker = DemoBroker::start(DEFAULT_TOPIC, PARTITIONS)?;
        let writer = TopicWriter::new(broker.bootstrap_servers(), DEFAULT_TOPIC, &config.kafka.properties)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let options = HospitalOptions { speed: SPEED, rate: RATE as f64, ..HospitalOptions::default() };
        let hospital = std::thread::Builder::new()
            .name("hospital".to_owned())
            .spawn(move || {
                if let Err(failed) = send(Hospital::new(options), &writer, events, &stopped)
                    && !stopped.load(Ordering::Acquire)
                {
                    tracing::error!(error = error::chain(&failed), "the simulated hospital stopped");
                }
            })
            .map_err(|e| error::io("start the simulated hospital", e))?;
        Ok(Self { broker, stop, hospital: Some(hospital) })
    }

    /// Where the broker listens.
    pub(super) fn bootstrap_servers(&self) -> &str {
        self.broker.bootstrap_servers()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(hospital) = self.hospital.take() {
            hospital.thread().unpark();
            // A panic there has been printed already.
            drop(hospital.join());
        }
    }
}

fn send(
    mut hospital: Hospital,
    writer: &TopicWriter,
    events: Option<u64>,
    stop: &AtomicBool,
) -> Result<()> {
    let portion = RATE * PORTION.as_millis() as u64 / 1000;
    let mut sent = 0;
    while !stop.load(Ordering::Acquire) && events.is_none_or(|limit| sent < limit) {
        let count = events.map_or(portion, |limit| portion.min(limit - sent));
        for _ in 0..count {
            let event = hospital.next_event();
            // The broker's time is event time: nothing then looks as if it came from the future.
            writer.send(
                Some(event.key.as_bytes()),
                Some(event.payload.as_slice()),
                Some(event.event_time / 1000),
            )?;
        }
        sent += count;
        std::thread::park_timeout(PORTION);
    }
    writer.flush(Duration::from_secs(10))
}
