//! `finish(M(n))`: makes a decided checkpoint visible, from the manifest's bytes alone. The same function serves the
//! live path and recovery (P11).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::try_join_all;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::sink::{Committer, Cut, PendingCommit};
use thalweg_core::connector::staging::DecidedCheckpoint;
use thalweg_core::{Error, Result, failpoint};

use super::recover::JobContext;
use super::staging::Decided;

/// The committers of a job, by kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Committers(pub(crate) BTreeMap<&'static str, Arc<dyn Committer>>);

impl Committers {
    /// The committer of a kind.
    pub(crate) fn get(&self, kind: &str) -> Result<&Arc<dyn Committer>> {
        self.0.get(kind).ok_or_else(|| {
            Error::incompatible(format!(
                "the checkpoint has commits for sinks of kind `{kind}`, which this program does not have"
            ))
        })
    }
}

/// Commits everything that is pending, rank by rank, then publishes the cut (P18). Returns the version of each sink.
/// `digest` is that of the manifest's stored bytes.
pub(crate) async fn finish(
    job: &JobContext,
    manifest: &Manifest,
    digest: &str,
) -> Result<BTreeMap<String, u64>> {
    let committers = &job.committers;
    let decided: Arc<dyn DecidedCheckpoint> = Arc::new(Decided::new(job, manifest, digest));
    let decided = &decided;
    let mut by_rank: BTreeMap<u8, Vec<&PendingCommit>> = BTreeMap::new();
    for pending in &manifest.pending {
        by_rank.entry(pending.rank).or_default().push(pending);
    }
    let mut versions = BTreeMap::new();
    for commits in by_rank.into_values() {
        let done = try_join_all(commits.into_iter().map(|pending| async move {
            failpoint::hit_at("commit.before", &pending.sink)?;
            let committer = committers.get(&pending.kind)?;
            let committed = if pending.void {
                committer.void(pending).await
            } else {
                committer.commit(pending, decided).await
            };
            let committed = committed.map_err(|e| e.at(format!("sink `{}`", pending.sink)))?;
            failpoint::hit_at("commit.after", &pending.sink)?;
            Ok::<_, Error>((pending.sink.clone(), committed.version))
        }))
        .await?;
        versions.extend(done);
    }
    if !manifest.pending.is_empty() {
        failpoint::hit("cut.before")?;
        publish(committers, manifest, decided, &versions).await?;
        failpoint::hit("cut.after")?;
    }
    Ok(versions)
}

/// Only this job appends rows to its tables, and the next epoch is not committed before this returns: so each table's
/// newest version holds exactly the epochs up to this one, whatever others did to it in between.
async fn publish(
    committers: &Committers,
    manifest: &Manifest,
    decided: &Arc<dyn DecidedCheckpoint>,
    committed: &BTreeMap<String, u64>,
) -> Result<()> {
    for (kind, committer) in &committers.0 {
        let mut versions = BTreeMap::new();
        for sink in manifest.sinks.iter().filter(|s| s.target.kind == *kind) {
            let version = match committed.get(sink.uid.as_str()) {
                Some(version) => *version,
                None => committer.version(&sink.target.path).await?,
            };
            // Of two sinks of one target the later commit holds both.
            let newest = versions.entry(sink.target.path.clone()).or_insert(version);
            *newest = version.max(*newest);
        }
        let cut = Cut {
            job: manifest.job.clone(),
            chain: manifest.chain.clone(),
            checkpoint: manifest.number,
            created_at: manifest.created_at,
            versions,
        };
        committer.publish_cut(&cut, decided).await?;
    }
    Ok(())
}
