//! What a job tells of its checkpoints.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use thalweg_core::CheckpointId;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::time::Clock;
use thalweg_runtime::{CheckpointStorage, Settings, SystemClock};

use super::world::{Death, Mortal, USUAL, World, hold, settings, source};
use crate::bench::wait_for;

#[test]
fn the_next_barrier_does_not_shorten_a_checkpoint_whose_commits_take_long() {
    let world = World::new();
    let store = Arc::new(Mortal::new(&world.storage, Death::Never));
    let read = source(1_000);
    let hand = read.control();
    hold(&hand, 100);
    world.store.stall_commits();
    let interval = Duration::from_millis(300);
    let job = world.job_on(Arc::clone(&store) as _, USUAL, read);
    let job = job.settings(Settings { checkpoint_interval: interval, ..settings() });
    let job = job.start().unwrap();
    let clock = SystemClock::default();
    let when = |what: &str, is_there: &dyn Fn() -> bool| {
        wait_for(what, || {
            assert!(!job.is_finished());
            is_there()
        });
        clock.monotonic()
    };
    let first = Manifest::name(CheckpointId(1));
    let begun = when("the first decision", &|| world.storage.read(&first).unwrap().is_some());
    hold(&hand, 200);
    let second = format!("{:020}-", 2);
    let next = when("the state of the checkpoint behind it", &|| {
        world.storage.list("state").unwrap().iter().any(|name| name.starts_with(&second))
    });
    // The second is not decided before this has looked at what was told of the first.
    store.sleepy.store(true, Ordering::Relaxed);
    world.store.resume();
    let metrics = job.metrics();
    when("the first checkpoint's end", &|| metrics.checkpoint.load(Ordering::Relaxed) == 1);
    when("its time", &|| metrics.checkpoint_micros.load(Ordering::Relaxed) > 0);
    let took = Duration::from_micros(metrics.checkpoint_micros.load(Ordering::Relaxed));
    assert!(took >= next.saturating_sub(begun), "{took:?}");
    store.sleepy.store(false, Ordering::Relaxed);
    job.stopper().stop();
    job.join().unwrap();
}
