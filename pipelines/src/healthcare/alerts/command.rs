//! What people say about alerts: acknowledged, or not for a while. Commands are messages of a topic, so that they are
//! durable and where they took effect is in the checkpoint.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use thalweg_core::record::{Micros, column_of};
use thalweg_core::{Column, Error, Record, Result};
use thalweg_operators::Map;

use super::record::Observation;

/// The column that a command travels in, beside those of [`Observation`]; null for an event.
pub const COMMAND: Column<thalweg_core::record::Utf8> = Column::nullable("command");

/// How long the name of who gives a command may be, in characters: it stands in every row that the command makes.
const LONGEST_NAME: usize = 128;

/// A command as it comes in.
#[derive(Debug, Clone, Record)]
pub struct CommandMessage {
    /// Kafka topic.
    pub topic: String,
    /// Kafka partition.
    pub partition: i32,
    /// Kafka offset.
    pub offset: i64,
    /// The broker's timestamp.
    pub kafka_timestamp: Option<Micros>,
    /// When the message was read.
    pub ingested_at: Micros,
    /// The message as received.
    #[record(sensitivity = "phi.raw")]
    pub payload: Option<Vec<u8>>,
    /// Which alert.
    pub alert_id: Option<String>,
    /// `acknowledge` or `snooze`.
    pub action: Option<String>,
    /// Who says so.
    pub by: Option<String>,
    /// For how long it is snoozed.
    pub minutes: Option<i64>,
}

/// The name of an alert: patient, rule, and the time of the first event beyond the limit, µs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertId {
    /// Who it is about.
    pub patient: i64,
    /// The rule's name.
    pub rule: Box<str>,
    /// When it was opened.
    pub opened_at: i64,
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.patient, self.rule, self.opened_at)
    }
}

impl FromStr for AlertId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let id = match parts.as_slice() {
            [patient, rule, opened_at] if !rule.is_empty() => patient
                .parse()
                .ok()
                .zip(opened_at.parse().ok())
                .map(|(patient, opened_at)| Self { patient, rule: (*rule).into(), opened_at }),
            _ => None,
        };
        id.ok_or_else(|| Error::config("an alert is named PATIENT/RULE/TIME, as in alerts/events"))
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Somebody looks after it.
    Acknowledge,
    /// Somebody does not want to hear of it for a while.
    Snooze,
}

impl Action {
    /// As it is written in a message.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge",
            Self::Snooze => "snooze",
        }
    }
}

/// A message that can be acted upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Which alert.
    pub alert_id: String,
    /// What is to be done.
    pub action: Action,
    /// Who says so.
    pub by: String,
    /// For how long it is snoozed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<i64>,
}

impl Command {
    /// The alert that is meant.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] for what is no alert's name, a snooze without minutes, or a command of
    /// nobody or of somebody with too long a name.
    pub fn check(&self) -> Result<AlertId> {
        let id = self.alert_id.parse()?;
        if self.by.trim().is_empty() {
            return Err(Error::config("a command needs the name of who gives it"));
        }
        if self.by.chars().count() > LONGEST_NAME {
            return Err(Error::config(format!(
                "the name of who gives a command must not be longer than {LONGEST_NAME} characters"
            )));
        }
        if self.action == Action::Snooze && self.minutes.is_none_or(|minutes| minutes < 1) {
            return Err(Error::config("a snooze needs minutes, at least 1"));
        }
        Ok(id)
    }

    /// Its message.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::Internal`] when it cannot be written.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|_| Error::internal("a command cannot be written"))
    }

    /// What [`Command::to_json`] wrote.
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// The columns of events and commands alike.
pub fn joint_schema(observations: &Schema) -> SchemaRef {
    let command = Arc::new(Field::new(COMMAND.name(), DataType::Utf8, true));
    let fields: Vec<_> = observations.fields().iter().cloned().chain([command]).collect();
    Arc::new(Schema::new(fields))
}

/// Events, which are no commands.
pub fn events() -> Map {
    let add = |batch: RecordBatch| {
        let none: ArrayRef = Arc::new(StringArray::new_null(batch.num_rows()));
        let columns = batch.columns().iter().cloned().chain([none]).collect();
        RecordBatch::try_new(joint_schema(batch.schema_ref()), columns)
            .map_err(|_| Error::internal("events do not fit their columns"))
    };
    Map::with_schema("no commands", |input| Ok(joint_schema(input)), add)
}

/// Commands among the columns of events. Messages that cannot be acted upon are counted in the log and left out.
pub fn commands() -> Map {
    let schema = joint_schema(&Observation::schema());
    Map::new("commands", Arc::clone(&schema), move |batch| rows(&schema, &batch))
}

fn rows(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch> {
    let ids = column_of(batch, CommandMessage::ALERT_ID)?;
    let actions = column_of(batch, CommandMessage::ACTION)?;
    let names = column_of(batch, CommandMessage::BY)?;
    let minutes = column_of(batch, CommandMessage::MINUTES)?;
    let times = column_of(batch, CommandMessage::INGESTED_AT)?;
    let (mut patients, mut at) = (Int64Builder::new(), TimestampMicrosecondBuilder::new());
    let (mut texts, mut rows) = (StringBuilder::new(), 0);
    for row in 0..batch.num_rows() {
        let text =
            |column: &StringArray| column.is_valid(row).then(|| column.value(row).to_owned());
        let action = text(actions).and_then(|action| match action.as_str() {
            "acknowledge" => Some(Action::Acknowledge),
            "snooze" => Some(Action::Snooze),
            _ => None,
        });
        let minutes = minutes.is_valid(row).then(|| minutes.value(row));
        let command = text(ids).zip(action).zip(text(names));
        let command =
            command.map(|((alert_id, action), by)| Command { alert_id, action, by, minutes });
        if let Some((command, id)) = command.and_then(|c| c.check().ok().map(|id| (c, id))) {
            patients.append_value(id.patient);
            at.append_value(times.value(row));
            texts.append_value(command.to_json()?);
            rows += 1;
        }
    }
    let unusable = batch.num_rows() - rows;
    if unusable > 0 {
        tracing::warn!(commands = unusable, "commands about alerts cannot be understood");
    }
    let known: [(&str, ArrayRef); 3] = [
        (Observation::PATIENT_ID.name(), Arc::new(patients.finish())),
        (Observation::EVENT_TIME.name(), Arc::new(at.finish().with_timezone("UTC"))),
        (COMMAND.name(), Arc::new(texts.finish())),
    ];
    let column = |field: &Arc<Field>| {
        let known = known.iter().find(|(name, _)| name == field.name());
        known.map_or_else(|| new_null_array(field.data_type(), rows), |(_, c)| Arc::clone(c))
    };
    RecordBatch::try_new(Arc::clone(schema), schema.fields().iter().map(column).collect())
        .map_err(|_| Error::internal("commands do not fit their columns"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alerts_name_is_read_as_it_is_written() {
        let id = AlertId { patient: -7, rule: "spo2-low".into(), opened_at: 12 };
        assert_eq!(id.to_string().parse::<AlertId>().unwrap(), id);
        for wrong in ["", "7/spo2-low", "7//1", "x/spo2-low/1", "7/spo2-low/1/2", "7/spo2-low/x"] {
            assert!(wrong.parse::<AlertId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_acted_upon_is_refused() {
        let snooze = Command {
            alert_id: "7/spo2-low/1".to_owned(),
            action: Action::Snooze,
            by: "nurse".to_owned(),
            minutes: Some(5),
        };
        assert!(snooze.check().is_ok());
        assert!(Command { by: "ä".repeat(128), ..snooze.clone() }.check().is_ok());
        assert_eq!(Command::from_json(&snooze.to_json().unwrap()), Some(snooze.clone()));
        for wrong in [
            Command { alert_id: "7".to_owned(), ..snooze.clone() },
            Command { by: " ".to_owned(), ..snooze.clone() },
            Command { by: "ä".repeat(129), ..snooze.clone() },
            Command { minutes: None, ..snooze.clone() },
            Command { minutes: Some(0), ..snooze.clone() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
