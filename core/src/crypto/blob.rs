//! Whole files, sealed and opened as a whole.
//!
//! ```text
//! "THWG" | version 1 | key id 8 | salt 32 | segment | segment | … | last segment
//! ```
//!
//! A segment is up to 64 KiB of text, encrypted, and its 16-byte tag; all but the last are full. The nonce of a
//! segment is its number and whether it is the last (the STREAM construction of Hoang, Reyhanitabar, Rogaway and
//! Vizár, 2015), so segments cannot be swapped, repeated or cut off. Header and the caller's AAD are authenticated
//! with every segment.

use std::io::Write;

use aes_gcm::Aes256Gcm;

use super::{
    KeyId, MasterKey, NONCE_LEN, TAG_LEN, append_opened, append_sealed, check_key, cipher,
};
use crate::{Error, Result};

const MAGIC: [u8; 4] = *b"THWG";
const VERSION: u8 = 1;
const SALT_LEN: usize = 32;
const HEADER_LEN: usize = MAGIC.len() + 1 + KeyId::LEN + SALT_LEN;
const PURPOSE: &str = "thalweg state";

/// Bytes of plain text in a segment.
const SEGMENT_LEN: usize = 64 * 1024;

/// Encrypts a file. `aad` says which file it is (`chain/n/name`): under another name it does not open.
///
/// ```
/// use thalweg_core::crypto::{MasterKey, blob};
/// let key = MasterKey::generate()?;
/// let file = blob::seal(&key, b"chain/7/timers", b"state")?;
/// assert_eq!(blob::open(&key, b"chain/7/timers", &file)?, b"state");
/// assert!(blob::open(&key, b"chain/8/timers", &file).is_err());
/// # Ok::<(), thalweg_core::Error>(())
/// ```
///
/// # Errors
/// [`crate::ErrorKind::Transient`] when the operating system gives no random bytes.
pub fn seal(master: &MasterKey, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>> {
    let mut sealer = Sealer::new(master, aad)?;
    let segments = plaintext.len().div_ceil(SEGMENT_LEN).max(1);
    sealer.out.reserve_exact(plaintext.len() + segments * TAG_LEN);
    sealer.append(plaintext)?;
    sealer.finish()
}

/// As [`seal`], of a text that is never there in one piece: write it, then [`Sealer::finish`].
pub struct Sealer {
    cipher: Aes256Gcm,
    aad: Vec<u8>,
    out: Vec<u8>,
    /// Sealed segments.
    number: u64,
    /// A segment is sealed once it is known whether it is the last.
    open: Vec<u8>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({} bytes)", self.out.len())
    }
}

impl Sealer {
    /// An empty file. `aad` as in [`seal`].
    ///
    /// # Errors
    /// As [`seal`].
    pub fn new(master: &MasterKey, aad: &[u8]) -> Result<Self> {
        let salt: [u8; SALT_LEN] = super::random()?;
        let cipher = cipher(master, &salt, PURPOSE)?;
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.extend_from_slice(master.key_id().as_bytes());
        out.extend_from_slice(&salt);
        let aad = [&out, aad].concat();
        Ok(Self { cipher, aad, out, number: 0, open: Vec::new() })
    }

    fn append(&mut self, mut text: &[u8]) -> Result<()> {
        while !text.is_empty() {
            if self.open.len() == SEGMENT_LEN {
                self.close(false)?;
            }
            let (fits, rest) = text.split_at(text.len().min(SEGMENT_LEN - self.open.len()));
            self.open.extend_from_slice(fits);
            text = rest;
        }
        Ok(())
    }

    fn close(&mut self, last: bool) -> Result<()> {
        let nonce = nonce(self.number, last)?;
        append_sealed(&self.cipher, nonce, &self.aad, &self.open, &mut self.out)?;
        self.open.clear();
        self.number += 1;
        Ok(())
    }

    /// The sealed file. An empty one is one empty segment.
    ///
    /// # Errors
    /// As [`seal`].
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.close(true)?;
        Ok(self.out)
    }
}

impl Write for Sealer {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.append(text).map_err(std::io::Error::other)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Decrypts what [`seal`] made with the same key and `aad`.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] when the bytes were sealed with another key (the message names it), are cut off,
/// damaged, or belong to another file.
pub fn open(master: &MasterKey, aad: &[u8], bytes: &[u8]) -> Result<Vec<u8>> {
    let damaged = || Error::corrupt("damaged or cut off, or the file of another checkpoint");
    let (key, salt) = header(bytes)?;
    check_key(master, key)?;
    let cipher = cipher(master, salt, PURPOSE)?;
    let (header, mut rest) = bytes.split_at_checked(HEADER_LEN).ok_or_else(damaged)?;
    let aad = [header, aad].concat();
    let mut out = Vec::with_capacity(rest.len());
    let mut number = 0;
    loop {
        let (segment, after) = rest.split_at(rest.len().min(SEGMENT_LEN + TAG_LEN));
        let nonce = nonce(number, after.is_empty())?;
        append_opened(&cipher, nonce, &aad, segment, &mut out).ok_or_else(damaged)?;
        if after.is_empty() {
            return Ok(out);
        }
        (number, rest) = (number + 1, after);
    }
}

/// Which key sealed a file, without opening it.
///
/// # Errors
/// [`crate::ErrorKind::Corrupt`] when the bytes are not such a file.
pub fn key_id(bytes: &[u8]) -> Result<KeyId> {
    header(bytes).map(|(key, _)| key)
}

fn header(bytes: &[u8]) -> Result<(KeyId, &[u8; SALT_LEN])> {
    let rest = bytes.strip_prefix(&MAGIC).ok_or_else(|| Error::corrupt("not a sealed file"))?;
    let cut = || Error::corrupt("the header of a sealed file is cut off");
    let (version, rest) = rest.split_first().ok_or_else(cut)?;
    if *version != VERSION {
        return Err(Error::corrupt(format!(
            "sealed in format {version}, and this build reads format {VERSION}"
        )));
    }
    let (key, rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let salt = rest.first_chunk().ok_or_else(cut)?;
    Ok((KeyId::from_bytes(*key), salt))
}

/// Number and last flag; the rest is zero, because no other file shares the key.
fn nonce(number: u64, last: bool) -> Result<[u8; NONCE_LEN]> {
    let number = u32::try_from(number).map_err(|_| Error::internal("a file beyond 256 TiB"))?;
    let mut nonce = [0; NONCE_LEN];
    let [.., a, b, c, d, flag] = &mut nonce;
    [*a, *b, *c, *d] = number.to_be_bytes();
    *flag = u8::from(last);
    Ok(nonce)
}

#[cfg(test)]
mod tests;
