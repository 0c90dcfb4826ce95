//! What processes share and what outlives them, the seed's dice, and the virtual clock.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::NamedTempFile;
use thalweg_connectors::testing::{InPlace, work_in_place};
use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::sink::PendingCommit;
use thalweg_core::testing::simulation::Dice;
use thalweg_core::time::Clock;
use thalweg_core::{CheckpointId, Error, counters};

use super::broker::Broker;
use super::lake::{self, Lake};
use super::lines;
use super::steps::{self, Steps};
use super::topic::Topic;

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
    /// The marker of a transaction counts that a new producer aborts.
    TornTransaction,
    /// A new producer does not fence the ones before it.
    NoProducerFence,
    /// A source begins one message behind the position of its checkpoint.
    ResumesLate,
    /// A source that begins before the first message that is there begins at that one, and says nothing.
    ResumesSilently,
    /// A source begins where its group's offsets say.
    ResumesAtGroup,
    /// A source that has an end asks for it again whenever it begins.
    EndsAnew,
}

/// What the job reads and writes, beside the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backing {
    /// A log and tables that are played.
    Played,
    /// A file of lines and Delta tables, by the connectors for them.
    Delta,
    /// A topic, by the Kafka source; tables that are played.
    Topic,
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

counters! {
    pub(super) struct Counters {
        kills,
        freezes,
        /// Frozen processes that woke up beside a successor.
        zombies,
        fenced,
        rescales,
        lost_answers,
        late_lists,
        replays,
        manifests,
        /// Transactions that a producer left open and the next one aborted.
        aborted,
        /// Calls of producers that a later one had fenced.
        refused,
        /// Commits that were done already, as their marker said.
        marked,
    }
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) dice: Dice,
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
    pub(super) backing: Backing,
    /// With [`Backing::Delta`]: the tables' store and the file.
    real: Option<(Lake, NamedTempFile)>,
    topic: Mutex<Topic>,
    /// Rows of each partition.
    pub(super) rows: i64,
    start: tokio::time::Instant,
}

thread_local! {
    static HERE: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

impl World {
    /// A world in the current runtime's time; it serves [`dawdle`] on this thread.
    pub(super) fn new(seed: u64, mutation: Mutation, rows: i64, backing: Backing) -> Arc<Self> {
        let inner = Inner {
            dice: Dice::new(seed, 0x0071_0b00),
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
        };
        let start = tokio::time::Instant::now();
        let real = (backing == Backing::Delta).then(|| (Lake::new(), lines::write(rows)));
        let (inner, topic) = (Mutex::new(inner), Mutex::new(Topic::new(seed, rows)));
        let world = Arc::new(Self { inner, mutation, backing, real, topic, rows, start });
        HERE.with(|here| *here.borrow_mut() = Some(Arc::clone(&world)));
        work_in_place(Some(Arc::new(Steps(Arc::clone(&world)))));
        world
    }

    pub(super) fn lake(&self) -> &Lake {
        &self.real.as_ref().unwrap().0
    }

    pub(super) fn input(&self) -> &Path {
        self.real.as_ref().unwrap().1.path()
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic that is read, as it is now.
    pub(super) fn topic(&self) -> MutexGuard<'_, Topic> {
        let (now, deletes) = (self.monotonic(), self.inner().dice.faulty);
        let mut topic = self.topic.lock().unwrap_or_else(PoisonError::into_inner);
        topic.advance(now, deletes);
        topic
    }

    pub(super) fn choose(&self, below: u64) -> u64 {
        self.inner().dice.choose(below)
    }

    /// Every touch of the outside world enters the trace: what, by whom, when, and what came of it.
    pub(super) fn touch(&self, process: u64, what: u64) -> Fault {
        self.ask(process, what, 70)
    }

    /// As [`World::touch`]; two in `sides` go wrong.
    pub(super) fn ask(&self, process: u64, what: u64, sides: u32) -> Fault {
        if !steps::lives() {
            return Fault::Before;
        }
        let now = self.monotonic();
        let mut inner = self.inner();
        let fault = match inner.dice.fault(sides) {
            Some(0) => Fault::Before,
            Some(1) => Fault::After,
            _ => Fault::None,
        };
        if fault == Fault::After {
            inner.counters.lost_answers += 1;
        }
        inner.dice.note(now, process, what, fault as u64);
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

    /// No marker says what no manifest decided; one that is written again was looked at.
    pub(super) fn audit_marker(&self, app_id: &str, number: CheckpointId) {
        if self.inner().broker.has_marked(app_id, number.0) {
            return;
        }
        // That nothing was sent is known as soon as the chain is.
        let decided = |m: &Manifest| match number {
            CheckpointId::GENESIS => m.sinks.iter().any(|sink| sink.app_id == app_id),
            _ => m.pending.iter().any(|pending| pending.app_id == app_id),
        };
        if !self.manifests(number).iter().any(decided) {
            self.violation(format!("{app_id} was marked with {number}, which nobody decided"));
        }
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
    pub(super) fn delay(&self, slow: u32) -> Duration {
        let mut inner = self.inner();
        inner.steps += 1;
        if inner.hangs == Some(inner.steps) {
            return STALL;
        }
        let millis = match inner.dice.fault(slow) {
            None => 1,
            Some(0) => return STALL,
            Some(1..20) => 100 + inner.dice.choose(2_900),
            Some(_) => inner.dice.choose(20),
        };
        Duration::from_millis(millis)
    }

    /// A connector's piece of blocking work begins.
    pub(super) fn begin_step(&self) {
        if let Some((lake, _)) = &self.real {
            lake.refuse(self.ask(0, 10, lake::SIDES) != Fault::None);
        }
    }

    pub(super) fn end_step(&self) {
        if let Some((lake, _)) = &self.real {
            lake.refuse(false);
        }
    }

    pub(super) async fn dawdle(&self) {
        tokio::time::sleep(self.delay(200)).await;
    }

    /// A broker, or a store of tables, hangs less often than one of checkpoints: a commit asks it a dozen times.
    pub(super) async fn brief(&self) {
        tokio::time::sleep(self.delay(1_000)).await;
    }

    /// How long it takes until a transaction that was answered shows.
    pub(super) fn later(&self) -> Duration {
        let mut inner = self.inner();
        let most = if inner.dice.faulty { 1_500 } else { 1 };
        Duration::from_millis(inner.dice.choose(most))
    }
}

/// Waits as long as a request takes in the world of this thread, if there is one.
pub(crate) async fn dawdle() {
    let world = HERE.with(|here| here.borrow().clone());
    if let Some(world) = world {
        world.dawdle().await;
    }
}

/// The steps of this thread's world, if it has readers that block.
pub(crate) fn blocking_readers() -> Option<Arc<dyn InPlace>> {
    let world = HERE.with(|here| here.borrow().clone());
    let world = world.filter(|world| world.backing == Backing::Topic)?;
    Some(Arc::new(Steps(world)))
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
