//! Seeded simulation of the committer of exactly-once sinks, in virtual time.
//!
//! Real: the committer with everything above its calls to a cluster: what is opened, sessions and what is kept of them,
//! transactions step by step, markers that are written again, decisions. Played: the brokers (`broker`) with epochs,
//! transactions that show late, run out of time or hang in a partition that was not told of their end, and markers that
//! expire; librdkafka (`cluster`), whose calls fail before
//! and behind the effect, take longer than it waits, or are sent twice, with a copy that arrives later; the manifests, which
//! are decided before their commits. What a killed process has sent may arrive after its death.
//!
//! The committer blocks, so a process is a thread, and one of them runs at a time (`world`): a thread that gets no turn is
//! a SIGSTOP. The auditor (`audit`) keeps every transaction that was decided and compares it with the manifests; afterwards
//! a marker expires or goes back, or a topic is removed, and whoever opens it must say so.

mod audit;
mod broker;
mod cluster;
mod director;
pub(crate) mod mutation;
mod process;
mod world;

use thalweg_core::testing::simulation::{assert_exact, assert_noticed, assert_repeated};

use director::play;
use world::Mutation;

#[test]
fn every_seed_of_a_kafka_committer_is_exact() {
    assert_exact("-p thalweg-connectors --lib every_seed_of_a_kafka_committer", 40, |seed| {
        play(seed, Mutation::None)
    });
}

#[test]
fn a_seed_of_a_kafka_committer_takes_the_same_steps_again() {
    assert_repeated(|seed| play(seed, Mutation::None));
}

/// Each of these makes the committer wrong, and some seed among the first hundred must notice.
fn is_noticed(mutation: Mutation) {
    assert_noticed(0..100, mutation, play);
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
fn a_session_that_begins_behind_a_transaction_that_hangs_is_noticed() {
    is_noticed(Mutation::Hanging);
}

#[test]
fn a_committer_that_sends_a_checkpoint_behind_a_later_one_is_noticed() {
    is_noticed(Mutation::Older);
}

#[test]
fn a_committer_that_writes_no_marker_again_is_noticed() {
    is_noticed(Mutation::Idle);
}

#[test]
fn a_start_that_does_not_remember_a_marker_is_noticed() {
    is_noticed(Mutation::Oblivious);
}
