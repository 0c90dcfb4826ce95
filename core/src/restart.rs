//! Whether and when a failed attempt is followed by another.

use std::time::Duration;

use crate::error::ErrorKind;

/// What to do about a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartStrategy {
    /// Never.
    None,
    /// This many times, this far apart.
    FixedDelay {
        /// Restarts allowed in a row.
        attempts: u32,
        /// Pause before each.
        delay: Duration,
    },
    /// This many times in a row, each pause double the last.
    ExponentialDelay {
        /// Restarts allowed in a row.
        attempts: u32,
        /// First pause.
        initial: Duration,
        /// Longest pause.
        maximum: Duration,
    },
}

impl Default for RestartStrategy {
    fn default() -> Self {
        Self::ExponentialDelay {
            attempts: 10,
            initial: Duration::from_millis(200),
            maximum: Duration::from_secs(30),
        }
    }
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartDecision {
    /// Try again after this pause.
    After(Duration),
    /// Give up.
    GiveUp,
}

impl RestartStrategy {
    /// Decides about the `failures`-th failure in a row (from 1); a finished checkpoint ends a row. Terminal kinds
    /// never loop (P10).
    ///
    /// ```
    /// use std::time::Duration;
    /// use thalweg_core::ErrorKind;
    /// use thalweg_core::restart::{RestartDecision, RestartStrategy};
    /// let twice = RestartStrategy::FixedDelay { attempts: 2, delay: Duration::ZERO };
    /// assert_eq!(twice.decide(ErrorKind::Transient, 2), RestartDecision::After(Duration::ZERO));
    /// assert_eq!(twice.decide(ErrorKind::Transient, 3), RestartDecision::GiveUp);
    /// assert_eq!(twice.decide(ErrorKind::DataLoss, 1), RestartDecision::GiveUp);
    /// ```
    pub fn decide(&self, kind: ErrorKind, failures: u32) -> RestartDecision {
        if !kind.is_retryable() {
            return RestartDecision::GiveUp;
        }
        match self {
            Self::FixedDelay { attempts, delay } if failures <= *attempts => {
                RestartDecision::After(*delay)
            }
            Self::ExponentialDelay { attempts, initial, maximum } if failures <= *attempts => {
                let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
                RestartDecision::After(initial.saturating_mul(factor).min(*maximum))
            }
            _ => RestartDecision::GiveUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_another_attempt_may_mend_is_tried_again() {
        let usual = RestartStrategy::default();
        for kind in [ErrorKind::Transient, ErrorKind::Internal] {
            assert!(matches!(usual.decide(kind, 1), RestartDecision::After(_)), "{kind:?}");
            assert_eq!(RestartStrategy::None.decide(kind, 1), RestartDecision::GiveUp);
        }
        for kind in [
            ErrorKind::InvalidGraph,
            ErrorKind::InvalidConfig,
            ErrorKind::InvalidRecord,
            ErrorKind::Fenced,
            ErrorKind::IncompatibleState,
            ErrorKind::DataLoss,
            ErrorKind::Corrupt,
            ErrorKind::ResourceExhausted,
        ] {
            assert_eq!(usual.decide(kind, 1), RestartDecision::GiveUp, "{kind:?}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_failures_in_a_row_end() {
        let usual = RestartStrategy::default();
        let pauses = [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000];
        for (failures, millis) in (1..).zip(pauses) {
            let pause = RestartDecision::After(Duration::from_millis(millis));
            assert_eq!(usual.decide(ErrorKind::Transient, failures), pause);
        }
        assert_eq!(usual.decide(ErrorKind::Transient, 11), RestartDecision::GiveUp);
    }
}
