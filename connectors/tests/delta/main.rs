//! Delta tables: what is written, committed, read, overwritten and maintained.
#![cfg(feature = "delta")]

mod adopted;
mod commit;
mod contention;
mod evolve;
mod log;
#[path = "../long_support/mod.rs"]
mod long_support;
mod maintain;
mod objects;
mod overwrite;
mod read;
mod support;
mod values;
mod write;
