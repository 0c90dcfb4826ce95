//! The committer's decisions: facts in, verdict out.

use thalweg_core::CheckpointId;
use thalweg_core::connector::sink::TargetExpectation;

/// A table as it was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) id: &'a str,
    /// The newest commit of the application; `Some(0)` when it has opened the table without committing yet.
    pub(super) txn: Option<CheckpointId>,
    pub(super) version: u64,
    pub(super) has_rows: bool,
}

/// What becomes of opening a table (P3, P12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    Create,
    Continue,
    /// It holds rows that no manifest knows.
    Unknown,
    /// It was there and is gone.
    Missing,
    /// Another one stands in its place.
    Recreated,
    /// It lacks commits that the manifest knows.
    Behind,
}

/// A table that is *ahead* is no error here: its newest commit may be the one that the newest manifest still has to
/// finish. The caller, who knows that manifest, compares.
pub(super) fn opening(
    found: Option<Found<'_>>,
    expected: &TargetExpectation,
    adopt: bool,
) -> Opening {
    let committed = expected.txn.unwrap_or_default();
    let promised = expected.version.is_some() || committed > CheckpointId::GENESIS;
    let Some(found) = found else {
        return if promised { Opening::Missing } else { Opening::Create };
    };
    let same = expected.id.as_deref().is_none_or(|id| id == found.id);
    if promised && !same {
        return Opening::Recreated;
    }
    if !promised && found.txn.is_none() && found.has_rows && !adopt {
        return Opening::Unknown;
    }
    let behind = found.txn.unwrap_or_default() < committed
        || expected.version.is_some_and(|v| found.version < v);
    if behind { Opening::Behind } else { Opening::Continue }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(txn: Option<u64>, version: u64) -> Found<'static> {
        Found { id: "a", txn: txn.map(CheckpointId), version, has_rows: true }
    }

    fn expected(id: &str, txn: Option<u64>, version: Option<u64>) -> TargetExpectation {
        TargetExpectation { id: Some(id.to_owned()), txn: txn.map(CheckpointId), version }
    }

    #[test]
    fn a_table_is_opened_only_as_the_manifest_remembers_it() {
        let cases = [
            (None, expected("a", None, None), Opening::Create),
            (None, expected("a", None, Some(0)), Opening::Missing),
            (None, expected("a", Some(3), None), Opening::Missing),
            (Some(found(None, 7)), expected("a", None, None), Opening::Unknown),
            (Some(found(None, 7)), expected("b", None, None), Opening::Unknown),
            (Some(found(Some(0), 0)), expected("a", None, None), Opening::Continue),
            (Some(found(None, 7)), expected("a", None, Some(7)), Opening::Continue),
            (Some(found(Some(4), 9)), expected("a", Some(4), Some(9)), Opening::Continue),
            (Some(found(Some(5), 10)), expected("a", Some(4), Some(9)), Opening::Continue),
            (Some(found(Some(4), 9)), expected("b", Some(4), Some(9)), Opening::Recreated),
            (Some(found(Some(3), 9)), expected("a", Some(4), Some(9)), Opening::Behind),
            (Some(found(None, 9)), expected("a", Some(4), Some(9)), Opening::Behind),
            (Some(found(Some(4), 8)), expected("a", Some(4), Some(9)), Opening::Behind),
        ];
        for (found, expected, want) in cases {
            assert_eq!(opening(found, &expected, false), want, "{found:?} {expected:?}");
        }
        assert_eq!(
            opening(Some(found(None, 7)), &expected("b", None, None), true),
            Opening::Continue
        );
    }
}
