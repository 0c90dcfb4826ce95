//! Seeded simulation of a whole job, on one thread and in virtual time.
//!
//! Real: the job with its restarts, deployment, coordinator actor, source loops, exchange, alignment, task loops, keyed
//! state and timers, watermarks, checkpoint store, recovery, garbage collection, finishing, fences, rows that are staged in
//! the checkpoint. Played: the partitioned log, the checkpoint store, the tables' log and the writers that stage for it, a
//! broker and the transactions of a topic's sink. A process is a `LocalSet`: dropping it kills all of it at once, not
//! polling it is a SIGSTOP. Faults, delays, kills, freezes and the parallelism of each successor come from the seed.
//!
//! `checkpoint/simulation/` is the narrower one: it plays subtasks, sources and the coordinator's actor and has no time,
//! but interleaves processes at *every* touch of the store, and plays a seed in milliseconds. Here a piece of blocking
//! work ([`crate::placement::blocking`]) is one step; delays lie before and behind it, not inside. A store's tokens,
//! chain ids and nonces are random; nothing that a process decides depends on them.
//!
//! `THALWEG_SIM_FIRST=7 THALWEG_SIM_SEEDS=1 cargo test -p thalweg-runtime whole_job` plays seed 7 again.

mod audit;
mod broker;
mod director;
mod input;
mod refusal;
mod sessions;
mod stalls;
mod stores;
mod tables;
mod topic;
mod world;

use thalweg_core::testing::{first_wrong, seeds};

use director::{Outcome, play};
use world::{Counters, Mutation};

pub(crate) use world::dawdle;

#[test]
fn every_seed_of_a_whole_job_is_exact() {
    let mut all = Counters::default();
    let wrong = first_wrong(seeds(), |seed| {
        let Outcome { violations, counters, .. } = play(seed, Mutation::None);
        all.add(&counters);
        violations
    });
    if let Some((seed, violations)) = wrong {
        panic!(
            "seed {seed}: {violations:#?}\nplay it again: THALWEG_SIM_FIRST={seed} THALWEG_SIM_SEEDS=1 cargo test \
             -p thalweg-runtime whole_job"
        );
    }
    let seeds = seeds().count() as u64;
    println!("{seeds} seeds of a whole job: {all:?}");
    if seeds >= 100 {
        assert!(all.least() > seeds / 40, "too little happened: {all:?}");
    }
}

/// 4, 29, 34: a store that failed while the summary was read ended the job. 942: a process that was frozen in its recovery
/// took what its successor had cleaned up for damage. All of them before there was a topic: what is played now is not the
/// same to the step.
#[test]
fn seeds_that_found_something_are_exact() {
    for seed in [4, 29, 34, 942] {
        let violations = play(seed, Mutation::None).violations;
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }
}

#[test]
fn a_seed_of_a_whole_job_takes_the_same_steps_again() {
    for seed in 0..5 {
        let (a, b) = (play(seed, Mutation::None), play(seed, Mutation::None));
        assert_eq!(a.trace, b.trace, "seed {seed}");
    }
}

/// Each of these makes the protocol wrong, and some seed among the first fifty must notice.
fn is_noticed(mutation: Mutation) {
    let noticed = first_wrong(0..50, |seed| play(seed, mutation).violations);
    println!("{mutation:?} is noticed by {noticed:?}");
    assert!(noticed.is_some(), "nobody noticed {mutation:?}");
}

#[test]
fn a_job_that_does_not_replay_commits_is_noticed() {
    is_noticed(Mutation::NoReplay);
}

#[test]
fn a_job_that_commits_before_its_manifest_is_noticed() {
    is_noticed(Mutation::CommitFirst);
}

#[test]
fn a_job_without_a_fence_is_noticed() {
    is_noticed(Mutation::NoFence);
}

#[test]
fn a_sink_that_does_not_look_at_its_marker_is_noticed() {
    is_noticed(Mutation::NoMarker);
}

#[test]
fn a_producer_that_leaves_a_transaction_open_is_noticed() {
    is_noticed(Mutation::NoAbort);
}

#[test]
fn a_producer_that_fences_nobody_is_noticed() {
    is_noticed(Mutation::NoProducerFence);
}

#[test]
fn a_marker_that_only_sessions_of_commits_keep_alive_is_noticed() {
    is_noticed(Mutation::NoMemory);
}
