//! What an operator is told.

use arrow_schema::SchemaRef;

use crate::element::Watermark;
use crate::key::KeyGroupRange;
use crate::{OperatorUid, SubtaskIndex};

/// Known when an instance is made.
#[derive(Debug, Clone)]
pub struct OpenContext {
    /// The node's uid.
    pub uid: OperatorUid,
    /// Which parallel instance this is.
    pub subtask: SubtaskIndex,
    /// How many there are.
    pub parallelism: u32,
    /// Number of key groups, fixed for the life of a chain of checkpoints.
    pub max_parallelism: u16,
    /// The key groups of this instance.
    pub key_groups: KeyGroupRange,
    /// The columns of every batch.
    pub input_schema: SchemaRef,
}

/// Known at every call.
#[derive(Debug)]
pub struct Context<'a> {
    /// How far event time has advanced on the input.
    pub watermark: Watermark,
    /// What was known at the start.
    pub open: &'a OpenContext,
}
