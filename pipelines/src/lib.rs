//! Pipelines built on Thalweg.

pub mod healthcare;
