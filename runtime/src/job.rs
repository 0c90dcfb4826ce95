//! The outside of a job: build it, start it, stop it, wait for it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::Arbiter;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::crypto::MasterKey;
use thalweg_core::graph::{JobGraph, NodeKind};
use thalweg_core::operator::LeftOut;
use thalweg_core::restart::RestartDecision;
use thalweg_core::time::Clock;
use thalweg_core::{Attempt, Error, ErrorKind, Result, error};
use tokio::sync::watch;

use crate::attempt::AttemptPlan;
use crate::checkpoint::coordinator::Completed;
use crate::checkpoint::finish::Committers;
use crate::checkpoint::lineage::Lineage;
use crate::checkpoint::recover::{JobContext, read_newest};
use crate::checkpoint::storage::CheckpointStorage;
use crate::clock::SystemClock;
use crate::metrics::JobMetrics;
use crate::placement::{Placement, Workers};
use crate::settings::Settings;

/// How long work beside a job may go on when the job has ended.
const PARTING: Duration = Duration::from_secs(5);

/// What is asked of a running job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Run,
    Stop,
    Drain,
}

/// When a job ends by itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    pub(crate) events: Option<u64>,
    pub(crate) drain: bool,
}

/// Puts a job together. Settings are data, components are objects.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct JobBuilder {
    graph: JobGraph,
    storage: Arc<dyn CheckpointStorage>,
    key: Arc<MasterKey>,
    settings: Settings,
    limits: Limits,
    clock: Arc<dyn Clock>,
    metrics: Arc<JobMetrics>,
    fresh: bool,
    adopt: bool,
}

impl JobBuilder {
    /// A job over `graph` whose checkpoints go to `storage`, its state sealed with `key`.
    pub fn new(graph: JobGraph, storage: Arc<dyn CheckpointStorage>, key: Arc<MasterKey>) -> Self {
        Self {
            graph,
            storage,
            key,
            settings: Settings::default(),
            limits: Limits::default(),
            clock: Arc::new(SystemClock::default()),
            metrics: Arc::default(),
            fresh: false,
            adopt: false,
        }
    }

    /// Default: [`Settings::default`].
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Reads at most this many rows in the life of the chain. Default: no limit.
    pub fn events(mut self, events: Option<u64>) -> Self {
        self.limits.events = events;
        self
    }

    /// Whether an unbounded input that reaches its limit is flushed and finished rather than stopped. Default: stopped.
    pub fn drain_at_end(mut self, drain: bool) -> Self {
        self.limits.drain = drain;
        self
    }

    /// Closes an existing chain of checkpoints and begins a new one over the same tables. Default: go on.
    pub fn fresh(mut self, fresh: bool) -> Self {
        self.fresh = fresh;
        self
    }

    /// Allows tables with rows that no checkpoint knows (P3). Default: refused.
    pub fn adopt_tables(mut self, adopt: bool) -> Self {
        self.adopt = adopt;
        self
    }

    /// Default: the machine's clocks.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where the job counts. Default: counters of its own, which [`JobHandle::metrics`] shows.
    pub fn metrics(mut self, metrics: Arc<JobMetrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// The graph.
    pub fn graph(&self) -> &JobGraph {
        &self.graph
    }

    pub(crate) fn into_context(self) -> JobContext {
        JobContext {
            committers: Committers::of(&self.graph),
            graph: Arc::new(self.graph),
            storage: self.storage,
            key: self.key,
            clock: self.clock,
            adopt: self.adopt,
            run: uuid::Uuid::new_v4().simple().to_string(),
        }
    }

    /// Starts the job on threads of its own.
    ///
    /// # Errors
    /// Settings are out of range ([`Settings::check`]) or not for one of the sinks, or threads cannot be started. Everything else is told by
    /// [`JobHandle::join`].
    pub fn start(self) -> Result<JobHandle> {
        self.settings.check(self.graph.max_parallelism())?;
        for node in self.graph.nodes() {
            if let NodeKind::Sink(sink) = &node.kind {
                let checked = sink.check_interval(self.settings.checkpoint_interval);
                checked.map_err(|e| e.at(format!("sink `{}`", node.uid)))?;
            }
        }
        let metrics = Arc::clone(&self.metrics);
        let (command, commands) = watch::channel(Command::Run);
        let shared = Arc::clone(&metrics);
        let awaited = Arc::new(());
        let is_awaited = Arc::downgrade(&awaited);
        let run = move || {
            let ended = self.run(&shared, commands);
            if let Err(error) = &ended
                && is_awaited.strong_count() == 0
            {
                let text = error::chain(error);
                tracing::error!(error = text, "the job has ended, and its handle was dropped");
            }
            ended
        };
        let thread = std::thread::Builder::new()
            .name("thalweg-job".to_owned())
            .spawn(run)
            .map_err(|e| error::io("start the job's thread", e))?;
        let command = Arc::new(command);
        Ok(JobHandle { command, metrics, thread: Some(thread), _awaited: awaited })
    }

    fn run(
        self,
        metrics: &Arc<JobMetrics>,
        commands: watch::Receiver<Command>,
    ) -> Result<JobSummary> {
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.settings.io_threads)
            .thread_name("thalweg-io")
            .enable_all()
            .build()
            .map_err(|e| error::io("start the I/O threads", e))?;
        let handle = io.handle().clone();
        let committers = Committers::of(&self.graph);
        let result = actix::System::new().block_on(async {
            let workers = self.settings.parallelism.clamp(1, 256);
            let workers = Workers((0..workers).map(|_| Arbiter::new()).collect());
            self.attempts(metrics, commands, Placement::Threads { workers, io: handle }).await
        });
        // What committers do by themselves has its end: a task that loses its runtime halfway panics.
        let idle = async {
            let begun = tokio::time::Instant::now();
            let ended = tokio::time::timeout(PARTING, committers.idle()).await.is_ok();
            (ended, PARTING.saturating_sub(begun.elapsed()))
        };
        let (is_idle, rest) = io.block_on(idle);
        if !is_idle {
            tracing::warn!(
                "a sink's maintenance takes long; it is left as it is, the next run makes up for it"
            );
        }
        io.shutdown_timeout(rest);
        result
    }

    /// Runs the job until it ends, wherever it is placed.
    pub(crate) async fn attempts(
        self,
        metrics: &Arc<JobMetrics>,
        commands: watch::Receiver<Command>,
        placement: Placement,
    ) -> Result<JobSummary> {
        let clock = Arc::clone(&self.clock);
        let started = clock.monotonic();
        let (settings, limits, fresh) = (self.settings.clone(), self.limits.clone(), self.fresh);
        let context = self.into_context();
        let plan = AttemptPlan {
            lineage: Arc::new(Mutex::new(Lineage::new(&context.run))),
            context,
            settings,
            limits,
            metrics: Arc::clone(metrics),
            placement,
            commands: commands.clone(),
        };
        let strategy = plan.settings.restart_strategy();
        let mut failures = 0;
        let mut last_checkpoint = None;
        for attempt in 1.. {
            metrics.attempts.store(u64::from(attempt), Ordering::Relaxed);
            // A store that fails at the very end fails the attempt: the next one finds the job as it was left.
            let ended = plan.run(Attempt(attempt), fresh).await.and_then(|completed| {
                summary(&plan, completed, clock.monotonic().saturating_sub(started))
            });
            let elapsed = || clock.monotonic().saturating_sub(started);
            let ended = ended.or_else(|error| left(&plan, fresh, error, elapsed()));
            let error = match ended {
                Ok(summary) => return Ok(summary),
                Err(error) => error,
            };
            // A row of failures ends with a finished checkpoint.
            let checkpoint = metrics.checkpoint.load(Ordering::Relaxed);
            failures = if last_checkpoint == Some(checkpoint) { failures + 1 } else { 1 };
            last_checkpoint = Some(checkpoint);
            match strategy.decide(error.kind(), failures) {
                RestartDecision::GiveUp => return Err(error),
                RestartDecision::After(pause) => {
                    let text = error::chain(&error);
                    tracing::warn!(
                        attempt,
                        error = text,
                        pause_ms = pause.as_millis() as u64,
                        "attempt failed; restarting"
                    );
                    let mut stop = commands.clone();
                    let is_asked = tokio::select! {
                        () = tokio::time::sleep(pause) => false,
                        // Where the handle is gone, nobody asks for anything.
                        Ok(_) = stop.wait_for(|c| *c != Command::Run) => true,
                    };
                    if is_asked {
                        return left(&plan, fresh, error, elapsed());
                    }
                }
            }
        }
        Err(Error::internal("out of attempts"))
    }
}

/// What becomes of a job whose attempt has failed. Where it is to stop and the world outside is in the way, a last checkpoint
/// cannot be waited for, and need not be: the next run goes on from the newest one. A drain has promised more, and `fresh` a
/// chain of this run.
fn left(plan: &AttemptPlan, fresh: bool, error: Error, elapsed: Duration) -> Result<JobSummary> {
    if *plan.commands.borrow() != Command::Stop || error.kind() != ErrorKind::Transient {
        return Err(error);
    }
    // Where not even that can be read, the failure itself tells more.
    let Ok(Some((manifest, _))) = read_newest(plan.context.storage.as_ref()) else {
        return Err(error);
    };
    if fresh && !manifest.attempt.starts_with(&plan.context.run) {
        return Err(error);
    }
    tracing::warn!(
        checkpoint = %manifest.number,
        error = error::chain(&error),
        "stopped without a last checkpoint: this one holds, and what was read behind it is read again"
    );
    Ok(JobSummary::new(&manifest, Completed::Stopped, elapsed, &plan.metrics))
}

fn summary(plan: &AttemptPlan, completed: Completed, elapsed: Duration) -> Result<JobSummary> {
    let newest = read_newest(plan.context.storage.as_ref())?;
    let (manifest, _) = newest.ok_or_else(|| Error::corrupt("the checkpoints are gone"))?;
    Ok(JobSummary::new(&manifest, completed, elapsed, &plan.metrics))
}

/// What a job has done by the time it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSummary {
    /// The input was read to its end and everything was flushed; else the job can be resumed.
    pub finished: bool,
    /// The newest checkpoint.
    pub checkpoint: u64,
    /// Rows read since genesis, by source.
    pub read: BTreeMap<String, u64>,
    /// Rows committed since genesis, by sink; with those of tables that were adopted, or gone on with by a fresh chain.
    pub written: BTreeMap<String, u64>,
    /// Rows that this run left out, by node; what a restart read again was counted again.
    pub left_out: BTreeMap<String, LeftOut>,
    /// Attempts of this run.
    pub attempts: u64,
    /// Time of this run.
    pub elapsed: Duration,
}

impl JobSummary {
    fn new(
        manifest: &Manifest,
        completed: Completed,
        elapsed: Duration,
        metrics: &JobMetrics,
    ) -> Self {
        Self {
            finished: completed == Completed::Finished,
            checkpoint: manifest.number.0,
            read: manifest.sources.iter().map(|s| (s.uid.to_string(), s.rows)).collect(),
            written: manifest.sinks.iter().map(|s| (s.uid.to_string(), s.rows)).collect(),
            left_out: metrics.left_out(),
            attempts: metrics.attempts.load(Ordering::Relaxed),
            elapsed,
        }
    }
}

/// A running job. Dropping it without [`JobHandle::join`] leaves the job running, and restarting, until it ends or the process
/// does; what ends it is then told by the log alone.
#[derive(Debug)]
pub struct JobHandle {
    command: Arc<watch::Sender<Command>>,
    metrics: Arc<JobMetrics>,
    thread: Option<JoinHandle<Result<JobSummary>>>,
    /// Alive as long as somebody may ask how the job ended.
    _awaited: Arc<()>,
}

/// Stops a job from elsewhere, a signal handler say.
#[derive(Debug, Clone)]
pub struct JobStopper(Arc<watch::Sender<Command>>);

impl JobStopper {
    /// Stop with a checkpoint; nothing is flushed, the job can be resumed. Where none can be taken, since what sources and
    /// sinks need is away, the newest one is what it is resumed from, and a warning says so.
    pub fn stop(&self) {
        self.0.send_replace(Command::Stop);
    }

    /// Read no further, flush every window, finish.
    pub fn drain(&self) {
        self.0.send_replace(Command::Drain);
    }
}

impl JobHandle {
    /// Something to stop the job with.
    pub fn stopper(&self) -> JobStopper {
        JobStopper(Arc::clone(&self.command))
    }

    /// Counters that change while the job runs.
    pub fn metrics(&self) -> &Arc<JobMetrics> {
        &self.metrics
    }

    /// Whether the job has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// What ended the job: the first terminal error, or the last retryable one.
    pub fn join(mut self) -> Result<JobSummary> {
        let thread = self.thread.take().ok_or_else(|| Error::internal("joined twice"))?;
        thread.join().map_err(|_| Error::internal("the job's thread panicked"))?
    }
}
