//! The committer broken on purpose, to see that the auditor notices. Without a world nothing is.

use thalweg_core::connector::sink::TargetExpectation;

use super::world::{APP, Mutation, here};
use crate::delta::table::Put;

fn is(mutation: Mutation) -> bool {
    here().is_some_and(|world| world.mutation == mutation)
}

/// With [`Mutation::Unseen`] every predecessor stands.
pub(crate) fn before_put(anchored: Option<bool>) -> Option<bool> {
    if is(Mutation::Unseen) { Some(true) } else { anchored }
}

/// With [`Mutation::Hole`] nothing tells that an entry was created where others had cleaned.
pub(crate) fn after_put(
    checkpoint: Option<u64>,
    anchored: Option<bool>,
) -> (Option<u64>, Option<bool>) {
    if is(Mutation::Hole) { (None, Some(true)) } else { (checkpoint, anchored) }
}

/// With [`Mutation::Anything`] nothing is expected of a table.
pub(crate) fn opening(expected: &TargetExpectation) -> TargetExpectation {
    if is(Mutation::Anything) { TargetExpectation::default() } else { expected.clone() }
}

/// With [`Mutation::Forgets`] nobody finds his own transaction in an entry.
pub(crate) fn txns(mut txns: Vec<(String, i64)>) -> Vec<(String, i64)> {
    if is(Mutation::Forgets) {
        txns.retain(|(app_id, _)| app_id != APP);
    }
    txns
}

/// With [`Mutation::Blind`] an unclear outcome is a failure, and the entry goes to the next version.
pub(crate) async fn put(put: Put, next: impl Future<Output = Put>) -> Put {
    if matches!(put, Put::Unclear) && is(Mutation::Blind) { next.await } else { put }
}
