//! The in-memory backend: a copy-on-write map per key group, so that a snapshot is a reference count.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::codec;
use crate::key::{KeyGroup, hash_key, key_group_of};
use crate::operator::{StateBlob, StateChunk, StatePayload};
use crate::time::EventTime;
use crate::{Error, Result};

const FORMAT: u16 = 1;
const CHUNK: &str = "keyed";

/// A key: its canonical bytes and the group it belongs to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) group: KeyGroup,
}

impl Key {
    /// A key from its canonical bytes ([`crate::key::for_each_key`]).
    pub fn new(bytes: &[u8], max_parallelism: u16) -> Self {
        Self { bytes: bytes.into(), group: key_group_of(hash_key(bytes), max_parallelism) }
    }

    /// The group it belongs to.
    pub fn group(&self) -> KeyGroup {
        self.group
    }
}

/// Its bytes are values of a record: no log line may have them.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.group).finish_non_exhaustive()
    }
}

type States = HashMap<String, HashMap<Vec<u8>, Vec<u8>>>;

/// All keyed state of one subtask.
#[derive(Debug, Default)]
pub struct KeyedStore {
    groups: BTreeMap<KeyGroup, Arc<Group>>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Group {
    states: States,
    timers: BTreeSet<(EventTime, Vec<u8>)>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({} states, {} timers)", self.states.len(), self.timers.len())
    }
}

impl StatePayload for Group {
    fn encode(&self) -> Result<Vec<u8>> {
        codec::encode(FORMAT, self)
    }
}

impl KeyedStore {
    pub(crate) fn get(&self, state: &str, key: &Key) -> Option<&[u8]> {
        self.groups.get(&key.group)?.states.get(state)?.get(&*key.bytes).map(Vec::as_slice)
    }

    pub(crate) fn put(&mut self, state: &str, key: &Key, value: Option<Vec<u8>>) {
        let group = Arc::make_mut(self.groups.entry(key.group).or_default());
        if !group.states.contains_key(state) {
            group.states.insert(state.to_owned(), HashMap::new());
        }
        let Some(values) = group.states.get_mut(state) else { return };
        match value {
            Some(value) => drop(values.insert(key.bytes.to_vec(), value)),
            None => drop(values.remove(&*key.bytes)),
        }
    }

    pub(crate) fn set_timer(&mut self, key: &Key, time: EventTime) {
        let group = Arc::make_mut(self.groups.entry(key.group).or_default());
        group.timers.insert((time, key.bytes.to_vec()));
    }

    pub(crate) fn clear_timer(&mut self, key: &Key, time: EventTime) {
        let group = Arc::make_mut(self.groups.entry(key.group).or_default());
        group.timers.remove(&(time, key.bytes.to_vec()));
    }

    /// The earliest timer at or before `until`, removed. Ties go by key group and key, so that replays agree.
    pub(crate) fn take_timer(&mut self, until: EventTime) -> Option<(EventTime, Key)> {
        let (time, group) = self
            .groups
            .iter()
            .filter_map(|(id, group)| group.timers.first().map(|(time, _)| (*time, *id)))
            .min()?;
        if time > until {
            return None;
        }
        let (time, bytes) = Arc::make_mut(self.groups.get_mut(&group)?).timers.pop_first()?;
        Some((time, Key { bytes: bytes.into(), group }))
    }

    /// A chunk per key group that holds anything.
    pub fn snapshot(&self) -> Vec<StateChunk> {
        self.groups
            .iter()
            .filter(|(_, g)| !g.timers.is_empty() || g.states.values().any(|s| !s.is_empty()))
            .map(|(id, group)| StateChunk {
                name: CHUNK,
                key_group: *id,
                payload: Arc::clone(group) as Arc<dyn StatePayload>,
            })
            .collect()
    }

    /// Takes back what [`KeyedStore::snapshot`] gave, by whichever instances: a key group is one's.
    pub fn restore(&mut self, blobs: Vec<StateBlob>) -> Result<()> {
        for blob in blobs {
            if blob.name != CHUNK {
                return Err(Error::incompatible("unknown keyed state in the checkpoint"));
            }
            let group = Arc::new(codec::decode(FORMAT, &blob.bytes)?);
            if self.groups.insert(blob.key_group, group).is_some() {
                return Err(twice());
            }
        }
        Ok(())
    }
}

/// Which of two chunks of a key group is the newer one cannot be told.
pub(super) fn twice() -> Error {
    Error::incompatible(
        "the checkpoint holds state of one key group by two instances, written when the stream was not keyed by the operator's own key columns: begin anew with --fresh",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_key_group_that_two_instances_have_stored_is_refused() {
        let blob_of = |value: u8| {
            let mut store = KeyedStore::default();
            store.put("seen", &Key::new(&[7], 16), Some(vec![value]));
            store.snapshot().iter().find_map(|chunk| chunk.to_blob().unwrap()).unwrap()
        };
        let mut restored = KeyedStore::default();
        restored.restore(vec![blob_of(1)]).unwrap();
        assert_eq!(restored.get("seen", &Key::new(&[7], 16)), Some(&[1][..]));
        let error = KeyedStore::default().restore(vec![blob_of(1), blob_of(2)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IncompatibleState);
    }
}
