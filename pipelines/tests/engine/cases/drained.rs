//! Jobs that were finished while their input had more: the same start again must not pass for reading.

use thalweg_core::ErrorKind;

use super::world::{World, run, source};

const ROWS: i64 = 300;
/// Where split `a` waits.
const HELD: i64 = 100;
/// All that can be read with it.
const READ: u64 = HELD as u64 + 2 * ROWS as u64;

#[test]
fn a_drained_job_says_that_it_reads_no_further_and_a_fresh_chain_does() {
    // A topic has no end; of a file the rest was not read.
    for endless in [true, false] {
        let world = World::new();
        let input = || {
            let input = source(ROWS).hold_at("a", HELD);
            // Whoever has a handle may add rows, so that splits have no ends.
            let handle = endless.then(|| input.handle());
            (if endless { input.endless() } else { input }, handle)
        };
        let (first, _open) = input();
        let job = world.job(first).start().unwrap();
        world.settle(&job, READ);
        job.stopper().drain();
        assert!(job.join().unwrap().finished);

        let (again, _open) = input();
        let told = run(world.job(again)).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::IncompatibleState, "{told}");
        let told = told.to_string();
        assert!(told.contains("drained") && told.contains("--fresh"), "{told}");
        assert_eq!(world.store.rows("all"), READ);

        // A run that may read no more than was read has nothing to do.
        let (again, _open) = input();
        assert!(run(world.job(again).events(Some(READ))).unwrap().finished);
        assert_eq!(world.store.rows("all"), READ);

        assert!(run(world.job(source(ROWS)).fresh(true)).unwrap().finished);
        assert_eq!(world.store.rows("all"), READ + 3 * ROWS as u64);
        // And what has an end and was read to it ends well as often as it is started.
        assert!(run(world.job(source(ROWS))).unwrap().finished);
        assert_eq!(world.store.rows("all"), READ + 3 * ROWS as u64);
    }
}
