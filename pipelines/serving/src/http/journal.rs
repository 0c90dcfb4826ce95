//! What is written down of those who come: in the audit log, where there is one.

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::{Error, Result, error};

use super::door::Visitor;
use crate::audit::{Action, AuditLog, Event, Outcome, Refusals};

/// Refusals that are written down one by one; of the others the next entry says how many they were.
const REFUSALS_PER_SECOND: f64 = 0.5;
const REFUSALS_BURST: f64 = 20.0;

/// The audit log for callers that must not block, or none. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Journal(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    log: AuditLog,
    /// Of those who have come in. Strangers have another one: they must not use up this.
    refusals: Refusals,
}

/// Those of one kind.
pub(super) fn refusals(now: Duration) -> Refusals {
    Refusals::new(REFUSALS_PER_SECOND, REFUSALS_BURST, now)
}

impl Journal {
    /// Writes into `log`.
    pub fn new(log: AuditLog) -> Self {
        let refusals = refusals(log.monotonic());
        Self(Some(Arc::new(Inner { log, refusals })))
    }

    /// [`AuditLog::digest`] of a text; nothing where there is no log.
    pub fn digest(&self, text: &str) -> String {
        self.0.as_ref().map(|inner| inner.log.digest(text)).unwrap_or_default()
    }

    /// Appends an entry, if there is a log.
    ///
    /// # Errors
    /// Those of [`AuditLog::append`]: what the entry tells of must not count as done.
    pub async fn note(&self, event: Event) -> Result<()> {
        let Some(inner) = self.0.clone() else { return Ok(()) };
        let appended = tokio::task::spawn_blocking(move || inner.log.append(&event)).await;
        appended.map_err(|_| Error::internal("writing an audit entry panicked"))?
    }

    /// Appends an entry about what somebody who has come in may not do, unless there are too many: those are counted,
    /// and the next entry says how many they were. Refused it is, written down or not.
    pub async fn note_refusal(&self, event: Event) {
        if let Some(inner) = &self.0 {
            self.note_one_of(&inner.refusals, inner.log.monotonic(), event).await;
        }
    }

    /// Appends an entry about one of `refusals`, or counts it.
    pub(super) async fn note_one_of(&self, refusals: &Refusals, now: Duration, mut event: Event) {
        if !refusals.written(now) {
            return;
        }
        let left_out = refusals.take();
        event.left_out = left_out;
        if let Err(problem) = self.note(event).await {
            refusals.put_back(left_out);
            tracing::warn!(error = error::chain(&problem), "a refusal is not in the audit log");
        }
    }
}

impl Visitor {
    /// An entry about what they did.
    pub fn event(&self, action: Action, outcome: Outcome) -> Event {
        let mut event = Event::new(self.name(), action, outcome);
        self.role().clone_into(&mut event.role);
        SOURCE.clone_into(&mut event.source);
        event
    }
}

/// Where such entries come from. Not an address: that is this machine's own, or one of which a proxy's word is all there
/// is.
pub(super) const SOURCE: &str = "http";
