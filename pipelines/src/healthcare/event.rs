//! From message bytes to columns: the format that sources are handed.
//!
//! A message is taken apart in two steps. `message` finds the known fields of one JSON object as slices of its text,
//! so that a field of a wrong type spoils itself only; `scalar` says what each slice is, `spelling` what some of them
//! mean. `columns` collects the outcome. A message that cannot be read is a row of nulls with a code that says why, never
//! an error, and no value of a message enters anything else than its columns. Of a text that is shown as it was sent, none
//! that seems to hold an identifier enters its column either.

mod columns;
mod message;
mod scalar;
mod spelling;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::ArrayRef;
use arrow_schema::Fields;
use thalweg_core::connector::decode::{Decoder, Format, Messages};
use thalweg_core::time::micros;
use thalweg_core::{Record, Result};

use super::config::Decoding;
use super::record::Event;
use columns::{Columns, Counts, OPTIONAL, SEARCHED};
use message::{Field, Message};

/// Where the decoded columns begin among those of [`Event`]; in front of them is the provenance.
const FIRST_DECODED: usize = 6;

/// Healthcare events as JSON objects, one a message.
///
/// **Shape**: the columns of [`Event`] behind the provenance. Required fields of the message are nullable here: what
/// is missing is for [`super::rules`] to say.
///
/// **Time**: `event_time` in µs, UTC; a timestamp without a zone counts as UTC. It is null when the timestamp cannot
/// be read, lies before 1970, or too far ahead of the message's arrival, so that such a message does not move a watermark.
///
/// ```
/// use arrow_array::{Array, BinaryArray, TimestampMicrosecondArray};
/// use thalweg_core::connector::decode::{Format, Messages};
/// use thalweg_pipelines::healthcare::HealthcareFormat;
/// let format = HealthcareFormat::default();
/// let payloads = BinaryArray::from(vec![br#"{"patient_id": 1, "mood": "good"}"#.as_slice()]);
/// let arrivals = TimestampMicrosecondArray::from(vec![0]);
/// let columns =
///     format.decoder().decode(Messages { payloads: &payloads, arrivals: &arrivals })?;
/// assert_eq!(columns.len(), format.fields().len());
/// assert_eq!(format.counters().unknown_fields(), 1);
/// # Ok::<(), thalweg_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct HealthcareFormat {
    limits: Limits,
    counters: Arc<DecodeCounters>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    message_bytes: usize,
    /// How far ahead of its arrival a message may claim to be, µs.
    ahead: i64,
}

impl HealthcareFormat {
    /// The format with these limits.
    pub fn new(decoding: &Decoding) -> Self {
        let limits = Limits {
            message_bytes: decoding.max_message_bytes,
            ahead: micros(decoding.future_cap),
        };
        Self { limits, counters: Arc::default() }
    }

    /// What all decoders of this format have come across.
    pub fn counters(&self) -> Arc<DecodeCounters> {
        Arc::clone(&self.counters)
    }
}

impl Default for HealthcareFormat {
    fn default() -> Self {
        Self::new(&Decoding::default())
    }
}

impl Format for HealthcareFormat {
    fn fields(&self) -> Fields {
        Event::schema().fields().iter().skip(FIRST_DECODED).cloned().collect()
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(HealthcareDecoder {
            limits: self.limits,
            counters: Arc::clone(&self.counters),
            columns: Columns::default(),
        })
    }
}

/// What is worth knowing about messages beside the rows in quarantine, since the process started; a replay counts
/// its messages again.
#[derive(Debug, Default)]
pub struct DecodeCounters {
    unknown_fields: AtomicU64,
    unusable: [AtomicU64; Field::COUNT],
    withheld: [AtomicU64; Field::COUNT],
}

impl DecodeCounters {
    /// Fields that are not known here; they are in bronze only.
    pub fn unknown_fields(&self) -> u64 {
        self.unknown_fields.load(Ordering::Relaxed)
    }

    /// Values of optional fields (name, consciousness, oxygen, …) that could not be used and became null, by field; a
    /// rising count means that a producer has a format of its own, or changed it.
    pub fn unusable(&self) -> Vec<(&'static str, u64)> {
        read(&OPTIONAL, &self.unusable)
    }

    /// Texts of `event_id`, `medication`, `unit` and `device_id` that seemed to hold an identifier and became null, by field;
    /// one is enough to ask its sender.
    pub fn withheld(&self) -> Vec<(&'static str, u64)> {
        read(&SEARCHED, &self.withheld)
    }

    /// Unusable values of all fields.
    pub fn unusable_fields(&self) -> u64 {
        self.unusable().into_iter().map(|(_, count)| count).sum()
    }

    /// Adds up. The log is told once of each field: whoever writes one so writes many.
    fn add(&self, unusable: &Counts, withheld: &Counts) {
        for field in begun(&OPTIONAL, &self.unusable, unusable) {
            tracing::warn!(
                field,
                "values of an optional field could not be used and became null: look at what its senders write"
            );
        }
        for field in begun(&SEARCHED, &self.withheld, withheld) {
            tracing::warn!(
                field,
                "values of a field seemed to hold identifiers and were left out: look at what its senders write"
            );
        }
    }
}

fn read(fields: &[Field], counters: &[AtomicU64]) -> Vec<(&'static str, u64)> {
    let count = |field: Field| {
        counters.get(field as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    };
    fields.iter().map(|field| (field.name(), count(*field))).collect()
}

/// Adds `counts`, and names the fields that had none before.
fn begun(fields: &[Field], counters: &[AtomicU64], counts: &Counts) -> Vec<&'static str> {
    let mut begun = Vec::new();
    for field in fields {
        let index = *field as usize;
        let Some((count, counter)) = counts.get(index).zip(counters.get(index)) else { continue };
        if *count > 0 && counter.fetch_add(*count, Ordering::Relaxed) == 0 {
            begun.push(field.name());
        }
    }
    begun
}

struct HealthcareDecoder {
    limits: Limits,
    counters: Arc<DecodeCounters>,
    columns: Columns,
}

impl Decoder for HealthcareDecoder {
    fn decode(&mut self, messages: Messages<'_>) -> Result<Vec<ArrayRef>> {
        let mut unknown = 0;
        for (payload, arrival) in messages.payloads.iter().zip(messages.arrivals.values()) {
            match Message::read(payload, self.limits.message_bytes) {
                Ok(message) => {
                    unknown += message.unknown_fields;
                    let latest = arrival.saturating_add(self.limits.ahead);
                    self.columns.append(&message, latest);
                }
                Err(code) => self.columns.append_unreadable(code),
            }
        }
        self.counters.unknown_fields.fetch_add(unknown, Ordering::Relaxed);
        self.counters.add(&self.columns.take_unusable(), &self.columns.take_withheld());
        Ok(self.columns.finish())
    }
}
