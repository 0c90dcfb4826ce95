//! Writes events of a simulated hospital while everything fails.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use thalweg_connectors::testing::kafka_server::{KafkaServer, Record};
use thalweg_pipelines::healthcare::hospital::{Hospital, HospitalSettings, SimulatedEvent};

use crate::told::note;

/// Partitions of the topic.
pub(crate) const PARTITIONS: i32 = 4;
/// Messages are written in portions of this time.
const PORTION: Duration = Duration::from_millis(100);
/// Event time is faster than the clock, so that windows end.
const SPEED: f64 = 20.0;

/// Sends until it is told to stop. A portion that the broker did not acknowledge is left alone: what counts is what the
/// topic holds in the end.
pub(crate) fn feed(
    kafka: &KafkaServer,
    topic: &str,
    seed: u64,
    rate: u32,
    stop: &AtomicBool,
    sent: &AtomicU64,
) {
    let settings =
        HospitalSettings { seed, bad: 0.02, late: 0.05, dup: 0.01, ..HospitalSettings::default() };
    let mut hospital = Hospital::new(settings.pace(f64::from(rate), SPEED));
    let portion = (f64::from(rate) * PORTION.as_secs_f64()).ceil() as usize;
    while !stop.load(Ordering::Acquire) {
        let events: Vec<SimulatedEvent> = hospital.by_ref().take(portion).collect();
        let records = events.iter().map(|event| Record {
            partition: event.key.bytes().map(i32::from).sum::<i32>() % PARTITIONS,
            key: Some(event.key.as_bytes()),
            payload: Some(&event.payload),
            timestamp_ms: None,
        });
        match kafka.produce_all(topic, records) {
            Ok(offsets) => drop(sent.fetch_add(offsets.len() as u64, Ordering::Relaxed)),
            Err(error) => note(&format!("a portion of events was not acknowledged: {error}")),
        }
        std::thread::sleep(PORTION);
    }
}
