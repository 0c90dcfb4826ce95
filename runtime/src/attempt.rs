//! One try at running a job: restore, deploy, run, tear down. When it returns, nothing of it is left: no actor, no
//! reader, no storage work, no commit (P6). A commit that hangs is waited for until its committer gives it up.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};

use actix::Actor;
use futures::FutureExt;
use thalweg_core::connector::sink::IoHandle;
use thalweg_core::graph::NodeKind;
use thalweg_core::{Attempt, Error, Result};
use tokio::sync::{mpsc, oneshot, watch};

use crate::checkpoint::begin::begin;
use crate::checkpoint::coordinator::{
    Begin, Completed, Coordinator, CoordinatorPlan, EndJob, SourceAddress,
};
use crate::checkpoint::lineage::Lineage;
use crate::checkpoint::recover::{JobContext, Restored, restore};
use crate::checkpoint::state_files::StateStore;
use crate::deploy::Deployment;
use crate::execution_graph::ExecutionGraph;
use crate::job::{Command, Limits};
use crate::metrics::JobMetrics;
use crate::placement::{Placement, blocking};
use crate::settings::Settings;
use crate::subtask::Budget;

/// What every attempt of a job uses.
pub(crate) struct AttemptPlan {
    pub(crate) context: JobContext,
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<JobMetrics>,
    pub(crate) placement: Placement,
    pub(crate) commands: watch::Receiver<Command>,
    pub(crate) lineage: Arc<Mutex<Lineage>>,
}

impl AttemptPlan {
    /// Runs one attempt to its end. `fresh` begins a new chain first.
    pub(crate) async fn run(&self, attempt: Attempt, fresh: bool) -> Result<Completed> {
        let token = format!("{}-{attempt}", self.context.run);
        let begun = self.context.clock.monotonic();
        let Some(restored) = self.restore(&token, fresh).await? else {
            return Ok(Completed::Finished);
        };
        let took = self.context.clock.monotonic().saturating_sub(begun);
        let state_bytes: u64 = restored.manifest.state.iter().map(|file| file.bytes).sum();
        tracing::debug!(
            checkpoint = %restored.manifest.number,
            state_bytes,
            took_ms = took.as_millis() as u64,
            "restored"
        );
        let (cancel, cancelled) = watch::channel(false);
        let (alive, mut gone) = mpsc::channel(1);
        let mut readers = Vec::new();
        let run = self.deploy_and_run(attempt, token, restored, (cancelled, alive), &mut readers);
        let result = run.await;
        // Everything of this attempt ends before anything else begins.
        cancel.send_replace(true);
        while gone.recv().await.is_some() {}
        if !readers.is_empty() {
            let joining = async move {
                let join = move || {
                    for reader in readers {
                        // A panic was reported through the queue already.
                        drop(reader.join());
                    }
                };
                drop(blocking("joining readers", join).await);
            };
            drop(self.placement.io().spawn(joining).await);
        }
        result
    }

    async fn restore(&self, token: &str, fresh: bool) -> Result<Option<Restored>> {
        let (context, token) = (self.context.clone(), token.to_owned());
        let (lineage, events) = (Arc::clone(&self.lineage), self.limits.events);
        let work = async move {
            begin(&context, &token, fresh, &lineage).await?;
            restore(&context, &token, events, &lineage).await
        };
        let restored = self.placement.io().spawn(work).await;
        restored.map_err(|_| Error::internal("restoring panicked"))?
    }

    async fn deploy_and_run(
        &self,
        attempt: Attempt,
        token: String,
        mut restored: Restored,
        (cancelled, alive): (watch::Receiver<bool>, mpsc::Sender<()>),
        readers: &mut Vec<std::thread::JoinHandle<()>>,
    ) -> Result<Completed> {
        for sink in &restored.manifest.sinks {
            self.metrics.set_committed(sink.uid.as_str(), sink.rows);
        }
        let execution = ExecutionGraph::new(&self.context.graph, self.settings.parallelism)?;
        let activity = Arc::new(AtomicU64::new(0));
        let budget = self.budget(&restored);
        let (panicked, mut panics) = mpsc::channel(1);
        let io = self.io_handle(alive.clone(), panicked);
        let (done, ended) = oneshot::channel();
        let store = Arc::new(StateStore {
            storage: Arc::clone(&self.context.storage),
            key: Arc::clone(&self.context.key),
            chain: restored.manifest.chain.clone(),
            token: token.clone(),
        });
        let context = self.context.clone();
        // The state goes to the subtasks, and nothing stays of it in stored form.
        let state = RefCell::new(std::mem::take(&mut restored.state));
        let coordinator = Coordinator::new(CoordinatorPlan {
            attempt,
            token,
            context: context.clone(),
            settings: self.settings.clone(),
            metrics: Arc::clone(&self.metrics),
            subtasks: execution.subtasks(),
            restored: restored.clone(),
            io: io.clone(),
            activity: Arc::clone(&activity),
            drain: self.limits.drain,
            bounded: self.is_bounded(),
            budget: budget.clone(),
            cancel: cancelled.clone(),
            done,
        })
        .start();
        let deployment = Deployment {
            attempt,
            context: &context,
            execution: &execution,
            settings: &self.settings,
            metrics: &self.metrics,
            restored: &restored,
            state,
            store,
            io,
            events: coordinator.clone().recipient(),
            cancel: cancelled,
            alive,
            budget,
            activity,
            readers_here: self.placement.io().is_here(),
        };
        // Operators are made and restored here, on the job's own thread, which a panic of one must not end.
        let deployed =
            std::panic::catch_unwind(AssertUnwindSafe(move || deployment.build(readers)))
                .map_err(|_| Error::internal("an operator panicked while it was restored"))??;
        let mut addresses = Vec::new();
        for (index, plan) in deployed.plans.into_iter().enumerate() {
            addresses.push(self.placement.start(index, plan)?);
        }
        let sources: Vec<SourceAddress> = deployed
            .sources
            .into_iter()
            .filter_map(|(uid, subtask)| {
                addresses.get(subtask).map(|a| SourceAddress { uid, address: a.clone() })
            })
            .collect();
        // A coordinator that is gone already has told why.
        coordinator.send(Begin(sources)).await.unwrap_or_default();
        self.watch_until(coordinator, ended, &mut panics).await
    }

    /// Passes the job's commands on until the attempt ends.
    async fn watch_until(
        &self,
        coordinator: actix::Addr<Coordinator>,
        mut ended: oneshot::Receiver<Result<Completed>>,
        panics: &mut mpsc::Receiver<()>,
    ) -> Result<Completed> {
        let mut commands = self.commands.clone();
        commands.mark_changed();
        let mut listening = true;
        loop {
            tokio::select! {
                biased;
                result = &mut ended => {
                    return result.unwrap_or_else(|_| Err(Error::internal("the checkpoint coordinator died")));
                }
                Some(()) = panics.recv() => {
                    return Err(Error::internal("storage work panicked"));
                }
                changed = commands.changed(), if listening => {
                    let command = *commands.borrow_and_update();
                    match command {
                        // The handle is gone: nobody can ask for anything any more.
                        _ if changed.is_err() => listening = false,
                        Command::Run => {}
                        Command::Stop => drop(coordinator.try_send(EndJob(false))),
                        Command::Drain => drop(coordinator.try_send(EndJob(true))),
                    }
                }
            }
        }
    }

    fn is_bounded(&self) -> bool {
        self.context.graph.nodes().iter().all(|n| match &n.kind {
            NodeKind::Source(source) => source.source.is_bounded(),
            _ => true,
        })
    }

    /// `--events N`: N less what the manifest counts already (P21).
    fn budget(&self, restored: &Restored) -> Budget {
        let read: u64 = restored.manifest.sources.iter().map(|s| s.rows).sum();
        Budget(self.limits.events.map(|limit| {
            let left = limit.saturating_sub(read);
            Arc::new(AtomicI64::new(i64::try_from(left).unwrap_or(i64::MAX)))
        }))
    }

    /// Work on the I/O threads belongs to the attempt: it is waited for, and a panic in it ends the attempt.
    fn io_handle(&self, alive: mpsc::Sender<()>, panicked: mpsc::Sender<()>) -> IoHandle {
        let runtime = self.placement.io();
        IoHandle::new(move |future| {
            let (alive, panicked) = (alive.clone(), panicked.clone());
            runtime.spawn(async move {
                if AssertUnwindSafe(future).catch_unwind().await.is_err() {
                    // A full channel has told it already.
                    panicked.try_send(()).unwrap_or_default();
                }
                drop(alive);
            });
        })
    }
}
