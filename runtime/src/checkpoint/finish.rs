//! `finish(M(n))`: makes a decided checkpoint visible, from the manifest's bytes alone. The same function serves the
//! live path and recovery (P11).

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::join_all;
use thalweg_core::checkpoint::Manifest;
use thalweg_core::connector::sink::{Committer, Cut, PendingCommit};
use thalweg_core::connector::staging::DecidedCheckpoint;
use thalweg_core::graph::{JobGraph, NodeKind};
use thalweg_core::{Error, Result, failpoint};

use super::recover::JobContext;
use super::staging::Decided;

/// The committers of a job, by kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Committers(pub(crate) BTreeMap<&'static str, Arc<dyn Committer>>);

impl Committers {
    /// Those of a graph's sinks.
    pub(crate) fn of(graph: &JobGraph) -> Self {
        let mut committers = Self::default();
        for node in graph.nodes() {
            if let NodeKind::Sink(sink) = &node.kind {
                let committer = sink.committer();
                committers.0.entry(committer.kind()).or_insert(committer);
            }
        }
        committers
    }

    /// Waits until none of them does anything that it began by itself.
    pub(crate) async fn idle(&self) {
        join_all(self.0.values().map(|committer| committer.idle())).await;
    }

    /// The committer of a kind, if the graph still has a sink of it.
    pub(crate) fn find(&self, kind: &str) -> Option<&Arc<dyn Committer>> {
        self.0.get(kind)
    }

    /// The committer of a kind to which something is owed.
    pub(crate) fn get(&self, kind: &str) -> Result<&Arc<dyn Committer>> {
        self.find(kind).ok_or_else(|| {
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
        versions.extend(commit_all(committers, commits, decided).await?);
    }
    if !manifest.pending.is_empty() {
        failpoint::hit("cut.before")?;
        publish(committers, manifest, &versions).await?;
        failpoint::hit("cut.after")?;
    }
    Ok(versions)
}

/// Behind a finished checkpoint of a running job: lets committers write down again what targets would forget. Not part of
/// [`finish`]: a start that is about to find out whether the job is its own leaves that to whoever owns it.
pub(crate) async fn refresh(job: &JobContext, manifest: &Manifest, digest: &str) {
    let decided: Arc<dyn DecidedCheckpoint> = Arc::new(Decided::new(job, manifest, digest));
    for committer in job.committers.0.values() {
        committer.refresh(&decided).await;
    }
}

/// Commits side by side. Whoever fails, the others come to their ends first: what blocks a thread cannot be called off,
/// and would go on beside the next attempt (P6). How long one may take is for its committer to limit. Of several errors the
/// first is returned that another attempt would not mend.
async fn commit_all(
    committers: &Committers,
    rank: Vec<&PendingCommit>,
    decided: &Arc<dyn DecidedCheckpoint>,
) -> Result<Vec<(String, u64)>> {
    let done = join_all(
        rank.into_iter()
            .map(|pending| AssertUnwindSafe(commit(committers, pending, decided)).catch_unwind()),
    );
    let (mut committed, mut worst) = (Vec::new(), None::<Error>);
    for one in done.await {
        match one.unwrap_or_else(|_| Err(Error::internal("a commit panicked"))) {
            Ok(one) => committed.push(one),
            Err(error) => {
                let mends = |error: &Error| error.kind().is_retryable();
                let is_worse = worst.as_ref().is_none_or(|worst| mends(worst) && !mends(&error));
                // Whoever hears of one tells of it; of the others nobody would.
                let other = if is_worse { worst.replace(error) } else { Some(error) };
                if let Some(error) = other {
                    tracing::warn!(%error, "another commit failed as well");
                }
            }
        }
    }
    worst.map_or(Ok(committed), Err)
}

/// The sink, and the version that its target then has.
async fn commit(
    committers: &Committers,
    pending: &PendingCommit,
    decided: &Arc<dyn DecidedCheckpoint>,
) -> Result<(String, u64)> {
    failpoint::hit_at("commit.before", &pending.sink)?;
    let committer = committers.get(&pending.kind)?;
    let committed = if pending.void {
        committer.void(pending).await
    } else {
        committer.commit(pending, decided).await
    };
    let committed = committed.map_err(|e| e.at(format!("sink `{}`", pending.sink)))?;
    failpoint::hit_at("commit.after", &pending.sink)?;
    Ok((pending.sink.clone(), committed.version))
}

/// Only this job appends rows to its tables, and the next epoch is not committed before this returns: so each table's
/// newest version holds exactly the epochs up to this one, whatever others did to it in between.
async fn publish(
    committers: &Committers,
    manifest: &Manifest,
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
        committer.publish_cut(&cut).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::pin::pin;
    use std::sync::atomic::{AtomicBool, Ordering};

    use thalweg_core::connector::sink::{
        BoxFuture, Committed, Target, TargetExpectation, TargetStatus,
    };
    use thalweg_core::testing::MemoryStaging;
    use thalweg_core::{CheckpointId, ErrorKind};
    use tokio::sync::Notify;

    use super::*;

    /// One commit ends when it is let go, the others as their sinks are called.
    #[derive(Debug, Default)]
    struct Fake {
        go: Notify,
        ended: AtomicBool,
    }

    impl Committer for Fake {
        fn kind(&self) -> &'static str {
            "fake"
        }

        fn open<'a>(
            &'a self,
            _: &'a Target,
            _: &'a str,
            _: &'a TargetExpectation,
            _: bool,
        ) -> BoxFuture<'a, Result<TargetStatus>> {
            Box::pin(ready(Err(Error::internal("nobody opens it"))))
        }

        fn commit<'a>(
            &'a self,
            pending: &'a PendingCommit,
            _: &'a Arc<dyn DecidedCheckpoint>,
        ) -> BoxFuture<'a, Result<Committed>> {
            Box::pin(async move {
                match pending.sink.as_str() {
                    "waits" => self.go.notified().await,
                    "fails" => return Err(Error::transient("refused")),
                    "lost" => return Err(Error::data_loss("gone")),
                    _ => panic!("as a bug would"),
                }
                self.ended.store(true, Ordering::Relaxed);
                Ok(Committed { version: 1, replayed: false })
            })
        }

        fn version<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<u64>> {
            Box::pin(ready(Ok(0)))
        }
    }

    fn pending(sink: &str) -> PendingCommit {
        PendingCommit {
            sink: sink.into(),
            kind: "fake".into(),
            path: "t".into(),
            target_id: "t".into(),
            app_id: "a".into(),
            checkpoint: CheckpointId(1),
            rank: 0,
            rows: 1,
            staged: Vec::new(),
            void: false,
        }
    }

    #[test]
    fn whoever_fails_the_commits_beside_it_come_to_their_ends_first() {
        for (other, kind) in [("fails", ErrorKind::Transient), ("panics", ErrorKind::Internal)] {
            let fake = Arc::new(Fake::default());
            let committers = Committers([("fake", Arc::clone(&fake) as Arc<dyn Committer>)].into());
            let decided: Arc<dyn DecidedCheckpoint> = Arc::new(MemoryStaging::default());
            let (other, waits) = (pending(other), pending("waits"));
            let mut all = pin!(commit_all(&committers, vec![&other, &waits], &decided));
            assert!(all.as_mut().now_or_never().is_none(), "a commit is left alone");
            fake.go.notify_one();
            let done = all.as_mut().now_or_never().expect("nobody is waited for any more");
            assert_eq!(done.unwrap_err().kind(), kind);
            assert!(fake.ended.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn an_error_that_another_attempt_would_not_mend_is_the_one_that_is_told() {
        for order in [["fails", "lost"], ["lost", "fails"]] {
            let fake = Arc::new(Fake::default()) as Arc<dyn Committer>;
            let committers = Committers([("fake", fake)].into());
            let decided: Arc<dyn DecidedCheckpoint> = Arc::new(MemoryStaging::default());
            let all = order.map(pending);
            let done = commit_all(&committers, all.iter().collect(), &decided).now_or_never();
            assert_eq!(done.unwrap().unwrap_err().kind(), ErrorKind::DataLoss);
        }
    }
}
