//! How often tokens may be shown, and that one that many show at once is looked at once.
//!
//! To look at a token that is not known is slow on purpose, and looks are what there are few of: who guesses needs one for
//! each guess. Requests that show one token from one address while it is looked at wait for that look and share its
//! answer, right or wrong: it tells none of them more than it tells the first.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use futures::future::{BoxFuture, Shared};

use super::door::Visitor;
use super::refusal::Refusal;
use super::session::Hash;
use crate::rate::{Bucket, Shares};

/// Tokens that were right and are counted by themselves.
const REMEMBERED: usize = 1_000;
/// Looks at other tokens: more is guessing. One address gets half of what there is for all.
const LOOKS_PER_SECOND: f64 = 2.0;
const LOOKS_BURST: f64 = 20.0;
const LOOKS_SHARE: f64 = 0.5;
/// Requests with one token, those included that wait for its first look.
const PER_SECOND: f64 = 20.0;
const BURST: f64 = 200.0;

/// A first look at a token. It ends whether or not anybody waits for it.
pub(super) type Look = Shared<BoxFuture<'static, Result<Visitor, Refusal>>>;

/// How a request that shows a token gets its answer.
pub(super) enum Turn {
    /// The token was right before: to look again is fast.
    Known,
    /// The token is looked at for this request.
    First(Look),
    /// It is looked at for another request already.
    Shared(Look),
}

/// The tokens, by their hashes.
#[derive(Debug)]
pub(super) struct Tokens {
    looks: Shares,
    known: HashMap<Hash, Bucket>,
    /// Those that are looked at for the first time, and from where they were shown: at one address a name may have to
    /// wait, and what is answered there is no answer elsewhere. There are as many as looks that have begun and not ended.
    begun: HashMap<(Hash, IpAddr), Begun>,
}

#[derive(Debug)]
struct Begun {
    requests: Bucket,
    look: Look,
}

impl Tokens {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            looks: Shares::new(
                Bucket::new(LOOKS_PER_SECOND, LOOKS_BURST, now),
                Bucket::new(LOOKS_PER_SECOND * LOOKS_SHARE, LOOKS_BURST * LOOKS_SHARE, now),
            ),
            known: HashMap::new(),
            begun: HashMap::new(),
        }
    }

    /// What is to be done for a request, or how long it has to wait. `begin` begins a first look, at whose end
    /// [`Tokens::end`] is called.
    pub(super) fn take(
        &mut self,
        id: Hash,
        from: IpAddr,
        now: Duration,
        begin: impl FnOnce() -> Look,
    ) -> Result<Turn, Duration> {
        if let Some(requests) = self.known.get_mut(&id) {
            requests.take(now)?;
            return Ok(Turn::Known);
        }
        if let Some(begun) = self.begun.get_mut(&(id, from)) {
            begun.requests.take(now)?;
            return Ok(Turn::Shared(begun.look.clone()));
        }
        self.looks.take(from, now)?;
        let look = begin();
        let requests = Bucket::new(PER_SECOND, BURST, now);
        self.begun.insert((id, from), Begun { requests, look: look.clone() });
        Ok(Turn::First(look))
    }

    /// A first look has ended. What was right is known from now on.
    pub(super) fn end(&mut self, id: Hash, from: IpAddr, is_right: bool) {
        let ended = self.begun.remove(&(id, from));
        let Some(Begun { requests, .. }) = ended.filter(|_| is_right) else { return };
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.entry(id).or_insert(requests);
    }
}
