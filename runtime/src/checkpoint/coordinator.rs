//! The actor that acts out the pure coordinator of core for one attempt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use thalweg_core::checkpoint::manifest::{SourceSnapshot, SplitSnapshot};
use thalweg_core::checkpoint::{Action, CheckpointCoordinator, Fact, Manifest};
use thalweg_core::connector::sink::IoHandle;
use thalweg_core::connector::staging::StagedBytes;
use thalweg_core::graph::NodeKind;
use thalweg_core::{Attempt, Barrier, BarrierKind, CheckpointId, OperatorUid, Result};
use tokio::sync::{oneshot, watch};

use super::assemble::{Parts, assemble};
use super::finish::{finish, refresh};
use super::recover::{JobContext, Restored};
use super::staging::staged;
use super::store::{collect_garbage, losses, store, tell_sources};
use crate::disk;
use crate::memory::MemoryWatch;
use crate::metrics::JobMetrics;
use crate::placement::blocking;
use crate::settings::Settings;
use crate::subtask::{
    AddSplits, Budget, Event, Inject, Pace, SubtaskActor, SubtaskEvent, SubtaskReport,
};

/// An interval of nothing would be a loop without end.
const SHORTEST: Duration = Duration::from_millis(1);

/// How an attempt ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Completed {
    /// Stopped with a checkpoint; can be resumed.
    Stopped,
    /// The input has been read to its end and everything is flushed.
    Finished,
}

/// A source subtask that takes orders.
#[derive(Debug, Clone)]
pub(crate) struct SourceAddress {
    pub(crate) uid: OperatorUid,
    pub(crate) address: Addr<SubtaskActor>,
}

/// What the actor is started with.
pub(crate) struct CoordinatorPlan {
    pub(crate) attempt: Attempt,
    pub(crate) token: String,
    pub(crate) context: JobContext,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<JobMetrics>,
    pub(crate) subtasks: usize,
    pub(crate) restored: Restored,
    pub(crate) io: IoHandle,
    pub(crate) activity: Arc<AtomicU64>,
    /// Whether a limit that is reached finishes the job or merely stops it.
    pub(crate) drain: bool,
    /// Whether the input has an end, which finishes the job.
    pub(crate) bounded: bool,
    pub(crate) budget: Budget,
    /// Turns true when the attempt ends.
    pub(crate) cancel: watch::Receiver<bool>,
    pub(crate) done: oneshot::Sender<Result<Completed>>,
}

/// The coordinator of one attempt.
pub(crate) struct Coordinator {
    attempt: Attempt,
    token: String,
    context: JobContext,
    settings: Settings,
    metrics: Arc<JobMetrics>,
    protocol: CheckpointCoordinator,
    io: IoHandle,
    activity: Arc<AtomicU64>,
    injected_activity: Option<u64>,
    drain: bool,
    bounded: bool,
    budget: Budget,
    cancel: watch::Receiver<bool>,
    sources: Vec<SourceAddress>,
    exhausted: Vec<usize>,
    reports: Vec<(usize, SubtaskReport)>,
    /// The newest stored manifest, its expectations updated by finishing it, and the digest of its stored bytes.
    parent: Manifest,
    parent_digest: String,
    /// What sinks staged for the newest finished checkpoint; needed until the next one is (P20).
    spent: Vec<StagedBytes>,
    /// Rows per source at the attempt's start.
    base_rows: BTreeMap<OperatorUid, u64>,
    known_splits: BTreeMap<OperatorUid, Vec<SplitSnapshot>>,
    memory: Option<MemoryWatch>,
    /// Whether somebody is looking at the disk.
    looking: bool,
    /// When the newest barrier was injected (at first, when the attempt began), and when that of the checkpoint was that is
    /// being finished: the one behind it may be on its way already.
    barrier_at: Duration,
    stored_barrier_at: Duration,
    paused: bool,
    warned: bool,
    done: Option<oneshot::Sender<Result<Completed>>>,
}

/// The sources are deployed: barriers may begin.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Begin(pub(crate) Vec<SourceAddress>);

/// Stop with a checkpoint, or (`true`) drain and finish.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct EndJob(pub(crate) bool);

#[derive(Message)]
#[rtype(result = "()")]
enum IoDone {
    Stored(Result<(Box<Manifest>, String)>),
    Finished(CheckpointId, Result<BTreeMap<String, u64>>),
    Discovered(OperatorUid, Result<Vec<SplitSnapshot>>),
    Looked(Result<()>),
}

impl Coordinator {
    pub(crate) fn new(plan: CoordinatorPlan) -> Self {
        let Restored { manifest, digest, mut discovered, .. } = plan.restored;
        let begun = plan.context.clock.monotonic();
        // What is deployed: what the checkpoint knows, and behind it what was found at this start.
        let deployed = |s: &SourceSnapshot| {
            let found = discovered.remove(&s.uid).unwrap_or_default();
            (s.uid.clone(), s.splits.iter().cloned().chain(found).collect())
        };
        let known_splits = manifest.sources.iter().map(deployed).collect();
        Self {
            attempt: plan.attempt,
            token: plan.token,
            protocol: CheckpointCoordinator::new(plan.subtasks, manifest.number),
            base_rows: manifest.sources.iter().map(|s| (s.uid.clone(), s.rows)).collect(),
            known_splits,
            context: plan.context,
            memory: plan.settings.memory_limit.map(MemoryWatch::new),
            looking: false,
            settings: plan.settings,
            metrics: plan.metrics,
            io: plan.io,
            activity: plan.activity,
            injected_activity: None,
            drain: plan.drain,
            bounded: plan.bounded,
            budget: plan.budget,
            cancel: plan.cancel,
            sources: Vec::new(),
            exhausted: Vec::new(),
            reports: Vec::new(),
            spent: staged(&manifest),
            parent: manifest,
            parent_digest: digest,
            barrier_at: begun,
            stored_barrier_at: Duration::ZERO,
            paused: false,
            warned: false,
            done: Some(plan.done),
        }
    }

    fn end(&mut self, result: Result<Completed>, context: &mut Context<Self>) {
        if let Some(done) = self.done.take() {
            // Nobody listens when the job master is gone already.
            drop(done.send(result));
        }
        context.stop();
    }

    fn fact(&mut self, fact: Fact, context: &mut Context<Self>) {
        match self.protocol.on(fact) {
            Ok(actions) => {
                for action in actions {
                    self.act(action, context);
                }
            }
            Err(error) => self.end(Err(error), context),
        }
    }

    fn check_exhausted(&mut self, context: &mut Context<Self>) {
        if !self.sources.is_empty() && self.exhausted.len() == self.sources.len() {
            let ended = self.bounded && !self.budget.is_spent();
            let fact = if self.drain || ended { Fact::InputExhausted } else { Fact::StopRequested };
            self.fact(fact, context);
        }
    }

    fn act(&mut self, action: Action, context: &mut Context<Self>) {
        match action {
            Action::Inject(barrier) => self.inject(barrier),
            Action::Store(id) => self.store(id, context),
            Action::Finish(id) => self.finish(id, context),
            Action::Complete(finished) => {
                let completed = if finished { Completed::Finished } else { Completed::Stopped };
                self.end(Ok(completed), context);
            }
        }
    }

    /// Whether an interval that has passed asks for a checkpoint: something has happened since the newest barrier, or nothing
    /// for so long that sinks should see to what their targets would forget.
    fn is_due(&self) -> bool {
        let activity = self.activity.load(Ordering::Acquire);
        let idle_for = self.context.clock.monotonic().saturating_sub(self.barrier_at);
        (activity > 0 && self.injected_activity != Some(activity))
            || idle_for >= self.settings.idle_checkpoint_interval
    }

    #[expect(clippy::disallowed_methods, reason = "control plane: one per checkpoint and source")]
    fn inject(&mut self, barrier: Barrier) {
        self.barrier_at = self.context.clock.monotonic();
        self.warned = false;
        self.injected_activity = Some(self.activity.load(Ordering::Acquire));
        for source in &self.sources {
            source.address.do_send(Inject(self.attempt, barrier));
        }
    }

    fn store(&mut self, id: CheckpointId, context: &mut Context<Self>) {
        let reports = std::mem::take(&mut self.reports);
        let finished = matches!(self.protocol.open_kind(), Some(BarrierKind::Final));
        let manifest = assemble(Parts {
            parent: &self.parent,
            parent_digest: &self.parent_digest,
            base_rows: &self.base_rows,
            id,
            token: &self.token,
            created_at: self.context.clock.now_micros(),
            fingerprint: self.context.graph.fingerprint(),
            finished,
            reports: reports.into_iter().map(|(_, report)| report).collect(),
        });
        let (job, parent_digest) = (self.context.clone(), self.parent_digest.clone());
        let parent = self.parent.number;
        let address = context.address();
        self.io.spawn(async move {
            let storing = move || store(&job, manifest, parent, &parent_digest);
            let result = blocking("storing a manifest", storing).await.flatten();
            tell(&address, IoDone::Stored(result.map(|(m, d)| (Box::new(m), d))));
        });
    }

    fn finish(&mut self, id: CheckpointId, context: &mut Context<Self>) {
        let (job, manifest) = (self.context.clone(), self.parent.clone());
        let (digest, address) = (self.parent_digest.clone(), context.address());
        self.io.spawn(async move {
            let result = finish(&job, &manifest, &digest).await;
            if result.is_ok() {
                refresh(&job, &manifest, &digest).await;
            }
            tell(&address, IoDone::Finished(id, result));
        });
    }

    fn finished(&mut self, id: CheckpointId, versions: &BTreeMap<String, u64>) {
        self.parent.sinks = self.parent.expectations(versions);
        let clock = &self.context.clock;
        self.metrics.checkpoint.store(id.0, Ordering::Relaxed);
        self.metrics.checkpoint_at.store(clock.now_micros(), Ordering::Relaxed);
        let took = clock.monotonic().saturating_sub(self.stored_barrier_at);
        self.metrics.checkpoint_micros.store(took.as_micros() as u64, Ordering::Relaxed);
        for sink in &self.parent.sinks {
            self.metrics.set_committed(sink.uid.as_str(), sink.rows);
        }
        tracing::debug!(checkpoint = %id, took_ms = took.as_millis() as u64, "checkpoint finished");
        let (job, keep) = (self.context.clone(), self.settings.keep_checkpoints);
        let (splits, metrics) = (self.parent.sources.clone(), Arc::clone(&self.metrics));
        let spent = std::mem::replace(&mut self.spent, staged(&self.parent));
        self.io.spawn(async move {
            let cleaning = blocking("cleaning up", move || {
                if let Err(error) = collect_garbage(job.storage.as_ref(), id, keep, &spent) {
                    tracing::warn!(%error, "old checkpoints could not be cleaned up");
                }
                let lag = tell_sources(&job, &splits).and_then(|rows| i64::try_from(rows).ok());
                metrics.lag.store(lag.unwrap_or(-1), Ordering::Relaxed);
                metrics.losses.store(losses(&job), Ordering::Relaxed);
            });
            drop(cleaning.await);
        });
    }

    /// Looks at the clock: slow checkpoints are told and sources paused, never skipped (P1, P16).
    #[expect(clippy::disallowed_methods, reason = "control plane: rare")]
    fn watch(&mut self) {
        let open_for = if self.protocol.is_busy() {
            self.context.clock.monotonic().saturating_sub(self.barrier_at)
        } else {
            Duration::ZERO
        };
        if open_for > self.settings.slow_checkpoint && !self.warned {
            self.warned = true;
            tracing::warn!(
                seconds = open_for.as_secs(),
                "a checkpoint is slow; sources are paused"
            );
        }
        let limit = self.settings.checkpoint_interval.saturating_mul(3).max(Duration::from_secs(2));
        let pause = open_for > limit;
        if pause != self.paused {
            self.paused = pause;
            for source in &self.sources {
                source.address.do_send(Pace(self.attempt, !pause));
            }
        }
    }

    /// Looks at the disks, beside the actor: a disk may take its time, and nobody else looks meanwhile.
    fn look_at_disk(&mut self, context: &Context<Self>) {
        let Some(reserve) = self.settings.disk_reserve.filter(|_| !self.looking) else { return };
        self.looking = true;
        let (storage, address) = (Arc::clone(&self.context.storage), context.address());
        let folders = disk::folders(&self.context.committers, &self.parent.sinks);
        self.io.spawn(async move {
            let looking = move || disk::look(storage.as_ref(), &folders, reserve);
            let looked = blocking("looking at the disk", looking).await.flatten();
            tell(&address, IoDone::Looked(looked));
        });
    }

    fn discover(&mut self, uid: &OperatorUid, context: &mut Context<Self>) {
        let Some(node) = self.context.graph.nodes().iter().find(|n| n.uid == *uid) else { return };
        let NodeKind::Source(source) = &node.kind else { return };
        let source = Arc::clone(&source.source);
        let known = self.known_splits.get(uid).cloned().unwrap_or_default();
        let (uid, address) = (uid.clone(), context.address());
        self.io.spawn(async move {
            let known: Vec<_> = known.into_iter().map(|s| s.split).collect();
            let looking = move || source.discover(&known);
            let found = blocking("looking for splits", looking).await.flatten();
            let found = found.map(|splits| {
                splits.into_iter().map(|split| SplitSnapshot { split, watermark: None }).collect()
            });
            tell(&address, IoDone::Discovered(uid, found));
        });
    }

    #[expect(clippy::disallowed_methods, reason = "control plane: rare")]
    fn add_splits(&mut self, uid: &OperatorUid, new: Vec<SplitSnapshot>) {
        let owners: Vec<_> = self.sources.iter().filter(|s| s.uid == *uid).collect();
        let known = self.known_splits.entry(uid.clone()).or_default();
        let mut orders = vec![Vec::new(); owners.len()];
        for split in new {
            if known.iter().any(|k| k.split.id == split.split.id) {
                continue;
            }
            // Without an owner it is found again.
            let Some(order) = orders.get_mut(known.len() % owners.len().max(1)) else { return };
            tracing::info!(source = %uid, split = split.split.id, "found a new split");
            order.push(split.clone());
            known.push(split);
        }
        // One order each, however many splits: orders wait in a short queue.
        for (owner, order) in owners.iter().zip(orders).filter(|(_, order)| !order.is_empty()) {
            owner.address.do_send(AddSplits(self.attempt, order));
        }
    }
}

impl Actor for Coordinator {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let mut cancel = self.cancel.clone();
        let cancelled = async move { drop(cancel.wait_for(|c| *c).await) };
        context.spawn(cancelled.into_actor(self).map(|(), _, context| context.stop()));
    }
}

impl Handler<Begin> for Coordinator {
    type Result = ();
    fn handle(&mut self, begin: Begin, context: &mut Self::Context) {
        self.sources = begin.0;
        self.look_at_disk(context);
        context.run_interval(self.settings.checkpoint_interval.max(SHORTEST), |actor, context| {
            if let Some(Err(error)) = actor.memory.as_mut().map(MemoryWatch::look) {
                actor.end(Err(error), context);
                return;
            }
            actor.look_at_disk(context);
            if actor.is_due() {
                actor.fact(Fact::IntervalPassed, context);
            }
        });
        context.run_interval(Duration::from_millis(250), |actor, _| actor.watch());
        for node in self.context.graph.nodes() {
            if let NodeKind::Source(source) = &node.kind
                && let Some(interval) = source.source.discovery_interval()
            {
                let uid = node.uid.clone();
                let look = move |actor: &mut Self, context: &mut _| actor.discover(&uid, context);
                context.run_interval(interval.max(SHORTEST), look);
            }
        }
        // A short input may have been read before this message came.
        self.check_exhausted(context);
    }
}

impl Handler<EndJob> for Coordinator {
    type Result = ();
    fn handle(&mut self, end: EndJob, context: &mut Self::Context) {
        let fact = if end.0 { Fact::DrainRequested } else { Fact::StopRequested };
        self.fact(fact, context);
    }
}

impl Handler<SubtaskEvent> for Coordinator {
    type Result = ();
    fn handle(&mut self, message: SubtaskEvent, context: &mut Self::Context) {
        if message.attempt != self.attempt {
            return;
        }
        match message.event {
            Event::Acknowledged(id, report) => {
                self.reports.push((message.subtask, report));
                self.fact(Fact::Acknowledged(message.subtask, id), context);
            }
            Event::Exhausted => {
                if !self.exhausted.contains(&message.subtask) {
                    self.exhausted.push(message.subtask);
                }
                self.check_exhausted(context);
            }
            Event::Failed(error) => self.end(Err(error), context),
        }
    }
}

impl Handler<IoDone> for Coordinator {
    type Result = ();
    fn handle(&mut self, message: IoDone, context: &mut Self::Context) {
        match message {
            IoDone::Stored(Ok((manifest, digest))) => {
                let id = manifest.number;
                self.parent = *manifest;
                self.parent_digest = digest;
                self.stored_barrier_at = self.barrier_at;
                self.fact(Fact::Stored(id), context);
            }
            IoDone::Finished(id, Ok(versions)) => {
                self.finished(id, &versions);
                self.fact(Fact::Finished(id), context);
            }
            IoDone::Discovered(uid, Ok(splits)) => self.add_splits(&uid, splits),
            IoDone::Discovered(uid, Err(error)) if error.kind().is_retryable() => {
                tracing::warn!(source = %uid, %error, "cannot look for new splits now");
            }
            IoDone::Looked(Ok(())) => self.looking = false,
            IoDone::Stored(Err(error))
            | IoDone::Finished(_, Err(error))
            | IoDone::Looked(Err(error))
            | IoDone::Discovered(_, Err(error)) => self.end(Err(error), context),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "control plane: one answer per request")]
fn tell(address: &Addr<Coordinator>, message: IoDone) {
    address.do_send(message);
}
