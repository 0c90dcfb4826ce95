//! The engine over memory connectors: whole jobs, and what may go wrong with them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../support/bench.rs"]
mod bench;
mod cases;
mod disk_reserve;
mod hanging_broker;
mod idleness;
mod jobs;
mod late_manifest;
mod leader_epochs;
mod quiet_markers;
mod union;
#[path = "../support/wards.rs"]
mod wards;
