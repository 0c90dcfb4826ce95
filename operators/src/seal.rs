//! Encrypts the events as received, so that they may rest on a disk.

use std::sync::Arc;

use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BinaryArray, PrimitiveArray, RecordBatch, StringArray};
use arrow_buffer::{Buffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use thalweg_core::crypto::{ColumnSealer, MasterKey};
use thalweg_core::operator::{Collector, Context, OpenContext, Operator, OperatorFactory};
use thalweg_core::sensitivity::mark;
use thalweg_core::{Error, ErrorKind, Result};

use crate::batch;

/// The column that is encrypted.
pub const PAYLOAD: &str = "payload";

/// The column that names the key.
pub const KEY_ID: &str = "key_id";

const PROVENANCE: [(&str, DataType); 3] =
    [("topic", DataType::Utf8), ("partition", DataType::Int32), ("offset", DataType::Int64)];

/// Encrypts column `payload` for one table (AES-256-GCM, see [`thalweg_core::crypto::column`]).
///
/// **Shape**: every row, in order. `payload` (binary) holds the sealed bytes and is no longer marked, a null stays
/// null; in front of it `key_id` (text) says which key opens it. The input must also have `topic` (text), `partition`
/// (32 bits) and `offset` (64 bits), none null: together with the table's name they are bound into each value, which
/// opens in that table and row only ([`payload_aad`]).
///
/// **State**: none. The ciphertext of a replayed row differs from the first one; its meaning does not.
///
/// ```
/// use std::sync::Arc;
/// use thalweg_core::crypto::MasterKey;
/// use thalweg_operators::Seal;
/// let key = Arc::new(MasterKey::generate()?);
/// let seal = Seal::new(key, "bronze/events");
/// # let _ = seal;
/// # Ok::<(), thalweg_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Seal {
    master: Arc<MasterKey>,
    table: String,
}

impl Seal {
    /// Seals payloads for `table` with keys derived from `master`.
    pub fn new(master: Arc<MasterKey>, table: &str) -> Self {
        Self { master, table: table.to_owned() }
    }
}

/// Fills `out` with what a payload is bound to: table, topic, partition and offset, each text behind its length.
///
/// ```
/// use thalweg_operators::seal::payload_aad;
/// let (mut a, mut b) = (Vec::new(), Vec::new());
/// payload_aad("bronze/events", "x", 0, 7, &mut a);
/// payload_aad("bronze/event", "sx", 0, 7, &mut b);
/// assert_ne!(a, b);
/// ```
pub fn payload_aad(table: &str, topic: &str, partition: i32, offset: i64, out: &mut Vec<u8>) {
    out.clear();
    for text in [table, topic] {
        out.extend_from_slice(&(text.len() as u64).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&partition.to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
}

impl OperatorFactory for Seal {
    fn describe(&self) -> String {
        format!("seal {PAYLOAD} for {}", self.table)
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        let payload = batch::index_of(input, PAYLOAD)?;
        for (name, data_type) in PROVENANCE.into_iter().chain([(PAYLOAD, DataType::Binary)]) {
            let found = batch::field_of(input, name)?.data_type();
            if *found != data_type {
                return Err(Error::graph(format!(
                    "column `{name}` must be {data_type}, not {found}"
                )));
            }
        }
        if input.index_of(KEY_ID).is_ok() {
            return Err(Error::graph(format!("the input has a column `{KEY_ID}` already")));
        }
        let mut fields: Vec<Field> = input.fields().iter().map(|f| f.as_ref().clone()).collect();
        if let Some(field) = fields.get_mut(payload) {
            *field = mark(field.clone(), []).with_nullable(true);
        }
        fields.insert(payload, Field::new(KEY_ID, DataType::Utf8, false));
        Ok(Arc::new(Schema::new(fields).with_metadata(input.metadata().clone())))
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        Ok(Box::new(self.sealing(&context.input_schema)?))
    }
}

impl Seal {
    fn sealing(&self, input: &SchemaRef) -> Result<Sealing> {
        Ok(Sealing {
            schema: self.output_schema(input)?,
            payload: batch::index_of(input, PAYLOAD)?,
            topic: batch::index_of(input, "topic")?,
            partition: batch::index_of(input, "partition")?,
            offset: batch::index_of(input, "offset")?,
            table: self.table.clone(),
            key_id: self.master.key_id().to_string(),
            key_ids: StringArray::new_null(0),
            sealer: ColumnSealer::new(&self.master)?,
            max_column_len: i32::MAX as usize,
            aad: Vec::new(),
        })
    }
}

struct Sealing {
    schema: SchemaRef,
    payload: usize,
    topic: usize,
    partition: usize,
    offset: usize,
    table: String,
    key_id: String,
    /// The key id over and over, as long as the longest batch so far; batches take slices.
    key_ids: StringArray,
    sealer: ColumnSealer,
    /// What Arrow's 32-bit offsets can address; a batch that would grow beyond is cut in two.
    max_column_len: usize,
    /// Scratch space.
    aad: Vec<u8>,
}

impl Operator for Sealing {
    fn process(
        &mut self,
        batch: RecordBatch,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        self.seal_batch(&batch, out)
    }
}

impl Sealing {
    fn seal_batch(&mut self, batch: &RecordBatch, out: &mut Collector) -> Result<()> {
        let rows = batch.num_rows();
        let payloads = column_of::<BinaryArray>(batch, self.payload)?;
        let sealed_len = text_len(payloads) + rows * ColumnSealer::OVERHEAD;
        if sealed_len > self.max_column_len {
            if rows < 2 {
                let text = "a payload is too long to be sealed: lower the largest message size";
                return Err(Error::new(ErrorKind::InvalidRecord, text));
            }
            self.seal_batch(&batch.slice(0, rows / 2), out)?;
            return self.seal_batch(&batch.slice(rows / 2, rows - rows / 2), out);
        }
        let sealed = self.seal(batch, payloads, sealed_len)?;
        let mut columns = batch.columns().to_vec();
        if let Some(column) = columns.get_mut(self.payload) {
            *column = Arc::new(sealed);
        }
        columns.insert(self.payload, self.key_ids(rows));
        out.emit(batch::assemble(&self.schema, columns, rows)?);
        Ok(())
    }

    /// One buffer for all values, which are encrypted where they will stay.
    fn seal(
        &mut self,
        batch: &RecordBatch,
        payloads: &BinaryArray,
        sealed_len: usize,
    ) -> Result<BinaryArray> {
        let rows = batch.num_rows();
        let topics = column_of::<StringArray>(batch, self.topic)?;
        let partitions = column_of::<PrimitiveArray<Int32Type>>(batch, self.partition)?;
        let offsets = column_of::<PrimitiveArray<Int64Type>>(batch, self.offset)?;
        if topics.null_count() + partitions.null_count() + offsets.null_count() > 0 {
            return Err(Error::internal(
                "a row without topic, partition or offset cannot be sealed",
            ));
        }
        let mut values = Vec::with_capacity(sealed_len);
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        let places = topics.iter().zip(partitions.values()).zip(offsets.values());
        for (((topic, partition), offset), payload) in places.zip(payloads) {
            if let (Some(topic), Some(payload)) = (topic, payload) {
                payload_aad(&self.table, topic, *partition, *offset, &mut self.aad);
                self.sealer.seal_into(&self.aad, payload, &mut values)?;
            }
            ends.push(values.len() as i32);
        }
        let nulls = payloads.nulls().cloned();
        BinaryArray::try_new(OffsetBuffer::new(ends.into()), Buffer::from_vec(values), nulls)
            .map_err(|_| Error::internal("sealed payloads do not form a column"))
    }

    fn key_ids(&mut self, rows: usize) -> ArrayRef {
        if self.key_ids.len() < rows {
            self.key_ids = StringArray::from_iter_values(std::iter::repeat_n(&self.key_id, rows));
        }
        Arc::new(self.key_ids.slice(0, rows))
    }
}

/// Bytes of all payloads.
fn text_len(payloads: &BinaryArray) -> usize {
    let offsets = payloads.value_offsets();
    offsets.first().zip(offsets.last()).map_or(0, |(start, end)| (end - start) as usize)
}

/// The column at `index` as the type that the schema promised.
fn column_of<A: Array + 'static>(batch: &RecordBatch, index: usize) -> Result<&A> {
    batch::column(batch, index)?
        .as_any()
        .downcast_ref::<A>()
        .ok_or_else(|| Error::internal("a column of another type than its schema says"))
}

#[cfg(test)]
mod tests;
