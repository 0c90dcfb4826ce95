//! Starts processes, kills and freezes them as the seed says, and at last lets one come to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::poll_fn;
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, PutPayload};
use thalweg_core::ErrorKind;
use thalweg_core::connector::sink::Committer;
use thalweg_core::testing::simulation::Outcome;

use super::foreign::Foreigner;
use super::process::{Process, committer};
use super::store::entry;
use super::world::{APP, CHECKPOINTS, Counters, Mutation, World, leave};
use crate::delta::storage::Storage;

/// Virtual time with faults; afterwards the job must come to its end.
const TROUBLE: Duration = Duration::from_mins(2);
/// Virtual time after which it should long have ended.
const PATIENCE: Duration = Duration::from_mins(10);

/// Lets everyone who is not frozen run until `until`, or until a job ends.
async fn run(
    processes: &mut [Process],
    foreign: &mut Pin<Box<dyn Future<Output = ()>>>,
    until: Duration,
    world: &World,
) {
    let left = until.saturating_sub(world.now());
    let mut sleep = Box::pin(tokio::time::sleep(left.max(Duration::from_millis(1))));
    poll_fn(|context: &mut Context<'_>| {
        for process in processes.iter_mut().filter(|p| p.lives()) {
            if process.tasks.as_mut().poll(context).is_ready() || process.job.is_finished() {
                return Poll::Ready(());
            }
        }
        if foreign.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        sleep.poll_unpin(context)
    })
    .await;
}

pub(super) fn play(seed: u64, mutation: Mutation) -> Outcome<Counters> {
    let outcome = runtime().block_on(direct(seed, mutation));
    leave();
    outcome
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

async fn direct(seed: u64, mutation: Mutation) -> Outcome<Counters> {
    let world = World::new(seed, mutation);
    let mut foreign: Pin<Box<dyn Future<Output = ()>>> = Box::pin(Foreigner::new(&world).live());
    let mut processes: Vec<Process> = Vec::new();
    let (mut started, mut finished) = (0, false);
    while !finished && world.now() < PATIENCE {
        let now = world.now();
        let calm = now >= TROUBLE;
        if calm {
            world.inner().dice.faulty = false;
        }
        let woken = processes.len() > 1;
        for process in &mut processes {
            if process.frozen_until.is_some_and(|until| calm || until <= now) {
                process.frozen_until = None;
                world.count(|c| c.zombies += u64::from(woken));
            }
        }
        if !processes.iter().any(Process::lives) {
            started += 1;
            processes.push(Process::start(&world, started));
        }
        let pause = Duration::from_millis(200 + world.choose(8_000));
        run(&mut processes, &mut foreign, now + pause, &world).await;
        finished |= bury(&mut processes, &world);
        if !calm && !processes.is_empty() {
            trouble(&mut processes, &world);
        }
        if world.inner().violations.len() > 20 {
            break;
        }
    }
    if !finished {
        world.violation("the job did not come to its end".to_owned());
    }
    drop((processes, foreign));
    world.inner().dice.faulty = false;
    if world.inner().violations.is_empty() {
        world.audit().await;
    }
    if world.inner().violations.is_empty() {
        damage(&world).await;
    }
    let inner = world.inner();
    Outcome {
        violations: inner.violations.clone(),
        counters: inner.counters,
        trace: inner.dice.trace,
    }
}

/// Takes away who has ended; whether the job is done.
fn bury(processes: &mut Vec<Process>, world: &World) -> bool {
    let mut finished = false;
    let mut index = 0;
    while index < processes.len() {
        if !processes[index].job.is_finished() {
            index += 1;
            continue;
        }
        match processes.remove(index).job.now_or_never() {
            Some(Ok(Ok(()))) => finished = true,
            Some(Ok(Err(e))) if e.kind() == ErrorKind::Fenced => world.count(|c| c.fenced += 1),
            Some(Ok(Err(e))) => world.violation(format!("a process failed: {e:?}")),
            _ => world.violation("a process panicked".to_owned()),
        }
    }
    finished
}

fn trouble(processes: &mut Vec<Process>, world: &World) {
    let victim = world.choose(processes.len() as u64) as usize;
    match world.choose(3) {
        0 => {
            let killed = processes.remove(victim);
            let mut inner = world.inner();
            inner.dead.insert(killed.number);
            inner.counters.kills += 1;
            drop(inner);
            drop(killed);
        }
        1 => {
            let stall = Duration::from_millis(1_000 + world.choose(30_000));
            processes[victim].frozen_until = Some(world.now() + stall);
            world.count(|c| c.freezes += 1);
        }
        _ => {}
    }
}

/// Afterwards somebody restores an old copy of the log, removes it, or makes another table in its place. Whoever opens it
/// then must say so (P12).
async fn damage(world: &World) {
    let expected = world.newest().expected;
    let entries: Vec<Bytes> = {
        let inner = world.inner();
        let older = |txn: Option<u64>| txn.is_none_or(|n| n < CHECKPOINTS - 1);
        let older = inner.log.iter().take_while(|entry| older(entry.txn));
        older.map(|entry| entry.bytes.clone()).collect()
    };
    let (what, entries) = match world.choose(3) {
        0 => ("restored", entries),
        1 => ("removed", Vec::new()),
        _ => {
            let first = String::from_utf8(entries[0].to_vec()).unwrap();
            let id = expected.id.as_deref().unwrap();
            ("created again", vec![Bytes::from(first.replace(id, "another"))])
        }
    };
    let objects = InMemory::new();
    for (version, bytes) in (0..).zip(entries) {
        objects.put(&entry(version), PutPayload::from(bytes)).await.unwrap();
    }
    let (committer, target) = committer(Storage::on(world.remote.clone(), Arc::new(objects)));
    match committer.open(&target, APP, &expected, false).await {
        Err(error) if error.kind() == ErrorKind::DataLoss => {}
        Err(error) => world.violation(format!("a table that was {what}: {error:?}")),
        Ok(_) => world.violation(format!("a table that was {what} is written to")),
    }
}
