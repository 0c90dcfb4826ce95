//! Seeded simulation of a whole job, on one thread and in virtual time.
//!
//! Real: the job with its restarts, deployment, coordinator actor, source loops, exchange, alignment, task loops, keyed
//! state and timers, watermarks, checkpoint store, recovery, garbage collection, finishing, fences, rows that are staged in
//! the checkpoint, the sinks to a topic with their committer, which sends those rows in transactions. Played: the
//! partitioned log, the checkpoint store, the tables' log and the writers that stage for it, the brokers. Once more with
//! Delta tables (`lake`) and a file (`lines`) in the place of tables and log, by the connectors for them: then only the
//! store of the tables is played. A third time the real Kafka source reads a topic in the log's place (`topic_source`):
//! then its brokers are played, and librdkafka. A process is a `LocalSet`: dropping it kills all of it at once, not polling
//! it is a SIGSTOP. Faults, delays, kills, freezes and the parallelism of each successor come from the seed.
//!
//! `checkpoint/simulation/` is the narrower one: it plays subtasks, sources and the coordinator's actor and has no time,
//! but interleaves processes at *every* touch of the store, and plays a seed in milliseconds. Here a piece of blocking
//! work ([`crate::placement::blocking`]) is one step; delays lie before and behind it, not inside. A store's tokens,
//! chain ids and nonces are random; nothing that a process decides depends on them.

mod audit;
mod broker;
mod cluster;
mod consumer;
mod director;
mod endings;
mod extent;
mod input;
mod lake;
mod lines;
mod refusal;
mod stalls;
mod steps;
mod stores;
mod tables;
mod topic;
mod topic_source;
mod world;

use thalweg_core::testing::simulation::{
    assert_exact, assert_noticed, assert_one_in, assert_repeated,
};

use director::{play, play_topic};
use world::{Backing, Mutation};

pub(crate) use steps::{lives, wait};
pub(crate) use world::{blocking_readers, dawdle};

#[test]
fn every_seed_of_a_whole_job_is_exact() {
    assert_exact("-p thalweg-runtime --lib every_seed_of_a_whole_job", 40, |seed| {
        play(seed, Mutation::None, Backing::Played)
    });
}

/// 4, 29, 34: a store that failed while the summary was read ended the job. 942: a process that was frozen in its recovery
/// took what its successor had cleaned up for damage. All of them before there was a topic: what is played now is not the
/// same to the step.
#[test]
fn seeds_that_found_something_are_exact() {
    for seed in [4, 29, 34, 942] {
        let violations = play(seed, Mutation::None, Backing::Played).violations;
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }
}

#[test]
fn a_seed_of_a_whole_job_takes_the_same_steps_again() {
    assert_repeated(|seed| play(seed, Mutation::None, Backing::Played));
}

/// Each of these makes the protocol wrong, and some seed among the first fifty must notice.
fn is_noticed(mutation: Mutation) {
    assert_noticed(0..50, mutation, |seed, mutation| play(seed, mutation, Backing::Played));
}

/// A seed takes seconds here: Delta's kernel starts threads whenever it looks at a log.
#[test]
fn every_seed_of_a_job_over_delta_is_exact() {
    assert_one_in(40, "-p thalweg-runtime --lib every_seed_of_a_job_over_delta", 40, |seed| {
        play(seed, Mutation::None, Backing::Delta)
    });
}

#[test]
fn a_seed_of_a_job_over_delta_takes_the_same_steps_again() {
    let steps = || play(7, Mutation::None, Backing::Delta).trace;
    assert_eq!(steps(), steps());
}

/// By what is in the tables' logs: that the topic has too much is noticed as above.
#[test]
fn a_job_over_delta_without_a_fence_is_noticed() {
    // Rarely does a process sleep just there: of the first hundred seeds in one.
    assert_noticed(80..130, Mutation::NoFence, |seed, mutation| {
        let mut outcome = play(seed, mutation, Backing::Delta);
        outcome.violations.retain(|violation| violation.contains("was decided by nobody"));
        outcome
    });
}

/// A seed takes longer here: a reader is a thread, which takes turns with the world's. What a job reads of the topic is the
/// seed's, too (`extent`).
#[test]
fn every_seed_of_a_job_that_reads_a_topic_is_exact() {
    assert_one_in(10, "-p thalweg-runtime --lib every_seed_of_a_job_that_reads", 100, |seed| {
        play_topic(seed, Mutation::None)
    });
}

#[test]
fn a_seed_of_a_job_that_reads_a_topic_takes_the_same_steps_again() {
    assert_repeated(|seed| play_topic(seed, Mutation::None));
}

#[test]
fn a_source_that_goes_on_behind_its_checkpoint_is_noticed() {
    assert_noticed(0..50, Mutation::ResumesLate, play_topic);
}

/// By what it skips: in the end it is deleted.
#[test]
fn a_source_that_passes_over_lost_messages_and_does_not_tell_is_noticed() {
    assert_noticed(0..50, Mutation::ResumesSilently, play_topic);
}

#[test]
fn a_source_that_goes_on_where_its_group_says_is_noticed() {
    assert_noticed(0..50, Mutation::ResumesAtGroup, play_topic);
}

#[test]
fn a_bounded_source_that_asks_for_its_ends_again_is_noticed() {
    assert_noticed(0..50, Mutation::EndsAnew, play_topic);
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
fn a_marker_that_moves_without_its_messages_is_noticed() {
    is_noticed(Mutation::TornTransaction);
}

#[test]
fn a_producer_that_fences_nobody_is_noticed() {
    is_noticed(Mutation::NoProducerFence);
}
