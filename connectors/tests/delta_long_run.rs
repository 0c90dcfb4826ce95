//! A long life in short: thousands of commits with everything that runs beside them, and nothing grows.
//!
//! `THALWEG_LONG_RUN=100000 cargo test --release --test delta_long_run -- --nocapture` takes its time and prints a line
//! per tenth.
#![cfg(all(feature = "delta", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod delta_support;

use std::fs;
use std::time::Duration;

use delta_support::{Lake, TABLE};
use thalweg_connectors::delta::{Compaction, DeltaMaintenance, DeltaSink, Vacuum};
use thalweg_core::connector::sink::Committer;

/// Commits between two compactions.
const ROUND: u64 = 200;

#[expect(clippy::disallowed_methods, reason = "the test measures")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// What is measured at the end of a tenth.
#[derive(Debug, Clone, Copy)]
struct Sample {
    p50: Duration,
    p99: Duration,
    resident: u64,
    descriptors: usize,
    log_files: usize,
    data_files: usize,
}

impl Sample {
    fn of(lake: &Lake, times: &mut Vec<Duration>) -> Self {
        times.sort_unstable();
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        times.clear();
        let count = |path: &std::path::Path| fs::read_dir(path).unwrap().count();
        let pages: u64 = fs::read_to_string("/proc/self/statm")
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        Self {
            p50,
            p99,
            resident: pages * 4_096,
            descriptors: count("/proc/self/fd".as_ref()),
            log_files: count(&lake.table_folder().join("_delta_log")),
            // The log's folder is one of the entries.
            data_files: count(&lake.table_folder()) - 1,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_memory_descriptors_and_folders_stay_flat() {
    let commits: u64 =
        std::env::var("THALWEG_LONG_RUN").map_or(2_000, |text| text.parse::<u64>().unwrap());
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
    assert!(last.p50 < first.p50 * 3 + Duration::from_millis(25), "{first:?} {last:?}");
    assert!(last.p99 < first.p99 * 4 + Duration::from_millis(400), "{first:?} {last:?}");
    // Allocators and thread pools take their share in the beginning.
    let early = samples[samples.len() / 5];
    assert!(last.resident < early.resident * 3 / 2 + (64 << 20), "{early:?} {last:?}");
    // A merge that runs beside a sample has its files open; nothing runs beside the last one.
    let at_rest = Sample::of(&lake, &mut vec![last.p50]);
    assert!(at_rest.descriptors < first.descriptors + 32, "{first:?} {at_rest:?}");
    for sample in &samples {
        assert!(sample.descriptors < 512, "{sample:?}");
        assert!(sample.log_files < 400, "{sample:?}");
        assert!(sample.data_files < 1_000, "{sample:?}");
    }
    assert_eq!(lake.committer.count_rows(TABLE).await.unwrap(), Some(commits));
    assert!(lake.ids().await.into_iter().eq(1..=commits as i64));
}
