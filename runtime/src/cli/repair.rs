//! What a person decides about a stopped job: go back to a checkpoint, or give up rows that cannot be committed.

use std::fmt::Write;

use thalweg_core::checkpoint::manifest::SinkSnapshot;
use thalweg_core::checkpoint::{Manifest, ManifestKind};
use thalweg_core::connector::sink::PendingCommit;
use thalweg_core::{CheckpointId, Error, ErrorKind, Result};

use super::checkpoints::{Stored, manifests, no_such};
use crate::checkpoint::recover::{Chain, JobContext, read_newest, roll_forward};
use crate::checkpoint::state_files::sha256;
use crate::checkpoint::storage::create_resolved;
use crate::checkpoint::store::check_parent;

/// Gives up the rows of the checkpoint that waits, for one sink: M(head+1) decides it and takes over all that waits, so
/// that dying anywhere behind it, or asking again, changes nothing (P15). It is the one manifest whose parent need not be
/// finished: finishing it finishes the parent's commits, under their own number.
pub(super) async fn resolve(
    context: &JobContext,
    sink: &str,
    void: CheckpointId,
) -> Result<String> {
    let newest = read_newest(context.storage.as_ref())?;
    let (head, bytes) = newest.ok_or_else(|| Error::config("there are no checkpoints"))?;
    let waits = head.pending.first().map_or(head.number, |p| p.checkpoint);
    if waits != void {
        return Err(Error::config(format!(
            "checkpoint {void} is not the newest: only checkpoint {waits} can wait to be committed"
        )));
    }
    let Some(pending) = head.pending.iter().find(|p| p.sink == sink) else {
        let waiting: Vec<&str> = head.pending.iter().map(|p| p.sink.as_str()).collect();
        return Err(Error::config(format!(
            "checkpoint {void} has no rows for sink `{sink}`; it has some for {}",
            if waiting.is_empty() { "none".to_owned() } else { waiting.join(", ") }
        )));
    };
    if !pending.void {
        refuse_committed(context, &head, pending).await?;
        give_up(context, &head, &sha256(&bytes), pending)?;
    }
    let (rows, files, path) = (pending.rows, pending.staged.len(), &pending.path);
    roll_forward(context, Chain::GoesOn, None).await?;
    Ok(format!(
        "sink `{sink}` goes on without checkpoint {void}: {rows} rows in {files} files are not in table {path}\n"
    ))
}

/// What is in the table already cannot be given up.
async fn refuse_committed(
    context: &JobContext,
    head: &Manifest,
    pending: &PendingCommit,
) -> Result<()> {
    let Some(sink) = head.sinks.iter().find(|s| s.uid.as_str() == pending.sink) else {
        return Err(Error::corrupt("a checkpoint has rows for a sink that it does not know"));
    };
    let committer = context.committers.get(&pending.kind)?;
    let status = committer.open(&sink.target, &sink.app_id, &sink.expected, context.adopt).await?;
    if status.txn >= Some(pending.checkpoint) {
        return Err(Error::config(format!(
            "checkpoint {} is committed to table {} already: there is nothing to give up",
            pending.checkpoint, pending.path
        )));
    }
    Ok(())
}

/// Creates M(head+1): all that waits, one sink's rows given up.
fn give_up(
    context: &JobContext,
    head: &Manifest,
    digest: &str,
    given_up: &PendingCommit,
) -> Result<()> {
    let mut resolved = Manifest {
        number: head.number.next(),
        attempt: uuid::Uuid::new_v4().simple().to_string(),
        parent: Some(digest.to_owned()),
        created_at: context.clock.now_micros(),
        ..head.clone()
    };
    for pending in resolved.pending.iter_mut().filter(|p| p.sink == given_up.sink) {
        pending.void = true;
    }
    if let Some(sink) = resolved.sinks.iter_mut().find(|s| s.uid.as_str() == given_up.sink) {
        sink.rows = sink.rows.saturating_sub(given_up.rows);
        resolved.kind =
            ManifestKind::Resolved { void: given_up.checkpoint, sink: sink.uid.clone() };
    }
    decide(context, head.number, digest, &resolved)
}

/// Creates M(head+1) where M(head) still is what was read. A job that runs beside this may have gone on, and where it has
/// cleaned up behind itself the name is free again: only the head, read again, tells (P7).
fn decide(
    context: &JobContext,
    head: CheckpointId,
    digest: &str,
    decision: &Manifest,
) -> Result<()> {
    let (storage, name) = (context.storage.as_ref(), Manifest::name(decision.number));
    create_resolved(storage, &name, &decision.encode()?)
        .and_then(|()| check_parent(storage, head, digest))
        .map_err(|error| match error.kind() {
            ErrorKind::Fenced => Error::fenced(format!(
                "the job has gone on from checkpoint {head} meanwhile, and nothing was decided: stop the job, then give this command again"
            ))
            .with_source(error),
            _ => error,
        })
}

/// M(head+1) with the positions and state of M(m); numbers never go back (P4).
pub(super) async fn rewind(context: &JobContext, to: CheckpointId) -> Result<String> {
    let (head, digest) = roll_forward(context, Chain::GoesOn, None).await?;
    let (all, _) = manifests(context.storage.as_ref())?;
    let find = |number| all.iter().find(|(m, _)| m.number == number).map(|(m, _)| m);
    let target = find(to).ok_or_else(|| no_such(to, &all))?;
    if target.chain != head.chain {
        return Err(Error::config(format!("checkpoint {to} belongs to a chain that is closed")));
    }
    if target.kind == ManifestKind::Sealed || to == head.number {
        return Err(Error::config(format!("checkpoint {to} is not one to go back to")));
    }
    let rewound = Manifest {
        number: head.number.next(),
        attempt: uuid::Uuid::new_v4().simple().to_string(),
        parent: Some(digest.clone()),
        kind: ManifestKind::Rewind { from: to },
        finished: target.finished,
        created_at: context.clock.now_micros(),
        sources: target.sources.clone(),
        // With the state goes what it is grouped by.
        state: target.state.clone(),
        fingerprint: target.fingerprint.clone(),
        // What the tables hold is what the head left; what was written since `to` will be written again.
        sinks: head.sinks.clone(),
        pending: Vec::new(),
        ..head.clone()
    };
    decide(context, head.number, &digest, &rewound)?;
    // Until now a copy that is awake may have deleted it, and its state with it.
    if context.storage.read(&Manifest::name(to))?.is_none() {
        return Err(Error::data_loss(format!(
            "checkpoint {} goes back to {to}, which was deleted meanwhile: stop the job, and go back to one that is still listed",
            rewound.number
        )));
    }
    let mut text = format!(
        "checkpoint {} goes back to {to}; the next run reads on from there.\n",
        rewound.number
    );
    text.push_str("Rows committed since are still in the tables. To take them out, restore each table before that run:\n");
    for sink in sinks_at(to, &all, &head) {
        let Some(version) = sink.expected.version else { continue };
        let undo = match context.committers.find(&sink.target.kind) {
            Some(committer) => committer
                .how_to_undo(&sink.target.path, version)
                .unwrap_or_else(|| "keeps them: what was sent cannot be taken back".to_owned()),
            None => {
                format!("keeps them: this program has no sink of kind `{}`", sink.target.kind)
            }
        };
        let line = writeln!(text, "  {}  {undo}", sink.target.path);
        debug_assert!(line.is_ok(), "a String takes everything");
    }
    Ok(text)
}

/// The sinks with the versions that hold exactly the checkpoints up to `to`: those that the manifest behind it expects to
/// find. One that gives rows up is made while its parent waits, and expects what the parent does: behind such there is
/// another, or the `head`, finished by now.
fn sinks_at<'a>(to: CheckpointId, all: &'a [Stored], head: &'a Manifest) -> &'a [SinkSnapshot] {
    let behind = all.iter().map(|(manifest, _)| manifest).find(|manifest| {
        manifest.number > to && !matches!(manifest.kind, ManifestKind::Resolved { .. })
    });
    &behind.unwrap_or(head).sinks
}

#[cfg(test)]
mod tests {
    use thalweg_core::OperatorUid;
    use thalweg_core::connector::sink::{Target, TargetExpectation};

    use super::*;
    use crate::checkpoint::sample::manifest;

    /// A manifest that expects its only table at `version`.
    fn expecting(number: u64, version: u64, kind: ManifestKind) -> Manifest {
        let sink = SinkSnapshot {
            uid: OperatorUid::new("all").unwrap(),
            target: Target {
                kind: "fake".to_owned(),
                path: "all".to_owned(),
                definition: serde_json::Value::Null,
            },
            app_id: "app".to_owned(),
            expected: TargetExpectation { version: Some(version), ..TargetExpectation::default() },
            rank: 0,
            rows: 0,
        };
        Manifest { kind, sinks: vec![sink], ..manifest(number) }
    }

    #[test]
    fn a_table_is_restored_to_the_version_that_holds_the_checkpoint_gone_back_to() {
        let resolved = || ManifestKind::Resolved {
            void: CheckpointId(4),
            sink: OperatorUid::new("b").unwrap(),
        };
        // Checkpoint n is version n, and a manifest expects what its parent left.
        let mut all = vec![
            (expecting(3, 2, ManifestKind::Checkpoint), Vec::new()),
            (expecting(4, 3, ManifestKind::Checkpoint), Vec::new()),
            (expecting(5, 3, resolved()), Vec::new()),
        ];
        let head = expecting(5, 4, resolved());
        let version = |to, all: &[Stored], head: &Manifest| {
            sinks_at(CheckpointId(to), all, head)[0].expected.version
        };
        assert_eq!(version(3, &all, &head), Some(3));
        assert_eq!(version(4, &all, &head), Some(4), "the head is what was given up");
        all.push((expecting(6, 4, ManifestKind::Checkpoint), Vec::new()));
        let head = expecting(6, 6, ManifestKind::Checkpoint);
        assert_eq!(version(4, &all, &head), Some(4));
        assert_eq!(version(5, &all, &head), Some(4));
    }
}
