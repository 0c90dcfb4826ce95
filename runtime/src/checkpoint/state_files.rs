//! Operator state as encrypted files: written while processing goes on, read and verified at restore.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thalweg_core::checkpoint::manifest::StateFile;
use thalweg_core::crypto::{self, MasterKey};
use thalweg_core::failpoint;
use thalweg_core::key::{KeyGroup, KeyGroupRange};
use thalweg_core::operator::{StateBlob, StateChunk};
use thalweg_core::state::codec;
use thalweg_core::{CheckpointId, Error, OperatorUid, Result, SubtaskIndex};

use super::storage::{CheckpointStorage, create_resolved};

const FORMAT: u16 = 1;

#[derive(Serialize, Deserialize)]
struct StoredChunk {
    name: String,
    key_group: u16,
    bytes: Vec<u8>,
}

/// Hex of a SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        for digit in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
        hex
    })
}

/// What is the same for all state files of one attempt.
#[derive(Debug, Clone)]
pub(crate) struct StateStore {
    pub(crate) storage: Arc<dyn CheckpointStorage>,
    pub(crate) key: Arc<MasterKey>,
    pub(crate) chain: String,
    /// Part of every name, so that no two attempts ever write the same file (P8).
    pub(crate) token: String,
}

impl StateStore {
    /// Encodes, encrypts and writes one operator instance's chunks. Blocking.
    pub(crate) fn write(
        &self,
        checkpoint: CheckpointId,
        uid: &OperatorUid,
        subtask: SubtaskIndex,
        key_groups: KeyGroupRange,
        chunks: &[StateChunk],
    ) -> Result<StateFile> {
        let stored: Vec<StoredChunk> = chunks
            .iter()
            .map(|c| {
                Ok(StoredChunk {
                    name: c.name.to_owned(),
                    key_group: c.key_group.0,
                    bytes: c.payload.encode()?,
                })
            })
            .collect::<Result<_>>()?;
        let path = format!("state/{:020}-{}-{uid}-{subtask}", checkpoint.0, self.token);
        let aad = format!("{}/{path}", self.chain);
        let sealed =
            crypto::blob::seal(&self.key, aad.as_bytes(), &codec::encode(FORMAT, &stored)?)?;
        failpoint::hit("state.before")?;
        create_resolved(self.storage.as_ref(), &path, &sealed)?;
        failpoint::hit("state.after")?;
        Ok(StateFile {
            uid: uid.clone(),
            subtask,
            key_groups,
            sha256: sha256(&sealed),
            bytes: sealed.len() as u64,
            path,
        })
    }

    /// Reads, verifies and decrypts the files of a manifest: blobs by operator. Blocking.
    pub(crate) fn read(
        &self,
        files: &[StateFile],
    ) -> Result<BTreeMap<OperatorUid, Vec<StateBlob>>> {
        let mut blobs: BTreeMap<OperatorUid, Vec<StateBlob>> = BTreeMap::new();
        for file in files {
            let bytes = self.storage.read(&file.path)?.ok_or_else(|| {
                Error::corrupt(format!(
                    "state file {} of the newest checkpoint is missing: restore the checkpoint folder from a backup",
                    file.path
                ))
            })?;
            if bytes.len() as u64 != file.bytes || sha256(&bytes) != file.sha256 {
                return Err(Error::corrupt(format!(
                    "state file {} is damaged: restore the checkpoint folder from a backup, or rewind with `checkpoints rewind`",
                    file.path
                )));
            }
            let aad = format!("{}/{}", self.chain, file.path);
            let plain = crypto::blob::open(&self.key, aad.as_bytes(), &bytes)?;
            let chunks: Vec<StoredChunk> = codec::decode(FORMAT, &plain)?;
            blobs.entry(file.uid.clone()).or_default().extend(chunks.into_iter().map(|c| {
                StateBlob { name: c.name, key_group: KeyGroup(c.key_group), bytes: c.bytes }
            }));
        }
        Ok(blobs)
    }
}
