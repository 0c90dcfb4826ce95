//! Where data lives: a local folder, or a prefix of an object store.
//!
//! [`Place`] is what people write (`data`, `s3://bucket/prefix`). [`Remote::open`] makes a client with request timeouts
//! and bounded retries, [`probe`] asks the store for the one thing that everything rests on: an object that is created
//! only if it is absent (P9). It knows neither checkpoints nor tables.
//!
//! Invariants:
//! * No request waits for ever: each attempt has a timeout, and retries end ([`Access`]).
//! * Errors are one line and quote neither URLs nor answers: a URL can carry a signature ([`reason`]).

mod client;
mod failure;
mod place;
mod probe;
#[cfg(feature = "test-util")]
#[allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::print_stderr,
    reason = "it waits for other processes, with a bound, outside of any job; a test fails by panicking"
)]
pub mod testing;

pub use client::Access;
pub use failure::{failed, is_refusal, reason};
pub use place::{Place, Remote};
pub use probe::probe;
