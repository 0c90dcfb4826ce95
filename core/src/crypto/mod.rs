//! Encryption at rest (P30): state files, and columns that hold events as received.
//!
//! One [`MasterKey`] encrypts nothing itself. Every file and every encrypting instance derives a key of its own from
//! it and a fresh random salt, which is stored beside the ciphertext. So no counter has to survive a crash, two
//! processes cannot collide, and a nonce repeats under the same key only if a random salt does.
//!
//! * [`blob`]: whole files; counter nonces, cut into segments so that memory stays flat and a cut-off file is noticed;
//! * [`column`]: single values; random nonces, one key schedule for billions of them.
//!
//! Everything is AES-256-GCM, and everything is bound to its place by additional authenticated data (AAD): a file or
//! a value that is moved elsewhere does not open. What does not open is [`crate::ErrorKind::Corrupt`]; no error says
//! more about the content than that.

pub mod blob;
pub mod column;
mod key;
mod key_file;

pub use column::{ColumnSealer, open_payload};
pub use key::{KeyId, MasterKey};
pub use key_file::KeyOrigin;

use aes_gcm::aead::KeyInit;
use aes_gcm::{AeadInPlace, Aes256Gcm, Nonce, Tag};
use rand::TryRngCore;
use rand::rngs::OsRng;

use crate::{Error, Result};

/// Bytes of an AES-GCM tag.
const TAG_LEN: usize = 16;

/// Bytes of an AES-GCM nonce.
const NONCE_LEN: usize = 12;

/// A cipher under the key for `purpose` that belongs to `salt`.
fn cipher(master: &MasterKey, salt: &[u8], purpose: &str) -> Result<Aes256Gcm> {
    let key = master.derive(salt, purpose)?;
    Aes256Gcm::new_from_slice(key.as_slice()).map_err(|_| Error::internal("a key of a wrong size"))
}

/// Fresh bytes from the operating system.
fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    OsRng.try_fill_bytes(&mut bytes).map_err(|e| {
        Error::transient("the operating system gives no random bytes").with_source(e)
    })?;
    Ok(bytes)
}

/// Appends `plaintext`, encrypted, and its tag.
fn append_sealed(
    cipher: &Aes256Gcm,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    plaintext: &[u8],
    out: &mut Vec<u8>,
) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(plaintext);
    let fresh = out.get_mut(start..).unwrap_or_default();
    let tag = cipher
        .encrypt_in_place_detached(Nonce::from_slice(&nonce), aad, fresh)
        .map_err(|_| Error::internal("a value too long to encrypt"))?;
    out.extend_from_slice(&tag);
    Ok(())
}

/// Appends what `sealed`, a ciphertext with its tag, decrypts to. On failure `out` is as it was, and nothing of the
/// unauthenticated text remains in it.
fn append_opened(
    cipher: &Aes256Gcm,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    sealed: &[u8],
    out: &mut Vec<u8>,
) -> Option<()> {
    let (text, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_LEN)?)?;
    let start = out.len();
    out.extend_from_slice(text);
    let fresh = out.get_mut(start..).unwrap_or_default();
    // The tag is verified before a byte is decrypted.
    let opened = cipher.decrypt_in_place_detached(
        Nonce::from_slice(&nonce),
        aad,
        fresh,
        Tag::from_slice(tag),
    );
    if opened.is_err() {
        out.truncate(start);
        return None;
    }
    Some(())
}

/// What a reader with the wrong key is told.
fn check_key(master: &MasterKey, used: KeyId) -> Result<()> {
    if used == master.key_id() {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "sealed with key {used}, which is not the key in use ({}); give the key that was used",
        master.key_id()
    )))
}
