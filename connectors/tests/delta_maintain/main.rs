//! Maintenance changes no row, whoever commits meanwhile, and takes no file that anybody needs.
#![cfg(feature = "delta")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod beside;
#[path = "../delta_support/mod.rs"]
mod delta_support;
mod keeper;
mod merge;
mod vacuum;
