//! What a marker means. Pure.

use thalweg_core::CheckpointId;
use thalweg_core::connector::sink::{PendingCommit, TargetExpectation};
use thalweg_core::connector::standing::{Standing, standing};
use thalweg_core::{Error, Result};

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

/// Whether a marker that was just moved to the checkpoint of `pending` is kept. Whoever slept right behind that finds
/// the marker of its successor.
pub(super) fn check_kept(
    servers: &str,
    pending: &PendingCommit,
    marker: Option<CheckpointId>,
) -> Result<()> {
    match standing(marker, pending.checkpoint) {
        Standing::Done => Ok(()),
        Standing::Fenced => Err(fenced(pending)),
        Standing::Missing => Err(not_kept(servers)),
    }
}

pub(super) fn not_kept(servers: &str) -> Error {
    Error::config(format!(
        "kafka at {servers} takes transactions but does not keep them: it cannot serve an exactly-once sink"
    ))
}

pub(super) fn fenced(pending: &PendingCommit) -> Error {
    Error::fenced(format!(
        "topic `{}` already holds a checkpoint of `{}` later than {}: another instance owns this job",
        pending.path, pending.app_id, pending.checkpoint
    ))
}

#[cfg(test)]
mod tests {
    use thalweg_core::ErrorKind;

    use super::*;

    const ONE: CheckpointId = CheckpointId(1);
    const TWO: CheckpointId = CheckpointId(2);

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

    #[test]
    fn a_successors_marker_behind_a_commit_is_no_fault_of_the_broker() {
        let pending = PendingCommit {
            sink: "mirror".into(),
            kind: "kafka".into(),
            path: "t".into(),
            target_id: "c/t".into(),
            app_id: "g".into(),
            checkpoint: ONE,
            rank: 0,
            rows: 1,
            staged: Vec::new(),
            void: false,
        };
        let check = |marker| check_kept("s", &pending, marker).map_err(|error| error.kind());
        assert_eq!(check(Some(ONE)), Ok(()));
        assert_eq!(check(Some(TWO)), Err(ErrorKind::Fenced));
        assert_eq!(check(None), Err(ErrorKind::InvalidConfig));
    }
}
