//! Seeded simulation of the committer, on one thread and in virtual time.
//!
//! Real: [`DeltaCommitter`](super::DeltaCommitter) with everything below it: decisions, commits, columns read from footers,
//! the log's loading by Delta's kernel, log checkpoints and clean-up. Played: the object store, which fails before and
//! behind the effect, is slow by up to 30 s, says "there is another" with nothing stored, and does what was asked of it
//! when whoever asked is dead (`store`); the manifests, which are decided before their commits; somebody else, who appends
//! files, changes columns and settings, writes log checkpoints and removes entries (`foreign`). A process is a `LocalSet`:
//! dropping it kills it, not polling it is a SIGSTOP.
//!
//! The kernel reads and writes on threads of its own and knows no virtual time. What it does at once is one step, in place
//! (`background` is the seam, `step` says what it is shown): names and contents of two times, as a listing by pages beside
//! others' writes may show. Between its requests nothing happens but that. Table ids and times in entries are those of the
//! machine; nothing that a process decides depends on them.
//!
//! The auditor keeps every entry that was ever created and judges by them. It looks at each put (its predecessor was seen),
//! each entry (a manifest decided it), each commit (it is in), and at the end; a stranger's reader must then see the same
//! files. Not in it: local folders with their syncs, several tables, merging, vacuum, overwriting.

mod audit;
mod director;
mod foreign;
pub(crate) mod mutation;
mod process;
mod step;
mod store;
mod world;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use thalweg_core::connector::sink::{Committer, TargetExpectation};
use thalweg_core::testing::simulation::{assert_exact, assert_noticed, assert_repeated};

use director::{play, runtime};
use foreign::Foreigner;
use process::committer;
use store::SimStore;
use world::{APP, Mutation, TABLE, World, leave};

use super::storage::Storage;
use super::table::Table;

#[test]
fn every_seed_of_a_committer_is_exact() {
    assert_exact("-p thalweg-connectors --lib every_seed_of_a_committer", 40, |seed| {
        play(seed, Mutation::None)
    });
}

/// 2790: a process stood still behind sending an entry. Others went on, wrote a log checkpoint of which the hint was not
/// told, and cleaned the place of the entry, which then arrived. The entry before it had been cleaned from the first.
#[test]
fn a_seed_that_found_something_is_exact() {
    assert_eq!(play(2790, Mutation::None).violations, Vec::<String>::new());
}

#[test]
fn a_seed_of_a_committer_takes_the_same_steps_again() {
    assert_repeated(|seed| play(seed, Mutation::None));
}

/// While entries are created, a list that is read by pages can have one and lack the one before.
#[test]
fn a_list_that_lacks_an_entry_which_stands_is_no_damage() {
    let version = runtime().block_on(async {
        let world = World::new(0, Mutation::None);
        world.inner().dice.faulty = false;
        let store = SimStore { world: Arc::clone(&world), process: 1 };
        let storage = Storage::on(world.remote.clone(), Arc::new(store));
        let (first, target) = committer(storage.clone());
        first.open(&target, APP, &TargetExpectation::default(), false).await.unwrap();
        Foreigner::new(&world).append(3).await;
        world.inner().hidden = Some(2);
        let version = committer(storage).0.version(TABLE).await;
        assert_eq!(world.inner().hidden, None, "it was not listed");
        version
    });
    leave();
    assert_eq!(version.unwrap(), 3);
}

/// A process that had read a log stood still before it looked for transactions (seed 2014 of an earlier state). Others went on
/// and cleaned all of it, and an entry that had been on its way for long arrived in the hole, at the version that was read.
#[test]
fn an_entry_in_a_hole_of_the_log_that_was_read_is_not_taken_for_a_part_of_it() {
    let (stale, fresh) = runtime().block_on(async {
        let world = World::new(0, Mutation::None);
        world.inner().dice.faulty = false;
        let store = SimStore { world: Arc::clone(&world), process: 1 };
        let storage = Storage::on(world.remote.clone(), Arc::new(store.clone()));
        let (first, target) = committer(storage.clone());
        first.open(&target, APP, &TargetExpectation::default(), false).await.unwrap();
        let foreign = Foreigner::new(&world);
        foreign.append(3).await;
        let mut read = Table::load(&storage, TABLE).await.unwrap().unwrap();
        foreign.append(3).await;
        foreign.clean().await;
        let late = json!({ "txn": { "appId": APP, "version": 1 } });
        store.create(read.version, Bytes::from(late.to_string())).await.unwrap();
        let mut read_again = Table::load(&storage, TABLE).await.unwrap().unwrap();
        (read.txn(APP).await, read_again.txn(APP).await)
    });
    leave();
    assert_eq!((stale.unwrap(), fresh.unwrap()), (None, Some(Some(0))));
}

/// Each of these makes the committer wrong, and some seed among the first hundred must notice.
fn is_noticed(mutation: Mutation) {
    assert_noticed(0..100, mutation, play);
}

#[test]
fn a_committer_that_does_not_look_after_an_unclear_put_is_noticed() {
    is_noticed(Mutation::Blind);
}

#[test]
fn a_committer_that_does_not_find_its_own_transaction_is_noticed() {
    is_noticed(Mutation::Forgets);
}

#[test]
fn a_committer_that_puts_on_a_predecessor_it_has_not_seen_is_noticed() {
    is_noticed(Mutation::Unseen);
}

#[test]
fn a_committer_that_takes_a_hole_for_the_log_is_noticed() {
    is_noticed(Mutation::Hole);
}

#[test]
fn a_committer_that_opens_whatever_it_finds_is_noticed() {
    is_noticed(Mutation::Anything);
}
