//! What is written down of those who come: in the audit log, where there is one.

use std::sync::Arc;

use thalweg_core::{Error, Result};

use super::door::Visitor;
use crate::audit::{Action, AuditLog, Event, Outcome};

/// The audit log for callers that must not block, or none. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Journal(Option<Arc<AuditLog>>);

impl Journal {
    /// Writes into `log`.
    pub fn new(log: AuditLog) -> Self {
        Self(Some(Arc::new(log)))
    }

    /// [`AuditLog::digest`] of a text; nothing where there is no log.
    pub fn digest(&self, text: &str) -> String {
        self.0.as_ref().map(|log| log.digest(text)).unwrap_or_default()
    }

    /// Appends an entry, if there is a log.
    ///
    /// # Errors
    /// Those of [`AuditLog::append`]: what the entry tells of must not count as done.
    pub async fn note(&self, event: Event) -> Result<()> {
        let Some(log) = self.0.clone() else { return Ok(()) };
        let appended = tokio::task::spawn_blocking(move || log.append(&event)).await;
        appended.map_err(|_| Error::internal("writing an audit entry panicked"))?
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

/// Where such entries come from. Not an address: all who come are of this machine, or behind one proxy on it.
pub(super) const SOURCE: &str = "http";
