//! From message bytes to columns: the seam between a source, which knows where bytes come from, and a pipeline,
//! which knows what they mean.

use std::fmt::Debug;

use arrow_array::{ArrayRef, BinaryArray, TimestampMicrosecondArray};
use arrow_schema::Fields;

use crate::Result;

/// Messages of one split in order, a row each.
#[derive(Debug, Clone, Copy)]
pub struct Messages<'a> {
    /// The bytes as received; null for a tombstone.
    pub payloads: &'a BinaryArray,
    /// When each message arrived: the broker's timestamp, else the time of reading. Never null.
    pub arrivals: &'a TimestampMicrosecondArray,
}

/// A message format: which columns it yields, and how to make its decoders.
pub trait Format: Send + Sync + Debug {
    /// The decoded columns, sensitivities marked. They follow the provenance columns in a source's schema.
    fn fields(&self) -> Fields;

    /// A decoder for one reader.
    fn decoder(&self) -> Box<dyn Decoder>;
}

/// Decodes. Keeps scratch space between calls, never anything that a checkpoint would need.
pub trait Decoder: Send {
    /// The columns of [`Format::fields`], as long as `messages`. A message that cannot be decoded is a row of nulls
    /// that says so in a column of the format's own; it is never dropped and never an error.
    fn decode(&mut self, messages: Messages<'_>) -> Result<Vec<ArrayRef>>;
}
