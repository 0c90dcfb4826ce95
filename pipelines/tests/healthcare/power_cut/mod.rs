//! The power is cut at every step, and syncs fail: after a restart the tables are those of an undisturbed run (P20).
//!
//! A run is traced with `strace`; from the trace follows what a disk that honours `fsync` and keeps nothing else holds at
//! each instant. Each such folder is given to a job that goes on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod disk;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;

use self::disk::Trace;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::support::{
    AllRows, TABLES, assert_alerts, assert_same_tables, count, run_file, shown, succeed,
    write_events,
};

const EVENTS: u64 = 20_000;
/// How many of the instants are tried, each with and without luck.
const CUTS: usize = 10;
const CALLS: &str = "trace=open,openat,creat,write,writev,pwrite64,pwritev,ftruncate,fsync,fdatasync,link,linkat,rename,\
                     renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir";

/// `healthcare run` over a file, below `strace` with `arguments`.
fn traced(arguments: &[&str], data: &Path, input: &Path) -> Command {
    let run = run_file(data, input);
    let mut command = Command::new("strace");
    command.args(["-f", "--seccomp-bpf"]).args(arguments).arg(run.get_program());
    command.args(run.get_args()).args(["--checkpoint-interval", "50ms"]);
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Says so when this machine cannot trace; `THALWEG_REQUIRE_STRACE=1` makes that a failure.
fn can_trace() -> bool {
    let tried = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).status();
    let can = tried.is_ok_and(|status| status.success());
    let required = std::env::var("THALWEG_REQUIRE_STRACE").is_ok_and(|v| v == "1");
    assert!(can || !required, "strace is missing or may not trace");
    if !can {
        eprintln!("SKIPPED: no power is cut: strace is missing or may not trace");
    }
    can
}

#[test]
fn a_power_cut_at_any_step_loses_and_doubles_nothing() {
    if !can_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (input, data) = (folder.path().join("events.jsonl"), folder.path().join("data"));
    write_events(&input, EVENTS, 31);
    let calls = folder.path().join("calls");
    succeed(&mut traced(&["-y", "-o", calls.to_str().unwrap(), "-e", CALLS], &data, &input));
    assert!(TABLES.iter().all(|t| count(&data, t) > 0), "every table has rows to compare");
    assert_alerts(&data, EVENTS);
    let expected = AllRows::of(&data);

    let calls = fs::read_to_string(&calls).unwrap();
    let trace = Trace::read(&calls, &data, None);
    let all = trace.cuts.len();
    assert!(all > 5 * CUTS, "only {all} syncs: the trace is not understood");
    let seed: u64 = rand::random();
    println!("seed {seed}, {all} instants");
    let mut random = StdRng::seed_from_u64(seed);
    // The last one is that of a finished job.
    for number in 1..=CUTS {
        let cut = &trace.cuts[all * number / CUTS - 1];
        for lucky in [false, true] {
            let left = folder.path().join(format!("left-{number}-{lucky}"));
            trace.leave(cut, &data, &left, lucky.then_some(&mut random));
            let output = run_file(&left, &input).output().unwrap();
            assert!(output.status.success(), "instant {number}, {lucky}: {}", shown(&output));
            expected.assert_same(&left);
            fs::remove_dir_all(left).unwrap();
        }
    }

    // A process that had not synced its manifests, or a table's log, would be noticed.
    for forgotten in ["checkpoints", "silver/events/_delta_log"] {
        let trace = Trace::read(&calls, &data, Some(&data.join(forgotten)));
        let left = folder.path().join("forgotten");
        trace.leave(&trace.cuts[trace.cuts.len() - 1], &data, &left, None);
        let output = run_file(&left, &input).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{forgotten}: {}", shown(&output));
        fs::remove_dir_all(left).unwrap();
    }
}

/// All syncs, and the most that one thread made, as `strace` wrote them into the file `calls`.
fn syncs(calls: &Path) -> (u32, u32) {
    let mut syncs: HashMap<String, u32> = HashMap::new();
    for line in fs::read_to_string(calls).unwrap().lines() {
        // The end of a call that another thread's interrupted has a line of its own, which begins otherwise.
        if let Some((thread, call)) = line.split_once(' ')
            && call.trim_start().starts_with("fsync(")
        {
            *syncs.entry(thread.to_owned()).or_default() += 1;
        }
    }
    (syncs.values().sum(), syncs.into_values().max().unwrap_or(0))
}

#[test]
fn a_sync_that_fails_once_ends_an_attempt_and_nothing_else() {
    if !can_trace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.jsonl");
    write_events(&input, EVENTS, 32);
    let (calm, calls) = (folder.path().join("calm"), folder.path().join("calls"));
    let to = calls.to_str().unwrap();
    succeed(&mut traced(&["-o", to, "-e", "trace=fsync"], &calm, &input));
    assert_alerts(&calm, EVENTS);
    let (all, most) = syncs(&calls);
    assert!(all > 8, "only {all} syncs: the trace is not understood");
    // Of each thread the n-th sync fails: at the start, and while it is at work, however few each of many threads makes.
    for wanted in BTreeSet::from([1, (most / 4).max(2), (most / 2).max(3)]) {
        // Another run may spread its syncs over more threads.
        let mut n = wanted;
        let (data, output, failed) = loop {
            let data = folder.path().join(format!("failing-{wanted}-{n}"));
            let inject = format!("inject=fsync:error=EIO:when={n}");
            let mut run = traced(&["-o", to, "-e", "trace=fsync", "-e", &inject], &data, &input);
            let output = run.env("THALWEG_LOG", "warn").output().unwrap();
            let failed = fs::read_to_string(&calls).unwrap();
            let failed = failed.lines().filter(|call| call.ends_with("(INJECTED)")).count();
            if failed > 0 {
                break (data, output, failed);
            }
            n /= 2;
            assert!(n > 0, "{wanted}: no sync failed: {}", shown(&output));
        };
        // A job that has not begun says so; one that has begun restarts by itself, and says that. None goes on as if
        // nothing had been.
        let told = String::from_utf8_lossy(&output.stderr);
        let said = match output.status.code() {
            Some(0) => {
                told.contains("attempt failed; restarting")
                    || told.contains("log maintenance failed")
            }
            Some(1) => told.lines().any(|line| line.starts_with("error: ")),
            _ => false,
        };
        assert!(said, "{n}, {failed} syncs failed: {}", shown(&output));
        succeed(&mut run_file(&data, &input));
        assert_same_tables(&calm, &data);
    }
}
