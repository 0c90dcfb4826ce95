//! A sink that stalls stalls the source: nothing more is staged, memory stays flat, nothing is lost.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

use crate::support::{assert_same_tables, resident, run_file, start, succeed, write_events};

/// Some 50 MiB in four pieces.
const EVENTS: u64 = 150_000;
const STALL: Duration = Duration::from_secs(10);
/// Beyond the stall nothing is staged for so long on the busiest machine, unless the job hangs.
const PATIENCE: Duration = Duration::from_mins(4);
/// How many times as long the stall is, and the source as slow, until a machine that is busy with other things has worked
/// off what was read: it takes 2 s of the stall however long that is.
const TIMES: [u32; 3] = [1, 4, 12];
/// What threads and allocators may move while nothing happens.
const FLAT: u64 = 32 << 20;
/// Before each 4,096 events of a reader: of two the slower one takes 5 s for its pieces, and a stalled sink lets it go on
/// for 2 s.
const PACE: Duration = Duration::from_millis(200);

/// Bytes of all Parquet files below a folder. A file or folder that goes meanwhile has none.
fn staged(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |path: &Path| {
        if path.is_dir() {
            return staged(path);
        }
        let is_rows = path.extension().is_some_and(|extension| extension == "parquet");
        if is_rows { fs::metadata(path).map_or(0, |found| found.len()) } else { 0 }
    };
    entries.flatten().map(|entry| bytes(&entry.path())).sum()
}

/// The longest time in which a figure moves by less than `room`, and the greatest that it is in this time.
fn flattest(samples: &[(Duration, u64)], room: u64) -> (Duration, u64) {
    let from_each = samples.iter().enumerate().map(|(first, (from, _))| {
        let (mut low, mut high) = (u64::MAX, 0);
        let mut flat = (Duration::ZERO, 0);
        for (to, figure) in &samples[first..] {
            (low, high) = (low.min(*figure), high.max(*figure));
            if high - low >= room {
                break;
            }
            flat = (to.saturating_sub(*from), high);
        }
        flat
    });
    from_each.max().unwrap_or_default()
}

#[test]
fn a_commit_that_stalls_stops_the_source_leaves_memory_flat_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, EVENTS, 61);
    let calm = folder.path().join("calm");
    succeed(&mut run_file(&calm, &input));

    let mut told = Vec::new();
    for times in TIMES {
        let data = folder.path().join(format!("stalled-{times}"));
        let found = run_with_a_stall(&data, &input, times);
        assert_same_tables(&calm, &data);
        let Err(why) = found else { return };
        told.push(why);
    }
    panic!("{told:#?}");
}

/// Runs the job, whose sink stalls once. What was not as it should be meanwhile.
fn run_with_a_stall(data: &Path, input: &Path, times: u32) -> Result<(), String> {
    let (stall, pace) = (STALL * times, PACE * times);
    let mut command = run_file(data, input);
    command.args(["--checkpoint-interval", "100ms", "--parallelism", "2"]);
    let failpoints = format!(
        "commit.before=5*off->1*sleep({})->off;source.poll=sleep({})",
        stall.as_millis(),
        pace.as_millis()
    );
    let mut child = start(command.env("FAILPOINTS", failpoints));
    let clock = SystemClock::default();
    let (mut memory, mut bytes) = (Vec::new(), Vec::new());
    let (mut last, mut since) = (0, Duration::ZERO);
    while child.try_wait().unwrap().is_none() {
        let now = clock.monotonic();
        memory.extend(resident(child.id()).map(|bytes| (now, bytes)));
        let so_far = staged(data);
        if so_far != last {
            (last, since) = (so_far, now);
        }
        assert!(now.saturating_sub(since) < stall + PATIENCE, "the job does not end");
        bytes.push((now, so_far));
        std::thread::park_timeout(Duration::from_millis(100));
    }
    assert!(child.wait().unwrap().success());
    assert!(clock.monotonic() > stall, "the stall was met");
    // Sources may go on for 2 s, and what they have read is worked off; the rest of the stall is flat.
    let (flat, _) = flattest(&memory, FLAT);
    let (still, then) = flattest(&bytes, 1);
    let (peak, all) = (memory.iter().map(|(_, bytes)| bytes >> 20).max(), staged(data));
    let told = format!(
        "stalled for {stall:?}: memory flat for {flat:?}, peak {peak:?} MiB; {then} of {all} bytes staged for {still:?}"
    );
    println!("{told}");
    let stands_still = flat > stall / 2 && still > stall / 2;
    if stands_still && then > 0 && then < all { Ok(()) } else { Err(told) }
}
