//! The few patients whose pages are open. Only of these the running minutes are counted one by one: of all patients they
//! would be as much as the job's own state.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Patients at once; pages of others show committed minutes alone.
const MOST: usize = 64;
/// A page that has not asked for this long is closed.
const GONE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Followed {
    asked: HashMap<i64, Instant>,
    ids: Arc<HashSet<i64>>,
}

impl Followed {
    /// Somebody asks for a patient.
    pub(super) fn ask(&mut self, patient: i64, now: Instant) {
        self.asked.retain(|_, at| now.duration_since(*at) < GONE);
        if self.asked.len() < MOST || self.asked.contains_key(&patient) {
            self.asked.insert(patient, now);
        }
        if self.asked.len() != self.ids.len() || !self.ids.contains(&patient) {
            self.ids = Arc::new(self.asked.keys().copied().collect());
        }
    }

    /// Whose events are to be counted.
    pub(super) fn ids(&self) -> Arc<HashSet<i64>> {
        Arc::clone(&self.ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patients_are_followed_while_somebody_asks_and_few_at_once() {
        let (mut followed, start) = (Followed::default(), Instant::now());
        for patient in 0..MOST as i64 + 5 {
            followed.ask(patient, start);
        }
        assert_eq!(followed.ids().len(), MOST);
        followed.ask(3, start + GONE / 2);
        followed.ask(1_000, start + GONE);
        assert_eq!(*followed.ids(), HashSet::from([3, 1_000]));
    }
}
