//! What processes share and what outlives them, the seed's dice, and the virtual clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::sink::PendingCommit;
use thalweg_core::time::Clock;
use thalweg_core::{CheckpointId, Error};

use super::broker::Broker;

/// How long a request hangs that does, or a process that is stopped.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// What is broken on purpose, to see that the auditor notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutation {
    None,
    /// Recovery takes what is pending for committed.
    NoReplay,
    /// Tables are committed before the manifest is stored.
    CommitFirst,
    /// Another's manifest is taken for ours.
    NoFence,
    /// A sink sends its rows to the topic without looking at the marker.
    NoMarker,
    /// A new producer leaves open what an earlier one left open.
    NoAbort,
    /// A new producer does not fence the ones before it.
    NoProducerFence,
    /// A start does not remember where it found a marker.
    NoMemory,
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// It is not done, and an error is the answer.
    Before,
    /// It is done, and an error is the answer.
    After,
}

/// One commit to a table.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) app_id: String,
    pub(super) txn: u64,
    pub(super) rows: Vec<Vec<i64>>,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counters {
    pub(super) kills: u64,
    pub(super) freezes: u64,
    /// Frozen processes that woke up beside a successor.
    pub(super) zombies: u64,
    pub(super) fenced: u64,
    pub(super) rescales: u64,
    pub(super) lost_answers: u64,
    pub(super) late_lists: u64,
    pub(super) replays: u64,
    pub(super) manifests: u64,
    /// Transactions that a producer left open and the next one aborted.
    pub(super) aborted: u64,
    /// Calls of producers that a later one had fenced.
    pub(super) refused: u64,
    /// Commits that were done already, as their marker said.
    pub(super) marked: u64,
}

impl Counters {
    fn all(&self) -> [u64; 12] {
        [
            self.kills,
            self.freezes,
            self.zombies,
            self.fenced,
            self.rescales,
            self.lost_answers,
            self.late_lists,
            self.replays,
            self.manifests,
            self.aborted,
            self.refused,
            self.marked,
        ]
    }

    pub(super) fn least(&self) -> u64 {
        self.all().into_iter().min().unwrap_or(0)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.kills += other.kills;
        self.freezes += other.freezes;
        self.zombies += other.zombies;
        self.fenced += other.fenced;
        self.rescales += other.rescales;
        self.lost_answers += other.lost_answers;
        self.late_lists += other.late_lists;
        self.replays += other.replays;
        self.manifests += other.manifests;
        self.aborted += other.aborted;
        self.refused += other.refused;
        self.marked += other.marked;
    }
}

#[derive(Debug)]
pub(super) struct Inner {
    random: StdRng,
    pub(super) faulty: bool,
    /// A table whose store answers with errors, after a while.
    pub(super) refusing: Option<(&'static str, Duration)>,
    /// Requests and pieces of blocking work that were begun or awaited.
    pub(super) steps: u64,
    /// The one that takes [`STALL`].
    pub(super) hangs: Option<u64>,
    /// The one behind which everybody is looked at.
    pub(super) halts: Option<u64>,
    /// The furthest position that a reader has been given.
    pub(super) furthest: i64,
    /// Objects and when each was created, in virtual time.
    pub(super) objects: BTreeMap<String, (Vec<u8>, Duration)>,
    /// Every content that a manifest's name ever had.
    pub(super) created: BTreeMap<u64, Vec<Vec<u8>>>,
    pub(super) tables: BTreeMap<String, Vec<Entry>>,
    pub(super) broker: Broker,
    pub(super) counters: Counters,
    pub(super) violations: Vec<String>,
    pub(super) trace: u64,
}

impl Inner {
    /// Whether its target has what a manifest decided.
    pub(super) fn has(&self, decided: &PendingCommit) -> bool {
        let PendingCommit { path, app_id, checkpoint, .. } = decided;
        let mut log = self.tables.get(path).into_iter().flatten();
        log.any(|entry| entry.txn == checkpoint.0) || self.broker.has_marked(app_id, checkpoint.0)
    }
}

#[derive(Debug)]
pub(super) struct World {
    inner: Mutex<Inner>,
    pub(super) mutation: Mutation,
    /// Rows of each partition.
    pub(super) rows: i64,
    start: tokio::time::Instant,
}

thread_local! {
    static HERE: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

impl World {
    /// A world in the current runtime's time; it serves [`dawdle`] on this thread.
    pub(super) fn new(seed: u64, mutation: Mutation, rows: i64) -> Arc<Self> {
        let inner = Inner {
            random: StdRng::seed_from_u64(seed ^ 0x0071_0b00),
            faulty: true,
            refusing: None,
            steps: 0,
            hangs: None,
            halts: None,
            furthest: 0,
            objects: BTreeMap::new(),
            created: BTreeMap::new(),
            tables: BTreeMap::new(),
            broker: Broker::default(),
            counters: Counters::default(),
            violations: Vec::new(),
            trace: seed,
        };
        let start = tokio::time::Instant::now();
        let world = Arc::new(Self { inner: Mutex::new(inner), mutation, rows, start });
        HERE.with(|here| *here.borrow_mut() = Some(Arc::clone(&world)));
        world
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn choose(&self, below: u64) -> u64 {
        self.inner().random.random_range(0..below.max(1))
    }

    /// Every touch of the outside world enters the trace: what, by whom, when, and what came of it.
    pub(super) fn touch(&self, process: u64, what: u64) -> Fault {
        let now = self.monotonic().as_micros() as u64;
        let mut inner = self.inner();
        let fault = match inner.faulty.then(|| inner.random.random_range(0..70)) {
            Some(0) => Fault::Before,
            Some(1) => Fault::After,
            _ => Fault::None,
        };
        if fault == Fault::After {
            inner.counters.lost_answers += 1;
        }
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

    /// The number of the newest manifest.
    pub(super) fn newest(&self) -> u64 {
        self.inner().created.last_key_value().map_or(0, |(number, _)| *number)
    }

    /// Every manifest of that number that was ever stored.
    pub(super) fn manifests(&self, number: CheckpointId) -> Vec<Manifest> {
        let all = self.inner().created.get(&number.0).cloned().unwrap_or_default();
        all.iter().filter_map(|bytes| Manifest::decode(bytes).ok()).collect()
    }

    /// Whether the step has come at which everybody is looked at.
    pub(super) fn has_halted(&self) -> bool {
        let inner = self.inner();
        inner.halts.is_some_and(|step| step <= inner.steps)
    }

    /// Nothing is committed that no manifest decided.
    pub(super) fn audit_commit(&self, pending: &PendingCommit) {
        if !self.manifests(pending.checkpoint).iter().any(|m| m.pending.contains(pending)) {
            let (path, number) = (&pending.path, pending.checkpoint);
            self.violation(format!(
                "{path} of {number} was committed before a manifest decided it"
            ));
        }
    }

    /// How long one request takes; one in `slow` hangs.
    fn delay(&self, slow: u32) -> Duration {
        let mut inner = self.inner();
        inner.steps += 1;
        if inner.hangs == Some(inner.steps) {
            return STALL;
        }
        if !inner.faulty {
            return Duration::from_millis(1);
        }
        let millis = match inner.random.random_range(0..slow) {
            0 => return STALL,
            1..20 => inner.random.random_range(100..3_000),
            _ => inner.random.random_range(0..20),
        };
        Duration::from_millis(millis)
    }

    pub(super) async fn dawdle(&self) {
        tokio::time::sleep(self.delay(200)).await;
    }

    /// A broker hangs less often than a store: a commit asks it a dozen times.
    pub(super) async fn brief(&self) {
        tokio::time::sleep(self.delay(1_000)).await;
    }

    /// How long it takes until a transaction that was answered shows.
    pub(super) fn later(&self) -> Duration {
        let mut inner = self.inner();
        let most = if inner.faulty { 1_500 } else { 1 };
        Duration::from_millis(inner.random.random_range(0..most))
    }
}

/// Waits as long as a request takes in the world of this thread, if there is one.
pub(crate) async fn dawdle() {
    let world = HERE.with(|here| here.borrow().clone());
    if let Some(world) = world {
        world.dawdle().await;
    }
}

impl Clock for World {
    fn now_micros(&self) -> i64 {
        1_700_000_000_000_000 + self.monotonic().as_micros() as i64
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

pub(super) fn lost() -> Error {
    Error::transient("no answer")
}
