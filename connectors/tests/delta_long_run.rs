//! A long life in short: thousands of commits with everything that runs beside them, and nothing grows.
//!
//! `THALWEG_LONG_RUN=100000 cargo test --release --test delta_long_run -- --nocapture` takes its time and prints a line
//! per tenth. From 10,000 commits on the times of the last tenth are compared with those of the second; fewer are compared
//! with those to a new table alone.
#![cfg(all(feature = "delta", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "delta/support/mod.rs"]
mod delta_support;
mod long_support;

use std::fs;
use std::time::Duration;

use delta_support::{Lake, TABLE};
use long_support::{Held, Times, Turns, comes_true, now};
use thalweg_connectors::delta::{Compaction, DeltaMaintenance, DeltaSink, Vacuum};
use thalweg_core::connector::sink::Committer;

/// Commits between two compactions.
const ROUND: u64 = 200;
/// Commits at the end, by turns with those to a new table.
const TURNS: u64 = 40;

/// What is measured at the end of a tenth.
#[derive(Debug, Clone, Copy)]
struct Sample {
    times: Times,
    held: Held,
    log_files: usize,
    data_files: usize,
}

impl Sample {
    fn of(lake: &Lake, times: &mut Vec<Duration>) -> Self {
        let count = |path: &std::path::Path| fs::read_dir(path).unwrap().count();
        Self {
            times: Times::take(times),
            held: Held::now(),
            log_files: count(&lake.table_folder().join("_delta_log")),
            // The log's folder is one of the entries.
            data_files: count(&lake.table_folder()) - 1,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_memory_descriptors_and_folders_stay_flat() {
    let commits = long_support::asked().unwrap_or(2_000);
    // What takes days elsewhere expires at once.
    let short = |sink: DeltaSink| {
        sink.configuration("delta.logRetentionDuration", "interval 0 seconds")
            .configuration("delta.deletedFileRetentionDuration", "interval 0 seconds")
    };
    let lake = Lake::with(|c| c.checkpoint_every(50), short).await;
    let tables = DeltaMaintenance::new(lake.folder.path()).unwrap();
    let at_once = Vacuum { retention: Duration::ZERO, force: true, dry_run: false };
    let (mut samples, mut times) = (Vec::new(), Vec::new());
    let (mut merges, mut vacuumed, begun) = (0, 0, now());
    let mut beside = None;
    for n in 1..=commits {
        let staged = lake.stage(n as i64..n as i64 + 1).await;
        let begun_commit = now();
        let committed = lake.commit(n, staged).await.unwrap();
        times.push(begun_commit.elapsed());
        assert!(!committed.replayed);
        if n % ROUND == 0 {
            // Merging and the log checkpoint go on beside the next commits.
            let tables = tables.clone();
            beside = Some(tokio::spawn(async move {
                let merged = tables.compact(TABLE, &Compaction::default()).await.unwrap();
                tables.checkpoint_log(TABLE).await.unwrap();
                assert_eq!(merged.abandoned, 0, "appends are no conflict");
                merged.merges
            }));
        }
        if n % ROUND == ROUND / 2
            && let Some(running) = beside.take()
        {
            merges += running.await.unwrap();
            // Nothing is staged now, so everything that the log does not name may go.
            let nothing = || Ok(Vec::new());
            vacuumed += tables.vacuum(TABLE, &at_once, &nothing).await.unwrap().files;
        }
        if n % (commits / 10) == 0 {
            let sample = Sample::of(&lake, &mut times);
            println!("{n} commits, {:?}: {sample:?}", begun.elapsed());
            samples.push(sample);
        }
    }
    if let Some(running) = beside {
        merges += running.await.unwrap();
    }
    lake.committer.maintained().await;
    println!("{merges} merges, {vacuumed} files vacuumed");
    assert!(merges >= commits / ROUND - 1 && vacuumed > commits / 2, "{merges}, {vacuumed}");
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    last.times.assert_as_short_as(samples[1].times);
    let early = samples[samples.len() / 5].held;
    last.held.assert_resident_as_at(early);
    // The log was checkpointed every fifty commits, and files were merged.
    last.held.assert_no_spike_since(early);
    // A merge that runs beside a sample has its files open; nothing runs beside the last one.
    let at_rest = comes_true(|| Held::now().descriptors < first.held.descriptors + 32);
    assert!(at_rest, "{first:?} {:?}", Held::now());
    for sample in &samples {
        assert!(sample.held.descriptors < 512, "{sample:?}");
        assert!(sample.log_files < 400, "{sample:?}");
        assert!(sample.data_files < 1_000, "{sample:?}");
    }
    let (fresh, mut turns) =
        (Lake::with(|c| c.checkpoint_every(50), short).await, Turns::default());
    for n in 1..=TURNS {
        for (lake, n, times) in [(&lake, commits + n, &mut turns.old), (&fresh, n, &mut turns.new)]
        {
            let staged = lake.stage(n as i64..n as i64 + 1).await;
            let begun_commit = now();
            lake.commit(n, staged).await.unwrap();
            times.push(begun_commit.elapsed());
        }
    }
    turns.assert_as_short();
    let commits = commits + TURNS;
    assert_eq!(lake.committer.count_rows(TABLE).await.unwrap(), Some(commits));
    assert!(lake.ids().await.into_iter().eq(1..=commits as i64));
    checkpoint_a_large_log().await;
}

/// What a log checkpoint of many files takes beside what the process holds: a small multiple of the log (C6).
#[expect(clippy::print_stdout, reason = "the bytes are what a run of its own is for")]
async fn checkpoint_a_large_log() {
    const FILES: u64 = 10_000;
    const ENTRIES: u64 = 10;
    let lake = Lake::with(|c| c.checkpoint_every(0), |sink| sink).await;
    lake.append(1, 0..100).await.unwrap();
    // One file under many names: nothing but the log is looked at.
    let text = fs::read_to_string(lake.entry(1)).unwrap();
    let mut actions = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let add = actions.find(|action| action.get("add").is_some()).unwrap();
    let mut bytes = 0;
    for v in 2..2 + ENTRIES {
        let named = |i: u64| {
            let mut add = add.clone();
            add["add"]["path"] = format!("part-{v}-{i}.snappy.parquet").into();
            add
        };
        lake.foreign_entry(v, &(0..FILES / ENTRIES).map(named).collect::<Vec<_>>());
        bytes += fs::metadata(lake.entry(v)).unwrap().len();
    }
    let tables = DeltaMaintenance::new(lake.folder.path()).unwrap();
    Held::forget_peak();
    let before = Held::now();
    let done = tables.checkpoint_log(TABLE).await.unwrap();
    let took = Held::now().peak.saturating_sub(before.peak);
    println!("a checkpoint of {FILES} files in {bytes} bytes of log took {took} bytes");
    assert_eq!(done.checkpoint, Some(1 + ENTRIES));
    assert!(took < 128 << 20, "{took} bytes for {bytes} bytes of log");
}
