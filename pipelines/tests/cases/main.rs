//! Whole jobs over memory in the cases that `docs/architecture.md` names beyond the pitfalls: rewinds, graphs that have
//! changed, sources that end at different times, copies that wake up where garbage was collected.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod graphs;
mod rewind;
mod sources;
mod world;
mod zombie;
