//! Operator state as encrypted files: written while processing goes on, read and verified at restore.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thalweg_core::checkpoint::manifest::StateFile;
use thalweg_core::connector::staging::StagedBytes;
use thalweg_core::crypto::blob::Sealer;
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
    #[serde(with = "serde_bytes")]
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
        let path = format!("state/{:020}-{}-{uid}-{subtask}", checkpoint.0, self.token);
        let chunks: Vec<_> = chunks.iter().filter(|chunk| !chunk.payload.is_empty()).collect();
        // Encoded and encrypted one by one: all of the state in clear text is never there beside the state.
        let stored = chunks.iter().map(|chunk| {
            let (name, key_group) = (chunk.name.to_owned(), chunk.key_group.0);
            Ok(StoredChunk { name, key_group, bytes: chunk.payload.encode()? })
        });
        let mut sealer = Sealer::new(&self.key, self.aad(&path).as_bytes())?;
        codec::encode_each(FORMAT, chunks.len(), stored, &mut sealer)?;
        let StagedBytes { path, sha256, bytes } = self.store(path, &sealer.finish()?)?;
        Ok(StateFile { uid: uid.clone(), subtask, key_groups, path, sha256, bytes })
    }

    /// Encrypts and stores bytes under a new name. Blocking.
    pub(super) fn seal(&self, path: String, plain: &[u8]) -> Result<StagedBytes> {
        let sealed = crypto::blob::seal(&self.key, self.aad(&path).as_bytes(), plain)?;
        self.store(path, &sealed)
    }

    fn store(&self, path: String, sealed: &[u8]) -> Result<StagedBytes> {
        failpoint::hit("state.before")?;
        create_resolved(self.storage.as_ref(), &path, sealed)?;
        failpoint::hit("state.after")?;
        Ok(StagedBytes { path, sha256: sha256(sealed), bytes: sealed.len() as u64 })
    }

    /// Which file it is: under another name it does not open.
    fn aad(&self, path: &str) -> String {
        format!("{}/{path}", self.chain)
    }

    /// Reads, verifies and decrypts what [`Self::seal`] stored. Blocking.
    pub(super) fn open(&self, stored: &StagedBytes) -> Result<Vec<u8>> {
        let StagedBytes { path, sha256: digest, bytes: length } = stored;
        let bytes = self.storage.read(path)?.ok_or_else(|| {
            Error::corrupt(format!(
                "state file {path} of the newest checkpoint is missing: restore the checkpoint folder from a backup"
            ))
        })?;
        if bytes.len() as u64 != *length || sha256(&bytes) != *digest {
            return Err(Error::corrupt(format!(
                "state file {path} is damaged: restore the checkpoint folder from a backup, or rewind with `checkpoints rewind`"
            )));
        }
        crypto::blob::open(&self.key, self.aad(path).as_bytes(), &bytes)
    }

    /// Reads, verifies and decrypts the files of a manifest: blobs by operator. Blocking.
    pub(crate) fn read(
        &self,
        files: &[StateFile],
    ) -> Result<BTreeMap<OperatorUid, Vec<StateBlob>>> {
        let mut blobs: BTreeMap<OperatorUid, Vec<StateBlob>> = BTreeMap::new();
        for file in files {
            let plain = self.open(&StagedBytes {
                path: file.path.clone(),
                sha256: file.sha256.clone(),
                bytes: file.bytes,
            })?;
            let chunks: Vec<StoredChunk> = codec::decode(FORMAT, &plain)?;
            blobs.entry(file.uid.clone()).or_default().extend(chunks.into_iter().map(|c| {
                StateBlob { name: c.name, key_group: KeyGroup(c.key_group), bytes: c.bytes }
            }));
        }
        Ok(blobs)
    }
}
