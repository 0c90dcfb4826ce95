//! Pipelines built on Thalweg.

pub mod cli;
pub mod healthcare;
