//! At every single step of a job (`.ci/nightly`; at every third otherwise) nothing happens for 30 seconds.
//!
//! A step is a request, or a piece of blocking work, before it and behind it. They are those of a first start, of three
//! checkpoints, of the recovery of the third, which was decided and not finished, and of two more. Once it is the step alone
//! that hangs; once it is the process, another takes over at once, and the first wakes up beside it.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use thalweg_core::ErrorKind;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::crypto::MasterKey;
use thalweg_core::testing::simulation::seeds;
use thalweg_core::time::Clock;

use super::audit;
use super::director::{Process, run, runtime};
use super::world::{Backing, Mutation, STALL, World};
use crate::settings::Settings;

/// The checkpoint whose commits the first process does not come to.
const DECIDED: u64 = 3;
/// Up to this one the steps are counted.
const LAST: u64 = 5;
/// Rows of each partition: who wakes up finds the other at work.
const ROWS: i64 = 240;
const PATIENCE: Duration = Duration::from_mins(10);
/// Every so many-th step is played where not all seeds of the other simulations are: neighbours are much alike.
const STRIDE: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stalls {
    Nothing,
    Step(u64),
    Process(u64),
}

/// What came of it.
#[derive(Debug)]
struct Outcome {
    /// Steps until checkpoint [`LAST`] was there.
    steps: u64,
    /// Whether the process that was stopped found itself fenced.
    fenced: bool,
    violations: Vec<String>,
}

fn play(stalls: Stalls, mutation: Mutation) -> Outcome {
    runtime().block_on(direct(stalls, mutation))
}

async fn direct(stalls: Stalls, mutation: Mutation) -> Outcome {
    let world = World::new(0, mutation, ROWS, Backing::Played);
    let key = Arc::new(MasterKey::generate().unwrap());
    let mut stops = match stalls {
        Stalls::Process(step) => Some(step),
        Stalls::Nothing | Stalls::Step(_) => None,
    };
    {
        let mut inner = world.inner();
        inner.dice.faulty = false;
        inner.hangs = if let Stalls::Step(step) = stalls { Some(step) } else { None };
    }
    let (mut processes, mut started): (Vec<Process>, u64) = (Vec::new(), 0);
    let (mut killed, mut steps, mut fenced, mut finished) = (false, None, false, false);
    while !finished && world.monotonic() < PATIENCE {
        let now = world.monotonic();
        for process in &mut processes {
            process.frozen_until = process.frozen_until.filter(|until| now < *until);
        }
        if processes.iter().all(|process| process.frozen_until.is_some()) {
            started += 1;
            let settings = Settings { parallelism: 2, keep_checkpoints: 3, ..Settings::default() };
            processes.push(Process::start(&world, &key, started, settings));
        }
        // As long as the moment is awaited that the first process is killed at, each step is looked at.
        let next = world.inner().steps + 1;
        world.inner().halts = if killed { stops } else { Some(next) };
        run(&mut processes, now + Duration::from_millis(500), &world).await;
        let taken = world.inner().steps;
        if stops.take_if(|step| *step <= taken).is_some() {
            processes[0].frozen_until = Some(world.monotonic() + STALL);
        }
        processes.retain_mut(|process| {
            if !process.job.is_finished() {
                return true;
            }
            match (&mut process.job).now_or_never() {
                Some(Ok(Ok(summary))) => finished |= summary.finished,
                Some(Ok(Err(error))) if error.kind() == ErrorKind::Fenced => fenced = true,
                Some(Ok(Err(error))) => world.violation(format!("a process failed: {error:?}")),
                _ => world.violation("a process panicked".to_owned()),
            }
            false
        });
        if !killed && is_unfinished(&world) {
            killed = true;
            processes.retain(|process| process.frozen_until.is_some());
        }
        if steps.is_none() && world.newest() >= LAST {
            steps = Some(taken);
        }
    }
    if !finished {
        world.violation("the job did not come to its end".to_owned());
    }
    drop(processes);
    audit::end(&world);
    let violations = world.inner().violations.clone();
    Outcome { steps: steps.unwrap_or(u64::MAX), fenced, violations }
}

/// Whether checkpoint [`DECIDED`] is there and something waits to be committed.
fn is_unfinished(world: &World) -> bool {
    let inner = world.inner();
    let Some(contents) = inner.created.get(&DECIDED) else { return false };
    let manifest = Manifest::decode(&contents[0]).unwrap();
    !manifest.pending.iter().all(|pending| inner.has(pending))
}

/// How many steps there are, of a job in which nothing stalls.
fn calm() -> u64 {
    let calm = play(Stalls::Nothing, Mutation::None);
    assert_eq!(calm.violations, Vec::<String>::new());
    assert!((200..1_000).contains(&calm.steps), "{calm:?}");
    calm.steps
}

fn steps() -> impl Iterator<Item = u64> {
    let stride = if seeds().count() > 1_000 { 1 } else { STRIDE };
    (1..=calm()).step_by(stride)
}

#[test]
fn wherever_a_step_hangs_for_half_a_minute_the_job_is_exact() {
    for step in steps() {
        let outcome = play(Stalls::Step(step), Mutation::None);
        assert_eq!(outcome.violations, Vec::<String>::new(), "at step {step}");
    }
}

#[test]
fn wherever_a_process_stops_for_half_a_minute_it_is_fenced_and_the_job_is_exact() {
    for step in steps() {
        let outcome = play(Stalls::Process(step), Mutation::None);
        assert_eq!(outcome.violations, Vec::<String>::new(), "at step {step}");
        assert!(outcome.fenced, "at step {step}");
    }
}

#[test]
fn a_job_that_does_not_finish_what_was_decided_is_noticed() {
    assert!(!play(Stalls::Nothing, Mutation::NoReplay).violations.is_empty());
}
