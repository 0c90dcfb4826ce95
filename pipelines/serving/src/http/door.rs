//! Those who may come in: who knows their tokens, and what is known of them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::access::TokenMark;

/// Knows the tokens.
pub trait Doorkeeper: Send + Sync + fmt::Debug {
    /// Whose token this is, which was shown from an address of IPv4 or a network of IPv6. May take as long as a password
    /// hash takes.
    fn admit(&self, token: &str, from: IpAddr) -> Option<Visitor>;

    /// Whether someone who came in earlier would still be let in.
    fn still(&self, visitor: &Visitor) -> bool;
}

/// Nobody has a token: links alone open.
impl Doorkeeper for () {
    fn admit(&self, _token: &str, _from: IpAddr) -> Option<Visitor> {
        None
    }

    fn still(&self, _visitor: &Visitor) -> bool {
        true
    }
}

/// Someone who was let in.
#[derive(Clone)]
pub struct Visitor {
    name: Arc<str>,
    role: Arc<str>,
    mark: Option<TokenMark>,
    may_read: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl Visitor {
    /// Someone called `name` in a role, who may read the tables of which `may_read` says so.
    pub fn new(
        name: &str,
        role: &str,
        may_read: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), role: role.into(), mark: None, may_read: Arc::new(may_read) }
    }

    /// As one who came in with the token of this mark: who has another one now may not stay.
    #[must_use]
    pub fn marked(self, mark: TokenMark) -> Self {
        Self { mark: Some(mark), ..self }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The role.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Which token they came in with, if it was one.
    pub fn mark(&self) -> Option<TokenMark> {
        self.mark
    }

    /// Whether a table is to be shown to them.
    pub fn may_read(&self, table: &str) -> bool {
        (self.may_read)(table)
    }
}

impl fmt::Debug for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Visitor").field(&self.name).finish()
    }
}
