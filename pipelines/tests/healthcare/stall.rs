//! A sink that stalls for half a minute stalls the source: memory stays flat, nothing is lost.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

use crate::support::{assert_same_tables, resident, run_file, start, succeed, write_events};

const EVENTS: u64 = 600_000;
const STALL: Duration = Duration::from_secs(30);
/// What threads and allocators may move while nothing happens.
const FLAT: u64 = 32 << 20;

#[test]
fn a_commit_that_stalls_for_half_a_minute_leaves_memory_flat_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, EVENTS, 61);
    let calm = folder.path().join("calm");
    succeed(&mut run_file(&calm, &input));

    let data = folder.path().join("stalled");
    let mut command = run_file(&data, &input);
    command.args(["--checkpoint-interval", "100ms"]);
    let stall = format!("commit.before=5*off->1*sleep({})->off", STALL.as_millis());
    let mut child = start(command.env("FAILPOINTS", stall));
    let clock = SystemClock::default();
    let mut samples = Vec::new();
    while child.try_wait().unwrap().is_none() {
        samples.extend(resident(child.id()).map(|bytes| (clock.monotonic(), bytes)));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    assert!(child.wait().unwrap().success());
    assert!(clock.monotonic() > STALL, "the stall was met");
    // Sources may go on for 2 s, and what they have read is worked off; the rest of the stall is flat.
    let longest = samples.iter().enumerate().map(|(first, (from, _))| {
        let (mut low, mut high) = (u64::MAX, 0);
        let flat = samples[first..].iter().take_while(|(_, bytes)| {
            (low, high) = (low.min(*bytes), high.max(*bytes));
            high - low < FLAT
        });
        flat.last().map_or(Duration::ZERO, |(to, _)| to.saturating_sub(*from))
    });
    let longest = longest.max().unwrap_or_default();
    let peak = samples.iter().map(|(_, bytes)| bytes >> 20).max().unwrap_or_default();
    println!("flat for {longest:?}, peak {peak} MiB");
    assert!(longest > STALL / 2, "memory was flat for {longest:?} only");
    assert_same_tables(&calm, &data);
}
