//! Stops a job whose input has turned to poison, before it fills its quarantine.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ListArray};
use thalweg_core::{Error, ErrorKind, Result};

/// How many reasons an error names.
const NAMED: usize = 5;

/// When to stop: more than `share` of the latest rows were rejected, judged over at least `rows` of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limit {
    pub(super) share: f64,
    pub(super) rows: u64,
}

/// Counts the rows of one subtask. Nothing of it is checkpointed: a job that goes on judges anew.
#[derive(Debug, Clone)]
pub(super) struct Breaker {
    limit: Limit,
    rows: u64,
    rejected: u64,
    /// How often each code was among those of a rejected row.
    reasons: BTreeMap<String, u64>,
}

impl Breaker {
    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, rows: 0, rejected: 0, reasons: BTreeMap::new() }
    }

    /// Takes note of a batch, of the codes of its rejected rows and of where the first of these came from.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRecord`] once too much is rejected. What was rejected since the last checkpoint is not
    /// committed anywhere, so the error itself says why and where.
    pub(super) fn observe(
        &mut self,
        rows: u64,
        codes: Option<&ListArray>,
        place: impl FnOnce() -> Option<String>,
    ) -> Result<()> {
        self.rows += rows;
        if let Some(codes) = codes {
            self.rejected += codes.len() as u64;
            self.count(codes);
        }
        let Limit { share, rows: enough } = self.limit;
        if self.rows >= enough && self.rejected as f64 > share * self.rows as f64 {
            let place = place().map(|place| format!("; one of them: {place}")).unwrap_or_default();
            return Err(Error::new(
                ErrorKind::InvalidRecord,
                format!(
                    "{} of the latest {} rows were rejected, more than the {:.0} % that are allowed ({}{place}): mend \
                     what sends them, or go on with a higher limit; rows since the last checkpoint are not committed, \
                     and are read again",
                    self.rejected,
                    self.rows,
                    share * 100.0,
                    self.reasons()
                ),
            ));
        }
        // What lies further back weighs less and less.
        while self.rows >= enough.saturating_mul(2).max(2) {
            self.rows /= 2;
            self.rejected /= 2;
            self.reasons.retain(|_, count| {
                *count /= 2;
                *count > 0
            });
        }
        Ok(())
    }

    fn count(&mut self, codes: &ListArray) {
        let codes = codes.values().as_string_opt::<i32>();
        for code in codes.into_iter().flat_map(|codes| codes.iter().flatten()) {
            match self.reasons.get_mut(code) {
                Some(count) => *count += 1,
                None => drop(self.reasons.insert(code.to_owned(), 1)),
            }
        }
    }

    /// The most frequent ones: `json.malformed 70, heart_rate.range 3`.
    fn reasons(&self) -> String {
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let named = reasons.iter().take(NAMED).map(|(code, count)| format!("{code} {count}"));
        named.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{ListBuilder, StringBuilder};

    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(Limit { share: 0.5, rows: 100 })
    }

    fn codes(rejected: usize, code: &str) -> ListArray {
        let mut lists = ListBuilder::new(StringBuilder::new());
        for _ in 0..rejected {
            lists.append_value([Some(code)]);
        }
        lists.finish()
    }

    fn observe(breaker: &mut Breaker, rows: u64, rejected: usize) -> Result<()> {
        breaker.observe(rows, Some(&codes(rejected, "a.b")), || None)
    }

    #[test]
    fn a_few_bad_rows_among_few_are_no_flood() {
        let mut breaker = breaker();
        observe(&mut breaker, 99, 99).unwrap();
        assert!(breaker.observe(1, None, || None).is_err(), "99 of 100");
    }

    #[test]
    fn a_flood_behind_any_number_of_good_rows_is_noticed_soon() {
        let mut breaker = breaker();
        for _ in 0..10_000 {
            observe(&mut breaker, 50, 1).unwrap();
        }
        let until = (1..100).find(|_| observe(&mut breaker, 10, 10).is_err());
        assert!(until.is_some_and(|batches| batches <= 25), "{until:?}");
    }

    #[test]
    fn exactly_the_share_goes_on() {
        let mut breaker = breaker();
        for _ in 0..1_000 {
            observe(&mut breaker, 10, 5).unwrap();
        }
        let error = observe(&mut breaker, 300, 300).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRecord);
        assert!(!error.kind().is_retryable());
    }

    #[test]
    fn the_error_says_why_and_where_the_most_frequent_reason_first() {
        let mut breaker = breaker();
        breaker.observe(80, Some(&codes(3, "a.range")), || None).unwrap();
        let place = || Some("partition 1, offset 7".to_owned());
        let error = breaker.observe(80, Some(&codes(80, "json.malformed")), place).unwrap_err();
        let text = error.to_string();
        let expected = "(json.malformed 80, a.range 3; one of them: partition 1, offset 7)";
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}
