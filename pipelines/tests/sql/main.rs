//! SQL over the PostgreSQL protocol: real clients against the tables of a real run. One server for all tests.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::many_single_char_names,
    clippy::type_complexity,
    reason = "a test fails by panicking"
)]

mod bounds;
mod catalog;
mod clients;
mod command;
mod cursors;
mod golden;
mod installed;
mod libraries;
mod npgsql;
mod parameters;
mod queries;
mod roles;
#[path = "../support/mod.rs"]
mod support;
mod values;
mod wire;
mod world;
