//! When each event is due, and the producer that keeps to it.

use std::collections::BTreeMap;
use std::time::Duration;

use speedate::DateTime;
use thalweg_connectors::kafka::TopicWriter;
use thalweg_core::time::{Clock, MICROS_PER_SECOND};
use thalweg_runtime::SystemClock;

use super::Result;

const PARTITIONS: u64 = 4;
const TICK: Duration = Duration::from_millis(1);
/// How long after the last event a job may take to make it visible.
const GRACE: i64 = 20 * MICROS_PER_SECOND;

/// Event i is due at the beginning + i / rate.
pub(crate) struct Schedule {
    clock: SystemClock,
    begin: i64,
    rate: u64,
    events: u64,
}

impl Schedule {
    /// Begins a second from now.
    pub(crate) fn new(rate: u64, seconds: u64) -> Result<Self> {
        if rate == 0 || seconds < 5 {
            return Err("a rate of at least 1, for at least 5 seconds".into());
        }
        let clock = SystemClock::default();
        let begin = clock.now_micros() + MICROS_PER_SECOND;
        Ok(Self { clock, begin, rate, events: rate * seconds })
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now_micros()
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// When event `i` is due, µs since 1970.
    pub(crate) fn due(&self, i: u64) -> i64 {
        self.begin + (i * 1_000_000 / self.rate).cast_signed()
    }

    /// From when on latencies count.
    pub(crate) fn measured_from(&self) -> i64 {
        self.due(self.events / 5)
    }

    /// Behind the last event.
    pub(crate) fn end(&self) -> i64 {
        self.due(self.events)
    }

    /// Whether a reader need not wait any longer.
    pub(crate) fn is_over(&self) -> bool {
        self.now() > self.end() + GRACE
    }

    /// Sends every event when it is due, or as soon after it as can be.
    pub(crate) fn produce(&self, servers: &str, topic: &str) -> Result<()> {
        let quick = BTreeMap::from([("linger.ms".to_owned(), "1".to_owned())]);
        let writer = TopicWriter::new(servers, topic, &quick)?;
        for i in 0..self.events {
            while self.due(i) > self.now() {
                std::thread::park_timeout(TICK);
            }
            let partition = i32::try_from(i % PARTITIONS)?;
            writer.send_to(partition, Some(event(i, self.due(i))?.as_bytes()), None)?;
        }
        writer.flush(Duration::from_secs(30))?;
        Ok(())
    }
}

/// A valid event of one of a thousand patients; each fifth has a fast heart.
fn event(i: u64, at: i64) -> Result<String> {
    let (patient, heart_rate) = (i % 1_000, if i.is_multiple_of(5) { 120 } else { 60 + i % 40 });
    let (seconds, micros) = (at.div_euclid(MICROS_PER_SECOND), at.rem_euclid(MICROS_PER_SECOND));
    let at = DateTime::from_timestamp(seconds, u32::try_from(micros)?)
        .map_err(|e| format!("a time without a date: {e}"))?;
    Ok(format!(
        r#"{{"event_id":{i},"patient_id":{patient},"name":"Jane Doe","ssn":"123-45-{patient:04}","phone":"(555) 123-4567","dob":"1980-01-01","address":"1 Main St, Boston, MA 02118","event_type":"vitals","heart_rate":{heart_rate},"blood_pressure":"120/80","temperature":98.6,"spo2":97,"respiratory_rate":16,"medication":null,"timestamp":"{at}"}}"#
    ))
}
