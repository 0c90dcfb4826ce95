//! The actor around a subtask's loop: takes orders, catches panics, reports how the loop ended.

use actix::prelude::*;
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use thalweg_core::checkpoint::manifest::SplitSnapshot;
use thalweg_core::{Attempt, Barrier, Error};
use tokio::sync::{mpsc, watch};

use super::report::{Event, SubtaskEvent};
use super::source_loop::Order;
use super::{SourceWork, TaskWork};

/// What the subtask is to run.
pub(crate) enum Work {
    Source(Box<SourceWork>),
    Task(Box<TaskWork>),
}

/// Everything an actor is started with.
pub(crate) struct SubtaskPlan {
    pub(crate) attempt: Attempt,
    pub(crate) subtask: usize,
    /// For messages: ``chain `source` subtask 1``.
    pub(crate) name: String,
    pub(crate) work: Work,
    /// Into the loop; sources only.
    pub(crate) orders: Option<mpsc::Sender<Order>>,
    pub(crate) events: Recipient<SubtaskEvent>,
    /// Turns true when the attempt ends.
    pub(crate) cancel: watch::Receiver<bool>,
    /// Dropped with the actor: the attempt is torn down when all are.
    pub(crate) alive: mpsc::Sender<()>,
}

/// Injects a barrier into a source subtask.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Inject(pub(crate) Attempt, pub(crate) Barrier);

/// Hands new splits to a source subtask.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AddSplits(pub(crate) Attempt, pub(crate) Vec<SplitSnapshot>);

/// Lets a source subtask take rows, or not.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Pace(pub(crate) Attempt, pub(crate) bool);

/// One subtask.
pub(crate) struct SubtaskActor {
    attempt: Attempt,
    subtask: usize,
    name: String,
    work: Option<Work>,
    orders: Option<mpsc::Sender<Order>>,
    events: Recipient<SubtaskEvent>,
    cancel: watch::Receiver<bool>,
    _alive: mpsc::Sender<()>,
}

impl SubtaskActor {
    pub(crate) fn new(plan: SubtaskPlan) -> Self {
        Self {
            attempt: plan.attempt,
            subtask: plan.subtask,
            name: plan.name,
            work: Some(plan.work),
            orders: plan.orders,
            events: plan.events,
            cancel: plan.cancel,
            _alive: plan.alive,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "control plane: once per attempt")]
    fn fail(&self, error: Error) {
        let event = Event::Failed(error.at(self.name.clone()));
        self.events.do_send(SubtaskEvent { attempt: self.attempt, subtask: self.subtask, event });
    }

    fn order(&self, attempt: Attempt, order: Order) {
        if attempt != self.attempt {
            return;
        }
        // At most one barrier is out and discoveries are rare: a full queue means the loop is dead.
        let sent = self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok());
        if !sent && !*self.cancel.borrow() {
            self.fail(Error::internal("a source subtask no longer takes orders"));
        }
    }
}

impl Actor for SubtaskActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let Some(work) = self.work.take() else { return };
        let mut cancel = self.cancel.clone();
        let run = async move {
            let work = async {
                match work {
                    Work::Source(source) => source.run().await,
                    Work::Task(task) => task.run().await,
                }
            };
            tokio::select! {
                biased;
                _ = cancel.wait_for(|c| *c) => Ok(()),
                // Arbiters survive a panic and nothing would be told: catch it here (F8).
                ended = AssertUnwindSafe(work).catch_unwind() => {
                    ended.unwrap_or_else(|_| Err(Error::internal("a subtask panicked")))
                }
            }
        };
        context.spawn(run.into_actor(self).map(|ended, actor, context| {
            if let Err(error) = ended
                && !*actor.cancel.borrow()
            {
                actor.fail(error);
            }
            context.stop();
        }));
    }
}

impl Handler<Inject> for SubtaskActor {
    type Result = ();
    fn handle(&mut self, message: Inject, _: &mut Self::Context) {
        self.order(message.0, Order::Inject(message.1));
    }
}

impl Handler<AddSplits> for SubtaskActor {
    type Result = ();
    fn handle(&mut self, message: AddSplits, _: &mut Self::Context) {
        self.order(message.0, Order::AddSplits(message.1));
    }
}

impl Handler<Pace> for SubtaskActor {
    type Result = ();
    fn handle(&mut self, message: Pace, _: &mut Self::Context) {
        self.order(message.0, Order::Pace(message.1));
    }
}
