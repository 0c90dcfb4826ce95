//! What an operator hands to a checkpoint, and what it gets back.

use std::sync::Arc;

use crate::Result;
use crate::key::KeyGroup;

/// State that can be encoded later, on another thread: immutable and shared, never a copy that grows with the state.
pub trait StatePayload: Send + Sync {
    /// The bytes to store, with a version of their own in front.
    fn encode(&self) -> Result<Vec<u8>>;

    /// Whether there is nothing to store. Asked where [`Self::encode`] is, not at the barrier.
    fn is_empty(&self) -> bool {
        false
    }
}

/// Bytes encode themselves.
impl StatePayload for Vec<u8> {
    fn encode(&self) -> Result<Vec<u8>> {
        Ok(self.clone())
    }
}

/// One named piece of one key group's state.
#[derive(Clone)]
pub struct StateChunk {
    /// Which state of the operator.
    pub name: &'static str,
    /// Whose it is.
    pub key_group: KeyGroup,
    /// The content.
    pub payload: Arc<dyn StatePayload>,
}

impl StateChunk {
    /// As it is stored; none when there is nothing to store.
    pub fn to_blob(&self) -> Result<Option<StateBlob>> {
        if self.payload.is_empty() {
            return Ok(None);
        }
        let (name, bytes) = (self.name.to_owned(), self.payload.encode()?);
        Ok(Some(StateBlob { name, key_group: self.key_group, bytes }))
    }
}

impl std::fmt::Debug for StateChunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateChunk({}, group {})", self.name, self.key_group.0)
    }
}

/// A stored chunk, decrypted and verified.
#[derive(Clone, PartialEq, Eq)]
pub struct StateBlob {
    /// Which state of the operator.
    pub name: String,
    /// Whose it is.
    pub key_group: KeyGroup,
    /// What [`StatePayload::encode`] returned.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for StateBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "StateBlob({}, group {}, {} bytes)",
            self.name,
            self.key_group.0,
            self.bytes.len()
        )
    }
}
