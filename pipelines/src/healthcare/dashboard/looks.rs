//! Who looked at which patient, or at the alerts, lately: a page asks again each second, a broken stream begins anew, and
//! each is one entry of the audit log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thalweg_core::Result;
use thalweg_serving::audit::{Action, Event, Outcome};
use thalweg_serving::http::{Journal, Visitor};
use tokio::time::Instant;

/// Who does not ask for this long and then asks again has opened the page again.
const SAME: Duration = Duration::from_mins(10);
/// Looks that are remembered; beyond that some are written down twice.
const MOST: usize = 10_000;

/// What can be looked at that tells of patients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Sight {
    /// The list of patients.
    Patients,
    /// The minutes of one patient.
    Patient(i64),
    /// The alerts on the board.
    Alerts,
}

impl Sight {
    /// The table that one must be allowed to read.
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Patients | Self::Patient(_) => "gold_patient_vitals",
            Self::Alerts => "alerts_events",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Patients => "patients",
            Self::Patient(_) => "patient",
            Self::Alerts => "alerts",
        }
    }
}

/// A visitor's name, and what they look at.
type Look = (String, Sight);

/// Writes looks down, each once while it lasts. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Looks {
    journal: Journal,
    lately: Arc<Mutex<HashMap<Look, Instant>>>,
}

impl Looks {
    pub(super) fn new(journal: Journal) -> Self {
        Self { journal, lately: Arc::default() }
    }

    /// Writes down that a visitor is about to get `rows` rows; 0 for what has no end.
    ///
    /// # Errors
    /// The log cannot be written: nothing is to be shown.
    pub(super) async fn note(&self, visitor: &Visitor, sight: Sight, rows: usize) -> Result<()> {
        let look = (visitor.name().to_owned(), sight);
        if self.lasts(&look, Instant::now()) {
            return Ok(());
        }
        let mut event = self.entry(visitor, sight, Outcome::Done);
        event.rows = rows as u64;
        self.journal.note(event).await?;
        self.remember(look, Instant::now());
        Ok(())
    }

    /// Writes down that a visitor asked for what is not for them.
    pub(super) async fn note_refusal(&self, visitor: &Visitor, sight: Sight) {
        let mut event = self.entry(visitor, sight, Outcome::Refused);
        "role".clone_into(&mut event.reason);
        self.journal.note_refusal(event).await;
    }

    fn entry(&self, visitor: &Visitor, sight: Sight, outcome: Outcome) -> Event {
        let mut event = visitor.event(Action::Query, outcome);
        sight.kind().clone_into(&mut event.kind);
        event.tables = vec![sight.table().to_owned()];
        // The number is a value of a record: the log has its hash.
        if let Sight::Patient(patient) = sight {
            event.subject = self.journal.digest(&patient.to_string());
        }
        event
    }

    /// Whether the look was written down and goes on.
    fn lasts(&self, look: &Look, now: Instant) -> bool {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = lately.get_mut(look).filter(|at| now.duration_since(**at) < SAME) else {
            return false;
        };
        *at = now;
        true
    }

    fn remember(&self, look: Look, now: Instant) {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        if lately.len() >= MOST {
            lately.retain(|_, at| now.duration_since(*at) < SAME);
        }
        if lately.len() >= MOST {
            lately.clear();
        }
        lately.insert(look, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_asks_again_is_the_same_look_until_it_has_been_away() {
        let looks = Looks::default();
        let (start, look) = (Instant::now(), ("nurse".to_owned(), Sight::Patient(7)));
        assert!(!looks.lasts(&look, start));
        looks.remember(look.clone(), start);
        assert!(looks.lasts(&look, start + SAME / 2));
        // Each time counts from the one before.
        assert!(looks.lasts(&look, start + SAME));
        for other in [Sight::Patient(8), Sight::Patients, Sight::Alerts] {
            assert!(!looks.lasts(&("nurse".to_owned(), other), start));
        }
        assert!(!looks.lasts(&look, start + SAME * 2));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let looks = Looks::default();
        let now = Instant::now();
        for patient in 0..MOST as i64 + 5 {
            looks.remember(("nurse".to_owned(), Sight::Patient(patient)), now);
        }
        assert_eq!(looks.lately.lock().unwrap().len(), 5);
    }
}
