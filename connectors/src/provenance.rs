//! The columns that every message source puts before the decoded ones: where a row came from, and its bytes.

use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thalweg_core::connector::decode::{Decoder, Format, Messages};
use thalweg_core::sensitivity::{Sensitivity, mark};
use thalweg_core::{Error, Result};

/// Names of the provenance columns, in order.
pub const PROVENANCE: [&str; 6] =
    ["topic", "partition", "offset", "kafka_timestamp", "ingested_at", "payload"];

/// Rows after which a reader hands a batch on.
pub const BATCH_ROWS: usize = 4096;

/// Payload bytes after which a reader hands a batch on, however few the rows.
pub const BATCH_BYTES: usize = 8 << 20;

/// When a reader hands a batch on: at so many rows or so many payload bytes, whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// [`BATCH_ROWS`] by default.
    pub rows: usize,
    /// [`BATCH_BYTES`] by default.
    pub bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { rows: BATCH_ROWS, bytes: BATCH_BYTES }
    }
}

/// Event-time columns are microseconds in UTC everywhere.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The schema of a source: provenance, then what `format` decodes.
pub fn source_schema(format: &dyn Format) -> SchemaRef {
    let mut fields = vec![
        Arc::new(Field::new("topic", DataType::Utf8, false)),
        Arc::new(Field::new("partition", DataType::Int32, false)),
        Arc::new(Field::new("offset", DataType::Int64, false)),
        Arc::new(Field::new("kafka_timestamp", timestamp_type(), true)),
        Arc::new(Field::new("ingested_at", timestamp_type(), false)),
        Arc::new(mark(Field::new("payload", DataType::Binary, true), [Sensitivity::PhiRaw])),
    ];
    fields.extend(format.fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

/// Collects messages of one split and turns them into a batch.
pub struct MessageBatcher {
    topic: String,
    partition: i32,
    schema: SchemaRef,
    offsets: Vec<i64>,
    timestamps: Vec<Option<i64>>,
    payloads: BinaryBuilder,
    payload_bytes: usize,
    next_positions: Vec<i64>,
    limits: BatchLimits,
}

impl std::fmt::Debug for MessageBatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MessageBatcher({}-{}, {} rows)", self.topic, self.partition, self.rows())
    }
}

impl MessageBatcher {
    /// An empty batcher for one partition of `topic`; `schema` is that of [`source_schema`].
    pub fn new(topic: impl Into<String>, partition: i32, schema: SchemaRef) -> Self {
        Self {
            topic: topic.into(),
            partition,
            schema,
            offsets: Vec::new(),
            timestamps: Vec::new(),
            payloads: BinaryBuilder::new(),
            payload_bytes: 0,
            next_positions: Vec::new(),
            limits: BatchLimits::default(),
        }
    }

    /// One whose batches are full at `limits`.
    #[must_use]
    pub fn with_limits(mut self, limits: BatchLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds a message. `timestamp` is the broker's, in µs; `next_position` is where reading goes on behind it.
    pub fn push(
        &mut self,
        offset: i64,
        next_position: i64,
        timestamp: Option<i64>,
        payload: Option<&[u8]>,
    ) {
        self.offsets.push(offset);
        self.next_positions.push(next_position);
        self.timestamps.push(timestamp);
        self.payload_bytes += payload.map_or(0, <[u8]>::len);
        self.payloads.append_option(payload);
    }

    /// Messages collected.
    pub fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// Whether it is time to hand the batch on.
    pub fn is_full(&self) -> bool {
        self.rows() >= self.limits.rows || self.payload_bytes >= self.limits.bytes
    }

    /// The batch and the position behind each row; leaves the batcher empty. `now` is the time of reading, in µs.
    pub fn finish(
        &mut self,
        decoder: &mut dyn Decoder,
        now: i64,
    ) -> Result<(RecordBatch, Vec<i64>)> {
        let rows = self.rows();
        let timestamps = std::mem::take(&mut self.timestamps);
        let arrivals: TimestampMicrosecondArray =
            timestamps.iter().map(|t| Some(t.unwrap_or(now))).collect();
        let payloads = self.payloads.finish();
        self.payload_bytes = 0;
        let decoded = decoder.decode(Messages { payloads: &payloads, arrivals: &arrivals })?;
        let utc = |a: TimestampMicrosecondArray| a.with_timezone("UTC");
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&self.topic, rows))),
            Arc::new(Int32Array::from(vec![self.partition; rows])),
            Arc::new(Int64Array::from(std::mem::take(&mut self.offsets))),
            Arc::new(utc(TimestampMicrosecondArray::from(timestamps))),
            Arc::new(utc(TimestampMicrosecondArray::from(vec![now; rows]))),
            Arc::new(payloads),
        ];
        columns.extend(decoded);
        if columns.iter().any(|c| c.len() != rows) {
            return Err(Error::internal("a decoder returned columns of another length"));
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|_| {
            Error::internal("a decoder returned columns that do not fit its format's fields")
        })?;
        Ok((batch, std::mem::take(&mut self.next_positions)))
    }
}
