//! The healthcare pipeline as its users run it: the real binary, its tables, topics, pages and exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod airflow;
mod alerts;
mod answers;
mod bad_days;
mod clocks;
mod daily;
mod decrypt;
mod kafka;
mod kill;
mod maintain;
mod objects;
mod parallelism;
mod power_cut;
mod privacy;
mod produce;
mod rights;
mod schedule;
mod stall;
#[path = "../support/mod.rs"]
mod support;
mod upgrade;

use std::path::{Path, PathBuf};

use support::{run_file, succeed, write_events};

/// A file of 45,000 events, what an undisturbed run leaves, and what one has left that read 30,000: windows are open.
fn read_in_part(folder: &Path, seed: u64, arguments: &[&str]) -> (PathBuf, PathBuf, PathBuf) {
    let [input, calm, data] = ["events.jsonl", "calm", "data"].map(|name| folder.join(name));
    write_events(&input, 45_000, seed);
    succeed(&mut run_file(&calm, &input));
    succeed(run_file(&data, &input).args(["--events", "30000"]).args(arguments));
    (input, calm, data)
}
