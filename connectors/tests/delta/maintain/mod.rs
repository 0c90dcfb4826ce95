//! Maintenance changes no row, whoever commits meanwhile, and takes no file that anybody needs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod beside;
mod history;
mod keeper;
mod merge;
mod vacuum;
