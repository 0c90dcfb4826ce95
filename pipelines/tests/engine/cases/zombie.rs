//! A copy of the job, or a person's command, that sleeps while the job goes on and collects its garbage, and then wakes
//! up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use thalweg_core::CheckpointId;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::prelude::*;
use thalweg_runtime::cli::CheckpointsCommand;
use thalweg_runtime::{CheckpointStorage, Settings};

use super::world::{Death, Mortal, USUAL, World, hold, run, settings, source};
use crate::bench::wait_for;

const ROWS: i64 = 2_000;
/// Where the copy falls asleep, in each split.
const ASLEEP: i64 = 400;

/// Lets the job go on from where the copy sleeps until the state that the copy knows and the manifest behind it are gone.
/// Returns how many rows are committed.
fn go_on(world: &World, known: &Manifest) -> u64 {
    go_on_until(world, ASLEEP, || {
        let gone = |path: &str| world.storage.read(path).unwrap().is_none();
        gone(&Manifest::name(known.number.next()))
            && known.state.iter().any(|file| gone(&file.path))
    })
}

/// The same, by small steps from `position` on, until `is_gone` says so.
fn go_on_until(world: &World, mut position: i64, is_gone: impl Fn() -> bool) -> u64 {
    let read = source(ROWS);
    let hand = read.control();
    hold(&hand, position);
    let job = world.job(read).settings(Settings { keep_checkpoints: 2, ..settings() });
    let job = job.start().unwrap();
    while !is_gone() {
        assert!(!job.is_finished() && position + 10 < ROWS, "nothing was collected");
        position += 10;
        hold(&hand, position);
        wait_for("the commit of a few rows", || {
            assert!(!job.is_finished());
            world.store.rows("all") >= position.unsigned_abs() * 3
        });
    }
    job.stopper().stop();
    assert!(!job.join().unwrap().finished);
    world.store.rows("all")
}

fn objects(world: &World) -> BTreeSet<String> {
    let state = world.storage.list("state").unwrap().into_iter();
    let mut names: BTreeSet<String> = state.map(|name| format!("state/{name}")).collect();
    names.extend(world.storage.list("").unwrap());
    names
}

/// A run of the job until `ASLEEP`, where it is stopped.
fn run_up_to_here(world: &World) {
    let read = source(ROWS);
    hold(&read.control(), ASLEEP);
    let job = world.job(read).start().unwrap();
    world.settle(&job, ASLEEP.unsigned_abs() * 3);
    job.stopper().stop();
    job.join().unwrap();
}

/// The store of a process that falls asleep, see [`Mortal::sleepy`].
fn sleepy(world: &World) -> Arc<Mortal> {
    let store = Mortal::new(&world.storage, Death::Never);
    store.sleepy.store(true, Ordering::Relaxed);
    Arc::new(store)
}

/// Afterwards: the job comes to its end, and nothing that the copy did shows.
fn assert_unharmed(world: &World) {
    assert!(run(world.job(source(ROWS))).unwrap().finished);
    world.assert_same(&World::calm(ROWS));
}

#[test]
fn a_copy_that_wakes_up_when_its_state_is_gone_is_fenced_and_deletes_nothing() {
    let world = World::new();
    let read = source(ROWS);
    let hand = read.control();
    hold(&hand, ASLEEP);
    let store = Arc::new(Mortal::new(&world.storage, Death::Never));
    let copy = world.job_on(Arc::clone(&store) as _, USUAL, read).start().unwrap();
    world.settle(&copy, ASLEEP.unsigned_abs() * 3);
    let known = world.manifest(world.newest());
    assert!(!known.state.is_empty());
    let committed = go_on(&world, &known);
    let before = objects(&world);
    store.deleted.lock().unwrap().clear();
    hold(&hand, ROWS);
    let fenced = copy.join().unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
    assert_eq!(*store.deleted.lock().unwrap(), Vec::<String>::new());
    assert!(before.is_subset(&objects(&world)));
    assert_eq!(world.store.rows("all"), committed);
    assert_unharmed(&world);
}

#[test]
fn a_copy_that_recovers_where_garbage_was_collected_is_fenced_and_deletes_nothing() {
    let world = World::new();
    run_up_to_here(&world);
    // It has read the manifest and falls asleep before the state that the manifest names.
    let store = sleepy(&world);
    let copy = world.job_on(Arc::clone(&store) as _, USUAL, source(ROWS)).start().unwrap();
    wait_for("the copy's sleep", || {
        assert!(!copy.is_finished());
        store.asleep.load(Ordering::Relaxed)
    });
    let known = world.manifest(world.newest());
    let committed = go_on(&world, &known);
    let before = objects(&world);
    store.sleepy.store(false, Ordering::Relaxed);
    let fenced = copy.join().unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
    assert!(fenced.to_string().contains("cleaned up"), "{fenced}");
    assert_eq!(*store.deleted.lock().unwrap(), Vec::<String>::new());
    assert_eq!(objects(&world), before);
    assert_eq!(world.store.rows("all"), committed);
    assert_unharmed(&world);
}

#[test]
fn a_decision_that_wakes_up_where_garbage_was_collected_is_not_made_and_says_so() {
    for give_up in [false, true] {
        let world = World::new();
        let read = source(ROWS);
        hold(&read.control(), ASLEEP);
        let waits = CheckpointId(1);
        let died = world.mortal(Death::Behind(waits), read).events(Some(ASLEEP.unsigned_abs() * 3));
        assert!(run(died).is_err());
        let known = world.manifest(waits);
        assert!(!known.pending.is_empty() && !known.state.is_empty());
        let command = if give_up {
            CheckpointsCommand::Resolve { sink: "all".to_owned(), void: waits.0 }
        } else {
            CheckpointsCommand::Rewind { to: 0 }
        };
        // It has read the newest manifest and falls asleep before the one that it puts behind that.
        let store = sleepy(&world);
        let job = world.job_on(Arc::clone(&store) as _, USUAL, source(ROWS));
        let deciding = std::thread::spawn(move || command.act(job));
        wait_for("the decision's sleep", || {
            assert!(!deciding.is_finished());
            store.asleep.load(Ordering::Relaxed)
        });
        let committed = go_on(&world, &known);
        let newest = world.newest();
        store.sleepy.store(false, Ordering::Relaxed);
        let fenced = deciding.join().unwrap().unwrap_err();
        assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
        assert!(fenced.to_string().contains("stop the job, then give this command"), "{fenced}");
        assert_eq!(*store.deleted.lock().unwrap(), Vec::<String>::new());
        assert_eq!((world.newest(), world.store.rows("all")), (newest, committed));
        assert_unharmed(&world);
    }
}

#[test]
fn a_new_chain_whose_process_wakes_up_behind_the_end_of_the_job_is_not_begun_and_says_so() {
    let world = World::new();
    run_up_to_here(&world);
    let known = world.manifest(world.newest());
    // It has read the newest manifest and falls asleep before the one that closes the chain.
    let store = sleepy(&world);
    let fresh = world.job_on(Arc::clone(&store) as _, USUAL, source(ROWS)).fresh(true);
    let fresh = fresh.start().unwrap();
    wait_for("the new chain's sleep", || {
        assert!(!fresh.is_finished());
        store.asleep.load(Ordering::Relaxed)
    });
    go_on(&world, &known);
    assert!(run(world.job(source(ROWS))).unwrap().finished);
    let newest = world.newest();
    store.sleepy.store(false, Ordering::Relaxed);
    let fenced = fresh.join().unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
    assert_eq!(*store.deleted.lock().unwrap(), Vec::<String>::new());
    assert_eq!(world.newest(), newest);
    assert_unharmed(&world);
}

#[test]
fn a_first_start_that_wakes_up_behind_the_end_of_the_job_is_fenced_and_says_so() {
    for fresh in [false, true] {
        let world = World::new();
        // It has found nothing and falls asleep before the first manifest.
        let store = sleepy(&world);
        let first = world.job_on(Arc::clone(&store) as _, USUAL, source(ROWS)).fresh(fresh);
        let first = first.start().unwrap();
        wait_for("the first start's sleep", || {
            assert!(!first.is_finished());
            store.asleep.load(Ordering::Relaxed)
        });
        go_on_until(&world, 10, || {
            let names = world.storage.list("").unwrap();
            let oldest = names.iter().filter_map(|name| Manifest::number_of(name)).min();
            oldest.is_some_and(|number| number > CheckpointId::GENESIS)
        });
        assert!(run(world.job(source(ROWS))).unwrap().finished);
        let newest = world.newest();
        store.sleepy.store(false, Ordering::Relaxed);
        let fenced = first.join().unwrap_err();
        assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
        // It has made the first manifest once more, and that is nobody's beginning.
        assert!(world.storage.read(&Manifest::name(CheckpointId::GENESIS)).unwrap().is_some());
        assert_eq!(*store.deleted.lock().unwrap(), Vec::<String>::new());
        assert_eq!(world.newest(), newest);
        assert_unharmed(&world);
    }
}

#[test]
fn the_end_of_another_process_is_not_reported_by_one_that_restarts() {
    let world = World::new();
    let read = source(ROWS);
    let hand = read.control();
    hold(&hand, ASLEEP);
    let copy = world.job(read).start().unwrap();
    world.settle(&copy, ASLEEP.unsigned_abs() * 3);
    assert!(run(world.job(source(ROWS))).unwrap().finished);
    let newest = world.newest();
    // What fails its attempt now lets it find the finished job as it restarts.
    hand.fail(Error::transient("an attempt fails"));
    let fenced = copy.join().unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
    assert_eq!(world.newest(), newest);
    assert_unharmed(&world);
}
