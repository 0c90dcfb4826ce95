//! A job that has nothing to do (P17).

use thalweg_core::time::Clock;
use thalweg_runtime::SystemClock;

use super::world::{World, readings, settings, source};
use crate::bench::wait_for;

#[test]
fn a_job_without_rows_makes_no_manifest_until_there_are_some() {
    let world = World::new();
    let rows = source(1_000);
    let handle = rows.handle();
    let job = world.job(rows).start().unwrap();
    world.settle(&job, 3_000);
    let newest = world.newest();
    let clock = SystemClock::default();
    let while_idle = settings().checkpoint_interval * 40;
    wait_for("the end of the idle time", || clock.monotonic() > while_idle);
    // Rows that a barrier has overtaken on its way leave a checkpoint to be made that is empty: one.
    assert!(world.newest().0 <= newest.0 + 1, "{} behind {newest}", world.newest());
    handle.push("a", readings(0, 1_000, 1_001)).unwrap();
    world.settle(&job, 3_001);
    assert!(world.newest() > newest);
    handle.finish();
    assert!(job.join().unwrap().finished);
}
