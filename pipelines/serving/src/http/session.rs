//! Who is signed in: links that open a session once, and sessions behind a cookie. All of it is forgotten at exit.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::door::Visitor;
use crate::rate::Bucket;

/// A session that nobody used for so long is over.
const IDLE: Duration = Duration::from_hours(8);
/// More sessions than that at once are no people.
const MOST: usize = 1_000;
/// Requests of one session, but for files of pages: a page asks for some twenty of those.
const PER_SECOND: f64 = 20.0;
const BURST: f64 = 200.0;

pub(super) type Hash = [u8; 32];

#[derive(Debug)]
struct Session {
    visitor: Visitor,
    used: Duration,
    requests: Bucket,
}

/// Kept by their hashes: memory that leaks opens nothing.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: HashMap<Hash, Session>,
    link: Option<(Hash, Visitor)>,
    spent: Option<Hash>,
}

/// What a link is good for.
#[derive(Debug)]
pub(super) enum Link {
    /// It opens a session, this once.
    Good(Visitor),
    /// It was good once.
    Spent,
    Unknown,
}

impl Sessions {
    /// A new link, in place of the one before.
    pub(super) fn new_link(&mut self, visitor: Visitor) -> String {
        let secret = secret();
        self.link = Some((hash(&secret), visitor));
        secret
    }

    /// Uses a link.
    pub(super) fn follow(&mut self, secret: &str) -> Link {
        let hash = hash(secret);
        if let Some((_, visitor)) = self.link.take_if(|(known, _)| *known == hash) {
            self.spent = Some(hash);
            return Link::Good(visitor);
        }
        if self.spent == Some(hash) { Link::Spent } else { Link::Unknown }
    }

    /// Opens a session and returns the secret of its cookie.
    pub(super) fn open(&mut self, visitor: Visitor, now: Duration) -> String {
        self.open.retain(|_, session| now.saturating_sub(session.used) < IDLE);
        if self.open.len() >= MOST {
            let oldest =
                self.open.iter().min_by_key(|(_, session)| session.used).map(|(id, _)| *id);
            oldest.and_then(|id| self.open.remove(&id));
        }
        let secret = secret();
        let requests = Bucket::new(PER_SECOND, BURST, now);
        self.open.insert(hash(&secret), Session { visitor, used: now, requests });
        secret
    }

    /// Who uses this session: the visitor, or how long to wait. What is not counted does not wait.
    pub(super) fn find(
        &mut self,
        secret: &str,
        now: Duration,
        is_counted: bool,
    ) -> Option<Result<Visitor, Duration>> {
        let id = hash(secret);
        let session = self.open.get_mut(&id)?;
        if now.saturating_sub(session.used) >= IDLE {
            self.open.remove(&id);
            return None;
        }
        session.used = now;
        let turn = if is_counted { session.requests.take(now) } else { Ok(()) };
        Some(turn.map(|()| session.visitor.clone()))
    }

    /// Who uses this session. What goes on by itself, a stream say, keeps it in use and is no request.
    pub(super) fn keep(&mut self, id: &Hash, now: Duration) -> Option<Visitor> {
        let session = self.open.get_mut(id)?;
        session.used = now;
        Some(session.visitor.clone())
    }

    /// Ends a session.
    pub(super) fn close(&mut self, id: &Hash) {
        self.open.remove(id);
    }
}

pub(super) fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor() -> Visitor {
        Visitor::new("nurse", "clinician", |_| true)
    }

    #[test]
    fn a_link_opens_once() {
        let mut sessions = Sessions::default();
        let link = sessions.new_link(visitor());
        assert!(matches!(sessions.follow("guess"), Link::Unknown));
        assert!(matches!(sessions.follow(&link), Link::Good(_)));
        assert!(matches!(sessions.follow(&link), Link::Spent));
    }

    #[test]
    fn a_session_ends_when_it_is_closed_or_idle() {
        let (mut sessions, start) = (Sessions::default(), Duration::from_secs(9));
        let (one, two) = (sessions.open(visitor(), start), sessions.open(visitor(), start));
        assert!(sessions.find(&one, start, true).is_some());
        sessions.close(&hash(&one));
        assert!(sessions.find(&one, start, true).is_none());
        assert!(sessions.keep(&hash(&one), start).is_none());
        assert!(sessions.keep(&hash(&two), start).is_some());
        let almost = start + IDLE.saturating_sub(Duration::from_secs(1));
        assert!(sessions.find(&two, almost, true).is_some());
        assert!(sessions.find(&two, almost + IDLE, true).is_none());
    }

    #[test]
    fn a_session_that_asks_too_often_is_told_to_wait() {
        let (mut sessions, start) = (Sessions::default(), Duration::from_secs(9));
        let one = sessions.open(visitor(), start);
        let refused =
            (0..1_000).filter(|_| sessions.find(&one, start, true).unwrap().is_err()).count();
        assert_eq!(refused, 1_000 - BURST as usize);
    }
}
