//! A simulated hospital: events as its monitors, laboratory and pharmacy would send them.
//!
//! Pure and deterministic: the same settings give the same bytes, on every machine. Nobody in it exists; social security
//! numbers are of an area that is never given out.

mod mistake;
mod patient;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use speedate::DateTime;
use thalweg_core::time::{EventTime, MICROS_PER_SECOND, micros};

use patient::Patient;

/// How many sent events are remembered, to be sent again.
const REMEMBERED: usize = 64;

/// What kind of hospital it is.
#[derive(Debug, Clone, PartialEq)]
pub struct HospitalSettings {
    /// Patients, at least 1. Default 1,000.
    pub patients: u32,
    /// Decides everything that is random. Default 7.
    pub seed: u64,
    /// Time of the first event. Default 2025-11-24T21:00:00Z.
    pub start: EventTime,
    /// How far event time advances from one event to the next, µs. Default 500, which is 2,000 events a second.
    pub step_micros: f64,
    /// Share of events that are broken in some way. Default 0.
    pub bad: f64,
    /// Share of events that tell about the past. Default 0.
    pub late: f64,
    /// How far in the past, between half of it and all. Default 2 min.
    pub late_by: Duration,
    /// Share of events that are an earlier one again. Default 0.
    pub dup: f64,
}

impl Default for HospitalSettings {
    fn default() -> Self {
        Self {
            patients: 1_000,
            seed: 7,
            start: 1_764_018_000 * MICROS_PER_SECOND,
            step_micros: 500.0,
            bad: 0.0,
            late: 0.0,
            late_by: Duration::from_mins(2),
            dup: 0.0,
        }
    }
}

impl HospitalSettings {
    /// Lets event time advance `speed` times as fast as the clock when `rate` events are sent per second.
    #[must_use]
    pub fn pace(mut self, rate: f64, speed: f64) -> Self {
        self.step_micros = speed * 1e6 / rate.max(f64::MIN_POSITIVE);
        self
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulatedEvent {
    /// The patient's number: events of a patient stay in order.
    pub key: String,
    /// JSON, unless it is one of the bad ones.
    pub payload: Vec<u8>,
    /// When it happened; for a bad event, when it would have.
    pub event_time: EventTime,
    /// When it is sent, in event time. Later than it happened for a late event.
    pub sent_at: EventTime,
}

/// Generates events without end.
#[derive(Debug)]
pub struct Hospital {
    settings: HospitalSettings,
    random: StdRng,
    patients: Vec<Patient>,
    sent: u64,
    remembered: VecDeque<SimulatedEvent>,
}

impl Hospital {
    /// A hospital whose patients are well.
    ///
    /// ```
    /// use thalweg_pipelines::healthcare::hospital::{Hospital, HospitalSettings};
    /// let twice = || Hospital::new(HospitalSettings::default()).take(100).collect::<Vec<_>>();
    /// assert_eq!(twice(), twice());
    /// ```
    pub fn new(settings: HospitalSettings) -> Self {
        let mut random = StdRng::seed_from_u64(settings.seed);
        let patients =
            (0..settings.patients.max(1)).map(|n| Patient::admit(n, &mut random)).collect();
        Self { settings, random, patients, sent: 0, remembered: VecDeque::new() }
    }

    /// The event that is sent at `now`, in event time.
    fn event(&mut self, now: EventTime) -> Option<SimulatedEvent> {
        if self.chance(self.settings.dup)
            && let Some(index) = self.remembered.len().checked_sub(1)
        {
            let index = self.random.random_range(0..=index);
            return self
                .remembered
                .get(index)
                .map(|e| SimulatedEvent { sent_at: now, ..e.clone() });
        }
        let late_by = if self.chance(self.settings.late) {
            let most = micros(self.settings.late_by);
            self.random.random_range(most / 2..=most)
        } else {
            0
        };
        let event_time = now.saturating_sub(late_by);
        let bad = self.chance(self.settings.bad);
        let who = self.random.random_range(0..self.patients.len());
        let number = self.sent;
        let patient = self.patients.get_mut(who)?;
        let key = patient.id().to_string();
        let timestamp = timestamp(event_time);
        let reading = patient.read(number, &timestamp, &mut self.random);
        let payload = match serde_json::to_vec(&reading) {
            Ok(json) if bad => mistake::make(&json, &mut self.random),
            Ok(json) => json,
            Err(_) => return None,
        };
        Some(SimulatedEvent { key, payload, event_time, sent_at: now })
    }

    fn chance(&mut self, share: f64) -> bool {
        // Draws nothing when there is nothing to decide, so that a share of 0 changes no other event.
        share > 0.0 && self.random.random_bool(share.min(1.0))
    }
}

impl Iterator for Hospital {
    type Item = SimulatedEvent;

    fn next(&mut self) -> Option<SimulatedEvent> {
        let passed = (self.sent as f64 * self.settings.step_micros) as i64;
        let event = self.event(self.settings.start.saturating_add(passed))?;
        self.sent += 1;
        if self.settings.dup > 0.0 {
            if self.remembered.len() == REMEMBERED {
                self.remembered.pop_front();
            }
            self.remembered.push_back(event.clone());
        }
        Some(event)
    }
}

/// Without a zone, as the hospital's monitors write it.
fn timestamp(time: EventTime) -> String {
    let micros = time.rem_euclid(MICROS_PER_SECOND) as u32;
    DateTime::from_timestamp(time.div_euclid(MICROS_PER_SECOND), micros)
        .map_or_else(|_| String::new(), |time| time.to_string())
}
