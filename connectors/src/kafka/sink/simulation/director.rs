//! Starts processes, kills and freezes them as the seed says, and at last lets all come to their ends.

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::ErrorKind;
use thalweg_core::testing::simulation::Outcome;

use super::audit::audit;
use super::process::{Process, committer, target};
use super::world::{Counters, Mutation, SINKS, World};

/// Virtual time with faults; afterwards the job must come to its end.
const TROUBLE: Duration = Duration::from_mins(2);
/// Virtual time after which it should long have ended.
const PATIENCE: Duration = Duration::from_mins(15);
/// Behind the last process's end.
const QUIET: Duration = Duration::from_hours(1);
/// Processes at a time.
const MOST: usize = 4;

struct Director {
    world: Arc<World>,
    processes: Vec<Process>,
    started: u64,
    finished: bool,
}

pub(super) fn play(seed: u64, mutation: Mutation) -> Outcome<Counters> {
    let world = World::new(seed, mutation);
    let mut director =
        Director { world: Arc::clone(&world), processes: Vec::new(), started: 0, finished: false };
    director.direct();
    if world.inner().violations.is_empty() {
        let wrong = audit(&world.inner());
        world.inner().violations.extend(wrong);
    }
    if world.inner().violations.is_empty() {
        damage(&world);
    }
    let inner = world.inner();
    let mut counters = inner.counters;
    counters.late = inner.broker.came_late;
    counters.aborted = inner.broker.aborted;
    counters.hung = inner.broker.hung;
    counters.outlived = inner.broker.outlived;
    Outcome { violations: inner.violations.clone(), counters, trace: inner.dice.trace }
}

impl Director {
    fn now(&self) -> Duration {
        self.world.inner().now
    }

    fn is_calm(&self) -> bool {
        self.finished || self.now() >= TROUBLE
    }

    fn direct(&mut self) {
        let mut trouble = Duration::from_secs(1);
        while !(self.finished && self.processes.is_empty()) {
            if self.now() > PATIENCE {
                self.world.violation("the job did not come to its end".to_owned());
            }
            if !self.world.inner().violations.is_empty() {
                break;
            }
            self.world.inner().dice.faulty = !self.is_calm();
            self.thaw();
            if !self.finished && !self.processes.iter().any(|p| p.frozen_until.is_none()) {
                self.start();
            }
            let (next, at) = self.next();
            if at > trouble && !self.is_calm() {
                self.advance(trouble);
                self.trouble();
                trouble = self.now() + Duration::from_millis(200 + self.world.choose(8_000));
                continue;
            }
            self.world.turn(next);
            self.bury();
        }
        while !self.processes.is_empty() {
            self.kill(0);
        }
    }

    fn advance(&self, to: Duration) {
        let mut inner = self.world.inner();
        inner.now = inner.now.max(to);
    }

    fn start(&mut self) {
        self.started += 1;
        self.processes.push(Process::start(&self.world, self.started));
    }

    /// Who goes on next, and when.
    fn next(&self) -> (u64, Duration) {
        let inner = self.world.inner();
        let of = |process: &Process| {
            let (until, _) = &inner.waiting[&process.number];
            (process.number, (*until).max(process.frozen_until.unwrap_or_default()))
        };
        let all = self.processes.iter().map(of);
        all.min_by_key(|(_, until)| *until).unwrap()
    }

    fn thaw(&mut self) {
        let (now, calm) = (self.now(), self.is_calm());
        let beside = self.processes.len() > 1;
        for process in &mut self.processes {
            if process.frozen_until.is_some_and(|until| calm || until <= now) {
                process.frozen_until = None;
                self.world.count(|c| c.zombies += u64::from(beside));
            }
        }
    }

    /// Takes away who has ended.
    fn bury(&mut self) {
        let mut index = 0;
        while index < self.processes.len() {
            if self.world.inner().waiting.contains_key(&self.processes[index].number) {
                index += 1;
                continue;
            }
            match self.processes.remove(index).job.join() {
                Ok(Ok(())) => self.finished = true,
                Ok(Err(e)) if e.kind() == ErrorKind::Fenced => {
                    self.world.count(|c| c.fenced += 1);
                }
                Ok(Err(e)) => self.world.violation(format!("a process failed: {e:?}")),
                Err(_) => self.world.violation("a process panicked".to_owned()),
            }
        }
    }

    /// What it has sent to the brokers may arrive nevertheless.
    fn kill(&mut self, index: usize) {
        let killed = self.processes.remove(index);
        let arrives = self.world.choose(2) == 0;
        let late = self.world.delay(4);
        let mut inner = self.world.inner();
        let (_, request) = inner.waiting.remove(&killed.number).unwrap_or_default();
        let now = inner.now;
        if let Some(request) = request.filter(|_| arrives) {
            inner.broker.delay(now + late, request);
        }
        inner.dead.insert(killed.number);
        drop(inner);
        // It finds out and ends at once.
        self.world.turn(killed.number);
        drop(killed.job.join());
    }

    fn trouble(&mut self) {
        let victim = self.world.choose(self.processes.len() as u64) as usize;
        match self.world.choose(4) {
            0 => {
                self.world.count(|c| c.kills += 1);
                self.kill(victim);
            }
            1 => {
                let stall = Duration::from_millis(1_000 + self.world.choose(30_000));
                self.processes[victim].frozen_until = Some(self.now() + stall);
                self.world.count(|c| c.freezes += 1);
            }
            2 if self.processes.len() < MOST => {
                self.world.count(|c| c.zombies += 1);
                self.start();
            }
            _ => {}
        }
    }
}

/// Afterwards a marker expires or goes back, or the topic is removed. Whoever opens it then must say so (P12).
fn damage(world: &Arc<World>) {
    let sink = SINKS[0];
    let expected = world.newest().parts[0].expected.clone();
    let Some(sent) = expected.txn else { return };
    let what = world.choose(3);
    {
        let mut inner = world.inner();
        inner.dice.faulty = false;
        // Whatever is under way arrives, and what is being ended shows.
        inner.now += QUIET;
        let now = inner.now;
        inner.broker.settle(now);
        match what {
            0 => inner.broker.set_marker(sink, None),
            1 => inner.broker.set_marker(sink, sent.0.checked_sub(1)),
            _ => inner.removed = true,
        }
    }
    let opening = Process::doing(world, u64::MAX, move |cluster| {
        committer(cluster).open(&target(sink), sink, &expected).map(drop)
    });
    while world.inner().waiting.contains_key(&opening.number) {
        world.turn(opening.number);
    }
    match opening.job.join() {
        Ok(Err(error)) if error.kind() == ErrorKind::DataLoss => {}
        opened => world.violation(format!("a topic with damage {what} was opened: {opened:?}")),
    }
}
