//! Single values of a column.
//!
//! ```text
//! version 1 | key id 8 | salt 16 | nonce 12 | text, encrypted | tag 16
//! ```
//!
//! A sealer derives one key and uses it for all its values, each with a random nonce; a reader derives it again from
//! key id and salt, which stand in every value, so that a value can be opened on its own. 128 random bits of salt
//! keep the keys of all sealers apart, and after 2³¹ values a sealer takes a new salt, long before random nonces
//! could meet (NIST SP 800-38D, section 8.3, allows 2³²).

use std::sync::Arc;

use aes_gcm::Aes256Gcm;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use super::{
    KeyId, MasterKey, NONCE_LEN, TAG_LEN, append_opened, append_sealed, check_key, cipher,
};
use crate::{Error, Result};

const VERSION: u8 = 1;
const SALT_LEN: usize = 16;
const PREFIX_LEN: usize = 1 + KeyId::LEN + SALT_LEN;

/// Part of the derived key's name, so the version is authenticated without being part of the AAD.
const PURPOSE: &str = "thalweg column 1";

/// Values under one key.
const MESSAGES_PER_KEY: u64 = 1 << 31;

/// Seals the values of a column; one per subtask, reused for all its rows.
pub struct ColumnSealer {
    master: Arc<MasterKey>,
    cipher: Aes256Gcm,
    /// Version, key id and salt: what every value under the current key starts with.
    prefix: [u8; PREFIX_LEN],
    nonces: StdRng,
    messages_left: u64,
}

impl ColumnSealer {
    /// How many bytes a sealed value is longer than its text.
    pub const OVERHEAD: usize = PREFIX_LEN + NONCE_LEN + TAG_LEN;

    /// A sealer with a key of its own.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Transient`] when the operating system gives no random bytes.
    pub fn new(master: &Arc<MasterKey>) -> Result<Self> {
        let (cipher, prefix) = fresh_key(master)?;
        let nonces = StdRng::from_seed(super::random()?);
        let master = Arc::clone(master);
        Ok(Self { master, cipher, prefix, nonces, messages_left: MESSAGES_PER_KEY })
    }

    /// Appends `plaintext`, sealed, to `out`. `aad` says which value it is: elsewhere it does not open.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use thalweg_core::crypto::{ColumnSealer, MasterKey, open_payload};
    /// let key = Arc::new(MasterKey::generate()?);
    /// let mut sealer = ColumnSealer::new(&key)?;
    /// let mut value = Vec::new();
    /// sealer.seal_into(b"row 1", b"text", &mut value)?;
    /// assert_eq!(value.len(), 4 + ColumnSealer::OVERHEAD);
    /// assert_eq!(open_payload(&key, b"row 1", &value)?, b"text");
    /// # Ok::<(), thalweg_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`crate::ErrorKind::Transient`] when a new key is due and the operating system gives no random bytes.
    pub fn seal_into(&mut self, aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if self.messages_left == 0 {
            (self.cipher, self.prefix) = fresh_key(&self.master)?;
            self.messages_left = MESSAGES_PER_KEY;
        }
        self.messages_left -= 1;
        let mut nonce = [0; NONCE_LEN];
        self.nonces.fill_bytes(&mut nonce);
        out.reserve(plaintext.len() + Self::OVERHEAD);
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(&nonce);
        append_sealed(&self.cipher, nonce, aad, plaintext, out)
    }
}

impl std::fmt::Debug for ColumnSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ColumnSealer(key {})", self.master.key_id())
    }
}

fn fresh_key(master: &MasterKey) -> Result<(Aes256Gcm, [u8; PREFIX_LEN])> {
    let salt: [u8; SALT_LEN] = super::random()?;
    let mut prefix = [VERSION; PREFIX_LEN];
    let (_, rest) = prefix.split_at_mut(1);
    let (key, rest) = rest.split_at_mut(KeyId::LEN);
    key.copy_from_slice(master.key_id().as_bytes());
    rest.copy_from_slice(&salt);
    Ok((cipher(master, &salt, PURPOSE)?, prefix))
}

/// Opens one value that a [`ColumnSealer`] sealed with the same key and `aad`.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] when the value was sealed with another key (the message names it), is cut off,
/// damaged, or belongs to another row.
pub fn open_payload(master: &MasterKey, aad: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
    let damaged =
        || Error::corrupt("a sealed value is damaged or cut off, or belongs to another row");
    let (key, rest) = split_key(bytes)?;
    check_key(master, key)?;
    let (salt, rest) = rest.split_first_chunk::<SALT_LEN>().ok_or_else(damaged)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
    let cipher = cipher(master, salt, PURPOSE)?;
    let mut out = Vec::with_capacity(sealed.len());
    append_opened(&cipher, *nonce, aad, sealed, &mut out).ok_or_else(damaged)?;
    Ok(out)
}

/// Which key sealed a value, without opening it.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] when the bytes are not a sealed value.
pub fn key_id(bytes: &[u8]) -> Result<KeyId> {
    split_key(bytes).map(|(key, _)| key)
}

fn split_key(bytes: &[u8]) -> Result<(KeyId, &[u8])> {
    let cut = || Error::corrupt("a sealed value is cut off");
    let (version, rest) = bytes.split_first().ok_or_else(cut)?;
    if *version != VERSION {
        return Err(Error::corrupt(format!(
            "a value sealed in format {version}, and this build reads format {VERSION}"
        )));
    }
    let (key, rest) = rest.split_first_chunk().ok_or_else(cut)?;
    Ok((KeyId::from_bytes(*key), rest))
}

#[cfg(test)]
mod tests;
