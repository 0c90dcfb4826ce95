//! Tokens: made here, shown once, kept as hashes.

use std::fmt;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use thalweg_core::{Error, Result};

use super::users::LONGEST_NAME;

/// A secret: `NAME.RANDOM`, 256 random bits. The name in front tells whose hash to compare with.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A new one for the user called `name`.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::Transient`]: the system gives no random bytes.
    pub fn generate(name: &str) -> Result<Self> {
        Ok(Self(format!("{name}.{}", URL_SAFE_NO_PAD.encode(random::<32>()?))))
    }

    /// The text to hand over. It is a secret.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whose it claims to be.
    pub(super) fn name(text: &str) -> Option<&str> {
        text.split_once('.').map(|(name, _)| name)
    }

    /// Whether a text has in it what may be the random part of a token, or most of that: more of its letters in a row
    /// than a user's name can have.
    pub(crate) fn may_be_in(text: &str) -> bool {
        let foreign = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-');
        text.split(foreign).any(|run| run.len() > LONGEST_NAME)
    }

    /// Argon2id, as a PHC string.
    pub(super) fn hash(&self) -> Result<String> {
        let failed = |_| Error::internal("a token could not be hashed");
        let salt = SaltString::encode_b64(&random::<16>()?).map_err(failed)?;
        let hash = Argon2::default().hash_password(self.0.as_bytes(), &salt).map_err(failed)?;
        Ok(hash.to_string())
    }
}

/// Tells the token with which somebody came in from the one that has taken its place. It is no secret: SHA-256 of the hash
/// that is kept of the token, which has a salt of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenMark([u8; 32]);

impl TokenMark {
    pub(super) fn of(hash: &str) -> Self {
        Self(Sha256::digest(hash).into())
    }
}

/// Whether `text` is what was hashed, in time that does not tell how much of it is right.
pub(super) fn verify(text: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        #[cfg(test)]
        HASHED.set(HASHED.get() + 1);
        Argon2::default().verify_password(text.as_bytes(), &hash).is_ok()
    })
}

#[cfg(test)]
thread_local! {
    /// How often this thread has hashed a text to compare it.
    pub(super) static HASHED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Bytes from the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|_| Error::transient("the system gives no random bytes"))?;
    Ok(bytes)
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_argon2id_hash_and_shown_by_nothing_else() {
        let token = Token::generate("ada").unwrap();
        let hash = token.hash().unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify(token.reveal(), &hash));
        assert!(!verify("ada.guess", &hash));
        assert!(!verify(token.reveal(), "no hash"));
        assert_eq!(Token::name(token.reveal()), Some("ada"));
        assert_eq!(format!("{token:?}"), "Token(..)");
        assert_ne!(hash, token.hash().unwrap(), "salted");
    }

    #[test]
    fn a_secret_is_told_from_every_name_that_a_user_can_have() {
        for _ in 0..100 {
            let token = Token::generate("ada").unwrap();
            let secret = token.reveal().split_once('.').unwrap().1;
            assert_eq!(secret.len(), 43);
            for typed in [secret.to_owned(), secret[3..].to_owned(), format!("'{secret}'")] {
                assert!(Token::may_be_in(&typed));
            }
        }
        for name in
            ["", "ada", &"a".repeat(LONGEST_NAME), "somebody-with-a-long-name@hospital.example"]
        {
            assert!(!Token::may_be_in(name), "{name}");
        }
    }
}
