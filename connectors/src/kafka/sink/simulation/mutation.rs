//! The committer broken on purpose, to see that the auditor notices. Without a world nothing is.

use thalweg_core::CheckpointId;
use thalweg_core::connector::standing::Standing;

use super::world::{Mutation, here};

fn is(mutation: Mutation) -> bool {
    here().is_some_and(|world| world.mutation == mutation)
}

/// With [`Mutation::Unsettled`] a producer goes on that has sent an end twice.
pub(crate) fn is_settled(settled: bool) -> bool {
    settled || is(Mutation::Unsettled)
}

/// With [`Mutation::Forgets`] a new session finds no marker.
pub(crate) fn marker(marker: Option<CheckpointId>) -> Option<CheckpointId> {
    marker.filter(|_| !is(Mutation::Forgets))
}

/// With [`Mutation::Hanging`] a new session does not mind a transaction that has not ended in a partition.
pub(crate) fn open_before(open: Option<(i32, i64)>) -> Option<(i32, i64)> {
    open.filter(|_| !is(Mutation::Hanging))
}

/// With [`Mutation::Idle`] no marker is written again.
pub(crate) fn is_due(due: bool) -> bool {
    due && !is(Mutation::Idle)
}

/// With [`Mutation::Oblivious`] a start does not remember where it found a marker.
pub(crate) fn remembers() -> bool {
    !is(Mutation::Oblivious)
}

/// With [`Mutation::Older`] a checkpoint is sent though a later one is in.
pub(crate) fn standing(standing: Standing) -> Standing {
    if standing == Standing::Fenced && is(Mutation::Older) { Standing::Missing } else { standing }
}
