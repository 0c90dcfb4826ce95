//! Starts processes, kills and freezes them as the seed says, and at last lets one come to the end of the input.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::poll_fn;
use thalweg_core::ErrorKind;
use thalweg_core::crypto::MasterKey;
use thalweg_core::testing::simulation::Outcome;
use thalweg_core::time::Clock;
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};

use super::audit;
use super::endings::Endings;
use super::input::{ROWS, graph};
use super::lake;
use super::stores::SimStorage;
use super::topic::TopicCounters;
use super::world::{Backing, Counters, Mutation, World};
use crate::job::{Command, JobBuilder, JobSummary};
use crate::metrics::JobMetrics;
use crate::placement::Placement;
use crate::settings::Settings;

/// Virtual time with faults; afterwards the job must come to its end.
const TROUBLE: Duration = Duration::from_mins(3);
/// Virtual time after which it should long have ended.
const PATIENCE: Duration = Duration::from_mins(15);

/// All tasks of one process.
pub(super) struct Process {
    tasks: Pin<Box<LocalSet>>,
    pub(super) job: JoinHandle<thalweg_core::Result<JobSummary>>,
    pub(super) frozen_until: Option<Duration>,
    _commands: watch::Sender<Command>,
}

impl Process {
    pub(super) fn start(
        world: &Arc<World>,
        key: &Arc<MasterKey>,
        number: u64,
        settings: Settings,
    ) -> Self {
        let storage = SimStorage {
            world: Arc::clone(world),
            process: number,
            believed: std::sync::Mutex::default(),
        };
        let job = JobBuilder::new(graph(world, number), Arc::new(storage), Arc::clone(key))
            .settings(settings)
            .clock(Arc::clone(world) as Arc<dyn Clock>);
        let (sender, commands) = watch::channel(Command::Run);
        let tasks = LocalSet::new();
        let job = tasks.spawn_local(async move {
            let metrics = Arc::new(JobMetrics::default());
            job.attempts(&metrics, commands, Placement::Here).await
        });
        Self { tasks: Box::pin(tasks), job, frozen_until: None, _commands: sender }
    }

    fn lives(&self) -> bool {
        self.frozen_until.is_none()
    }
}

/// Lets everyone who is not frozen run until `until`, until a job ends or the world halts.
pub(super) async fn run(processes: &mut [Process], until: Duration, world: &World) {
    let left = until.saturating_sub(world.monotonic());
    let mut sleep = Box::pin(tokio::time::sleep(left.max(Duration::from_millis(1))));
    poll_fn(|context: &mut Context<'_>| {
        for process in processes.iter_mut().filter(|p| p.lives()) {
            if process.tasks.as_mut().poll(context).is_ready() || process.job.is_finished() {
                return Poll::Ready(());
            }
            if world.has_halted() {
                return Poll::Ready(());
            }
        }
        sleep.poll_unpin(context)
    })
    .await;
}

pub(super) fn play(seed: u64, mutation: Mutation, backing: Backing) -> Outcome<Counters> {
    let world = runtime().block_on(direct(seed, mutation, backing));
    let counters = world.inner().counters;
    outcome(&world, counters)
}

/// The same of a job that reads a topic.
pub(super) fn play_topic(seed: u64, mutation: Mutation) -> Outcome<TopicCounters> {
    runtime().block_on(async {
        let world = direct(seed, mutation, Backing::Topic).await;
        let Counters { kills, zombies, rescales, .. } = world.inner().counters;
        let (losses, counters) = {
            let topic = world.topic();
            (topic.losses(), topic.counters)
        };
        outcome(&world, TopicCounters { kills, zombies, rescales, losses, ..counters })
    })
}

fn outcome<C>(world: &World, counters: C) -> Outcome<C> {
    let inner = world.inner();
    Outcome { violations: inner.violations.clone(), counters, trace: inner.dice.trace }
}

/// One thread, whose time passes while nobody has anything to do.
pub(super) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

async fn direct(seed: u64, mutation: Mutation, backing: Backing) -> Arc<World> {
    let world = World::new(seed, mutation, ROWS, backing);
    let mut endings = (backing == Backing::Topic).then(|| Endings::new(&world));
    if backing == Backing::Topic {
        let begins = world.topic().extent.begins;
        tokio::time::sleep(begins).await;
    }
    let key = Arc::new(MasterKey::generate().unwrap());
    let mut processes: Vec<Process> = Vec::new();
    let (mut started, mut last, mut finished) = (0, 0, false);
    while !finished && world.monotonic() < PATIENCE {
        let now = world.monotonic();
        let calm = now >= TROUBLE;
        if calm {
            world.inner().dice.faulty = false;
        }
        if endings.as_mut().is_some_and(|endings| endings.comes(&world)) {
            processes.clear();
        }
        let woken = processes.len() > 1;
        for process in &mut processes {
            if process.frozen_until.is_some_and(|until| calm || until <= now) {
                process.frozen_until = None;
                world.count(|c| c.zombies += u64::from(woken));
            }
        }
        if !processes.iter().any(Process::lives) {
            let parallelism = world.choose(3) as u32 + 1;
            world.count(|c| c.rescales += u64::from(last != 0 && last != parallelism));
            (last, started) = (parallelism, started + 1);
            let settings = Settings {
                parallelism,
                restart_attempts: 100,
                keep_checkpoints: 3,
                ..Settings::default()
            };
            processes.push(Process::start(&world, &key, started, settings));
        }
        let pause = Duration::from_millis(200 + world.choose(8_000));
        run(&mut processes, now + pause, &world).await;
        let mut index = 0;
        while index < processes.len() {
            if !processes[index].job.is_finished() {
                index += 1;
                continue;
            }
            let ended = processes.remove(index).job.now_or_never();
            match ended {
                Some(Ok(Ok(summary))) => finished |= summary.finished,
                Some(Ok(Err(e))) if e.kind() == ErrorKind::Fenced => {
                    world.count(|c| c.fenced += 1);
                }
                Some(Ok(Err(e))) => {
                    match endings.as_ref().and_then(|endings| endings.is_the_end(&world, &e)) {
                        Some(is_the_end) => finished |= is_the_end,
                        None => world.violation(format!("a process failed: {e:?}")),
                    }
                }
                _ => world.violation("a process panicked".to_owned()),
            }
        }
        if !calm && !processes.is_empty() {
            let victim = world.choose(processes.len() as u64) as usize;
            match world.choose(3) {
                0 => {
                    drop(processes.remove(victim));
                    world.count(|c| c.kills += 1);
                }
                1 => {
                    let stall = Duration::from_millis(1_000 + world.choose(30_000));
                    processes[victim].frozen_until = Some(world.monotonic() + stall);
                    world.count(|c| c.freezes += 1);
                }
                _ => {}
            }
        }
        if world.inner().violations.len() > 20 {
            break;
        }
    }
    if !finished {
        world.violation("the job did not come to its end".to_owned());
    }
    drop(processes);
    if backing == Backing::Delta {
        lake::read_back(&world);
    }
    audit::end(&world);
    world
}
