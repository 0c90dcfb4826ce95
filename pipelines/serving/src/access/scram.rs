//! What a server keeps to check SCRAM-SHA-256 (RFC 5802, RFC 7677): neither the password nor anything that could log in.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use thalweg_core::{Error, Result};

use super::token::{Token, random};

/// PostgreSQL's number too: it slows down guessing, and tokens have 256 random bits.
const ITERATIONS: u32 = 4096;
const PREFIX: &str = "SCRAM-SHA-256$";

/// PostgreSQL's text of it: `SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY`.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl ScramVerifier {
    pub(super) fn of(token: &Token) -> Result<Self> {
        Ok(Self::derive(token.reveal(), &random::<16>()?, ITERATIONS))
    }

    /// From a password in ASCII, for which `SASLprep` changes nothing.
    fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations);
        let client_key = keyed(&salted, b"Client Key");
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(client_key).into(),
            server_key: keyed(&salted, b"Server Key"),
        }
    }

    /// One that no password fits, always the same for a name: an unknown user is told as much as a known one.
    pub fn mock(name: &str, secret: &[u8; 32]) -> Self {
        let part = |what: &[u8]| keyed(secret, &[name.as_bytes(), what].concat());
        let salt = part(b"/salt");
        Self {
            iterations: ITERATIONS,
            salt: salt.get(..16).unwrap_or(&salt).to_vec(),
            stored_key: part(b"/stored"),
            server_key: part(b"/server"),
        }
    }

    /// The salt and iterations to tell a client, as `s=…,i=…`.
    pub fn challenge(&self) -> String {
        format!("s={},i={}", STANDARD.encode(&self.salt), self.iterations)
    }

    /// Whether `proof` shows knowledge of the password in a conversation whose messages are `auth_message`; if so,
    /// the server's own proof.
    pub fn check(&self, auth_message: &str, proof: &[u8]) -> Option<[u8; 32]> {
        let signature = keyed(&self.stored_key, auth_message.as_bytes());
        if proof.len() != signature.len() {
            return None;
        }
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let stored: [u8; 32] = Sha256::digest(client_key).into();
        same(&stored, &self.stored_key).then(|| keyed(&self.server_key, auth_message.as_bytes()))
    }
}

pub(crate) fn keyed(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of any length: it cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// In constant time.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

impl fmt::Display for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| STANDARD.encode(bytes);
        let (salt, stored, server) =
            (text(&self.salt), text(&self.stored_key), text(&self.server_key));
        write!(f, "{PREFIX}{}:{salt}${stored}:{server}", self.iterations)
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramVerifier(..)")
    }
}

impl FromStr for ScramVerifier {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = || {
            let (head, keys) = text.strip_prefix(PREFIX)?.split_once('$')?;
            let ((iterations, salt), (stored, server)) =
                (head.split_once(':')?, keys.split_once(':')?);
            let bytes = |text: &str| STANDARD.decode(text).ok();
            Some(Self {
                iterations: iterations.parse().ok().filter(|n| *n >= ITERATIONS)?,
                salt: bytes(salt)?,
                stored_key: bytes(stored)?.try_into().ok()?,
                server_key: bytes(server)?.try_into().ok()?,
            })
        };
        parsed().ok_or_else(|| Error::config("it is no SCRAM-SHA-256 verifier: add the user again"))
    }
}

impl Serialize for ScramVerifier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScramVerifier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_example_of_the_rfc_is_accepted_and_answered() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = ScramVerifier::derive("pencil", &salt, 4096);
        let auth = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                    r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                    c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let answer = verifier.check(auth, &proof).unwrap();
        assert_eq!(STANDARD.encode(answer), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(verifier.check("n=other", &proof).is_none());
        assert!(verifier.check(auth, &proof[1..]).is_none());
    }

    #[test]
    fn a_verifier_is_written_and_read_as_postgres_does() {
        let verifier = ScramVerifier::of(&Token::generate("ada").unwrap()).unwrap();
        let text = verifier.to_string();
        assert!(text.starts_with("SCRAM-SHA-256$4096:"), "{text}");
        assert_eq!(text.parse::<ScramVerifier>().unwrap(), verifier);
        for wrong in ["", "md5abc", "SCRAM-SHA-256$1:AAAA$AAAA:AAAA", &text[..text.len() - 8]] {
            assert!(wrong.parse::<ScramVerifier>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_user_gets_the_same_challenge_each_time() {
        let secret = [7; 32];
        let challenge = ScramVerifier::mock("eve", &secret).challenge();
        assert_eq!(challenge, ScramVerifier::mock("eve", &secret).challenge());
        assert_ne!(challenge, ScramVerifier::mock("mallory", &secret).challenge());
    }
}
