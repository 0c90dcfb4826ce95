//! SCRAM-SHA-256 (RFC 5802) from the server's side, over verifiers: the server never sees a password.
//!
//! The library has it too, with a dependency under a licence that is not wanted here.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgwire::error::PgWireResult;
use pgwire::messages::startup::{Authentication, PasswordMessageFamily};
use rand::TryRngCore;
use rand::rngs::OsRng;

use super::login::refused;
use crate::access::{Directory, ScramVerifier, User};

const MECHANISM: &str = "SCRAM-SHA-256";

/// One client's way in.
pub(super) struct Scram {
    directory: Arc<Directory>,
    /// Makes up verifiers for names that do not exist.
    secret: Arc<[u8; 32]>,
    name: String,
    from: IpAddr,
    step: Step,
}

enum Step {
    First,
    Final(Box<Challenge>),
    Over,
}

/// What was agreed on in the first two messages.
struct Challenge {
    /// `None`: there is no such user, and no proof will do.
    user: Option<User>,
    verifier: ScramVerifier,
    gs2_header: String,
    client_first_bare: String,
    server_first: String,
    nonce: String,
}

impl Scram {
    pub(super) fn new(
        directory: Arc<Directory>,
        secret: Arc<[u8; 32]>,
        name: String,
        from: IpAddr,
    ) -> Self {
        Self { directory, secret, name, from, step: Step::First }
    }

    fn first(&self, message: &str) -> Option<Challenge> {
        // `n,,` or `y,,`: channel binding was not offered. The name in it is not used: PostgreSQL's start-up message has it.
        let (gs2_header, bare) = ["n,,", "y,,"]
            .iter()
            .find_map(|header| message.strip_prefix(header).map(|bare| (*header, bare)))?;
        let theirs = bare.split(',').find_map(|part| part.strip_prefix("r="))?;
        if theirs.len() < 8 || bare.starts_with("m=") {
            return None;
        }
        let mut ours = [0; 18];
        OsRng.try_fill_bytes(&mut ours).ok()?;
        let user = self.directory.user(&self.name).ok()?;
        let verifier = user.as_ref().map_or_else(
            || ScramVerifier::mock(&self.name, &self.secret),
            |user| user.scram().clone(),
        );
        let nonce = format!("{theirs}{}", STANDARD.encode(ours));
        Some(Challenge {
            gs2_header: gs2_header.to_owned(),
            client_first_bare: bare.to_owned(),
            server_first: format!("r={nonce},{}", verifier.challenge()),
            user,
            verifier,
            nonce,
        })
    }
}

impl Challenge {
    /// The user, and what proves to the client that it speaks with the right server.
    fn check(self, message: &str) -> Option<(User, String)> {
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let mut parts = without_proof.split(',');
        let binding = parts.next()?.strip_prefix("c=")?;
        let nonce = parts.next()?.strip_prefix("r=")?;
        if STANDARD.decode(binding).ok()? != self.gs2_header.as_bytes() || nonce != self.nonce {
            return None;
        }
        let conversation =
            format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let answer = self.verifier.check(&conversation, &STANDARD.decode(proof).ok()?)?;
        Some((self.user?, format!("v={}", STANDARD.encode(answer))))
    }
}

/// How a message was taken.
pub(super) enum Next {
    /// The conversation goes on.
    Answer(Authentication),
    /// It is who it says to be.
    In(Box<User>, Authentication),
}

impl Scram {
    /// What is offered.
    pub(super) fn begin(&self) -> PgWireResult<Authentication> {
        if !self.directory.admits(&self.name, self.from) {
            return Err(refused(
                "28000",
                "too many failed attempts: wait a minute, then try again",
            ));
        }
        Ok(Authentication::SASL(vec![MECHANISM.to_owned()]))
    }

    /// Takes a message of the client's.
    pub(super) fn next(&mut self, message: PasswordMessageFamily) -> PgWireResult<Next> {
        let malformed = || refused("08P01", "a message of SCRAM does not follow RFC 5802");
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::First => {
                let message = message.into_sasl_initial_response()?;
                let data = message.data.filter(|_| message.auth_method == MECHANISM);
                let text = data.as_deref().and_then(|data| std::str::from_utf8(data).ok());
                let challenge = text.and_then(|text| self.first(text)).ok_or_else(malformed)?;
                let answer = challenge.server_first.clone();
                self.step = Step::Final(Box::new(challenge));
                Ok(Next::Answer(Authentication::SASLContinue(answer.into())))
            }
            Step::Final(challenge) => {
                let message = message.into_sasl_response()?;
                let text = std::str::from_utf8(&message.data).map_err(|_| malformed())?;
                if let Some((user, proof)) = challenge.check(text) {
                    return Ok(Next::In(Box::new(user), Authentication::SASLFinal(proof.into())));
                }
                self.directory.failed(&self.name, self.from);
                Err(refused("28P01", "user name or password is wrong"))
            }
            Step::Over => Err(malformed()),
        }
    }
}
