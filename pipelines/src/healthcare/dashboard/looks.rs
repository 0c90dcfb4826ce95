//! Who looked at which patient lately: a page asks again each second, and is one entry of the audit log.

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

/// A visitor, and the patient whose page it is; none: the list of patients.
type Look = (String, Option<i64>);

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

    /// Writes down that a visitor is about to get `rows` rows of `table`.
    ///
    /// # Errors
    /// The log cannot be written: the rows are not to be shown.
    pub(super) async fn note(
        &self,
        visitor: &Visitor,
        table: &str,
        patient: Option<i64>,
        rows: usize,
    ) -> Result<()> {
        let look = (visitor.name().to_owned(), patient);
        if self.lasts(&look, Instant::now()) {
            return Ok(());
        }
        let mut event = self.entry(visitor, table, patient, Outcome::Done);
        event.rows = rows as u64;
        self.journal.note(event).await?;
        self.remember(look, Instant::now());
        Ok(())
    }

    /// Writes down that a visitor asked for rows of `table`, which are not for them.
    pub(super) async fn note_refusal(&self, visitor: &Visitor, table: &str, patient: Option<i64>) {
        let mut event = self.entry(visitor, table, patient, Outcome::Refused);
        "role".clone_into(&mut event.reason);
        self.journal.note_refusal(event).await;
    }

    fn entry(
        &self,
        visitor: &Visitor,
        table: &str,
        patient: Option<i64>,
        outcome: Outcome,
    ) -> Event {
        let mut event = visitor.event(Action::Query, outcome);
        let kind = if patient.is_some() { "patient" } else { "patients" };
        kind.clone_into(&mut event.kind);
        event.tables = vec![table.to_owned()];
        // The number is a value of a record: the log has its hash.
        let subject = patient.map(|patient| self.journal.digest(&patient.to_string()));
        event.subject = subject.unwrap_or_default();
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
        let (start, look) = (Instant::now(), ("nurse".to_owned(), Some(7)));
        assert!(!looks.lasts(&look, start));
        looks.remember(look.clone(), start);
        assert!(looks.lasts(&look, start + SAME / 2));
        // Each time counts from the one before.
        assert!(looks.lasts(&look, start + SAME));
        assert!(!looks.lasts(&("nurse".to_owned(), Some(8)), start));
        assert!(!looks.lasts(&look, start + SAME * 2));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let looks = Looks::default();
        let now = Instant::now();
        for patient in 0..MOST as i64 + 5 {
            looks.remember(("nurse".to_owned(), Some(patient)), now);
        }
        assert_eq!(looks.lately.lock().unwrap().len(), 5);
    }
}
