//! What processes share and what outlives them: the objects, the manifests, the seed's dice, and the virtual clock.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use object_store::memory::InMemory;
use thalweg_core::connector::sink::{PendingCommit, TargetExpectation};
use thalweg_core::testing::simulation::{Dice, decide};
use thalweg_core::{Result, counters};
use thalweg_objects::{Place, Remote};

use super::audit::Entry;
use super::step::Step;
use crate::in_place::{InPlace, work_in_place};

pub(super) const TABLE: &str = "events";
pub(super) const APP: &str = "job/chain/0/silver";
/// The last checkpoint: the job ends when it is committed.
pub(super) const CHECKPOINTS: u64 = 12;

/// What is broken on purpose, to see that the auditor notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutation {
    None,
    /// An unclear put is taken for failed, and the entry is put at the next version without looking.
    Blind,
    /// What stands at our version is not searched for our transaction.
    Forgets,
    /// An entry is put without a predecessor that was seen.
    Unseen,
    /// An entry in a hole that others have cleaned is taken for committed.
    Hole,
    /// A table is opened whatever the manifest knows of it.
    Anything,
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It is not done, and an error is the answer.
    Before,
    /// It is done, and an error is the answer.
    After,
    /// "There is another", with nothing stored.
    Conflict,
}

/// A decided checkpoint, as far as one sink is concerned.
#[derive(Debug, Clone, Default)]
pub(super) struct Manifest {
    pub(super) number: u64,
    pub(super) expected: TargetExpectation,
    pub(super) pending: Option<PendingCommit>,
}

counters! {
    pub(super) struct Counters {
        kills,
        freezes,
        /// Frozen processes that woke up beside a successor.
        zombies,
        fenced,
        /// Attempts that ended by an error that may pass.
        restarts,
        /// Entries that were created though their sender was told otherwise.
        lost_answers,
        /// Entries that were refused as existing, with nothing stored.
        conflicts,
        /// Writes that arrived after their sender's death.
        late,
        /// Entries that were created where others had cleaned.
        holes,
        replays,
        foreign,
        /// Others' changes of columns or settings.
        changes,
        /// Others' clean-ups.
        cleanups,
        /// Entries that our own clean-up removed.
        removed,
        /// Logs that were listed while a commit was under way.
        reloads,
        /// Listings that were out of date, whole or from some name on, when the entries were read.
        stale,
    }
}

/// What a process has seen of the log within its commit.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) committing: bool,
    /// The last entry that it looked for, and whether it stood.
    pub(super) looked: Option<(u64, bool)>,
    pub(super) listed: bool,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dice: Dice,
    /// Every entry that the log ever had, by version: what was created first.
    pub(super) log: Vec<Entry>,
    /// The newest log checkpoint that was ever written.
    pub(super) checkpoint: Option<u64>,
    pub(super) manifests: Vec<Manifest>,
    /// The files of others.
    pub(super) foreign: Vec<String>,
    /// Data files that were ever begun.
    pub(super) files: u64,
    pub(super) dead: BTreeSet<u64>,
    pub(super) seen: BTreeMap<u64, Seen>,
    /// What the kernel is shown while it works.
    pub(super) step: Option<Step>,
    /// The next listing of the kernel lacks this entry.
    pub(super) hidden: Option<u64>,
    pub(super) counters: Counters,
    pub(super) violations: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct World {
    inner: Mutex<Inner>,
    pub(super) objects: InMemory,
    pub(super) remote: Remote,
    pub(super) mutation: Mutation,
    thread: ThreadId,
    start: tokio::time::Instant,
}

thread_local! {
    static HERE: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// The world of this thread, if one is played on it.
pub(super) fn here() -> Option<Arc<World>> {
    HERE.with(|here| here.borrow().clone())
}

/// From now on nothing is played on this thread.
pub(super) fn leave() {
    HERE.with(|here| here.borrow_mut().take());
    work_in_place(None);
}

impl World {
    /// A world in the current runtime's time; it is the one of this thread until [`leave`].
    pub(super) fn new(seed: u64, mutation: Mutation) -> Arc<Self> {
        let Place::Remote(remote) = "s3://lake/tables".parse::<Place>().unwrap() else {
            unreachable!("it is a URL");
        };
        let inner = Inner {
            dice: Dice::new(seed, 0x00de_17a0),
            log: Vec::new(),
            checkpoint: None,
            manifests: Vec::new(),
            foreign: Vec::new(),
            files: 0,
            dead: BTreeSet::new(),
            seen: BTreeMap::new(),
            step: None,
            hidden: None,
            counters: Counters::default(),
            violations: Vec::new(),
        };
        let world = Arc::new(Self {
            inner: Mutex::new(inner),
            objects: InMemory::new(),
            remote,
            mutation,
            thread: std::thread::current().id(),
            start: tokio::time::Instant::now(),
        });
        HERE.with(|here| *here.borrow_mut() = Some(Arc::clone(&world)));
        work_in_place(Some(Arc::clone(&world) as Arc<dyn InPlace>));
        world
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Whether this is the thread on which processes run; others are the kernel's.
    pub(super) fn is_here(&self) -> bool {
        std::thread::current().id() == self.thread
    }

    pub(super) fn choose(&self, below: u64) -> u64 {
        self.inner().dice.choose(below)
    }

    /// Every request enters the trace: what, by whom, when, and what came of it.
    pub(super) fn touch(&self, process: u64, what: u64) -> Fault {
        let now = self.now();
        let mut inner = self.inner();
        let fault = match inner.dice.fault(80) {
            Some(0) => Fault::Before,
            Some(1) => Fault::After,
            Some(2 | 3) => Fault::Conflict,
            _ => Fault::None,
        };
        inner.dice.note(now, process, what, fault as u64);
        fault
    }

    pub(super) fn count(&self, with: impl FnOnce(&mut Counters)) {
        with(&mut self.inner().counters);
    }

    pub(super) fn violation(&self, what: String) {
        self.inner().violations.push(what);
    }

    /// How long a request takes; one in `slow` hangs.
    pub(super) fn delay(&self, slow: u64) -> Duration {
        self.inner().dice.delay(slow)
    }

    pub(super) async fn dawdle(&self) {
        tokio::time::sleep(self.delay(100)).await;
    }

    /// A process begins or ends a commit.
    pub(super) fn begins(&self, process: u64, seen: Seen) {
        self.inner().seen.insert(process, seen);
    }

    pub(super) fn newest(&self) -> Manifest {
        self.inner().manifests.last().cloned().unwrap_or_default()
    }

    /// Whoever is first decides a number.
    pub(super) fn decide(&self, manifest: &Manifest) -> Result<()> {
        decide(&mut self.inner().manifests, manifest.number, manifest.clone())
    }
}
