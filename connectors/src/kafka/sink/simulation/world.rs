//! What processes share and what outlives them: the brokers, the manifests, the seed's dice, and whose turn it is.
//!
//! The committer blocks, so a process is a thread; one runs at a time, and hands on its turn whenever it waits.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thalweg_core::connector::sink::{PendingCommit, TargetExpectation};
use thalweg_core::testing::MemoryStaging;
use thalweg_core::testing::simulation::{Dice, decide};
use thalweg_core::{Result, counters};

use super::broker::{Broker, Request};
use crate::clock::instant;

/// Two sinks of one job, by their application ids; the second seldom has rows.
pub(super) const SINKS: [&str; 2] = ["job/chain/0/alerts", "job/chain/0/rare"];
/// The last checkpoint: the job ends when it is committed.
pub(super) const CHECKPOINTS: u64 = 12;

/// What is broken on purpose, to see that the auditor notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutation {
    None,
    /// A producer goes on that has sent the end of a transaction twice.
    Unsettled,
    /// A new session does not find what was sent before.
    Forgets,
    /// A new session does not look whether earlier transactions have ended.
    Hanging,
    /// A checkpoint is sent though a later one is in.
    Older,
    /// No marker is written again.
    Idle,
    /// A start does not remember where it found a marker.
    Oblivious,
}

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It is not done, and an error is the answer.
    Before,
    /// It is done, and an error is the answer.
    After,
    /// It takes longer than the library waits: the same call again goes on.
    Slow,
    /// The library sends it twice, and the first of the two arrives later.
    Twice,
}

/// What a checkpoint means for one sink.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) expected: TargetExpectation,
    pub(super) pending: Option<PendingCommit>,
    /// What is to be sent: nothing if it is given up.
    pub(super) rows: Vec<u64>,
}

/// A decided checkpoint.
#[derive(Debug, Clone, Default)]
pub(super) struct Manifest {
    pub(super) number: u64,
    pub(super) parts: [Part; 2],
}

counters! {
    pub(super) struct Counters {
        kills,
        freezes,
        /// Processes that were started, or woke up, beside one that lived.
        zombies,
        fenced,
        /// Attempts that ended by an error that may pass.
        restarts,
        /// Calls that were done though their sender was told otherwise.
        lost_answers,
        /// Calls that were made again, and went on.
        slow,
        /// Requests that arrived after a copy of theirs, or after their sender's death.
        late,
        /// Transactions that a later producer aborted.
        aborted,
        /// Transactions of which the partition was not told that they were aborted.
        hung,
        /// Transactions that the broker ended because they were open for too long.
        outlived,
        /// Calls that found a transaction being ended.
        busy,
        replays,
        given_up,
        /// Markers that were written again.
        refreshed,
    }
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dice: Dice,
    pub(super) now: Duration,
    /// Whose turn it is; the director's if nobody's.
    running: Option<u64>,
    /// When each process goes on, and what it has sent to the brokers meanwhile.
    pub(super) waiting: BTreeMap<u64, (Duration, Option<Request>)>,
    pub(super) dead: BTreeSet<u64>,
    pub(super) broker: Broker,
    /// Whether the topics were removed.
    pub(super) removed: bool,
    pub(super) manifests: Vec<Manifest>,
    /// Rows that were ever staged.
    pub(super) rows: u64,
    /// Calls that went wrong or were refused.
    pub(super) faults: u64,
    pub(super) counters: Counters,
    pub(super) violations: Vec<String>,
}

impl Inner {
    /// What checkpoint `n` decided for a sink; `None` without such a checkpoint, or without rows for it.
    pub(super) fn decided(&self, id: &str, n: u64) -> Option<&[u64]> {
        let manifest = self.manifests.get(n.checked_sub(1)? as usize)?;
        let part = &manifest.parts[SINKS.iter().position(|sink| *sink == id)?];
        part.pending.as_ref().map(|_| part.rows.as_slice())
    }

    pub(super) fn all_decided(&self, id: &str) -> Vec<u64> {
        let numbers = 1..=self.manifests.len() as u64;
        numbers.filter_map(|n| self.decided(id, n)).flatten().copied().collect()
    }
}

#[derive(Debug)]
pub(crate) struct World {
    inner: Mutex<Inner>,
    turns: Condvar,
    pub(super) staging: MemoryStaging,
    pub(super) mutation: Mutation,
    start: Instant,
}

thread_local! {
    static HERE: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// The world of this thread, if one is played on it.
pub(crate) fn here() -> Option<Arc<World>> {
    HERE.with(|here| here.borrow().clone())
}

/// From now on this thread plays in `world`.
pub(super) fn enter(world: &Arc<World>) {
    HERE.with(|here| *here.borrow_mut() = Some(Arc::clone(world)));
}

impl World {
    pub(super) fn new(seed: u64, mutation: Mutation) -> Arc<Self> {
        let inner = Inner {
            dice: Dice::new(seed, 0x00ca_f2a1),
            now: Duration::ZERO,
            running: None,
            waiting: BTreeMap::new(),
            dead: BTreeSet::new(),
            broker: Broker::default(),
            removed: false,
            manifests: Vec::new(),
            rows: 0,
            faults: 0,
            counters: Counters::default(),
            violations: Vec::new(),
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            turns: Condvar::new(),
            staging: MemoryStaging::default(),
            mutation,
            start: instant(),
        })
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Virtual time as the committer reads it.
    pub(super) fn instant(&self) -> Instant {
        self.start + self.inner().now
    }

    /// The process waits for `long`, with `request` on its way. Whether it lives afterwards.
    pub(super) fn wait(&self, process: u64, long: Duration, request: Option<Request>) -> bool {
        let mut inner = self.inner();
        if inner.dead.contains(&process) {
            return false;
        }
        let until = inner.now + long;
        inner.waiting.insert(process, (until, request));
        inner.running = None;
        self.turns.notify_all();
        let inner = self.turns.wait_while(inner, |inner| inner.running != Some(process));
        !inner.unwrap_or_else(PoisonError::into_inner).dead.contains(&process)
    }

    /// The first turn of a process, on its own thread.
    pub(super) fn begin(&self, process: u64) {
        let inner = self.turns.wait_while(self.inner(), |inner| inner.running != Some(process));
        drop(inner);
    }

    /// A process has ended.
    pub(super) fn end(&self) {
        self.inner().running = None;
        self.turns.notify_all();
    }

    /// Lets a process go on until it waits or ends.
    pub(super) fn turn(&self, process: u64) {
        let mut inner = self.inner();
        if let Some((until, _)) = inner.waiting.remove(&process) {
            inner.now = inner.now.max(until);
        }
        let now = inner.now;
        inner.broker.settle(now);
        inner.running = Some(process);
        self.turns.notify_all();
        drop(self.turns.wait_while(inner, |inner| inner.running.is_some()));
    }

    pub(super) fn choose(&self, below: u64) -> u64 {
        self.inner().dice.choose(below)
    }

    /// Every call enters the trace: what, by whom, when, and what comes of it.
    pub(super) fn touch(&self, process: u64, what: u64) -> Fault {
        let mut inner = self.inner();
        let fault = match inner.dice.fault(60) {
            Some(0) => Fault::Before,
            Some(1) => Fault::After,
            Some(2) => Fault::Slow,
            Some(3 | 4) => Fault::Twice,
            _ => Fault::None,
        };
        inner.faults += u64::from(fault != Fault::None);
        let now = inner.now;
        inner.dice.note(now, process, what, fault as u64);
        fault
    }

    pub(super) fn count(&self, with: impl FnOnce(&mut Counters)) {
        with(&mut self.inner().counters);
    }

    pub(super) fn violation(&self, what: String) {
        self.inner().violations.push(what);
    }

    /// How long a request is on its way; one in `slow` hangs.
    pub(super) fn delay(&self, slow: u64) -> Duration {
        self.inner().dice.delay(slow)
    }

    pub(super) fn newest(&self) -> Manifest {
        self.inner().manifests.last().cloned().unwrap_or_default()
    }

    /// Whoever is first decides a number.
    pub(super) fn decide(&self, manifest: &Manifest) -> Result<()> {
        decide(&mut self.inner().manifests, manifest.number, manifest.clone())
    }
}
