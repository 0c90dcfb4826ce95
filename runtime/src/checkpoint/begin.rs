//! How a chain of manifests begins, and how the one before it ends (P2, P4).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use thalweg_core::checkpoint::manifest::{FORMAT, SinkSnapshot, SourceSnapshot, SplitSnapshot};
use thalweg_core::checkpoint::{Manifest, ManifestKind};
use thalweg_core::connector::sink::{Target, TargetExpectation};
use thalweg_core::graph::NodeKind;
use thalweg_core::{CheckpointId, Result, failpoint};

use super::lineage::Lineage;
use super::recover::{Chain, JobContext, create_manifest, read_newest, roll_forward};
use super::state_files::sha256;
use super::store::check_parent;
use crate::placement::in_place;

/// Makes M(0) where there is no manifest. With `fresh` the chain that stands is finished and closed and another one begun,
/// once in the life of a process: what an attempt of this process has decided in its new chain is gone on from.
pub(crate) async fn begin(
    context: &JobContext,
    token: &str,
    fresh: bool,
    lineage: &Mutex<Lineage>,
) -> Result<()> {
    let newest = in_place(|| read_newest(context.storage.as_ref()))?;
    let Some((head, bytes)) = newest else {
        let (made, digest) = in_place(|| genesis(context, token, None))?;
        // What this process began with: where another has gone on meanwhile, and cleaned up, its end is not ours (P6).
        let mut lineage = lineage.lock().unwrap_or_else(PoisonError::into_inner);
        return lineage.check(&made, &digest);
    };
    let begun = head.attempt.starts_with(&context.run) && head.kind != ManifestKind::Sealed;
    if !fresh || begun {
        return Ok(());
    }
    // A copy of this job that has gone on meanwhile is not closed by one that wakes up.
    lineage.lock().unwrap_or_else(PoisonError::into_inner).check(&head, &sha256(&bytes))?;
    let (head, digest) = roll_forward(context, Chain::Ends, None).await?;
    in_place(|| genesis(context, token, Some((&head, digest)))).map(drop)
}

/// The first manifest of a chain, behind the newest one of the chain that it follows, and the digest of its stored bytes.
fn genesis(
    context: &JobContext,
    token: &str,
    follows: Option<(&Manifest, String)>,
) -> Result<(Manifest, String)> {
    // The input is asked first: one that cannot answer must not cost the old chain.
    let sources = sources(context)?;
    let chain = uuid::Uuid::new_v4().simple().to_string();
    let sinks = sinks(context, &chain, follows.as_ref().map_or(&[], |(head, _)| &head.sinks))?;
    let (number, parent) = match follows {
        None => (CheckpointId::GENESIS, None),
        Some((head, digest)) if head.kind == ManifestKind::Sealed => {
            (head.number.next(), Some(digest))
        }
        Some((head, digest)) => {
            (head.number.next().next(), Some(seal(context, head, digest, token)?))
        }
    };
    let manifest = Manifest {
        format: FORMAT,
        job: context.graph.name().to_owned(),
        chain,
        shard: "0 of 1".to_owned(),
        number,
        attempt: token.to_owned(),
        parent,
        kind: ManifestKind::Genesis,
        finished: false,
        created_at: context.clock.now_micros(),
        max_parallelism: context.graph.max_parallelism(),
        fingerprint: context.graph.fingerprint(),
        key_ids: vec![context.key.key_id().to_string()],
        sources,
        state: Vec::new(),
        sinks,
        pending: Vec::new(),
    };
    failpoint::hit("genesis.before")?;
    let bytes = create_manifest(context, &manifest)?;
    failpoint::hit("genesis.after")?;
    check_behind(context, &manifest)?;
    Ok((manifest, sha256(&bytes)))
}

/// What one that slept has created where a later owner has cleaned up begins and ends nothing (P7). M(0) has no parent
/// that could be gone: whoever has made it looks at what is newest then.
fn check_behind(context: &JobContext, created: &Manifest) -> Result<()> {
    match (created.number.0.checked_sub(1), &created.parent) {
        (Some(parent), Some(digest)) => {
            check_parent(context.storage.as_ref(), CheckpointId(parent), digest)
        }
        _ => Ok(()),
    }
}

/// Every source at its start, as numbers.
fn sources(context: &JobContext) -> Result<Vec<SourceSnapshot>> {
    let mut sources = Vec::new();
    for node in context.graph.nodes() {
        let NodeKind::Source(source) = &node.kind else { continue };
        let identity = source.source.identity()?;
        let mut splits = source.source.start_splits()?;
        for split in &mut splits {
            source.source.seal_position(split)?;
        }
        splits.sort_by(|a, b| a.id.cmp(&b.id));
        let splits =
            splits.into_iter().map(|split| SplitSnapshot { split, watermark: None }).collect();
        let uid = node.uid.clone();
        sources.push(SourceSnapshot { uid, identity, splits, rows: 0, watermark: None });
    }
    Ok(sources)
}

/// Every sink of the new chain; a table that the chain before knew is gone on with.
fn sinks(context: &JobContext, chain: &str, before: &[SinkSnapshot]) -> Result<Vec<SinkSnapshot>> {
    // A topic and a table may have one name.
    let place = |target: &Target| (target.kind.clone(), target.path.clone());
    let known: BTreeMap<_, &SinkSnapshot> =
        before.iter().map(|sink| (place(&sink.target), sink)).collect();
    let mut sinks = Vec::new();
    for node in context.graph.nodes() {
        let NodeKind::Sink(sink) = &node.kind else { continue };
        let target = sink.target(&node.input_schema)?;
        let old = known.get(&place(&target));
        let expected = match old {
            Some(old) => TargetExpectation { txn: None, ..old.expected.clone() },
            None => TargetExpectation::default(),
        };
        sinks.push(SinkSnapshot {
            uid: node.uid.clone(),
            target,
            app_id: Manifest::app_id(context.graph.name(), chain, node.uid.as_str()),
            expected,
            rank: sink.rank(),
            rows: old.map_or(0, |old| old.rows),
        });
    }
    Ok(sinks)
}

/// Closes a chain at head+1; returns the digest of what it wrote.
fn seal(context: &JobContext, head: &Manifest, digest: String, token: &str) -> Result<String> {
    let sealed = Manifest {
        number: head.number.next(),
        attempt: token.to_owned(),
        parent: Some(digest),
        kind: ManifestKind::Sealed,
        created_at: context.clock.now_micros(),
        pending: Vec::new(),
        ..head.clone()
    };
    failpoint::hit("seal.before")?;
    let bytes = create_manifest(context, &sealed)?;
    failpoint::hit("seal.after")?;
    check_behind(context, &sealed)?;
    Ok(sha256(&bytes))
}
