//! What becomes of messages that are no valid events: table, topic of dead letters, nothing, or the job's end.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BinaryArray, BooleanArray, RecordBatch, StringArray};
use arrow_select::filter::filter_record_batch;
use serde::{Deserialize, Serialize};
use thalweg_core::record::{Micros, column_of};
use thalweg_core::{Error, Record, Result};
use thalweg_operators::{Map, OnRejected};

use super::reason;
use super::record::Quarantine;

/// Longer payloads are left out of dead letters: as hexadecimal text they must fit into a message of a topic that was
/// created with the broker's defaults. Bronze and quarantine have them.
const PAYLOAD_LIMIT: usize = 256 << 10;

/// What becomes of rejected messages, and when the job stops because there are too many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuarantineSection {
    /// Where they go, beside bronze, which has every message.
    pub on_rejected: Rejected,
    /// Where those go of which something could not be read, stage `decode`; none: as [`Self::on_rejected`] says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_undecodable: Option<Rejected>,
    /// Where those go that could be read and break a rule, stage `validate`; none: as [`Self::on_rejected`] says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_invalid: Option<Rejected>,
    /// The topic of dead letters, on the mirror's brokers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// The share of the latest messages that may be rejected, 0 to 1; 1 never stops.
    pub stop_above: f64,
    /// How many messages of a subtask it is judged over, at least.
    pub judged_over: u64,
}

impl Default for QuarantineSection {
    fn default() -> Self {
        // So high a share of so many is another format, not bad luck: hardly anything of use comes out, and the topic
        // keeps what is not read. Below it the valid events of others are worth more than a stop.
        Self {
            on_rejected: Rejected::default(),
            on_undecodable: None,
            on_invalid: None,
            topic: None,
            stop_above: 0.9,
            judged_over: 100_000,
        }
    }
}

/// Where rejected messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rejected {
    /// Into `quarantine/events`.
    #[default]
    Table,
    /// Into `quarantine/events` and, exactly once, into a topic.
    Topic,
    /// Nowhere: they are counted.
    Drop,
    /// The first one ends the job.
    Fail,
}

impl Rejected {
    pub(super) fn policy(self) -> OnRejected {
        match self {
            Self::Table | Self::Topic => OnRejected::SideOutput,
            Self::Drop => OnRejected::Drop,
            Self::Fail => OnRejected::Fail,
        }
    }
}

impl QuarantineSection {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] naming the setting.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.stop_above) {
            return Err(Error::config("quarantine.stop_above must be between 0 and 1"));
        }
        if self.sends() && self.topic.as_ref().is_none_or(String::is_empty) {
            return Err(Error::config(
                "[quarantine] sends rejected messages to a \"topic\": name quarantine.topic",
            ));
        }
        Ok(())
    }

    /// Where what this stage rejects goes.
    pub(super) fn of(&self, stage: Stage) -> Rejected {
        let own = match stage {
            Stage::Decode => self.on_undecodable,
            Stage::Validate => self.on_invalid,
        };
        own.unwrap_or(self.on_rejected)
    }

    /// Whether what any stage rejects goes to a topic.
    fn sends(&self) -> bool {
        Stage::ALL.into_iter().any(|stage| self.of(stage) == Rejected::Topic)
    }

    /// The topic of dead letters, if they go to one.
    pub(super) fn dead_letters(&self) -> Option<&String> {
        self.topic.as_ref().filter(|_| self.sends())
    }
}

/// What rejects messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Something of the message could not be read.
    Decode,
    /// All could, but it breaks a rule.
    Validate,
}

impl Stage {
    const ALL: [Self; 2] = [Self::Decode, Self::Validate];

    /// By the codes of one message. Rules judge what was decoded, so any other code is the decoder's.
    fn of(codes: &ArrayRef) -> Self {
        let mut codes =
            codes.as_string_opt::<i32>().into_iter().flat_map(|codes| codes.iter().flatten());
        if codes.all(|code| reason::OF_RULES.contains(&code)) {
            Self::Validate
        } else {
            Self::Decode
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Validate => "validate",
        }
    }
}

/// A dead letter: a row of quarantine, and which stage rejected it.
#[derive(Debug, Clone, Record)]
pub struct DeadLetter {
    /// `decode`: something of the message could not be read; `validate`: all could, but it breaks a rule. An `event_type`
    /// that is no text counts as one that is unknown: `validate`.
    pub stage: String,
    /// Why: every code of [`super::reason`] that applies.
    pub reason_codes: Vec<String>,
    /// Kafka topic, or the file's name.
    pub topic: String,
    /// Kafka partition; 0 for a file.
    pub partition: i32,
    /// Kafka offset; for a file the byte at which the line starts.
    pub offset: i64,
    /// When the message was read.
    pub ingested_at: Micros,
    /// The key that opens the payload.
    pub key_id: String,
    /// The bytes that stand in quarantine, encrypted; null for a tombstone and for what is too long for a topic.
    pub payload: Option<Vec<u8>>,
}

/// Makes dead letters of those rows of [`Quarantine`] whose stage sends them to a topic.
pub(super) fn dead_letters(section: &QuarantineSection) -> Map {
    let section = section.clone();
    Map::new("dead letters", DeadLetter::schema(), move |rows| {
        addressed(&rows, |stage| section.of(stage) == Rejected::Topic)
    })
}

fn addressed(rows: &RecordBatch, sends: impl Fn(Stage) -> bool) -> Result<RecordBatch> {
    let codes = column_of(rows, Quarantine::REASON_CODES)?;
    let stages: Vec<_> = codes.iter().map(|codes| codes.as_ref().map(Stage::of)).collect();
    let sent: BooleanArray = stages.iter().map(|stage| stage.map(&sends)).collect();
    let stages: StringArray = stages.into_iter().map(|stage| stage.map(Stage::name)).collect();
    let payloads = column_of(rows, Quarantine::PAYLOAD)?.iter();
    let payloads = payloads.map(|payload| payload.filter(|bytes| bytes.len() <= PAYLOAD_LIMIT));
    let payloads: ArrayRef = Arc::new(payloads.collect::<BinaryArray>());
    let schema = rows.schema();
    let kept = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
        if field.name() == Quarantine::PAYLOAD.name() {
            Arc::clone(&payloads)
        } else {
            Arc::clone(column)
        }
    });
    let columns = std::iter::once(Arc::new(stages) as ArrayRef).chain(kept).collect();
    RecordBatch::try_new(DeadLetter::schema(), columns)
        .and_then(|letters| filter_record_batch(&letters, &sent))
        .map_err(|_| Error::internal("rows of quarantine do not make dead letters"))
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{ListBuilder, StringBuilder};
    use arrow_array::{Int32Array, Int64Array, TimestampMicrosecondArray};
    use thalweg_core::operator::OperatorFactory;

    use super::super::rules::{Ranges, validation};
    use super::*;

    fn quarantine(rows: &[(&[&str], Option<&[u8]>)]) -> RecordBatch {
        let mut codes = ListBuilder::new(StringBuilder::new());
        for (row, _) in rows {
            codes.append_value(row.iter().copied().map(Some));
        }
        let texts =
            |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; rows.len()])) };
        let read = TimestampMicrosecondArray::from(vec![5; rows.len()]).with_timezone("UTC");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(codes.finish()),
            texts("events"),
            Arc::new(Int32Array::from(vec![3; rows.len()])),
            Arc::new(Int64Array::from_iter_values(0..rows.len() as i64)),
            Arc::new(read),
            texts("key"),
            Arc::new(rows.iter().map(|(_, payload)| *payload).collect::<BinaryArray>()),
        ];
        RecordBatch::try_new(Quarantine::schema(), columns).unwrap()
    }

    #[test]
    fn a_dead_letter_says_which_stage_rejected_it_and_has_no_payload_that_is_too_long() {
        let long = vec![0; PAYLOAD_LIMIT + 1];
        let rows = quarantine(&[
            (&[reason::JSON_MALFORMED], Some(b"sealed")),
            (&[reason::HEART_RATE_RANGE, reason::PATIENT_ID_MISSING], Some(&long)),
            (&[reason::SPO2_RANGE, reason::HEART_RATE_TYPE], Some(&long[1..])),
            (&[reason::MESSAGE_EMPTY], None),
        ]);
        let letters = addressed(&rows, |_| true).unwrap();
        let stages = column_of(&letters, DeadLetter::STAGE).unwrap();
        assert_eq!(stages, &StringArray::from(vec!["decode", "validate", "decode", "decode"]));
        let payloads = column_of(&letters, DeadLetter::PAYLOAD).unwrap();
        let lengths: Vec<_> = payloads.iter().map(|p| p.map(<[u8]>::len)).collect();
        assert_eq!(lengths, [Some(6), None, Some(PAYLOAD_LIMIT), None]);
        let kept = &letters.columns()[1..7];
        assert_eq!(kept, &rows.columns()[..6], "where it came from and why stay as they are");
    }

    #[test]
    fn only_the_stage_that_is_to_sends_dead_letters() {
        let rows = quarantine(&[
            (&[reason::JSON_MALFORMED], Some(b"first")),
            (&[reason::HEART_RATE_RANGE], Some(b"second")),
            (&[reason::SPO2_RANGE, reason::HEART_RATE_TYPE], Some(b"third")),
        ]);
        let mut section =
            QuarantineSection { on_rejected: Rejected::Topic, ..QuarantineSection::default() };
        let offsets = |section: &QuarantineSection| {
            let letters = addressed(&rows, |stage| section.of(stage) == Rejected::Topic).unwrap();
            column_of(&letters, DeadLetter::OFFSET).unwrap().values().to_vec()
        };
        assert_eq!(offsets(&section), [0, 1, 2]);
        section.on_undecodable = Some(Rejected::Table);
        assert_eq!(offsets(&section), [1]);
        section.on_rejected = Rejected::Fail;
        assert_eq!(offsets(&section), [0_i64; 0]);
        section.on_undecodable = Some(Rejected::Topic);
        assert_eq!(offsets(&section), [0, 2]);
    }

    #[test]
    fn the_codes_of_rules_are_those_of_the_validation() {
        let described = validation(&Ranges::default()).describe();
        assert_eq!(described, format!("validate {}", reason::OF_RULES.join(", ")));
    }

    #[test]
    fn a_topic_must_be_named_where_dead_letters_go_to_one() {
        let topic = Some("dead".to_owned());
        let mut section = QuarantineSection { topic, ..QuarantineSection::default() };
        assert!(section.check().is_ok() && section.dead_letters().is_none());
        section.on_rejected = Rejected::Topic;
        assert_eq!(section.dead_letters().map(String::as_str), Some("dead"));
        for unnamed in [None, Some(String::new())] {
            section.topic = unnamed;
            let error = section.check().unwrap_err().to_string();
            assert!(error.contains("quarantine.topic"), "{error}");
        }
        // One stage alone may send them, or none, whatever is said of all.
        section.on_undecodable = Some(Rejected::Drop);
        assert!(section.check().is_err());
        section.on_invalid = Some(Rejected::Table);
        assert!(section.check().is_ok() && section.dead_letters().is_none());
        section.on_rejected = Rejected::Table;
        section.on_undecodable = Some(Rejected::Topic);
        assert!(section.check().is_err());
        section.topic = Some("dead".to_owned());
        assert!(section.check().is_ok() && section.dead_letters().is_some());
        section = QuarantineSection { stop_above: 1.5, ..QuarantineSection::default() };
        assert!(section.check().is_err());
    }
}
