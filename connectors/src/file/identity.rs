//! What a file is, and whether it still is the one that a checkpoint remembers (P26).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use thalweg_core::connector::source::Split;
use thalweg_core::error::io as io_error;
use thalweg_core::{Error, Result};

use super::content::{MAGIC_BYTES, foreign};
use super::seals;

/// Bytes at the beginning that identify the file.
const HEAD: u64 = 64 << 10;
/// Bytes before a position that must not have changed.
const BEFORE: u64 = 4 << 10;

/// Property of a split: the file's length when the job began.
pub(super) const LENGTH: &str = "length";
const NAME: &str = "file";
const HEAD_HASH: &str = "head";

const WAY_OUT: &str = "start a new chain with --fresh or use the original file";

/// A file by its path; opened anew for each look at it.
#[derive(Debug, Clone)]
pub(super) struct Input {
    path: PathBuf,
}

impl Input {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file's name without folders, which is what its rows say they come from.
    pub(super) fn name(&self) -> String {
        self.path
            .file_name()
            .map_or_else(|| self.path.display().to_string(), |n| n.to_string_lossy().into_owned())
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// The file and its length now.
    pub(super) fn open(&self) -> Result<(File, u64)> {
        // A pipe would block in `open`, so what it is comes first.
        let meta = fs::metadata(&self.path).map_err(|e| self.unusable(e))?;
        if meta.is_dir() {
            return Err(Error::config(format!(
                "input `{}` is a folder: name a file in it",
                self.shown()
            )));
        }
        if !meta.is_file() {
            return Err(Error::config(format!(
                "input `{}` is not a regular file: what is read must be readable again after a restart",
                self.shown()
            )));
        }
        let file = File::open(&self.path).map_err(|e| self.unusable(e))?;
        let length = file.metadata().map_err(|e| self.unusable(e))?.len();
        Ok((file, length))
    }

    /// As [`Input::open`], for whoever begins to read it: what was a file of lines once need not be looked at again.
    pub(super) fn open_first(&self) -> Result<(File, u64)> {
        let (mut file, length) = self.open()?;
        let mut head = Vec::new();
        let read = (&mut file).take(MAGIC_BYTES).read_to_end(&mut head);
        read.and_then(|_| file.rewind()).map_err(|e| self.unusable(e))?;
        match foreign(&head) {
            None => Ok((file, length)),
            Some((what, way_out)) => Err(Error::config(format!(
                "input file `{}` is {what}, not lines of text: {way_out}",
                self.shown()
            ))),
        }
    }

    /// The error for a file that cannot be read at all.
    fn unusable(&self, error: io::Error) -> Error {
        let shown = self.shown();
        match error.kind() {
            io::ErrorKind::NotFound => {
                Error::config(format!("input file `{shown}` does not exist: check the path"))
            }
            io::ErrorKind::NotADirectory => {
                Error::config(format!("a folder of input file `{shown}` is a file: check the path"))
            }
            io::ErrorKind::PermissionDenied => Error::config(format!(
                "input file `{shown}` may not be read: check its owner and mode"
            )),
            _ => io_error(format_args!("read input file `{shown}`"), error),
        }
    }

    /// The error for a failure while reading a file that should have `length` bytes.
    pub(super) fn broken(&self, error: io::Error, length: u64) -> Error {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return Error::data_loss(format!(
                "input `{}` has become shorter than the {length} bytes it had when the job began; {WAY_OUT}",
                self.name()
            ));
        }
        self.unusable(error)
    }

    /// What a manifest remembers of the file.
    pub(super) fn identity(&self) -> Result<(BTreeMap<String, String>, u64)> {
        let (mut file, length) = self.open_first()?;
        let head = hash(&mut file, 0, length.min(HEAD)).map_err(|e| self.broken(e, length))?;
        let identity = [(NAME, self.name()), (LENGTH, length.to_string()), (HEAD_HASH, head)];
        Ok((identity.map(|(k, v)| (k.to_owned(), v)).into(), length))
    }

    /// Checks that this is the file of `identity`, and that what was read of it has not changed.
    pub(super) fn verify(
        &self,
        identity: &BTreeMap<String, String>,
        splits: &[Split],
    ) -> Result<()> {
        let (mut file, length) = self.open()?;
        let name = self.name();
        let remembered = |key: &str| {
            identity.get(key).ok_or_else(|| {
                Error::incompatible(format!(
                    "the checkpoint does not remember a file (no `{key}`): its source was of another kind; start a new chain with --fresh"
                ))
            })
        };
        let (old_name, head) = (remembered(NAME)?, remembered(HEAD_HASH)?);
        let old_length: u64 = remembered(LENGTH)?.parse().map_err(|_| {
            Error::corrupt("the checkpoint has a file's length that is not a number")
        })?;
        if *old_name != name {
            return Err(Error::incompatible(format!(
                "input is `{name}`, but the job began with `{old_name}`; {WAY_OUT}"
            )));
        }
        if length < old_length {
            return Err(Error::incompatible(format!(
                "input `{name}` has shrunk since the job began ({old_length} → {length} bytes); {WAY_OUT}"
            )));
        }
        let new_head =
            hash(&mut file, 0, old_length.min(HEAD)).map_err(|e| self.broken(e, old_length))?;
        if *head != new_head {
            return Err(Error::incompatible(format!(
                "input `{name}` is not the file the job began with (its beginning differs); {WAY_OUT}"
            )));
        }
        if length > old_length {
            return Err(Error::incompatible(format!(
                "input `{name}` has grown since the job began ({old_length} → {length} bytes); {WAY_OUT}"
            )));
        }
        for split in splits {
            let Some(before) = split.properties.get(seals::HASH) else { continue };
            let now = hash_before(&mut file, split).map_err(|e| self.broken(e, old_length))?;
            if *before != now {
                return Err(Error::incompatible(format!(
                    "input `{name}` has changed since it was read (the bytes before byte {} differ); {WAY_OUT}",
                    split.position
                )));
            }
        }
        Ok(())
    }

    /// Hash of the bytes before the split's position, as the file has them now.
    pub(super) fn hash_before(&self, split: &Split) -> Result<String> {
        let (mut file, length) = self.open()?;
        hash_before(&mut file, split).map_err(|e| self.broken(e, length))
    }
}

/// Hash of the bytes before the split's position.
fn hash_before(file: &mut File, split: &Split) -> io::Result<String> {
    let position = u64::try_from(split.position).unwrap_or(0);
    let from = position.saturating_sub(BEFORE);
    hash(file, from, position - from)
}

/// SHA-256 of `bytes` bytes from byte `from` on, in hexadecimal.
fn hash(file: &mut File, from: u64, bytes: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(from))?;
    let mut buffer = Vec::new();
    file.take(bytes).read_to_end(&mut buffer)?;
    if (buffer.len() as u64) < bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(format!("{:x}", Sha256::digest(&buffer)))
}
