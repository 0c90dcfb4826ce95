//! One process: it opens the topics, finishes the newest checkpoint, and decides and commits the next ones.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch};
use serde_json::json;
use thalweg_core::connector::sink::{PendingCommit, Target, TargetExpectation};
use thalweg_core::connector::staging::{DecidedCheckpoint, StagedBytes, StagingArea};
use thalweg_core::{CheckpointId, Error, ErrorKind, Result};

use super::super::KIND;
use super::super::committer::Shared;
use super::super::config::KafkaSinkConfig;
use super::super::messages::schema;
use super::super::staged::pack;
use super::broker::OPEN;
use super::cluster::SimCluster;
use super::world::{CHECKPOINTS, Fault, Manifest, Part, SINKS, World, enter};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// After how long a marker is written again.
pub(super) const REFRESH: Duration = Duration::from_secs(3);

/// A job's thread.
pub(super) struct Process {
    pub(super) number: u64,
    pub(super) job: JoinHandle<Result<()>>,
    pub(super) frozen_until: Option<Duration>,
}

/// Tells the director when its thread ends, however it does.
struct Turn(Arc<World>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Process {
    /// It works on a job. Its first turn comes at once.
    pub(super) fn start(world: &Arc<World>, number: u64) -> Self {
        Self::doing(world, number, |cluster| Job::new(cluster).run())
    }

    pub(super) fn doing(
        world: &Arc<World>,
        number: u64,
        work: impl FnOnce(SimCluster) -> Result<()> + Send + 'static,
    ) -> Self {
        let mut inner = world.inner();
        let now = inner.now;
        inner.waiting.insert(number, (now, None));
        drop(inner);
        let world = Arc::clone(world);
        let job = thread::spawn(move || {
            world.begin(number);
            let _turn = Turn(Arc::clone(&world));
            enter(&world);
            work(SimCluster { world, process: number })
        });
        Self { number, job, frozen_until: None }
    }
}

/// A committer as process `cluster.process` has it.
pub(super) fn committer(cluster: SimCluster) -> Shared {
    let config = KafkaSinkConfig {
        transaction_timeout: OPEN,
        marker_refresh: REFRESH,
        ..KafkaSinkConfig::new("sim")
    };
    Shared::new(config, Arc::new(cluster))
}

pub(super) fn target(sink: &str) -> Target {
    let definition = json!({ "exactly_once": true });
    Target { kind: KIND.to_owned(), path: sink.replace('/', "-"), definition }
}

/// A decided checkpoint as one process may ask it.
#[derive(Debug)]
struct Decided {
    cluster: SimCluster,
    number: u64,
}

impl Decided {
    fn asked(&self) -> Result<()> {
        let SimCluster { world, process } = &self.cluster;
        let fault = world.touch(*process, 7);
        let lives = world.wait(*process, world.delay(100), None);
        if lives && fault != Fault::Before {
            return Ok(());
        }
        Err(Error::transient("the checkpoint store does not answer"))
    }
}

impl DecidedCheckpoint for Decided {
    fn read(&self, staged: &StagedBytes) -> Result<Vec<u8>> {
        self.asked()?;
        self.cluster.world.staging.read(staged)
    }

    fn is_newest(&self) -> Result<bool> {
        self.asked()?;
        Ok(self.cluster.world.newest().number == self.number)
    }
}

struct Job {
    cluster: SimCluster,
    committer: Shared,
}

impl Job {
    fn new(cluster: SimCluster) -> Self {
        Self { committer: committer(cluster.clone()), cluster }
    }

    fn world(&self) -> &World {
        &self.cluster.world
    }

    fn wait(&self, long: Duration) -> Result<()> {
        let lives = self.world().wait(self.cluster.process, long, None);
        if lives { Ok(()) } else { Err(Error::transient("killed")) }
    }

    fn run(&self) -> Result<()> {
        loop {
            match self.attempt() {
                Err(error) if error.kind() == ErrorKind::Transient => {
                    self.wait(PAUSE)?;
                    self.world().count(|c| c.restarts += 1);
                }
                done => return done,
            }
        }
    }

    fn attempt(&self) -> Result<()> {
        let mut manifest = self.world().newest();
        self.wait(self.world().delay(100))?;
        let mut ids = [const { String::new() }; 2];
        for (at, sink) in SINKS.into_iter().enumerate() {
            let expected = &manifest.parts[at].expected;
            let status = self.committer.open(&target(sink), sink, expected)?;
            if status.txn > Some(CheckpointId(manifest.number)) {
                return Err(Error::fenced("the topic is ahead of the newest manifest"));
            }
            ids[at] = status.id;
        }
        loop {
            let decided = Decided { cluster: self.cluster.clone(), number: manifest.number };
            for part in &manifest.parts {
                self.commit(part, &decided)?;
            }
            if manifest.number > 0 {
                self.look(&decided);
            }
            if manifest.number == CHECKPOINTS {
                return Ok(());
            }
            manifest = self.next(&manifest, &ids)?;
        }
    }

    fn commit(&self, part: &Part, decided: &Decided) -> Result<()> {
        let Some(pending) = &part.pending else { return Ok(()) };
        let checkpoint = (!pending.void).then_some(decided as &dyn DecidedCheckpoint);
        let committed = self.committer.commit(pending, checkpoint)?;
        let (id, n) = (pending.app_id.as_str(), pending.checkpoint.0);
        if !self.world().inner().broker.has_marked(id, n) {
            self.world().violation(format!("{id}: {n} was reported as committed and is not in"));
        }
        self.world().count(|c| {
            c.replays += u64::from(committed.replayed);
            c.given_up += u64::from(pending.void);
        });
        Ok(())
    }

    /// Writes markers again that are due. The brokers count looks that nothing disturbed.
    fn look(&self, decided: &Decided) {
        let (faults, begun, sent) = {
            let inner = self.world().inner();
            (inner.faults, inner.now, inner.broker.sent.len())
        };
        self.committer.refresh(decided);
        let mut inner = self.world().inner();
        inner.counters.refreshed += (inner.broker.sent.len() - sent) as u64;
        let newest = inner.manifests.len() as u64 == decided.number;
        if newest && !inner.dead.contains(&self.cluster.process) {
            let (disturbed, now) = (inner.faults != faults, inner.now);
            for sink in SINKS {
                inner.broker.looked(sink, disturbed, begun.saturating_sub(REFRESH), now);
            }
        }
    }

    /// Stages some messages and decides them.
    fn next(&self, last: &Manifest, ids: &[String; 2]) -> Result<Manifest> {
        let number = last.number + 1;
        let mut parts = [Part::default(), Part::default()];
        for (at, sink) in SINKS.into_iter().enumerate() {
            let before = &last.parts[at];
            let sent = before.pending.as_ref().map(|pending| pending.checkpoint);
            let txn = sent.or(before.expected.txn);
            let id = Some(ids[at].clone());
            let expected = TargetExpectation { id, txn, ..TargetExpectation::default() };
            parts[at] = self.stage(sink, number, expected, at == 1)?;
        }
        let manifest = Manifest { number, parts };
        self.wait(self.world().delay(100))?;
        self.world().decide(&manifest)?;
        self.wait(self.world().delay(100))?;
        Ok(manifest)
    }

    fn stage(
        &self,
        sink: &str,
        number: u64,
        expected: TargetExpectation,
        seldom: bool,
    ) -> Result<Part> {
        let world = self.world();
        let count = if seldom && world.choose(4) > 0 { 0 } else { world.choose(6) };
        if count == 0 {
            return Ok(Part { expected, ..Part::default() });
        }
        let first = {
            let mut inner = world.inner();
            inner.rows += count;
            inner.rows - count
        };
        let rows: Vec<u64> = (first..first + count).collect();
        let mut staged = Vec::new();
        for (part, some) in (0..).zip(rows.chunks(3)) {
            let bytes = pack(&[batch(some)])?;
            let put = world.staging.put(CheckpointId(number), part, &bytes)?;
            staged.push(put.to_item());
        }
        let void = world.choose(10) == 0;
        let pending = PendingCommit {
            sink: sink.to_owned(),
            kind: KIND.to_owned(),
            path: target(sink).path,
            target_id: expected.id.clone().unwrap_or_default(),
            app_id: sink.to_owned(),
            checkpoint: CheckpointId(number),
            rank: 0,
            rows: count,
            staged,
            void,
        };
        let rows = if void { Vec::new() } else { rows };
        Ok(Part { expected, pending: Some(pending), rows })
    }
}

fn batch(rows: &[u64]) -> RecordBatch {
    let none: ArrayRef = Arc::new(rows.iter().map(|_| None::<&[u8]>).collect::<BinaryArray>());
    let values = rows.iter().map(|row| Some(row.to_string())).collect::<BinaryArray>();
    let times = Arc::new(rows.iter().map(|_| None).collect::<Int64Array>());
    RecordBatch::try_new(schema(), vec![none, Arc::new(values), times]).unwrap()
}
