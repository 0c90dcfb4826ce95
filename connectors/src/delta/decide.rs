//! The committer's decisions: facts in, verdict out. Nothing here reads, waits or writes.

use thalweg_core::connector::sink::TargetExpectation;

#[cfg(test)]
use super::simulation::mutation;

/// What a table remembers of an application id, compared with a checkpoint (P12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not in yet: commit.
    Missing,
    /// In: nothing to do.
    Done,
    /// A later checkpoint is in: someone else commits for us.
    Fenced,
}

/// Where checkpoint `n` stands against the newest `txn` of its application id.
pub(crate) fn standing(txn: Option<i64>, n: i64) -> Standing {
    match txn {
        Some(txn) if txn > n => Standing::Fenced,
        Some(txn) if txn == n => Standing::Done,
        _ => Standing::Missing,
    }
}

/// What to do before entry v is created (P13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BeforePut {
    /// Entry v-1 is known to stand.
    Put,
    /// It does not, or is another one: find the newest version by listing.
    Reload,
}

/// `anchored`: whether entry v-1 still is the one we know (`None`: known from a log checkpoint alone).
/// `fresh`: whether v-1 was found by listing within this commit.
pub(crate) fn before_put(anchored: Option<bool>, fresh: bool) -> BeforePut {
    #[cfg(test)]
    let anchored = mutation::before_put(anchored);
    match anchored {
        Some(true) => BeforePut::Put,
        None if fresh => BeforePut::Put,
        _ => BeforePut::Reload,
    }
}

/// What to do after entry v was created (P13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterPut {
    /// It continues the log.
    Committed,
    /// It may stand in a hole that others have cleaned: the log's newest snapshot decides.
    Reload,
}

/// `checkpoint`: the version in `_last_checkpoint`, of which a writer need not have told. `anchored`: whether entry v-1 still
/// stands; `None`: a log checkpoint stood for it before. Then nothing but the log itself tells whether others went on and
/// cleaned v while our request was on its way.
pub(crate) fn after_put(v: u64, checkpoint: Option<u64>, anchored: Option<bool>) -> AfterPut {
    #[cfg(test)]
    let (checkpoint, anchored) = mutation::after_put(checkpoint, anchored);
    let below = checkpoint.is_none_or(|c| c < v);
    if below && anchored == Some(true) { AfterPut::Committed } else { AfterPut::Reload }
}

/// What stands where we wanted to create our entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EntryFacts {
    /// The highest `txn` of our application id in it.
    pub(crate) txn: Option<i64>,
    /// Whether it changes the table's columns, settings or protocol.
    pub(crate) changes_table: bool,
}

/// What to do about an entry that stands where ours should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Occupied {
    /// It is our commit: its answer was lost, or another instance was faster.
    Ours,
    /// It is a later checkpoint of our application id.
    Fenced,
    /// Someone changed the table: read it anew and compare columns (P15).
    Reload,
    /// Someone appended or rewrote files: try the next version.
    Next,
    /// Nothing stands there after all: the same version again (P13).
    Again,
}

/// Decides by the entry found at v, `None` if there is none, what becomes of checkpoint `n`.
pub(crate) fn occupied(entry: Option<&EntryFacts>, n: i64) -> Occupied {
    let Some(entry) = entry else { return Occupied::Again };
    match standing(entry.txn, n) {
        Standing::Done => Occupied::Ours,
        Standing::Fenced => Occupied::Fenced,
        Standing::Missing if entry.changes_table => Occupied::Reload,
        Standing::Missing => Occupied::Next,
    }
}

/// What was found where a target should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) txn: Option<i64>,
    pub(crate) version: u64,
}

/// Whether a target may be written to (P3, P12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It is absent and nothing is expected of it.
    Create,
    /// It is as the manifest says.
    Continue,
    /// Rows that no manifest knows, and we may keep them.
    Adopt,
    /// Rows that no manifest knows.
    Unknown,
    /// It was there and is gone.
    Missing,
    /// Another table stands in its place.
    Recreated,
    /// It lacks commits that the manifest knows.
    Behind,
}

/// The creating entry carries `txn` 0 of the chain that made it, which is how a table is known before any manifest
/// says so; 0 and none are the same otherwise.
pub(crate) fn opening(found: Option<&Found>, expected: &TargetExpectation, adopt: bool) -> Opening {
    #[cfg(test)]
    let expected = &mutation::opening(expected);
    let committed = expected.txn.map_or(0, |n| n.0 as i64);
    let Some(found) = found else {
        let nothing = expected.id.is_none() && committed == 0 && expected.version.is_none();
        return if nothing { Opening::Create } else { Opening::Missing };
    };
    match &expected.id {
        Some(id) if *id != found.id => return Opening::Recreated,
        None if found.txn.is_none() && committed == 0 => {
            return if adopt { Opening::Adopt } else { Opening::Unknown };
        }
        _ => {}
    }
    let txn = found.txn.unwrap_or(0);
    if txn < committed || expected.version.is_some_and(|v| found.version < v) {
        Opening::Behind
    } else {
        // More than expected is what a crash between commit and the next manifest leaves: the caller, who knows the
        // newest manifest's number, judges the `txn` that is reported.
        Opening::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_core::CheckpointId;

    fn found(txn: Option<i64>, version: u64) -> Found {
        Found { id: "a".to_owned(), txn, version }
    }

    fn expected(id: Option<&str>, txn: Option<u64>, version: Option<u64>) -> TargetExpectation {
        TargetExpectation { id: id.map(ToOwned::to_owned), txn: txn.map(CheckpointId), version }
    }

    #[test]
    fn a_checkpoint_is_committed_exactly_when_nothing_as_new_is_in() {
        for n in 0..5 {
            for txn in 0..5 {
                let want = match txn.cmp(&n) {
                    std::cmp::Ordering::Less => Standing::Missing,
                    std::cmp::Ordering::Equal => Standing::Done,
                    std::cmp::Ordering::Greater => Standing::Fenced,
                };
                assert_eq!(standing(Some(txn), n), want, "txn {txn}, checkpoint {n}");
            }
            assert_eq!(standing(None, n), Standing::Missing);
        }
    }

    #[test]
    fn an_entry_is_created_only_on_a_predecessor_that_was_seen() {
        assert_eq!(before_put(Some(true), false), BeforePut::Put);
        assert_eq!(before_put(None, true), BeforePut::Put);
        for unseen in [(Some(false), false), (Some(false), true), (None, false)] {
            assert_eq!(before_put(unseen.0, unseen.1), BeforePut::Reload);
        }
    }

    #[test]
    fn an_entry_at_or_below_the_last_checkpoint_is_never_taken_for_committed() {
        for v in 1..4 {
            for checkpoint in 0..4 {
                let verdict = after_put(v, Some(checkpoint), Some(true));
                assert_eq!(verdict == AfterPut::Committed, checkpoint < v);
                assert_eq!(after_put(v, Some(checkpoint), Some(false)), AfterPut::Reload);
            }
            assert_eq!(after_put(v, None, Some(true)), AfterPut::Committed);
            assert_eq!(after_put(v, None, None), AfterPut::Reload);
        }
    }

    #[test]
    fn what_stands_at_our_version_decides() {
        let entry = |txn, changes_table| EntryFacts { txn, changes_table };
        assert_eq!(occupied(None, 7), Occupied::Again);
        assert_eq!(occupied(Some(&entry(Some(7), false)), 7), Occupied::Ours);
        assert_eq!(occupied(Some(&entry(Some(7), true)), 7), Occupied::Ours);
        assert_eq!(occupied(Some(&entry(Some(8), false)), 7), Occupied::Fenced);
        assert_eq!(occupied(Some(&entry(None, true)), 7), Occupied::Reload);
        assert_eq!(occupied(Some(&entry(None, false)), 7), Occupied::Next);
        assert_eq!(occupied(Some(&entry(Some(6), false)), 7), Occupied::Next);
    }

    #[test]
    fn a_table_is_opened_only_as_the_manifest_remembers_it() {
        let cases = [
            (None, expected(None, None, None), Opening::Create),
            (None, expected(Some("a"), None, None), Opening::Missing),
            (None, expected(None, Some(3), None), Opening::Missing),
            (Some(found(None, 0)), expected(None, None, None), Opening::Unknown),
            (Some(found(Some(0), 0)), expected(None, None, None), Opening::Continue),
            (Some(found(Some(0), 0)), expected(Some("a"), None, Some(0)), Opening::Continue),
            (Some(found(Some(4), 9)), expected(Some("a"), Some(4), Some(9)), Opening::Continue),
            (Some(found(Some(4), 9)), expected(Some("b"), Some(4), Some(9)), Opening::Recreated),
            (Some(found(Some(3), 9)), expected(Some("a"), Some(4), Some(9)), Opening::Behind),
            (Some(found(None, 9)), expected(Some("a"), Some(4), Some(9)), Opening::Behind),
            (Some(found(Some(4), 8)), expected(Some("a"), Some(4), Some(9)), Opening::Behind),
            (Some(found(Some(5), 9)), expected(Some("a"), Some(4), Some(9)), Opening::Continue),
            (Some(found(Some(5), 9)), expected(None, None, None), Opening::Continue),
        ];
        for (found, expected, want) in cases {
            assert_eq!(opening(found.as_ref(), &expected, false), want, "{found:?} {expected:?}");
        }
        let adopted = opening(Some(&found(None, 7)), &expected(None, None, None), true);
        assert_eq!(adopted, Opening::Adopt);
    }
}
