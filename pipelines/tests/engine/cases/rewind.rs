//! Going back to an earlier checkpoint beside a copy of the job that is awake, and dying while doing so (P4).

use thalweg_core::CheckpointId;
use thalweg_core::prelude::*;
use thalweg_runtime::JobBuilder;
use thalweg_runtime::cli::CheckpointsCommand;

use super::world::{Death, World, hold, run, source};
use crate::bench::wait_for;

const ROWS: i64 = 2_000;

fn rewind(job: JobBuilder, to: CheckpointId) -> Result<String> {
    CheckpointsCommand::Rewind { to: to.0 }.act(job)
}

#[test]
fn a_copy_that_is_awake_is_fenced_by_a_rewind() {
    let calm = World::calm(ROWS);
    for wakes_first in [true, false] {
        let world = World::new();
        let read = source(ROWS);
        let hand = read.control();
        hold(&hand, 0);
        let copy = world.job(read).start().unwrap();
        for step in 1..=4 {
            hold(&hand, step * 400);
            world.settle(&copy, step.unsigned_abs() * 1_200);
        }
        // No lock holds the rewind back here. The copy runs, it has nothing to decide at the moment.
        let cuts = world.store.cuts();
        let back = &cuts[cuts.len() - 3];
        let head = world.newest();
        let told = rewind(world.job(source(ROWS)), back.checkpoint).unwrap();
        assert!(told.contains(&format!("goes back to {}", back.checkpoint)), "{told}");
        assert_eq!(world.newest(), head.next());
        world.restore(back);
        let restored = world.store.rows("all");
        let wake = || {
            hold(&hand, ROWS);
            let fenced = copy.join().unwrap_err();
            assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
        };
        let rewound = || {
            assert!(run(world.job(source(ROWS))).unwrap().finished);
            world.verify(source(ROWS));
        };
        if wakes_first {
            wake();
            assert_eq!(world.store.rows("all"), restored, "nothing of the copy is committed");
            rewound();
        } else {
            rewound();
            wake();
        }
        world.assert_same(&calm);
    }
}

#[test]
fn a_rewind_beside_a_copy_that_is_busy_is_fenced_or_fences_it() {
    const MANY: i64 = 20_000;
    let calm = World::calm(MANY);
    let world = World::new();
    let read = source(MANY);
    let hand = read.control();
    hold(&hand, 0);
    let copy = world.job(read).start().unwrap();
    let mut position = 0;
    let mut more = || {
        position += 20;
        assert!(position < MANY, "the rewind never wins");
        hold(&hand, position);
        position.unsigned_abs() * 3
    };
    // So far in step with the copy: however slow it is, there is enough left for what follows.
    while world.store.cuts().len() < 4 {
        let rows = more();
        wait_for("the commit of a few rows", || {
            assert!(!copy.is_finished(), "the copy ended by itself");
            world.store.rows("all") >= rows
        });
    }
    let back = loop {
        more();
        let cuts = world.store.cuts();
        let back = cuts[cuts.len() - 3].clone();
        match rewind(world.job(source(MANY)), back.checkpoint) {
            Ok(_) => break back,
            Err(fenced) => assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}"),
        }
    };
    hold(&hand, MANY);
    let fenced = copy.join().unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");
    world.restore(&back);
    assert!(run(world.job(source(MANY))).unwrap().finished);
    world.assert_same(&calm);
    world.verify(source(MANY));
}

#[test]
fn a_rewind_that_dies_at_any_of_its_steps_can_be_repeated_or_gone_on_from() {
    let calm = World::calm(ROWS);
    for repeated in [true, false] {
        let world = World::new();
        let upto = |rows| run(world.job(source(ROWS)).events(Some(rows))).unwrap();
        upto(1_000);
        upto(2_000);
        let back = world.store.cuts().pop().unwrap();
        upto(3_000);
        // The last one dies behind its decision, before anything of it is committed.
        let last = world.newest().next();
        assert!(run(world.mortal(Death::Behind(last), source(ROWS)).events(Some(4_000))).is_err());
        assert_eq!((world.newest(), world.store.rows("all")), (last, 3_000));
        assert!(!world.manifest(last).pending.is_empty());

        let die = |death| {
            let died = rewind(world.mortal(death, source(ROWS)), back.checkpoint).unwrap_err();
            assert_eq!(died.kind(), ErrorKind::Transient, "{death:?}: {died}");
        };
        world.store.fail_next_commits(1);
        die(Death::Never);
        world.store.lose_next_answers(1);
        die(Death::Never);
        let mut steps = 0;
        while world.newest() == last {
            die(Death::Before(steps));
            assert_eq!(world.newest(), last, "step {steps} has not been done");
            die(Death::After(steps));
            steps += 1;
        }
        // That was the decision itself: it stands, though nobody has heard of it.
        assert!(steps > 5, "{steps} steps");
        assert_eq!(world.newest(), last.next());
        if repeated {
            rewind(world.job(source(ROWS)), back.checkpoint).unwrap();
            assert_eq!(world.newest(), last.next().next());
        }
        assert_eq!(world.store.rows("all"), world.manifest(last).sinks[0].rows, "rolled forward");
        world.restore(&back);
        assert!(run(world.job(source(ROWS))).unwrap().finished);
        world.assert_same(&calm);
        world.verify(source(ROWS));
    }
}
