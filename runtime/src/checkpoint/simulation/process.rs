//! One process: the real recovery, coordinator, manifests, state files and finishing, around subtasks that are played.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use thalweg_core::checkpoint::manifest::SplitSnapshot;
use thalweg_core::checkpoint::{Action, CheckpointCoordinator, Fact, Manifest};
use thalweg_core::connector::sink::{Committer, Staged};
use thalweg_core::connector::source::Split;
use thalweg_core::crypto::MasterKey;
use thalweg_core::graph::JobGraph;
use thalweg_core::key::{KeyGroup, KeyGroupRange};
use thalweg_core::operator::StateChunk;
use thalweg_core::testing::ManualClock;
use thalweg_core::{
    Barrier, BarrierKind, CheckpointId, Error, ErrorKind, OperatorUid, Result, SubtaskIndex,
    Watermark,
};

use super::stores::{Hand, SimCommitter, SimStorage};
use super::world::{Mutation, PARTITIONS, World};
use crate::checkpoint::assemble::{Parts, assemble};
use crate::checkpoint::begin::begin;
use crate::checkpoint::finish::{Committers, finish};
use crate::checkpoint::lineage::Lineage;
use crate::checkpoint::recover::{JobContext, restore};
use crate::checkpoint::state_files::StateStore;
use crate::checkpoint::store::{collect_garbage, store};
use crate::subtask::{SourceReport, SubtaskReport};

/// Attempts of one process; a store that fails one request in twenty never needs them all.
const ATTEMPTS: u32 = 500;
const KEEP: u64 = 3;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    Killed,
    Fenced,
    Failed(String),
}

/// What every process of a seed is started with.
#[derive(Clone)]
pub(super) struct Program {
    pub(super) graph: Arc<JobGraph>,
    pub(super) key: Arc<MasterKey>,
}

/// Runs a process to its end.
pub(super) fn live(program: &Program, hand: &Hand, parallelism: u32) -> End {
    let recovering = Arc::new(AtomicBool::new(false));
    let storage = SimStorage { hand: hand.clone(), believed: Mutex::default() };
    let committer: Arc<dyn Committer> =
        Arc::new(SimCommitter { hand: hand.clone(), recovering: Arc::clone(&recovering) });
    let context = JobContext {
        graph: Arc::clone(&program.graph),
        storage: Arc::new(storage),
        key: Arc::clone(&program.key),
        committers: Committers(BTreeMap::from([("sim", committer)])),
        clock: Arc::new(ManualClock::at(0)),
        adopt: false,
        run: format!("process-{}.", hand.me),
    };
    let lineage = Mutex::new(Lineage::new(&context.run));
    for attempt in 1..=ATTEMPTS {
        let token = format!("{}-{attempt}", context.run);
        let attempt = Attempt::run(&context, hand, &recovering, &lineage, &token, parallelism);
        let error = match attempt {
            Ok(()) => return End::Finished,
            Err(error) => error,
        };
        if !hand.baton.is_alive(hand.me) {
            return End::Killed;
        }
        match error.kind() {
            ErrorKind::Fenced => return End::Fenced,
            kind if kind.is_retryable() => hand.world.count(|c| c.restarts += 1),
            _ => return End::Failed(error.to_string()),
        }
    }
    End::Failed("out of attempts".to_owned())
}

/// Simulated stores wait for their turn inside a poll: nothing is ever pending.
fn now<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    future.now_or_never().unwrap_or_else(|| Err(Error::internal("a simulated store is pending")))
}

/// A played subtask: it owns partitions, and what it counts of each is state.
struct Subtask {
    groups: KeyGroupRange,
    positions: BTreeMap<u16, u64>,
    counts: BTreeMap<u16, u64>,
    barrier: Option<Barrier>,
    read: u64,
    raw: Vec<(u16, u64)>,
    ended: bool,
}

struct Attempt<'a> {
    context: &'a JobContext,
    world: &'a World,
    random: StdRng,
    token: &'a str,
    states: StateStore,
    protocol: CheckpointCoordinator,
    subtasks: Vec<Subtask>,
    waiting: Vec<(usize, CheckpointId, SubtaskReport)>,
    reports: Vec<SubtaskReport>,
    todo: Vec<Action>,
    parent: Manifest,
    digest: String,
    base_rows: BTreeMap<OperatorUid, u64>,
    drained: bool,
    complete: bool,
}

impl<'a> Attempt<'a> {
    fn run(
        context: &'a JobContext,
        hand: &'a Hand,
        recovering: &AtomicBool,
        lineage: &Mutex<Lineage>,
        token: &'a str,
        parallelism: u32,
    ) -> Result<()> {
        recovering.store(true, Ordering::Relaxed);
        now(begin(context, token, false, lineage))?;
        let restored = now(restore(context, token, None, lineage))?;
        recovering.store(false, Ordering::Relaxed);
        let Some(restored) = restored else { return Ok(()) };
        let manifest = restored.manifest;
        let splits = &manifest.sources[0].splits;
        let position = |p: u16| {
            let split = splits.iter().find(|s| s.split.id == format!("p{p}"));
            split.map_or(0, |s| s.split.position as u64)
        };
        let mut counts = BTreeMap::new();
        for blob in restored.state.values().flatten() {
            let bytes: [u8; 8] = blob.bytes.as_slice().try_into().unwrap_or_default();
            counts.insert(blob.key_group.0, u64::from_le_bytes(bytes));
        }
        let subtasks: Vec<Subtask> = (0..parallelism)
            .map(|i| {
                let groups = KeyGroupRange::of_subtask(i, parallelism, PARTITIONS);
                let mine = (0..PARTITIONS).filter(|p| groups.contains(KeyGroup(*p)));
                Subtask {
                    groups,
                    positions: mine.clone().map(|p| (p, position(p))).collect(),
                    counts: mine.filter_map(|p| counts.get(&p).map(|n| (p, *n))).collect(),
                    barrier: None,
                    read: 0,
                    raw: Vec::new(),
                    ended: false,
                }
            })
            .collect();
        let seed = hand.world.choose(u64::MAX);
        let mut attempt = Self {
            context,
            world: &hand.world,
            random: StdRng::seed_from_u64(seed),
            token,
            states: StateStore {
                storage: Arc::clone(&context.storage),
                key: Arc::clone(&context.key),
                chain: manifest.chain.clone(),
                token: token.to_owned(),
            },
            protocol: CheckpointCoordinator::new(subtasks.len(), manifest.number),
            subtasks,
            waiting: Vec::new(),
            reports: Vec::new(),
            todo: Vec::new(),
            base_rows: manifest.sources.iter().map(|s| (s.uid.clone(), s.rows)).collect(),
            digest: restored.digest,
            parent: manifest,
            drained: false,
            complete: false,
        };
        while !attempt.complete {
            hand.touch()?;
            attempt.step()?;
        }
        Ok(())
    }

    /// One thing out of those that can be done.
    fn step(&mut self) -> Result<()> {
        match self.random.random_range(0..10) {
            0 => self.fact(Fact::IntervalPassed),
            1..4 => {
                self.read();
                Ok(())
            }
            4..6 => self.barrier(),
            6..8 => {
                if self.waiting.is_empty() {
                    return Ok(());
                }
                let index = self.random.random_range(0..self.waiting.len());
                let (subtask, id, report) = self.waiting.swap_remove(index);
                self.reports.push(report);
                self.fact(Fact::Acknowledged(subtask, id))
            }
            8 => self.drain(),
            _ => match self.todo.pop() {
                Some(action) => self.act(action),
                None => Ok(()),
            },
        }
    }

    fn fact(&mut self, fact: Fact) -> Result<()> {
        for action in self.protocol.on(fact)? {
            match action {
                Action::Inject(barrier) => {
                    self.subtasks.iter_mut().for_each(|s| s.barrier = Some(barrier));
                }
                Action::Complete(_) => self.complete = true,
                later => self.todo.insert(0, later),
            }
        }
        Ok(())
    }

    fn read(&mut self) {
        let ends = self.world.partitions();
        let index = self.random.random_range(0..self.subtasks.len());
        let subtask = &mut self.subtasks[index];
        if subtask.ended || subtask.positions.is_empty() {
            return;
        }
        let which = self.random.random_range(0..subtask.positions.len());
        let Some((&partition, position)) = subtask.positions.iter_mut().nth(which) else {
            return;
        };
        let most = self.random.random_range(1..5);
        for _ in 0..most {
            if *position == ends[usize::from(partition)] {
                break;
            }
            subtask.raw.push((partition, *position));
            *subtask.counts.entry(partition).or_default() += 1;
            *position += 1;
            subtask.read += 1;
        }
    }

    /// A subtask takes its barrier: snapshot, stage, and go on with the next epoch.
    fn barrier(&mut self) -> Result<()> {
        let index = self.random.random_range(0..self.subtasks.len());
        let subtask = &mut self.subtasks[index];
        let Some(barrier) = subtask.barrier.take() else { return Ok(()) };
        subtask.ended = barrier.kind == BarrierKind::Final;
        let raw = std::mem::take(&mut subtask.raw);
        let mut touched: Vec<u16> = raw.iter().map(|(p, _)| *p).collect();
        touched.sort_unstable();
        touched.dedup();
        let counts: Vec<(u16, u64)> = touched.iter().map(|p| (*p, subtask.counts[p])).collect();
        let chunks: Vec<StateChunk> = subtask
            .counts
            .iter()
            .map(|(p, n)| StateChunk {
                name: "count",
                key_group: KeyGroup(*p),
                payload: Arc::new(n.to_le_bytes().to_vec()),
            })
            .collect();
        let splits = subtask.positions.iter().map(|(p, position)| SplitSnapshot {
            split: Split {
                id: format!("p{p}"),
                position: *position as i64,
                end: None,
                properties: BTreeMap::new(),
            },
            watermark: Some(*position as i64),
        });
        let source = SourceReport {
            uid: OperatorUid::new("events")?,
            splits: splits.collect(),
            rows: subtask.read,
            said: Watermark::MIN,
        };
        let (groups, number) = (subtask.groups, SubtaskIndex(index as u32));
        let mut state = Vec::new();
        if !chunks.is_empty() {
            let uid = OperatorUid::new("count")?;
            state.push(self.states.write(barrier.id, &uid, number, groups, &chunks)?);
        }
        let staged = |rows: &[(u16, u64)]| Staged {
            items: if rows.is_empty() { Vec::new() } else { vec![json!(rows)] },
            rows: rows.len() as u64,
        };
        let staged = vec![
            (OperatorUid::new("raw")?, staged(&raw)),
            (OperatorUid::new("counts")?, staged(&counts)),
        ];
        let report = SubtaskReport { source: Some(source), state, staged };
        self.waiting.push((index, barrier.id, report));
        Ok(())
    }

    /// Once nothing more comes and everything is read, the job is finished.
    fn drain(&mut self) -> Result<()> {
        let ends = self.world.partitions();
        let is_read = |s: &Subtask| s.positions.iter().all(|(p, at)| *at == ends[usize::from(*p)]);
        if self.drained || !self.world.is_closed() || !self.subtasks.iter().all(is_read) {
            return Ok(());
        }
        self.drained = true;
        self.fact(Fact::InputExhausted)
    }

    fn act(&mut self, action: Action) -> Result<()> {
        match action {
            Action::Store(id) => {
                let manifest = assemble(Parts {
                    parent: &self.parent,
                    parent_digest: &self.digest,
                    base_rows: &self.base_rows,
                    id,
                    token: self.token,
                    created_at: 0,
                    fingerprint: self.context.graph.fingerprint(),
                    finished: self.protocol.open_kind() == Some(BarrierKind::Final),
                    reports: std::mem::take(&mut self.reports),
                });
                if self.world.mutation == Mutation::CommitFirst {
                    now(finish(self.context, &manifest, ""))?;
                }
                let (manifest, digest) =
                    store(self.context, manifest, self.parent.number, &self.digest)?;
                (self.parent, self.digest) = (manifest, digest);
                self.fact(Fact::Stored(id))
            }
            Action::Finish(id) => {
                let finished = finish(self.context, &self.parent, &self.digest);
                let versions = now(finished)?;
                self.parent.sinks = self.parent.expectations(&versions);
                self.world.count(|c| c.checkpoints += 1);
                // As in a real job, cleaning up may fail.
                drop(collect_garbage(self.context.storage.as_ref(), id, KEEP, &[]));
                self.fact(Fact::Finished(id))
            }
            Action::Inject(_) | Action::Complete(_) => Ok(()),
        }
    }
}
