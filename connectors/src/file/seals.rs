//! Positions that were sealed (P26), so that each is once: neither opened again at every checkpoint, nor taken for whatever the
//! file has there by then.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use thalweg_core::Result;
use thalweg_core::connector::source::Split;

use super::identity::Input;

/// Property of a split: hash of the bytes before its position.
pub(super) const HASH: &str = "before";
/// Property of a split: the position that the hash belongs to. Manifests of older releases lack it.
const POSITION: &str = "before_at";

/// What was sealed last, by split. A split comes from its reader with what it began with, wherever it stands.
#[derive(Debug, Default)]
pub(super) struct Seals(Mutex<BTreeMap<String, (i64, String)>>);

impl Seals {
    /// Stores the hash of the bytes before the split's position with it, unless it is there.
    pub(super) fn seal(&self, input: &Input, split: &mut Split) -> Result<()> {
        let position = split.position.to_string();
        if split.properties.contains_key(HASH) && split.properties.get(POSITION) == Some(&position)
        {
            return Ok(());
        }
        let hash = match self.known(split) {
            Some(hash) => hash,
            None => input.hash_before(split)?,
        };
        let sealed = (split.position, hash.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(split.id.clone(), sealed);
        split.properties.insert(HASH.to_owned(), hash);
        split.properties.insert(POSITION.to_owned(), position);
        Ok(())
    }

    fn known(&self, split: &Split) -> Option<String> {
        let seals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (position, hash) = seals.get(&split.id)?;
        (*position == split.position).then(|| hash.clone())
    }

    /// What is read again is sealed again.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
