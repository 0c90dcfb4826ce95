//! Seeded simulation of the committer of exactly-once sinks, in virtual time.
//!
//! Real: the committer with everything above its calls to a cluster: what is opened, sessions and what is kept of them,
//! transactions step by step, markers that are written again, decisions. Played: the brokers (`broker`) with epochs,
//! transactions that show late or run out of time, and markers that expire; librdkafka (`cluster`), whose calls fail before
//! and behind the effect, take longer than it waits, or are sent twice, with a copy that arrives later; the manifests, which
//! are decided before their commits. What a killed process has sent may arrive after its death.
//!
//! The committer blocks, so a process is a thread, and one of them runs at a time (`world`): a thread that gets no turn is
//! a SIGSTOP. The auditor (`audit`) keeps every transaction that was decided and compares it with the manifests; afterwards
//! a marker expires or goes back, or a topic is removed, and whoever opens it must say so.
//!
//! `THALWEG_SIM_FIRST=7 THALWEG_SIM_SEEDS=1 cargo test -p thalweg-connectors --lib every_seed` plays seed 7 again.

mod audit;
mod broker;
mod cluster;
mod director;
pub(crate) mod mutation;
mod process;
mod world;

use thalweg_core::testing::{first_wrong, seeds};

use director::{Outcome, play};
use world::{Counters, Mutation};

#[test]
fn every_seed_of_a_kafka_committer_is_exact() {
    let mut all = Counters::default();
    let wrong = first_wrong(seeds(), |seed| {
        let Outcome { violations, counters, .. } = play(seed, Mutation::None);
        all.add(counters);
        violations
    });
    if let Some((seed, violations)) = wrong {
        panic!(
            "seed {seed}: {violations:#?}\nplay it again: THALWEG_SIM_FIRST={seed} THALWEG_SIM_SEEDS=1 cargo test \
             -p thalweg-connectors --lib every_seed"
        );
    }
    let seeds = seeds().count() as u64;
    println!("{seeds} seeds of a kafka committer: {all:?}");
    if seeds >= 100 {
        assert!(all.least() > seeds / 40, "too little happened: {all:?}");
    }
}

#[test]
fn a_seed_of_a_kafka_committer_takes_the_same_steps_again() {
    for seed in 0..5 {
        let (a, b) = (play(seed, Mutation::None), play(seed, Mutation::None));
        assert_eq!(a.trace, b.trace, "seed {seed}");
    }
}

/// Each of these makes the committer wrong, and some seed among the first hundred must notice.
fn is_noticed(mutation: Mutation) {
    let noticed = first_wrong(0..100, |seed| play(seed, mutation).violations);
    println!("{mutation:?} is noticed by {noticed:?}");
    assert!(noticed.is_some(), "nobody noticed {mutation:?}");
}

#[test]
fn a_producer_that_goes_on_behind_an_end_that_was_sent_twice_is_noticed() {
    is_noticed(Mutation::Unsettled);
}

#[test]
fn a_session_that_does_not_find_what_was_sent_is_noticed() {
    is_noticed(Mutation::Forgets);
}

#[test]
fn a_committer_that_sends_a_checkpoint_behind_a_later_one_is_noticed() {
    is_noticed(Mutation::Older);
}

#[test]
fn a_committer_that_writes_no_marker_again_is_noticed() {
    is_noticed(Mutation::Idle);
}
