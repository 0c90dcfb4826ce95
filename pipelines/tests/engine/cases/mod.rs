//! Whole jobs over memory in the cases that `docs/architecture.md` names beyond the pitfalls: rewinds, graphs that have
//! changed, sources that end at different times, event time behind a restart, what goes on beside a job that ends and what an attempt that fails leaves, what is measured, drained jobs that are started again, copies that wake up where garbage was
//! collected, late rows that nobody keeps, and jobs that have nothing to do. And graphs that are not built.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod drained;
mod graphs;
mod idle;
mod late;
mod measured;
mod parting;
mod records;
mod restored_time;
mod rewind;
mod sources;
mod world;
mod zombie;
