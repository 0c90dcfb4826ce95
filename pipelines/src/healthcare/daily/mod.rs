//! What is done once for each day, by whoever schedules: judging its data ([`quality`]), comparing gold with silver
//! ([`refresh`]), and summing it up ([`report`]).
//!
//! A day is a day of event time, UTC. Everything here may be repeated: the same tables give the same answer. Only
//! tables, manifests and published cuts are read, so it runs beside a job and shares nothing with it.

pub mod check;
mod collect;
mod day;
mod html;
mod leaks;
pub mod limits;
pub mod quality;
mod recompute;
pub mod refresh;
pub mod report;
mod same;
pub mod summary;

pub use day::Day;
