//! The key of digests: without it nobody can try whether a text that they guess is the one in an entry.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thalweg_core::error::io as io_error;
use thalweg_core::{Error, Result, durable};

use super::event::hex;
use crate::access::{keyed, random};

/// Bytes of a key.
const LENGTH: usize = 32;

/// Of one log.
pub(super) struct DigestKey([u8; LENGTH]);

impl DigestKey {
    /// The key beside the log at `log`, which is made when there is none. The caller has locked the log.
    pub(super) fn open(log: &Path) -> Result<Self> {
        let path = beside(log, ".key");
        let failed = |e| io_error(format!("read the key beside audit log {}", log.display()), e);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = Self(random()?);
                key.write(log, &path).map_err(failed)?;
                Ok(key)
            }
            Err(error) => Err(failed(error)),
            Ok(bytes) => <[u8; LENGTH]>::try_from(bytes).map(Self).map_err(|_| {
                let log = log.display();
                Error::corrupt(format!(
                    "the key beside audit log {log} is damaged: restore or remove it"
                ))
            }),
        }
    }

    /// Whole or not at all: a crash leaves no half of a key.
    fn write(&self, log: &Path, path: &Path) -> io::Result<()> {
        let temporary = beside(log, ".key-next");
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(&self.0)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        let absolute = std::path::absolute(path)?;
        durable::sync_folder(absolute.parent().unwrap_or(&absolute))
    }

    /// HMAC-SHA-256 in hexadecimal.
    pub(super) fn digest(&self, text: &str) -> String {
        hex(&keyed(&self.0, text.as_bytes()))
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

/// A file whose name is the log's with an ending.
pub(super) fn beside(log: &Path, ending: &str) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
