//! From whatever a store holds to a state that an attempt can start from (P2, P3, P10, P12).
//!
//! Order: newest manifest, finish it, check the targets, check the graph, check the input, read the state; only then
//! does anything run. Everything here is asynchronous storage work and happens on the I/O runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_core::checkpoint::manifest::{SinkSnapshot, SplitSnapshot};
use thalweg_core::checkpoint::resolve::newest;
use thalweg_core::checkpoint::{Manifest, ManifestKind};
use thalweg_core::connector::sink::{Target, TargetExpectation, TargetStatus};
use thalweg_core::connector::source::Split;
use thalweg_core::crypto::MasterKey;
use thalweg_core::failpoint;
use thalweg_core::graph::{JobGraph, Node, NodeKind, groupings, key_types};
use thalweg_core::operator::StateBlob;
use thalweg_core::time::Clock;
use thalweg_core::{CheckpointId, Error, ErrorKind, OperatorUid, Result};

use super::finish::{Committers, finish};
use super::lineage::Lineage;
use super::staging::staged;
use super::state_files::{StateStore, sha256};
use super::storage::{CheckpointStorage, create_resolved};
use crate::placement::in_place;

/// What every step of an attempt needs.
#[derive(Debug, Clone)]
pub(crate) struct JobContext {
    pub(crate) graph: Arc<JobGraph>,
    pub(crate) storage: Arc<dyn CheckpointStorage>,
    pub(crate) key: Arc<MasterKey>,
    pub(crate) committers: Committers,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) adopt: bool,
    /// What the tokens of all attempts of this process begin with (P6).
    pub(crate) run: String,
}

/// Where an attempt starts.
#[derive(Debug, Clone)]
pub(crate) struct Restored {
    /// The newest manifest, finished. Its sinks' expectations are those of *now*.
    pub(crate) manifest: Manifest,
    /// SHA-256 of its stored bytes.
    pub(crate) digest: String,
    /// Operator state, by operator.
    pub(crate) state: BTreeMap<OperatorUid, Vec<StateBlob>>,
    /// Splits found since, at their beginnings, by source.
    pub(crate) discovered: BTreeMap<OperatorUid, Vec<SplitSnapshot>>,
}

/// The newest manifest of a store with its bytes.
pub(crate) fn read_newest(storage: &dyn CheckpointStorage) -> Result<Option<(Manifest, Vec<u8>)>> {
    // A garbage collector may delete between listing and reading: list again then (P7).
    let mut missing = None;
    loop {
        let mut numbers: Vec<CheckpointId> =
            storage.list("")?.iter().filter_map(|n| Manifest::number_of(n)).collect();
        let Some(head) = newest(&mut numbers)? else { return Ok(None) };
        if let Some(bytes) = storage.read(&Manifest::name(head))? {
            let manifest = Manifest::decode(&bytes)?;
            if manifest.number != head {
                return Err(Error::corrupt(format!(
                    "manifest {head} says it is {}",
                    manifest.number
                )));
            }
            return Ok(Some((manifest, bytes)));
        }
        if missing == Some(head) {
            return Err(Error::corrupt(format!("manifest {head} is listed but cannot be read")));
        }
        missing = Some(head);
    }
}

/// Creates a manifest and returns its bytes. One that an earlier attempt of this process sent and that arrived late is
/// no other process's: the next attempt begins from it (P6).
pub(crate) fn create_manifest(context: &JobContext, manifest: &Manifest) -> Result<Vec<u8>> {
    let (name, bytes) = (Manifest::name(manifest.number), manifest.encode()?);
    let storage = context.storage.as_ref();
    let Err(error) = create_resolved(storage, &name, &bytes) else { return Ok(bytes) };
    if error.kind() == ErrorKind::Fenced
        && let Some(found) = storage.read(&name)?
        && Manifest::decode(&found)?.attempt.starts_with(&context.run)
    {
        return Err(Error::transient(format!(
            "checkpoint {} of an earlier attempt of this process arrived late; it is gone on from",
            manifest.number
        )));
    }
    Err(error)
}

/// What becomes of a chain that is rolled forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    GoesOn,
    /// It is sealed, and another begins: what is lost of its targets must not hold that up.
    Ends,
}

/// Finishes the newest manifest and opens its targets. Used by restarts, and before sealing or rewinding. A restart goes on
/// from its own `lineage` only: another's decisions are the other's to finish (P6).
pub(crate) async fn roll_forward(
    context: &JobContext,
    chain: Chain,
    lineage: Option<&Mutex<Lineage>>,
) -> Result<(Manifest, String)> {
    let Some((mut manifest, bytes)) = read_newest(context.storage.as_ref())? else {
        return Err(Error::corrupt(format!(
            "the checkpoints in {} are gone",
            context.storage.describe()
        )));
    };
    let digest = sha256(&bytes);
    if let Some(lineage) = lineage {
        // Another's end is no end of ours either.
        lineage.lock().unwrap_or_else(PoisonError::into_inner).check(&manifest, &digest)?;
    }
    // Whoever wrote it may have died, or lost its power, before it was durable (P20).
    context.storage.sync(&Manifest::name(manifest.number))?;
    let state = manifest.state.iter().map(|file| file.path.clone());
    for path in state.chain(staged(&manifest).into_iter().map(|s| s.path)) {
        context.storage.sync(&path)?;
    }
    check_keys(context, &manifest)?;
    if manifest.job != context.graph.name() {
        return Err(Error::incompatible(format!(
            "the checkpoints in {} belong to job `{}`",
            context.storage.describe(),
            manifest.job
        )));
    }
    let opened = open_targets(context, &mut manifest, chain).await?;
    failpoint::hit("recover.opened")?;
    let committed = finish(context, &manifest, &digest).await?;
    let mut versions: BTreeMap<_, _> =
        opened.iter().map(|(sink, status)| (sink.clone(), status.version)).collect();
    versions.extend(committed);
    manifest.sinks = manifest.expectations(&versions);
    for sink in &mut manifest.sinks {
        let Some(status) = opened.get(sink.uid.as_str()) else { continue };
        know(context, sink, status).await?;
    }
    Ok((manifest, digest))
}

fn check_keys(context: &JobContext, manifest: &Manifest) -> Result<()> {
    let ours = context.key.key_id().to_string();
    if let Some(other) = manifest.key_ids.iter().find(|id| **id != ours) {
        return Err(Error::config(format!(
            "the newest checkpoint was sealed with key {other}, but the key given is {ours}: set THALWEG_PHI_KEY or --key-file to that key"
        )));
    }
    Ok(())
}

/// Opens or creates every target and compares it with what the manifest expects (P12). A sink whose target is gone, or
/// another, is forgotten where nobody needs it: the graph has lost the sink and nothing is owed to it, or the chain ends,
/// and the next one reads the input again and judges what it finds there.
async fn open_targets(
    context: &JobContext,
    manifest: &mut Manifest,
    chain: Chain,
) -> Result<BTreeMap<String, TargetStatus>> {
    let planned = planned(context)?;
    let (mut opened, mut kept) = (BTreeMap::new(), Vec::new());
    for sink in std::mem::take(&mut manifest.sinks) {
        let waits = manifest.pending.iter().any(|p| p.sink == sink.uid.as_str());
        if !waits && !context.committers.0.contains_key(sink.target.kind.as_str()) {
            // The graph has lost its last sink of that kind, and nothing is owed to it.
            kept.push(sink);
            continue;
        }
        let committer = context.committers.get(&sink.target.kind)?;
        let mut expected = sink.expected.clone();
        // Where nothing was ever committed nothing is lost with what the target remembers of the chain's beginning.
        expected.txn = expected.txn.filter(|txn| waits || *txn > CheckpointId::GENESIS);
        let found = committer.open(&sink.target, &sink.app_id, &expected, context.adopt).await;
        let found = found.and_then(|status| match status.txn {
            Some(txn) if txn > manifest.number => Err(ahead(&sink, txn, manifest.number)),
            _ => Ok(status),
        });
        let is_planned = || planned.iter().any(|(uid, target)| is_same(&sink, uid, target));
        match found.map_err(|e| e.at(format!("sink `{}`", sink.uid))) {
            Ok(status) => {
                opened.insert(sink.uid.to_string(), status);
                kept.push(sink);
            }
            Err(error) if chain == Chain::Ends && is_lost(&error) => {
                tracing::warn!(%error, "the new chain takes the place as it finds it");
                manifest.pending.retain(|pending| pending.sink != sink.uid.as_str());
            }
            Err(error) if error.kind() == ErrorKind::DataLoss && !waits && !is_planned() => {
                tracing::warn!(%error, "the graph has this sink no more, and nothing is owed to it");
            }
            Err(error) => return Err(error),
        }
    }
    manifest.sinks = kept;
    Ok(opened)
}

/// Whether a target is not what the chain has written to: gone, another, older, or further than the chain.
fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::DataLoss | ErrorKind::Fenced)
}

/// The sinks of the graph with their targets.
fn planned(context: &JobContext) -> Result<Vec<(OperatorUid, Target)>> {
    let sinks = context.graph.nodes().iter().filter_map(|node| match &node.kind {
        NodeKind::Sink(sink) => Some((node, sink)),
        _ => None,
    });
    sinks.map(|(node, sink)| Ok((node.uid.clone(), sink.target(&node.input_schema)?))).collect()
}

/// Whether a sink of the graph is one that a manifest knows.
fn is_same(known: &SinkSnapshot, uid: &OperatorUid, target: &Target) -> bool {
    known.uid == *uid && known.target.kind == target.kind && known.target.path == target.path
}

fn ahead(sink: &SinkSnapshot, txn: CheckpointId, newest: CheckpointId) -> Error {
    Error::fenced(format!(
        "`{}` has a commit of checkpoint {txn} while the newest manifest is {newest}: another process owns this job, or the checkpoint folder is an old copy: use the newest one, or start a new chain with --fresh",
        sink.target.path
    ))
}

/// From here on the sink's target has this identity. One that no manifest knew before may hold rows, when it was adopted:
/// they are counted now and counted on from (P19). Until a manifest knows the target this chain commits nothing to it, so
/// that whoever dies in between counts the same again.
async fn know(context: &JobContext, sink: &mut SinkSnapshot, found: &TargetStatus) -> Result<()> {
    if sink.expected.id.is_none() {
        count(context, sink).await?;
    }
    sink.expected.id = Some(found.id.clone());
    sink.expected.txn = sink.expected.txn.or(found.txn);
    Ok(())
}

/// After a rewind the tables hold what a person left in them: restored to that checkpoint, or not (P19).
async fn recount(context: &JobContext, manifest: &mut Manifest) -> Result<()> {
    for sink in &mut manifest.sinks {
        count(context, sink).await?;
    }
    Ok(())
}

/// What counts is what the target holds, where its committer can tell. The graph may have lost its last sink of a kind:
/// then nobody asks.
async fn count(context: &JobContext, sink: &mut SinkSnapshot) -> Result<()> {
    let Some(committer) = context.committers.find(&sink.target.kind) else { return Ok(()) };
    if let Some(rows) = committer.count_rows(&sink.target.path).await? {
        sink.rows = rows;
    }
    Ok(())
}

/// Everything an attempt needs, or `None` when the job had been finished with this very input. `events` is how many rows it
/// may read in the life of the chain.
pub(crate) async fn restore(
    context: &JobContext,
    token: &str,
    events: Option<u64>,
    lineage: &Mutex<Lineage>,
) -> Result<Option<Restored>> {
    let (mut manifest, digest) = roll_forward(context, Chain::GoesOn, Some(lineage)).await?;
    if manifest.kind == ManifestKind::Sealed {
        return Err(Error::incompatible(
            "this chain of checkpoints is closed and its successor was never begun: start one with --fresh",
        ));
    }
    check_graph(context, &manifest)?;
    if matches!(manifest.kind, ManifestKind::Rewind { .. }) {
        recount(context, &mut manifest).await?;
    }
    let mut discovered = BTreeMap::new();
    for node in context.graph.nodes() {
        let NodeKind::Source(source) = &node.kind else { continue };
        let place = |e: Error| e.at(format!("source `{}`", node.uid));
        let known = manifest.sources.iter().find(|s| s.uid == node.uid).ok_or_else(|| {
            Error::incompatible(format!("the checkpoint does not know source `{}`", node.uid))
        })?;
        let splits: Vec<_> = known.splits.iter().map(|s| s.split.clone()).collect();
        let verified = in_place(|| source.source.verify(&known.identity, &splits));
        verified.map_err(place)?;
        if !manifest.finished {
            let new = in_place(|| source.source.discover(&splits)).map_err(place)?;
            // Nobody downstream was ahead of any split that was read, or of what the source had said: new ones begin
            // there (P22).
            let unread = known.splits.iter().filter(|s| !s.split.is_finished());
            let watermark = unread.map(|s| s.watermark).min().flatten().max(known.watermark);
            discovered.insert(
                node.uid.clone(),
                new.into_iter().map(|split| SplitSnapshot { split, watermark }).collect(),
            );
        }
    }
    add_new_sinks(context, &mut manifest).await?;
    if manifest.finished {
        return check_finished(context, &manifest, events).map(|()| None);
    }
    let store = StateStore {
        storage: Arc::clone(&context.storage),
        key: Arc::clone(&context.key),
        chain: manifest.chain.clone(),
        token: token.to_owned(),
    };
    let state = store
        .read(&manifest.state)
        .map_err(|e| lost_or_cleaned_up(context.storage.as_ref(), manifest.number, e))?;
    failpoint::hit("recover.restored")?;
    Ok(Some(Restored { manifest, digest, state, discovered }))
}

/// A finished chain has closed its windows for good and reads no further. Where its input has more, ending well again and
/// again would pass for reading.
fn check_finished(context: &JobContext, manifest: &Manifest, events: Option<u64>) -> Result<()> {
    // An attempt of this process finished it and could not say so any more.
    if manifest.attempt.starts_with(&context.run) {
        return Ok(());
    }
    let read: u64 = manifest.sources.iter().map(|s| s.rows).sum();
    let may_read = events.is_none_or(|limit| read < limit);
    if may_read && !context.graph.nodes().iter().all(|node| is_read(node, manifest)) {
        return Err(Error::incompatible(format!(
            "checkpoint {} has drained this job: all that it read is committed and its windows are closed, so this chain reads no further; begin another with --fresh, and say by --start where it reads from",
            manifest.number
        )));
    }
    tracing::info!(checkpoint = %manifest.number, "nothing more to read: the job was finished before");
    Ok(())
}

/// Whether a source has been read to its end. One that says it has an end has it where its splits do not say so.
fn is_read(node: &Node, manifest: &Manifest) -> bool {
    let NodeKind::Source(source) = &node.kind else { return true };
    let ends = source.source.is_bounded();
    let has_ended = |split: &Split| if split.end.is_some() { split.is_finished() } else { ends };
    let known = manifest.sources.iter().filter(|s| s.uid == node.uid);
    known.flat_map(|s| &s.splits).all(|s| has_ended(&s.split))
}

/// What an object of checkpoint `number` that cannot be read means: where somebody has gone on meanwhile, garbage was
/// collected, and whoever asks is the one that is behind (P7).
pub(super) fn lost_or_cleaned_up(
    storage: &dyn CheckpointStorage,
    number: CheckpointId,
    missing: Error,
) -> Error {
    match read_newest(storage) {
        Ok(Some((newest, _))) if newest.number > number => Error::fenced(format!(
            "checkpoint {number} was cleaned up meanwhile: another process has gone on with this job; this one stops"
        ))
        .with_source(missing),
        Ok(_) => missing,
        Err(unclear) => unclear,
    }
}

fn check_graph(context: &JobContext, manifest: &Manifest) -> Result<()> {
    let graph = &context.graph;
    if manifest.max_parallelism != graph.max_parallelism() {
        return Err(Error::incompatible(format!(
            "the checkpoint has {} key groups, the graph {}: key groups are fixed for the life of a job",
            manifest.max_parallelism,
            graph.max_parallelism()
        )));
    }
    let uids: BTreeSet<&OperatorUid> = graph.nodes().iter().map(|n| &n.uid).collect();
    let holders = manifest.state.iter().map(|s| &s.uid);
    if let Some(gone) =
        holders.chain(manifest.sources.iter().map(|s| &s.uid)).find(|u| !uids.contains(u))
    {
        return Err(Error::incompatible(format!(
            "the checkpoint holds state of node `{gone}`, which the graph no longer has: bring it back, or begin anew with --fresh"
        )));
    }
    check_groupings(&graph.fingerprint(), manifest)
}

/// State belongs to the keys that it was kept for: those of other columns would go on with it and notice nothing.
fn check_groupings(fingerprint: &[String], manifest: &Manifest) -> Result<()> {
    for uid in manifest.state.iter().map(|file| &file.uid).collect::<BTreeSet<_>>() {
        let (before, now) = (groupings(&manifest.fingerprint, uid), groupings(fingerprint, uid));
        if !before.is_empty() && before != now {
            let text =
                |columns: BTreeSet<&str>| columns.into_iter().collect::<Vec<_>>().join(" and ");
            let now = if now.is_empty() { "nothing".to_owned() } else { text(now) };
            return Err(Error::incompatible(format!(
                "the checkpoint holds state of node `{uid}` by {}, and the graph groups its rows by {now}: group them as before, or begin anew with --fresh",
                text(before)
            )));
        }
        let (before, now) = (key_types(&manifest.fingerprint, uid), key_types(fingerprint, uid));
        let mut pairs = before
            .iter()
            .filter_map(|(column, before)| now.get(column).map(|now| (column, *before, *now)));
        if let Some((column, before, now)) = pairs.find(|(_, before, now)| !is_kept(before, now)) {
            return Err(Error::incompatible(format!(
                "the checkpoint holds state of node `{uid}` by `{column}` of type {before}, which the graph has as {now}: give the column its type back, or begin anew with --fresh"
            )));
        }
    }
    Ok(())
}

/// Whether keys of a type are the same keys in another. All integers are stored alike: only to wider ones is none lost.
fn is_kept(before: &str, now: &str) -> bool {
    before == now || (before, now) == ("Int32", "Int64")
}

/// A sink that the manifest does not know gets a target of its own; one that the graph lost is forgotten.
async fn add_new_sinks(context: &JobContext, manifest: &mut Manifest) -> Result<()> {
    let mut sinks = Vec::new();
    for node in context.graph.nodes() {
        let NodeKind::Sink(sink) = &node.kind else { continue };
        let target = sink.target(&node.input_schema)?;
        let known = manifest.sinks.iter().find(|s| is_same(s, &node.uid, &target));
        let mut snapshot = match known {
            Some(known) => SinkSnapshot { target, rank: sink.rank(), ..known.clone() },
            None => SinkSnapshot {
                uid: node.uid.clone(),
                app_id: Manifest::app_id(context.graph.name(), &manifest.chain, node.uid.as_str()),
                expected: TargetExpectation::default(),
                rank: sink.rank(),
                rows: 0,
                target,
            },
        };
        let status = context
            .committers
            .get(&snapshot.target.kind)?
            .open(&snapshot.target, &snapshot.app_id, &snapshot.expected, context.adopt)
            .await
            .map_err(|e| e.at(format!("sink `{}`", node.uid)))?;
        know(context, &mut snapshot, &status).await?;
        snapshot.expected.version = Some(status.version);
        sinks.push(snapshot);
    }
    manifest.sinks = sinks;
    Ok(())
}

#[cfg(test)]
mod tests {
    use thalweg_core::SubtaskIndex;
    use thalweg_core::checkpoint::manifest::StateFile;
    use thalweg_core::key::KeyGroupRange;

    use super::*;
    use crate::checkpoint::sample::manifest;

    /// Of a job that counts by ward, which is a column of `ward`.
    fn fingerprint(ward: &str) -> Vec<String> {
        vec![
            format!("source readings -> patient:Int64,ward:{ward},at:Int64"),
            "operator count -> n:Int64".to_owned(),
            r#"edge readings[] -> count Hash(["ward"])"#.to_owned(),
        ]
    }

    #[test]
    fn keys_of_another_type_are_refused_unless_each_is_the_same_key_in_it() {
        let state = StateFile {
            uid: OperatorUid::new("count").unwrap(),
            subtask: SubtaskIndex(0),
            key_groups: KeyGroupRange { start: 0, end: 8 },
            path: "state/count".into(),
            sha256: String::new(),
            bytes: 0,
        };
        let check = |before: &str, now: &str| {
            let (fingerprint, state) = (fingerprint(before), vec![state.clone()]);
            let manifest = Manifest { fingerprint, state, ..manifest(1) };
            check_groupings(&self::fingerprint(now), &manifest)
        };
        for (before, now) in [
            ("Utf8", "Utf8"),
            ("Int32", "Int64"),
            // Written by another release.
            ("Timestamp(Microsecond, None)", r#"Timestamp(µs, "UTC")"#),
        ] {
            check(before, now).unwrap();
        }
        for (before, now) in [("Utf8", "Int64"), ("Int64", "Int32"), ("Boolean", "Utf8")] {
            let told = check(before, now).unwrap_err();
            assert_eq!(told.kind(), ErrorKind::IncompatibleState, "{told}");
            let says =
                format!("node `count` by `ward` of type {before}, which the graph has as {now}:");
            assert!(told.to_string().contains(&says), "{told}");
        }
    }
}
