//! What was done by whom: an append-only log whose entries are chained by hashes.
//!
//! One JSON object a line. Its last member is the SHA-256 of the line before that member, and the one before it the hash
//! of the previous entry: who changes, removes or re-orders an entry breaks the chain there ([`verify`]). A file beside
//! the log, `.head`, holds the newest entry's number and hash, so that entries that are missing at the end are noticed
//! too; and nothing is appended to a log that does not end as its head says, or the next entry would hide it. Whoever may
//! write both files can write a new chain; only a copy of a head that is kept elsewhere tells.
//!
//! An entry is synced before what it tells of counts as done. There is no value of a record in it: no query text, only
//! its kind and a hash of it under a key that lies beside the log, `.key`.

mod event;
mod head;
mod key;
mod log;
mod refusals;
#[cfg(test)]
mod tests;
mod verify;

pub use event::{Action, Event, Outcome};
pub use log::AuditLog;
pub(crate) use refusals::Refusals;
pub use verify::{Anchor, Verified, verify};
