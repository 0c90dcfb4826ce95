//! The coordinator's decisions: when to inject, when to store, when to finish, when to stop.
//!
//! One barrier may be on its way while the checkpoint before it is being finished, never two (P16). No checkpoint is
//! skipped or aborted: each completes, or the attempt ends (P1).

use std::collections::BTreeSet;

use crate::element::{Barrier, BarrierKind};
use crate::{CheckpointId, Error, Result};

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The checkpoint interval has passed.
    IntervalPassed,
    /// Subtask `0` has closed its part of checkpoint `1` durably.
    Acknowledged(usize, CheckpointId),
    /// M(n) is stored and ours, or nothing had changed and none was needed.
    Stored(CheckpointId),
    /// `finish(M(n))` is done everywhere.
    Finished(CheckpointId),
    /// Every source subtask has read its bounded input to the end.
    InputExhausted,
    /// Stop with a checkpoint, flush nothing.
    StopRequested,
    /// Stop reading, flush everything, finish.
    DrainRequested,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Inject the barrier at every source subtask.
    Inject(Barrier),
    /// Every part is there: create M(n).
    Store(CheckpointId),
    /// Make M(n) visible.
    Finish(CheckpointId),
    /// The last checkpoint is finished: tear down. `true` when the job is finished for good.
    Complete(bool),
}

/// The protocol's state for one attempt.
#[derive(Debug)]
pub struct CheckpointCoordinator {
    subtasks: usize,
    /// Injected, waiting for acknowledgements or for its turn to be stored.
    open: Option<Open>,
    /// The newest checkpoint that is stored.
    stored: CheckpointId,
    /// The newest checkpoint that is finished; `stored` or one less.
    finished: CheckpointId,
    /// An interval passed while a barrier was on its way.
    due: bool,
    /// The kind of barrier that is to be the last, once asked for.
    last: Option<BarrierKind>,
    /// The last barrier's number, once injected.
    last_number: Option<CheckpointId>,
}

#[derive(Debug)]
struct Open {
    barrier: Barrier,
    acknowledged: BTreeSet<usize>,
    storing: bool,
}

impl CheckpointCoordinator {
    /// An attempt restored from checkpoint `restored`, with this many subtasks to acknowledge.
    pub fn new(subtasks: usize, restored: CheckpointId) -> Self {
        Self {
            subtasks,
            open: None,
            stored: restored,
            finished: restored,
            due: false,
            last: None,
            last_number: None,
        }
    }

    /// The checkpoint that is on its way, if any.
    pub fn open(&self) -> Option<CheckpointId> {
        self.open.as_ref().map(|o| o.barrier.id)
    }

    /// The kind of barrier that is on its way, if any.
    pub fn open_kind(&self) -> Option<BarrierKind> {
        self.open.as_ref().map(|o| o.barrier.kind)
    }

    /// Whether a checkpoint is being taken or finished.
    pub fn is_busy(&self) -> bool {
        self.open.is_some() || self.finished != self.stored
    }

    /// What follows from a fact.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] for a fact that cannot be: an acknowledgement of another checkpoint or twice.
    pub fn on(&mut self, fact: Fact) -> Result<Vec<Action>> {
        let mut actions = Vec::new();
        match fact {
            Fact::IntervalPassed => self.due = true,
            Fact::StopRequested => self.end_with(BarrierKind::Stop),
            Fact::InputExhausted | Fact::DrainRequested => self.end_with(BarrierKind::Final),
            Fact::Acknowledged(subtask, id) => self.acknowledge(subtask, id)?,
            Fact::Stored(id) => {
                let open = self.open.take().filter(|o| o.barrier.id == id && o.storing);
                if open.is_none() {
                    return Err(Error::internal(format!("checkpoint {id} was stored out of turn")));
                }
                self.stored = id;
                actions.push(Action::Finish(id));
            }
            Fact::Finished(id) => {
                if id != self.stored {
                    return Err(Error::internal(format!(
                        "checkpoint {id} was finished out of turn"
                    )));
                }
                self.finished = id;
                if self.last_number == Some(id) {
                    actions.push(Action::Complete(self.last == Some(BarrierKind::Final)));
                    return Ok(actions);
                }
            }
        }
        actions.extend(self.inject());
        actions.extend(self.store());
        Ok(actions)
    }

    /// A later wish overrides an earlier one as long as the last barrier is not injected; draining beats stopping
    /// only when the input has ended.
    fn end_with(&mut self, kind: BarrierKind) {
        if self.last_number.is_none() && self.last != Some(BarrierKind::Final) {
            self.last = Some(kind);
        }
    }

    fn acknowledge(&mut self, subtask: usize, id: CheckpointId) -> Result<()> {
        let wrong = || Error::internal(format!("an unexpected acknowledgement of checkpoint {id}"));
        let open = self.open.as_mut().filter(|o| o.barrier.id == id).ok_or_else(wrong)?;
        if subtask >= self.subtasks || !open.acknowledged.insert(subtask) {
            return Err(wrong());
        }
        Ok(())
    }

    fn inject(&mut self) -> Option<Action> {
        let wanted = self.due || self.last.is_some();
        if !wanted || self.open.is_some() || self.last_number.is_some() {
            return None;
        }
        self.due = false;
        let barrier =
            Barrier { id: self.stored.next(), kind: self.last.unwrap_or(BarrierKind::Periodic) };
        if self.last.is_some() {
            self.last_number = Some(barrier.id);
        }
        self.open = Some(Open { barrier, acknowledged: BTreeSet::new(), storing: false });
        Some(Action::Inject(barrier))
    }

    fn store(&mut self) -> Option<Action> {
        // M(n+1) is not created before M(n) is finished everywhere.
        let open = self.open.as_mut()?;
        let ready = open.acknowledged.len() == self.subtasks
            && !open.storing
            && self.finished == self.stored;
        ready.then(|| {
            open.storing = true;
            Action::Store(open.barrier.id)
        })
    }
}

#[cfg(test)]
#[path = "coordinate/tests.rs"]
mod tests;
