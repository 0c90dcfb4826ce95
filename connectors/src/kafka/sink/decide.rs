//! What a marker means. Pure.

use thalweg_core::CheckpointId;
use thalweg_core::connector::sink::TargetExpectation;
use thalweg_core::{Error, Result};

/// How a checkpoint stands to the marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its messages are in the topic.
    Done,
    /// A later checkpoint's are: another instance owns the job.
    Fenced,
    /// They are not, and must be sent.
    Missing,
}

pub(super) fn standing(marker: Option<CheckpointId>, n: CheckpointId) -> Standing {
    match marker {
        Some(marker) if marker == n => Standing::Done,
        Some(marker) if marker > n => Standing::Fenced,
        _ => Standing::Missing,
    }
}

/// The marker may be ahead of what is expected by the commit that was not yet recorded, never behind.
pub(super) fn check_marker(
    topic: &str,
    group: &str,
    marker: Option<CheckpointId>,
    expected: &TargetExpectation,
) -> Result<()> {
    match (expected.txn, marker) {
        (Some(known), found) if found < Some(known) => Err(Error::data_loss(format!(
            "group `{group}`, which remembers what was sent to topic `{topic}`, says {} where checkpoint {known} was \
             sent: its offset expired or was deleted, or the topic was created again; begin a new chain with --fresh",
            found.map_or_else(|| "nothing".to_owned(), |n| format!("checkpoint {n}"))
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: CheckpointId = CheckpointId(1);
    const TWO: CheckpointId = CheckpointId(2);

    #[test]
    fn only_the_same_number_is_done() {
        assert_eq!(standing(None, ONE), Standing::Missing);
        assert_eq!(standing(Some(ONE), ONE), Standing::Done);
        assert_eq!(standing(Some(ONE), TWO), Standing::Missing);
        assert_eq!(standing(Some(TWO), ONE), Standing::Fenced);
    }

    #[test]
    fn a_marker_that_is_gone_or_behind_is_data_loss() {
        let expected =
            |txn| TargetExpectation { txn, id: Some("c/t".into()), ..TargetExpectation::default() };
        let check = |marker, txn| check_marker("t", "g", marker, &expected(txn)).is_ok();
        assert!(check(None, None));
        assert!(check(Some(ONE), None));
        assert!(check(Some(TWO), Some(ONE)));
        assert!(!check(None, Some(ONE)));
        assert!(!check(Some(ONE), Some(TWO)));
    }
}
