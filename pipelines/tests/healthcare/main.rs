//! The healthcare pipeline as its users run it: the real binary, its tables, topics, pages and exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod airflow;
mod alerts;
mod answers;
mod bad_days;
mod clocks;
mod daily;
mod kafka;
mod kill;
mod maintain;
mod objects;
mod parallelism;
mod power_cut;
mod privacy;
mod stall;
#[path = "../support/mod.rs"]
mod support;
mod upgrade;
