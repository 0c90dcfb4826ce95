//! Serves Delta tables to people and tools, and knows nothing of what is in them.
//!
//! * [`access`]: users with hashed tokens, roles, and what each role may see;
//! * [`audit`]: an append-only log whose entries are chained by hashes;
//! * [`http`]: pages, JSON and live updates;
//! * [`sql`]: the tables over the PostgreSQL protocol (cargo feature `sql`).
//!
//! Invariants:
//! * What a role may not see does not exist for it: roles name what they may see, and nothing else is served.
//! * No value of a record is in an error, a log or the audit log.

pub mod access;
pub mod audit;
#[cfg(feature = "sql")]
pub mod catalog;
#[cfg(feature = "sql")]
mod elsewhere;
pub mod http;
mod network;
mod patience;
mod rate;
pub mod sql;
