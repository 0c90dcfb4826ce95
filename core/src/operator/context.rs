//! What an operator is told.

use arrow_schema::SchemaRef;

use crate::element::Watermark;
use crate::key::{KeyGroup, KeyGroupRange, key_group_of};
use crate::{Error, OperatorUid, Result, SubtaskIndex};

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

impl OpenContext {
    /// Refuses rows of keys that belong to other instances, by the hashes of the keys ([`crate::key::hash_keys`]). What an
    /// instance keeps of them would go to those others at the next restore. An operator with state per key asks before it
    /// keeps anything; a single instance has all keys.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidGraph`]: the stream is not keyed, or by other columns than the operator.
    pub fn check_keys(&self, hashes: impl IntoIterator<Item = u64>) -> Result<()> {
        if self.owns_all() {
            return Ok(());
        }
        self.check_key_groups(hashes.into_iter().map(|h| key_group_of(h, self.max_parallelism)))
    }

    /// As [`Self::check_keys`], by the groups of the keys.
    ///
    /// # Errors
    /// As [`Self::check_keys`].
    pub fn check_key_groups(&self, groups: impl IntoIterator<Item = KeyGroup>) -> Result<()> {
        if self.owns_all() || groups.into_iter().all(|group| self.key_groups.contains(group)) {
            return Ok(());
        }
        Err(Error::graph(
            "rows of a key whose state belongs to another instance: key the stream by the operator's own key columns first (`key_by`)",
        ))
    }

    fn owns_all(&self) -> bool {
        self.key_groups.start == 0 && self.key_groups.end >= self.max_parallelism
    }
}

/// Known at every call.
#[derive(Debug)]
pub struct Context<'a> {
    /// How far event time has advanced on the input.
    pub watermark: Watermark,
    /// What was known at the start.
    pub open: &'a OpenContext,
}
