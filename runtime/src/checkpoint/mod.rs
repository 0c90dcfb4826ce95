//! Acting out the checkpoint protocol: storage, genesis, recovery, finishing, the coordinator actor.

mod assemble;
pub(crate) mod begin;
pub(crate) mod coordinator;
pub(crate) mod finish;
pub(crate) mod lineage;
#[cfg(feature = "objects")]
pub mod objects;
pub(crate) mod recover;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]
mod simulation;
pub(crate) mod staging;
pub(crate) mod state_files;
pub mod storage;
pub(crate) mod store;
