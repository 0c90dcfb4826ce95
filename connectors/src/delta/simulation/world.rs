//! What processes share and what outlives them: the objects, the manifests, the seed's dice, and the virtual clock.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use object_store::memory::InMemory;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thalweg_core::connector::sink::{PendingCommit, TargetExpectation};
use thalweg_core::{Error, Result};
use thalweg_objects::{Place, Remote};

use super::audit::Entry;
use super::step::Step;

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

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counters {
    pub(super) kills: u64,
    pub(super) freezes: u64,
    /// Frozen processes that woke up beside a successor.
    pub(super) zombies: u64,
    pub(super) fenced: u64,
    /// Attempts that ended by an error that may pass.
    pub(super) restarts: u64,
    /// Entries that were created though their sender was told otherwise.
    pub(super) lost_answers: u64,
    /// Entries that were refused as existing, with nothing stored.
    pub(super) conflicts: u64,
    /// Writes that arrived after their sender's death.
    pub(super) late: u64,
    /// Entries that were created where others had cleaned.
    pub(super) holes: u64,
    pub(super) replays: u64,
    pub(super) foreign: u64,
    /// Others' changes of columns or settings.
    pub(super) changes: u64,
    /// Others' clean-ups.
    pub(super) cleanups: u64,
    /// Entries that our own clean-up removed.
    pub(super) removed: u64,
    /// Logs that were listed while a commit was under way.
    pub(super) reloads: u64,
    /// Listings that were out of date, whole or from some name on, when the entries were read.
    pub(super) stale: u64,
}

impl Counters {
    fn all(&mut self) -> [&mut u64; 16] {
        [
            &mut self.kills,
            &mut self.freezes,
            &mut self.zombies,
            &mut self.fenced,
            &mut self.restarts,
            &mut self.lost_answers,
            &mut self.conflicts,
            &mut self.late,
            &mut self.holes,
            &mut self.replays,
            &mut self.foreign,
            &mut self.changes,
            &mut self.cleanups,
            &mut self.removed,
            &mut self.reloads,
            &mut self.stale,
        ]
    }

    pub(super) fn least(mut self) -> u64 {
        self.all().into_iter().map(|n| *n).min().unwrap_or(0)
    }

    pub(super) fn add(&mut self, mut other: Self) {
        for (mine, more) in self.all().into_iter().zip(other.all()) {
            *mine += *more;
        }
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
    pub(super) random: StdRng,
    pub(super) faulty: bool,
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
    pub(super) trace: u64,
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
pub(crate) fn here() -> Option<Arc<World>> {
    HERE.with(|here| here.borrow().clone())
}

/// From now on nothing is played on this thread.
pub(super) fn leave() {
    HERE.with(|here| here.borrow_mut().take());
}

impl World {
    /// A world in the current runtime's time; it is the one of this thread until [`leave`].
    pub(super) fn new(seed: u64, mutation: Mutation) -> Arc<Self> {
        let Place::Remote(remote) = "s3://lake/tables".parse::<Place>().unwrap() else {
            unreachable!("it is a URL");
        };
        let inner = Inner {
            random: StdRng::seed_from_u64(seed ^ 0x00de_17a0),
            faulty: true,
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
            trace: seed,
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
        self.inner().random.random_range(0..below.max(1))
    }

    /// Every request enters the trace: what, by whom, when, and what came of it.
    pub(super) fn touch(&self, process: u64, what: u64) -> Fault {
        let now = self.now().as_micros() as u64;
        let mut inner = self.inner();
        let fault = match inner.faulty.then(|| inner.random.random_range(0..80)) {
            Some(0) => Fault::Before,
            Some(1) => Fault::After,
            Some(2 | 3) => Fault::Conflict,
            _ => Fault::None,
        };
        for part in [now, process, what, fault as u64] {
            inner.trace = (inner.trace ^ part).wrapping_mul(0x0100_0000_01b3);
        }
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
        let mut inner = self.inner();
        if !inner.faulty {
            return Duration::from_millis(1);
        }
        let millis = match inner.random.random_range(0..slow) {
            0 => inner.random.random_range(1_000..=30_000),
            1 => inner.random.random_range(100..3_000),
            _ => inner.random.random_range(0..20),
        };
        Duration::from_millis(millis)
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
        let mut inner = self.inner();
        if manifest.number != inner.manifests.len() as u64 + 1 {
            return Err(Error::fenced("another process has decided this checkpoint"));
        }
        inner.manifests.push(manifest.clone());
        Ok(())
    }
}
