//! Rows as messages: JSON values, keys as text, times in milliseconds.

use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, BinaryArray, Int64Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_json::WriterBuilder;
use arrow_json::writer::LineDelimited;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thalweg_core::{Error, ErrorKind, Result};

use crate::calendar::READABLE;

use super::cluster::Message;

/// What a broker takes when a topic says nothing else.
const DEFAULT_LIMIT: usize = 1_048_588;
/// Bytes that the broker adds to a record that is alone in its batch, rounded up.
const OVERHEAD: usize = 128;

impl Message<'_> {
    /// Its time when it is sent. Brokers refuse one that is more than an hour ahead (`message.timestamp.after.max.ms`), and
    /// with it all that goes with it, for good: an event's clock may be wrong.
    pub(super) fn time_at(&self, now_ms: i64) -> Option<i64> {
        self.timestamp_ms.map(|time| time.min(now_ms))
    }
}

/// How rows become messages.
#[derive(Debug, Clone)]
pub(super) struct MessageFormat {
    topic: String,
    key: Option<usize>,
    timestamp: Option<usize>,
    limit: usize,
}

impl MessageFormat {
    pub(super) fn new(
        topic: &str,
        input: &Schema,
        key: Option<&str>,
        timestamp: Option<&str>,
    ) -> Result<Self> {
        let find = |column: Option<&str>| match column {
            None => Ok(None),
            Some(name) => input.index_of(name).map(Some).map_err(|_| {
                Error::graph(format!("column `{name}` of the sink to topic `{topic}` is missing"))
            }),
        };
        let (key, timestamp) = (find(key)?, find(timestamp)?);
        let micros = |i: usize| {
            matches!(input.field(i).data_type(), DataType::Timestamp(TimeUnit::Microsecond, _))
        };
        if timestamp.is_some_and(|i| !micros(i)) {
            return Err(Error::graph(format!(
                "the time of messages to topic `{topic}` must be a column of microseconds"
            )));
        }
        Ok(Self { topic: topic.to_owned(), key, timestamp, limit: DEFAULT_LIMIT })
    }

    /// The longest message that the topic takes.
    pub(super) fn limit(mut self, bytes: Option<usize>) -> Self {
        self.limit = bytes.unwrap_or(DEFAULT_LIMIT);
        self
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// The messages of a batch, in its order, as a batch.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] when one is longer than the topic takes,
    /// [`thalweg_core::ErrorKind::InvalidRecord`] when one has a day or a time outside of the years 1 to 9999.
    pub(super) fn encode(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        self.check_times(rows)?;
        let values = self.values(rows)?;
        let keys = self.key.map(|column| self.keys(rows.column(column))).transpose()?;
        let longest = (0..values.len())
            .map(|row| {
                let key = keys.as_ref().map_or(0, |k| k.value_length(row) as usize);
                values.value_length(row) as usize + key + OVERHEAD
            })
            .max();
        if let Some(bytes) = longest.filter(|bytes| *bytes > self.limit) {
            return Err(Error::config(format!(
                "a row makes a message of {bytes} bytes and topic `{}` takes {}: raise the topic's max.message.bytes to \
                 {bytes} or more, then run the job again, which goes on from its last checkpoint",
                self.topic, self.limit
            )));
        }
        let keys = keys.unwrap_or_else(|| BinaryArray::new_null(rows.num_rows()));
        let times: Int64Array = match self.timestamp {
            None => Int64Array::new_null(rows.num_rows()),
            Some(column) => rows
                .column(column)
                .as_primitive::<TimestampMicrosecondType>()
                .unary(|micros| micros.div_euclid(1_000)),
        };
        RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(values), Arc::new(times)])
            .map_err(|_| self.cannot_encode())
    }

    /// They have no text: as a value they would be refused in words that say nothing of it, and a key would be those words.
    fn check_times(&self, rows: &RecordBatch) -> Result<()> {
        let columns = rows.schema_ref().fields().iter().zip(rows.columns());
        for (field, column) in columns {
            if READABLE.lacks_any_of(column.as_ref()) {
                return Err(Error::new(
                    ErrorKind::InvalidRecord,
                    format!(
                        "column `{}` of rows for topic `{}` has a day or a time outside of the years 1 to 9999",
                        field.name(),
                        self.topic
                    ),
                ));
            }
        }
        Ok(())
    }

    fn values(&self, rows: &RecordBatch) -> Result<BinaryArray> {
        let mut lines = Vec::with_capacity(rows.num_rows() * 256);
        let builder = WriterBuilder::new().with_explicit_nulls(true);
        let mut writer = builder.build::<_, LineDelimited>(&mut lines);
        // The library's errors may quote values.
        writer.write(rows).and_then(|()| writer.finish()).map_err(|_| self.cannot_encode())?;
        drop(writer);
        let mut values = BinaryBuilder::with_capacity(rows.num_rows(), lines.len());
        // A line break inside a value is escaped.
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            values.append_value(line);
        }
        let values = values.finish();
        if values.len() == rows.num_rows() { Ok(values) } else { Err(self.cannot_encode()) }
    }

    fn keys(&self, column: &dyn Array) -> Result<BinaryArray> {
        let options = FormatOptions::new();
        let text = ArrayFormatter::try_new(column, &options).map_err(|_| self.cannot_encode())?;
        let mut keys = BinaryBuilder::new();
        for row in 0..column.len() {
            if column.is_null(row) {
                keys.append_null();
            } else {
                keys.append_value(text.value(row).to_string());
            }
        }
        Ok(keys.finish())
    }

    fn cannot_encode(&self) -> Error {
        Error::internal(format!("rows for topic `{}` cannot be written as JSON", self.topic))
    }
}

/// The columns of a batch of messages.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, false),
        Field::new("timestamp_ms", DataType::Int64, true),
    ]))
}

/// The messages in a batch of the columns of [`schema`].
pub(super) fn messages(batch: &RecordBatch) -> Option<impl Iterator<Item = Message<'_>>> {
    let [keys, values, times] = batch.columns() else { return None };
    let keys = keys.as_binary_opt::<i32>()?;
    let values = values.as_binary_opt::<i32>()?;
    let times = times.as_primitive_opt::<Int64Type>()?;
    Some((0..batch.num_rows()).map(move |row| Message {
        key: keys.is_valid(row).then(|| keys.value(row)),
        value: values.value(row),
        timestamp_ms: times.is_valid(row).then(|| times.value(row)),
    }))
}

#[cfg(test)]
mod tests {
    use arrow_array::{StringArray, TimestampMicrosecondArray};

    use super::*;

    fn rows(texts: &[Option<&str>]) -> RecordBatch {
        let times = (0..texts.len()).map(|i| (i > 0).then_some(i as i64 * 1_500 - 2_000));
        RecordBatch::try_from_iter_with_nullable([
            ("text", Arc::new(StringArray::from(texts.to_vec())) as _, true),
            ("at", Arc::new(times.collect::<TimestampMicrosecondArray>()) as _, true),
        ])
        .unwrap()
    }

    #[test]
    fn a_row_is_one_object_whatever_its_text_holds() {
        let rows = rows(&[Some("two\nlines \"x\""), None, Some("")]);
        let format = MessageFormat::new("t", &rows.schema(), Some("text"), Some("at")).unwrap();
        let encoded = format.encode(&rows).unwrap();
        let all: Vec<_> = messages(&encoded).unwrap().collect();
        let keys: Vec<_> = all.iter().map(|m| m.key).collect();
        assert_eq!(keys, [Some(&b"two\nlines \"x\""[..]), None, Some(b"")]);
        let times: Vec<_> = all.iter().map(|m| m.timestamp_ms).collect();
        assert_eq!(times, [None, Some(-1), Some(1)]);
        let texts: Vec<serde_json::Value> =
            all.iter().map(|m| serde_json::from_slice(m.value).unwrap()).collect();
        assert_eq!(texts[0]["text"], "two\nlines \"x\"");
        assert!(texts[1]["text"].is_null() && texts[0]["at"].is_null());
    }

    #[test]
    fn a_message_that_the_topic_would_refuse_is_refused_here_without_being_shown() {
        let rows = rows(&[Some("short"), Some(&"secret".repeat(50))]);
        let format = MessageFormat::new("t", &rows.schema(), None, None).unwrap().limit(Some(400));
        let error = format.encode(&rows).unwrap_err().to_string();
        assert!(
            error.contains("topic `t` takes 400: raise the topic's max.message.bytes"),
            "{error}"
        );
        assert!(error.contains("run the job again") && !error.contains("secret"), "{error}");
        assert!(format.limit(Some(500)).encode(&rows).is_ok());
    }

    #[test]
    fn a_time_of_another_year_than_1_to_9999_is_no_record_to_send_as_value_key_or_time() {
        let times = TimestampMicrosecondArray::from(vec![0, i64::MAX]);
        let rows = RecordBatch::try_from_iter([("at", Arc::new(times) as _)]).unwrap();
        for column in [None, Some("at")] {
            let format = MessageFormat::new("t", &rows.schema(), column, column).unwrap();
            let error = format.encode(&rows).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidRecord, "{error}");
            let told = error.to_string();
            assert!(told.contains("`at`") && told.contains("`t`"), "{told}");
            assert!(!told.contains(&i64::MAX.to_string()), "{told}");
            assert!(format.encode(&rows.slice(0, 1)).is_ok());
        }
    }

    #[test]
    fn a_column_that_is_not_there_or_is_no_time_does_not_build() {
        let schema = rows(&[]).schema();
        assert!(MessageFormat::new("t", &schema, Some("gone"), None).is_err());
        assert!(MessageFormat::new("t", &schema, None, Some("text")).is_err());
    }
}
