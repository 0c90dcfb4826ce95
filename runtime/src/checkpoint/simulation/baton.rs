//! Who runs: one thread at a time, chosen by the seed at every touch of the outside world. Processes die, freeze and wake
//! up between two such touches.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The one that starts processes and lets time pass; it neither dies nor freezes.
pub(super) const DIRECTOR: usize = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Party {
    Runs,
    /// Stopped until this step.
    Frozen(u64),
    /// Killed: nothing it does has an effect any more.
    Dead,
    /// Its thread is over.
    Ended,
}

#[derive(Debug)]
struct Inner {
    random: StdRng,
    parties: Vec<Party>,
    turn: usize,
    steps: u64,
    trace: u64,
    faults: bool,
    kills: u64,
    freezes: u64,
}

/// The right to run.
#[derive(Debug)]
pub(super) struct Baton {
    inner: Mutex<Inner>,
    passed: Condvar,
}

impl Baton {
    /// The director has it.
    pub(super) fn new(seed: u64) -> Self {
        let inner = Inner {
            random: StdRng::seed_from_u64(seed),
            parties: vec![Party::Runs],
            turn: DIRECTOR,
            steps: 0,
            trace: 0,
            faults: true,
            kills: 0,
            freezes: 0,
        };
        Self { inner: Mutex::new(inner), passed: Condvar::new() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, mut inner: MutexGuard<'_, Inner>, me: usize) -> bool {
        while inner.turn != me {
            inner = self.passed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.parties[me] != Party::Dead
    }

    /// A new process, which waits in [`Self::enter`].
    pub(super) fn join(&self) -> usize {
        let mut inner = self.inner();
        inner.parties.push(Party::Runs);
        inner.parties.len() - 1
    }

    pub(super) fn enter(&self, me: usize) -> bool {
        self.wait(self.inner(), me)
    }

    /// Lets others run; whether `me` still lives when it is its turn again.
    pub(super) fn pass(&self, me: usize) -> bool {
        let mut inner = self.inner();
        inner.next();
        self.passed.notify_all();
        self.wait(inner, me)
    }

    /// `me` ends.
    pub(super) fn leave(&self, me: usize) {
        let mut inner = self.inner();
        inner.parties[me] = Party::Ended;
        inner.next();
        self.passed.notify_all();
    }

    pub(super) fn is_alive(&self, me: usize) -> bool {
        self.inner().parties[me] == Party::Runs
    }

    /// Processes that run, or will when they wake up.
    pub(super) fn living(&self) -> usize {
        let inner = self.inner();
        let lives = |p: &&Party| matches!(p, Party::Runs | Party::Frozen(_));
        inner.parties[1..].iter().filter(lives).count()
    }

    /// Processes whose threads are not over.
    pub(super) fn open(&self) -> usize {
        self.inner().parties[1..].iter().filter(|p| **p != Party::Ended).count()
    }

    pub(super) fn steps(&self) -> u64 {
        self.inner().steps
    }

    /// From now on nobody dies, and who is frozen wakes up.
    pub(super) fn calm(&self) {
        let mut inner = self.inner();
        inner.faults = false;
        for party in &mut inner.parties {
            if matches!(party, Party::Frozen(_)) {
                *party = Party::Runs;
            }
        }
    }

    /// Hash of who ran when, deaths and freezes.
    pub(super) fn story(&self) -> (u64, u64, u64) {
        let inner = self.inner();
        (inner.trace, inner.kills, inner.freezes)
    }
}

impl Inner {
    fn next(&mut self) {
        self.steps += 1;
        let steps = self.steps;
        for party in &mut self.parties {
            if matches!(party, Party::Frozen(until) if *until <= steps) {
                *party = Party::Runs;
            }
        }
        if self.faults && self.random.random_range(0..90) == 0 {
            self.strike();
        }
        let ready: Vec<usize> = (1..self.parties.len())
            .filter(|i| matches!(self.parties[*i], Party::Runs | Party::Dead))
            .collect();
        self.turn = if ready.is_empty() || self.random.random_range(0..12) == 0 {
            DIRECTOR
        } else {
            ready[self.random.random_range(0..ready.len())]
        };
        self.trace = self.trace.wrapping_mul(1_000_003).wrapping_add(self.turn as u64 + 1);
    }

    fn strike(&mut self) {
        let running: Vec<usize> =
            (1..self.parties.len()).filter(|i| self.parties[*i] == Party::Runs).collect();
        if running.is_empty() {
            return;
        }
        let victim = running[self.random.random_range(0..running.len())];
        if self.random.random_bool(0.5) {
            self.parties[victim] = Party::Dead;
            self.kills += 1;
        } else {
            self.parties[victim] = Party::Frozen(self.steps + self.random.random_range(10..400));
            self.freezes += 1;
        }
    }
}
