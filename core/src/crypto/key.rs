//! The secret that everything else is derived from.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{Error, Result};

/// Bytes of a key.
const KEY_LEN: usize = 32;

/// Longest base64 text worth reading: a key has 44 characters.
const MAX_TEXT: usize = 64;

/// Names a [`MasterKey`] without giving it away; stored beside everything that the key has sealed.
///
/// ```
/// use thalweg_core::crypto::KeyId;
/// let id: KeyId = "00a1b2c3d4e5f607".parse()?;
/// assert_eq!(id.to_string(), "00a1b2c3d4e5f607");
/// # Ok::<(), thalweg_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId([u8; Self::LEN]);

impl KeyId {
    /// Bytes of an id; as text it has twice as many characters.
    pub const LEN: usize = 8;

    /// An id out of a header.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The id as headers hold it.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::corrupt("a key id must be 16 hexadecimal digits");
        if text.len() != 2 * Self::LEN || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| wrong())?;
        Ok(Self(number.to_be_bytes()))
    }
}

impl TryFrom<String> for KeyId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

/// 32 secret bytes, wiped from memory when dropped and never printed.
///
/// It comes from the environment or from a file ([`MasterKey::load_or_create`]), never from an argument.
///
/// ```
/// use thalweg_core::crypto::MasterKey;
/// let key = MasterKey::generate()?;
/// assert_eq!(format!("{key:?}"), format!("MasterKey({}, redacted)", key.key_id()));
/// # Ok::<(), thalweg_core::Error>(())
/// ```
pub struct MasterKey {
    /// Boxed, so that moving the key leaves no copies behind on the stack.
    secret: Box<Zeroizing<[u8; KEY_LEN]>>,
    id: KeyId,
}

impl MasterKey {
    /// A new key out of the operating system's randomness.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Transient`] when the operating system has none.
    pub fn generate() -> Result<Self> {
        let mut secret = Box::new(Zeroizing::new([0; KEY_LEN]));
        **secret = super::random()?;
        Self::from_secret(secret)
    }

    /// The key that `text` spells: 32 bytes in base64, white space around it ignored.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidConfig`]; the text is not repeated.
    pub fn from_base64(text: &str) -> Result<Self> {
        let wrong = || {
            Error::config("a key must be 32 bytes in base64; `openssl rand -base64 32` makes one")
        };
        let text = text.trim();
        if text.len() > MAX_TEXT {
            return Err(wrong());
        }
        let mut bytes = Zeroizing::new([0; MAX_TEXT]);
        let len = STANDARD.decode_slice(text, bytes.as_mut_slice()).map_err(|_| wrong())?;
        let mut secret = Box::new(Zeroizing::new([0; KEY_LEN]));
        let decoded = bytes.get(..len).filter(|d| d.len() == KEY_LEN).ok_or_else(wrong)?;
        secret.copy_from_slice(decoded);
        Self::from_secret(secret)
    }

    /// Names this key; the same secret has the same id everywhere.
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// The text that [`MasterKey::from_base64`] reads, for the key file.
    pub(super) fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.secret.as_slice()))
    }

    /// The key for `purpose` that belongs to `salt` (HKDF-SHA-256, RFC 5869).
    pub(super) fn derive(&self, salt: &[u8], purpose: &str) -> Result<Zeroizing<[u8; KEY_LEN]>> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        Hkdf::<Sha256>::new(Some(salt), self.secret.as_slice())
            .expand(purpose.as_bytes(), key.as_mut_slice())
            .map_err(|_| Error::internal("a derived key of a wrong size"))?;
        Ok(key)
    }

    fn from_secret(secret: Box<Zeroizing<[u8; KEY_LEN]>>) -> Result<Self> {
        let mut key = Self { secret, id: KeyId([0; KeyId::LEN]) };
        let derived = key.derive(&[], "thalweg key id")?;
        key.id.0.copy_from_slice(derived.get(..KeyId::LEN).unwrap_or_default());
        Ok(key)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({}, redacted)", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    /// The bytes 0 to 31.
    const COUNTING: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn the_id_of_a_key_never_changes() {
        // Stored beside data: computed once, outside, with HKDF-SHA-256.
        let key = MasterKey::from_base64(COUNTING).unwrap();
        assert_eq!(key.key_id().to_string(), "2fe82b45ed60ba33");
        assert_eq!(key.key_id(), MasterKey::from_base64(COUNTING).unwrap().key_id());
    }

    #[test]
    fn white_space_around_a_key_is_ignored() {
        assert!(MasterKey::from_base64(&format!(" {COUNTING}\r\n")).is_ok());
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_repeated() {
        let long = COUNTING.repeat(1000);
        for text in ["", "secret", "c2VjcmV0", &COUNTING[..43], &COUNTING[4..], &long, "é"] {
            let error = MasterKey::from_base64(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains("openssl rand -base64 32"));
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_key_survives_the_way_through_text() {
        let key = MasterKey::generate().unwrap();
        let again = MasterKey::from_base64(&key.to_base64()).unwrap();
        assert_eq!(key.key_id(), again.key_id());
        assert_ne!(key.key_id(), MasterKey::generate().unwrap().key_id());
    }

    #[test]
    fn debug_shows_the_id_only() {
        let key = MasterKey::from_base64(COUNTING).unwrap();
        assert_eq!(format!("{key:?}"), format!("MasterKey({}, redacted)", key.key_id()));
    }

    #[test]
    fn an_id_survives_the_way_through_json() {
        let id = MasterKey::generate().unwrap().key_id();
        let text = serde_json::to_string(&id).unwrap();
        assert_eq!(text, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<KeyId>(&text).unwrap(), id);
        for wrong in ["", "0", "+0a1b2c3d4e5f607", "00a1b2c3d4e5f6071", "zz"] {
            assert!(wrong.parse::<KeyId>().is_err(), "{wrong}");
        }
    }
}
