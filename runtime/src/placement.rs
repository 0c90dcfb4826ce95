//! Where a job runs: on threads of its own, or (tests) all of it on the caller's, where one seed is one schedule.

use std::future::Future;

use actix::{Actor, Addr, Arbiter};
use thalweg_core::{Error, Result};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinHandle;

use crate::subtask::{SubtaskActor, SubtaskPlan};

/// Where subtasks, readers and storage work go.
#[derive(Debug)]
pub(crate) enum Placement {
    /// Subtasks on workers, which end with the job; storage work on a runtime; a thread for each reader.
    Threads { workers: Workers, io: Handle },
    /// Everything is a task of the `LocalSet` that the job is awaited in. Whoever drops that has killed the job.
    #[cfg(test)]
    Here,
}

/// The threads that subtasks run on. They end with the job.
#[derive(Debug)]
pub(crate) struct Workers(pub(crate) Vec<Arbiter>);

impl Drop for Workers {
    fn drop(&mut self) {
        for arbiter in &self.0 {
            arbiter.stop();
        }
        for arbiter in self.0.drain(..) {
            // A panic of an actor was caught and told.
            drop(arbiter.join());
        }
    }
}

/// Spawns storage work; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Io {
    Threads(Handle),
    #[cfg(test)]
    Here,
}

impl Io {
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match self {
            Self::Threads(runtime) => runtime.spawn(future),
            #[cfg(test)]
            Self::Here => tokio::task::spawn_local(future),
        }
    }

    /// Whether readers are tasks rather than threads.
    pub(crate) fn is_here(&self) -> bool {
        !matches!(self, Self::Threads(_))
    }
}

impl Placement {
    pub(crate) fn io(&self) -> Io {
        match self {
            Self::Threads { io, .. } => Io::Threads(io.clone()),
            #[cfg(test)]
            Self::Here => Io::Here,
        }
    }

    /// Starts the `index`-th subtask of an attempt.
    pub(crate) fn start(&self, index: usize, plan: SubtaskPlan) -> Result<Addr<SubtaskActor>> {
        match self {
            Self::Threads { workers: Workers(workers), .. } => {
                let arbiter = workers
                    .get(index % workers.len().max(1))
                    .ok_or_else(|| Error::internal("no worker threads"))?;
                let start = move |_: &mut actix::Context<SubtaskActor>| SubtaskActor::new(plan);
                Ok(SubtaskActor::start_in_arbiter(&arbiter.handle(), start))
            }
            #[cfg(test)]
            Self::Here => Ok(SubtaskActor::new(plan).start()),
        }
    }
}

fn has_one_thread() -> bool {
    Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

/// Runs blocking work beside the runtime; `what` names it, should it panic.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    #[cfg(test)]
    if has_one_thread() {
        crate::simulation::dawdle().await;
        let done = work();
        crate::simulation::dawdle().await;
        return Ok(done);
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::internal(format!("{what} panicked")))
}

/// Runs blocking work on this thread, which the runtime hears of if it has others.
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    if has_one_thread() { work() } else { tokio::task::block_in_place(work) }
}
