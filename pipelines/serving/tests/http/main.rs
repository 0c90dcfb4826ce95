//! The server over real sockets: who is let in, what a slow client costs, and the limits.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and one measures by the wall clock"
)]

mod entry;
mod limits;
mod site;
mod streams;
