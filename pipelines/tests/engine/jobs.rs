//! The engine over memory connectors: exchange, windows, checkpoints, restarts, back-pressure.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::CheckpointId;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::prelude::*;
use thalweg_core::time::Clock;
use thalweg_operators::aggregate::Aggregate;
use thalweg_runtime::{JobBuilder, Settings, SystemClock};

use crate::bench::{Bench, PATIENCE, brisk, wait_for};
use crate::wards::{self, PerWindow, Reading, summary};

/// `rows` readings of split `number`, a second apart.
fn readings(number: i64, rows: i64) -> Vec<RecordBatch> {
    (0..rows)
        .step_by(100)
        .map(|from| {
            let range = from..(from + 100).min(rows);
            wards::readings(range, |i| i % 17 + number, 1_000_000)
        })
        .collect()
}

fn graph(source: MemorySource, store: &MemoryStore) -> JobGraph {
    let env = StreamEnvironment::new("wards");
    let readings = env.source::<Reading>("readings", source).watermarks(
        WatermarkStrategy::bounded_out_of_orderness(Reading::AT, Duration::from_secs(5)),
    );
    readings.sink("all", store.sink("all"));
    readings
        .key_by(Reading::WARD)
        .window(TumblingEventTimeWindows::of(Duration::from_mins(1)))
        .aggregate::<PerWindow>("per-minute", &summary())
        .sink("gold", store.sink("gold").ranked(1));
    env.build().unwrap()
}

fn job(bench: &Bench, source: MemorySource, parallelism: u32) -> JobBuilder {
    bench.job(graph(source, &bench.store), brisk(parallelism))
}

/// Window start, ward, readings, patients; sorted.
fn gold(bench: &Bench) -> Vec<(i64, String, i64, i64)> {
    let mut rows = Vec::new();
    for batch in bench.store.batches("gold") {
        let start = batch.column(0).as_primitive::<arrow_array::types::TimestampMicrosecondType>();
        let ward = batch.column(2).as_string::<i32>();
        let readings = batch.column(3).as_primitive::<Int64Type>();
        let patients = batch.column(4).as_primitive::<Int64Type>();
        for i in 0..batch.num_rows() {
            rows.push((
                start.value(i),
                ward.value(i).to_owned(),
                readings.value(i),
                patients.value(i),
            ));
        }
    }
    rows.sort();
    rows
}

fn source(rows: i64) -> MemorySource {
    MemorySource::new(Reading::schema())
        .split("a", readings(0, rows))
        .split("b", readings(5, rows))
        .split("c", readings(9, rows))
}

/// Waits until a count has not moved for so many looks; where it stands.
fn stands_still(looks: u32, count: impl Fn() -> u64) -> u64 {
    let clock = SystemClock::default();
    let (mut still, mut last) = (0, 0);
    while still < looks {
        assert!(clock.monotonic() < PATIENCE, "it goes on for {PATIENCE:?}: {last}");
        let now = count();
        still = if now == last && now > 0 { still + 1 } else { 0 };
        last = now;
        std::thread::park_timeout(Duration::from_millis(5));
    }
    last
}

#[test]
fn every_reading_is_counted_once_at_any_parallelism() {
    let mut expected = None;
    for parallelism in [1, 2, 4] {
        let bench = Bench::new();
        let summary = job(&bench, source(5_000), parallelism).start().unwrap().join().unwrap();
        assert!(summary.finished);
        assert_eq!(bench.store.rows("all"), 15_000);
        let gold = gold(&bench);
        assert_eq!(gold.iter().map(|r| r.2).sum::<i64>(), 15_000);
        assert_eq!(*expected.get_or_insert_with(|| gold.clone()), gold);
    }
}

/// What minutes sum up to.
#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct PerHour {
    window_start: Micros,
    window_end: Micros,
    ward: String,
    readings: Option<f64>,
}

#[test]
fn hours_that_are_summed_up_from_minutes_lack_none() {
    for parallelism in [1, 2] {
        let bench = Bench::new();
        let env = StreamEnvironment::new("wards");
        let readings = env.source::<Reading>("readings", source(5_000)).watermarks(
            WatermarkStrategy::bounded_out_of_orderness(Reading::AT, Duration::from_secs(5)),
        );
        let sums = Aggregate::over(PerWindow::WINDOW_START).sum(PerWindow::READINGS, "readings");
        readings
            .key_by(Reading::WARD)
            .window(TumblingEventTimeWindows::of(Duration::from_mins(1)))
            .aggregate::<PerWindow>("per-minute", &summary())
            .key_by(PerWindow::WARD)
            .window(TumblingEventTimeWindows::of(Duration::from_hours(1)))
            .aggregate::<PerHour>("per-hour", &sums)
            .sink("hours", bench.store.sink("hours"));
        bench.job(env.build().unwrap(), brisk(parallelism)).start().unwrap().join().unwrap();
        let mut hours = [0, 0];
        for batch in bench.store.batches("hours") {
            let start =
                batch.column(0).as_primitive::<arrow_array::types::TimestampMicrosecondType>();
            let readings = batch.column(3).as_primitive::<Float64Type>();
            for row in 0..batch.num_rows() {
                hours[usize::from(start.value(row) > 0)] += readings.value(row) as i64;
            }
        }
        assert_eq!(hours, [3 * 3_600, 3 * 1_400], "parallelism {parallelism}");
    }
}

#[test]
fn failing_commits_and_lost_answers_restart_the_attempt_and_change_nothing() {
    let calm = Bench::new();
    job(&calm, source(5_000), 2).start().unwrap().join().unwrap();
    let bench = Bench::new();
    bench.store.fail_next_commits(2);
    bench.store.lose_next_answers(2);
    let summary = job(&bench, source(5_000), 2).start().unwrap().join().unwrap();
    assert!(summary.attempts > 1, "the failures were met");
    assert_eq!(bench.store.rows("all"), 15_000);
    assert_eq!(gold(&bench), gold(&calm));
}

#[test]
fn a_job_whose_handle_was_dropped_restarts_and_loses_nothing() {
    let bench = Bench::new();
    // However fast it is, it cannot end before it fails.
    let input = source(5_000).hold_at("a", 4_000);
    let hand = input.control();
    let handle = job(&bench, input, 2).start().unwrap();
    let metrics = Arc::clone(handle.metrics());
    drop(handle);
    hand.fail(Error::transient("a poll that fails"));
    hand.release("a");
    wait_for("all rows", || bench.store.rows("all") == 15_000);
    assert!(metrics.attempts.load(Ordering::Relaxed) > 1, "the failure was met");
}

#[test]
fn an_endless_source_that_looks_for_splits_goes_on_behind_those_that_end() {
    let bench = Bench::new();
    let input = MemorySource::new(Reading::schema())
        .split("a", readings(0, 100))
        .endless()
        .discover_every(Duration::from_millis(5));
    let later = input.clone();
    let job = job(&bench, input, 2).events(Some(150)).start().unwrap();
    wait_for("the split that has an end", || bench.store.rows("all") == 100);
    later.handle().push("b", readings(5, 100).remove(0)).unwrap();
    // What ends it is the number of rows that was asked for.
    wait_for("the end of the job", || job.is_finished());
    assert!(!job.join().unwrap().finished);
    assert_eq!(bench.store.rows("all"), 150);
}

#[test]
fn a_stalled_sink_stalls_the_source_and_loses_nothing() {
    let bench = Bench::new();
    bench.store.stall();
    let endless = source(200_000);
    let handle = job(&bench, endless, 2).start().unwrap();
    // Everything that fits waits in bounded places; then the source stands still.
    let metrics = Arc::clone(handle.metrics());
    let last = stands_still(200, || metrics.nodes().get("readings").map_or(0, |n| n.0));
    assert!(last < 300_000, "{last} rows were read although the sink takes none");
    bench.store.resume();
    assert!(handle.join().unwrap().finished);
    assert_eq!(bench.store.rows("all"), 600_000);
}

#[test]
fn a_job_is_stopped_and_resumed_without_loss() {
    let bench = Bench::new();
    for parallelism in [1, 2, 3] {
        // However fast it is, it cannot end before it is stopped, and has something to commit until then.
        let input = source(40_000).hold_at("a", 10_000 * i64::from(parallelism));
        let before = bench.store.rows("all");
        let handle = job(&bench, input, parallelism).start().unwrap();
        wait_for("a commit", || {
            assert!(!handle.is_finished());
            bench.store.rows("all") > before
        });
        handle.stopper().stop();
        assert!(!handle.join().unwrap().finished);
    }
    assert!(job(&bench, source(40_000), 2).start().unwrap().join().unwrap().finished);
    assert_eq!(bench.store.rows("all"), 120_000);
    assert_eq!(gold(&bench).iter().map(|r| r.2).sum::<i64>(), 120_000);
}

/// The newest checkpoint that is decided.
fn newest(bench: &Bench) -> u64 {
    let names = bench.storage.list("").unwrap();
    names.iter().filter_map(|name| Manifest::number_of(name)).map(|n| n.0).max().unwrap_or(0)
}

#[test]
fn a_stop_while_a_checkpoint_is_being_committed_is_resumed_behind_both() {
    let calm = Bench::new();
    job(&calm, source(5_000), 2).start().unwrap().join().unwrap();
    let bench = Bench::new();
    bench.store.stall_commits();
    // However fast it is, it cannot end before it is stopped.
    let held = source(5_000).hold_at("a", 2_000);
    let handle = job(&bench, held, 2).start().unwrap();
    wait_for("a checkpoint that is decided and waits for its commit", || {
        assert!(!handle.is_finished());
        newest(&bench) == 1
    });
    handle.stopper().stop();
    bench.store.resume();
    let stopped = handle.join().unwrap();
    assert!(!stopped.finished && stopped.checkpoint > 1, "{stopped:?}");
    assert_eq!(newest(&bench), stopped.checkpoint, "one is decided behind the last one");

    let commits = |path: &str| -> Vec<CheckpointId> {
        bench.store.commits(path).into_iter().map(|(number, _)| number).collect()
    };
    let until_then = commits("all").len();
    assert!(job(&bench, source(5_000), 3).start().unwrap().join().unwrap().finished);
    // It begins behind the stop's checkpoint: the numbers go on, and none is there twice.
    assert!(commits("all")[until_then..].iter().all(|n| n.0 > stopped.checkpoint));
    for path in ["all", "gold"] {
        assert!(commits(path).is_sorted_by(|a, b| a < b), "{path}: {:?}", commits(path));
    }
    assert_eq!(bench.store.rows("all"), 15_000);
    assert_eq!(gold(&bench), gold(&calm));
}

#[test]
fn a_stop_that_can_take_no_checkpoint_is_resumed_behind_the_newest_and_a_drain_fails() {
    for drains in [false, true] {
        let bench = Bench::new();
        bench.store.fail_next_commits(u32::MAX);
        let settings = Settings { restart_attempts: 1_000_000, ..brisk(2) };
        // However fast it is, it cannot end before it is stopped.
        let held = source(5_000).hold_at("a", 2_000);
        let handle = bench.job(graph(held, &bench.store), settings).start().unwrap();
        wait_for("a checkpoint that is decided and cannot be committed", || {
            assert!(!handle.is_finished());
            newest(&bench) == 1
        });
        if drains {
            handle.stopper().drain();
            assert_eq!(handle.join().unwrap_err().kind(), ErrorKind::Transient);
        } else {
            handle.stopper().stop();
            let stopped = handle.join().unwrap();
            assert_eq!((stopped.finished, stopped.checkpoint), (false, 1));
        }
        bench.store.fail_next_commits(0);
        assert!(job(&bench, source(5_000), 3).start().unwrap().join().unwrap().finished);
        assert_eq!(bench.store.rows("all"), 15_000);
    }
}

#[test]
fn a_stop_while_every_queue_is_full_loses_nothing_that_waits_in_them() {
    let bench = Bench::new();
    bench.store.stall();
    let narrow = Settings { channel_rows: 100, ..brisk(2) };
    // However fast it is, it cannot end before it is stopped.
    let held = source(5_000).hold_at("a", 4_000);
    let handle = bench.job(graph(held, &bench.store), narrow).start().unwrap();
    let metrics = Arc::clone(handle.metrics());
    let last = stands_still(100, || metrics.nodes().get("readings").map_or(0, |n| n.0));
    assert!(last < 14_000, "all was read although the sink takes nothing");
    handle.stopper().stop();
    bench.store.resume();
    assert!(!handle.join().unwrap().finished);
    assert!(job(&bench, source(5_000), 2).start().unwrap().join().unwrap().finished);
    assert_eq!(bench.store.rows("all"), 15_000);
    assert_eq!(gold(&bench).iter().map(|r| r.2).sum::<i64>(), 15_000);
}

#[test]
fn channels_with_room_for_one_row_change_nothing() {
    let calm = Bench::new();
    job(&calm, source(1_000), 2).start().unwrap().join().unwrap();
    let bench = Bench::new();
    let narrow = Settings { channel_rows: 1, ..brisk(2) };
    let job = bench.job(graph(source(1_000), &bench.store), narrow);
    assert!(job.start().unwrap().join().unwrap().finished);
    assert_eq!(gold(&bench), gold(&calm));
}

#[test]
fn settings_out_of_range_are_refused_before_anything_is_done() {
    let bench = Bench::new();
    let wrong = Settings { keep_checkpoints: 1, ..brisk(2) };
    let refused = bench.job(graph(source(100), &bench.store), wrong).start().unwrap_err();
    assert_eq!(refused.to_string(), "keep_checkpoints must be at least 2");
    assert!(bench.storage.list("").unwrap().is_empty());
}

#[test]
fn a_fresh_chain_whose_first_commits_fail_is_gone_on_with() {
    let calm = Bench::new();
    job(&calm, source(5_000), 2).start().unwrap().join().unwrap();
    for (failures, lost) in [(1, 0), (0, 1), (2, 2)] {
        let bench = Bench::new();
        // Once where there is nothing yet, once behind a chain that has ended.
        for runs in 1..=2 {
            bench.store.fail_next_commits(failures);
            bench.store.lose_next_answers(lost);
            let job = job(&bench, source(5_000), 2).fresh(true).start().unwrap();
            let summary = job.join().unwrap();
            assert!(summary.finished && summary.attempts > 1, "{summary:?}");
            assert_eq!(bench.store.rows("all"), runs * 15_000);
            assert_eq!(gold(&bench).len(), runs as usize * gold(&calm).len());
        }
    }
}

#[test]
fn hundreds_of_checkpoints_leave_a_handful_of_manifests() {
    let bench = Bench::new();
    let often =
        Settings { checkpoint_interval: Duration::from_millis(1), keep_checkpoints: 3, ..brisk(2) };
    let endless = source(5_000);
    let handle = endless.handle();
    let job = bench.job(graph(endless, &bench.store), often).start().unwrap();
    // One row after the other, so that every checkpoint has something to commit.
    let more: Vec<RecordBatch> = readings(0, 6_000).split_off(50);
    let mut rows = more.iter().flat_map(|b| (0..b.num_rows()).map(|at| b.slice(at, 1)));
    let checkpoint = || job.metrics().checkpoint.load(Ordering::Relaxed);
    let mut pushed: i64 = 0;
    while checkpoint() < 150 {
        let before = checkpoint();
        handle.push("a", rows.next().expect("a checkpoint for each row")).unwrap();
        pushed += 1;
        wait_for("the checkpoint of a row", || {
            assert!(!job.is_finished());
            checkpoint() > before
        });
    }
    handle.finish();
    assert!(job.join().unwrap().finished);
    // Garbage is collected beside the job, and not at all once it has ended.
    let manifests = bench.storage.list("").unwrap();
    assert!(manifests.len() < 20, "{manifests:?}");
    // State files follow now and then: those of the newest thirty or so checkpoints at most.
    assert!(bench.storage.list("state").unwrap().len() < 200);
    assert_eq!(bench.store.rows("all"), 15_000 + pushed.unsigned_abs());
    assert_eq!(gold(&bench).iter().map(|r| r.2).sum::<i64>(), 15_000 + pushed);
}

#[test]
fn sources_pause_while_a_commit_hangs() {
    let bench = Bench::new();
    let endless = MemorySource::new(Reading::schema()).split("a", readings(0, 100));
    let handle = endless.handle();
    let job = job(&bench, endless, 2).start().unwrap();
    let metrics = Arc::clone(job.metrics());
    let read = || metrics.nodes().get("readings").map_or(0, |n| n.0);
    // All of them in one open window.
    let batch = wards::readings(0..100, |i| i % 17, 100_000);
    let pushed = std::cell::Cell::new(100);
    // However fast the machine reads, there is more to read: who does not go on was told not to.
    let feed = || {
        let read = read();
        if read == pushed.get() {
            handle.push("a", batch.clone()).unwrap();
            pushed.set(pushed.get() + 100);
        }
        read
    };
    wait_for("two checkpoints", || {
        feed();
        metrics.checkpoint.load(Ordering::Relaxed) >= 2
    });
    bench.store.stall_commits();
    let last = stands_still(100, feed);
    bench.store.resume();
    wait_for("more rows", || read() > last);
    job.stopper().stop();
    job.join().unwrap();
}

#[test]
fn a_copy_of_the_job_that_wakes_up_is_fenced() {
    let bench = Bench::new();
    let first = ["a", "b", "c"].into_iter().fold(source(2_000), |all, s| all.hold_at(s, 1_000));
    let asleep = first.handle();
    let zombie = job(&bench, first, 2).start().unwrap();
    // Once all that it can read is committed, and no checkpoint follows, nothing of it is under way that could fence the
    // second copy.
    wait_for("the commit of half the rows", || {
        assert!(!zombie.is_finished());
        bench.store.rows("all") == 3_000
    });
    stands_still(100, || zombie.metrics().checkpoint.load(Ordering::Relaxed));
    asleep.pause();
    for split in ["a", "b", "c"] {
        asleep.release(split);
    }
    // No lock holds the second copy back here: the manifests alone decide.
    let second = source(2_000);
    assert!(job(&bench, second, 2).start().unwrap().join().unwrap().finished);
    asleep.resume();
    // A late row: it is counted nowhere, but there is something to commit.
    asleep.push("a", readings(0, 1).remove(0)).unwrap();
    let told = zombie.join().unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Fenced, "{told}");
    assert_eq!(bench.store.rows("all"), 6_000);
    assert_eq!(gold(&bench).iter().map(|r| r.2).sum::<i64>(), 6_000);
}

#[test]
fn jobs_leave_no_thread_and_no_descriptor_behind() {
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let run = || {
        let bench = Bench::new();
        assert!(job(&bench, source(300), 3).start().unwrap().join().unwrap().finished);
    };
    run();
    let (threads, descriptors) = (count("task"), count("fd"));
    for _ in 0..30 {
        run();
    }
    // Other tests of this process come and go; thirty jobs of four threads each would show, and stay.
    wait_for(&format!("the end of all but {threads} threads and a few"), || {
        count("task") < threads + 60
    });
    wait_for(&format!("the end of all but {descriptors} descriptors and a few"), || {
        count("fd") < descriptors + 90
    });
}
