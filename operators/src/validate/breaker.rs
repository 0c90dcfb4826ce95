//! Stops a job whose input has turned to poison, before it fills its quarantine.

use thalweg_core::{Error, ErrorKind, Result};

/// When to stop: more than `share` of the latest rows were rejected, judged over at least `rows` of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limit {
    pub(super) share: f64,
    pub(super) rows: u64,
}

/// Counts the rows of one subtask. Nothing of it is checkpointed: a job that goes on judges anew.
#[derive(Debug, Clone, Copy)]
pub(super) struct Breaker {
    limit: Limit,
    rows: u64,
    rejected: u64,
}

impl Breaker {
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, rows: 0, rejected: 0 }
    }

    /// Takes note of a batch.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRecord`] once too much is rejected. What was rejected before the last checkpoint is kept.
    pub(super) fn observe(&mut self, rows: u64, rejected: u64) -> Result<()> {
        self.rows += rows;
        self.rejected += rejected;
        let Limit { share, rows: enough } = self.limit;
        if self.rows >= enough && self.rejected as f64 > share * self.rows as f64 {
            return Err(Error::new(
                ErrorKind::InvalidRecord,
                format!(
                    "{} of the latest {} rows were rejected, more than the {:.0} % that are allowed: look at why in the \
                     rejected rows, then go on with a higher limit",
                    self.rejected,
                    self.rows,
                    share * 100.0
                ),
            ));
        }
        // What lies further back weighs less and less.
        while self.rows >= enough.saturating_mul(2).max(2) {
            self.rows /= 2;
            self.rejected /= 2;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(Limit { share: 0.5, rows: 100 })
    }

    #[test]
    fn a_few_bad_rows_among_few_are_no_flood() {
        let mut breaker = breaker();
        breaker.observe(99, 99).unwrap();
        assert!(breaker.observe(1, 0).is_err(), "99 of 100");
    }

    #[test]
    fn a_flood_behind_any_number_of_good_rows_is_noticed_soon() {
        let mut breaker = breaker();
        for _ in 0..10_000 {
            breaker.observe(50, 1).unwrap();
        }
        let until = (1..100).find(|_| breaker.observe(10, 10).is_err());
        assert!(until.is_some_and(|batches| batches <= 25), "{until:?}");
    }

    #[test]
    fn exactly_the_share_goes_on() {
        let mut breaker = breaker();
        for _ in 0..1_000 {
            breaker.observe(10, 5).unwrap();
        }
        let error = breaker.observe(300, 300).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRecord);
        assert!(!error.kind().is_retryable());
    }
}
