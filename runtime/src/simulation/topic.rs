//! A topic as one process sees it: sink and writer, which keeps rows in the checkpoint until their transaction.

use std::future::Future;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde_json::Value;
use thalweg_core::connector::sink::{
    BoxFuture, Committed, Committer, Cut, PendingCommit, Sink, SinkWriter, Staged, Target,
    TargetExpectation, TargetStatus, WriterContext,
};
use thalweg_core::connector::staging::{DecidedCheckpoint, StagingArea};
use thalweg_core::{CheckpointId, Error, Result};

use super::input::EARLY;
use super::sessions::Sessions;
use super::tables::{Hand, rows};
use crate::placement::blocking;

const KIND: &str = "topic";
const QUIET: &str = "quiet";
/// Rows of one part; an epoch seldom has more.
const PART_ROWS: usize = 64;

/// A sink and its committer. Those of one process share the sessions.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    path: &'static str,
    /// Rows at or behind this position are not for it.
    end: i64,
    sessions: Arc<Sessions>,
}

impl Topic {
    pub(super) fn new(hand: Hand) -> Self {
        Self { path: KIND, end: i64::MAX, sessions: Arc::new(Sessions::new(hand)) }
    }

    /// A sink of the same topic and process, which gets rows at the beginning only: markers must outlive that.
    pub(super) fn quiet(&self) -> Self {
        Self { path: QUIET, end: EARLY, ..self.clone() }
    }
}

impl Sink for Topic {
    fn describe(&self) -> String {
        self.path.to_owned()
    }
    fn target(&self, _: &SchemaRef) -> Result<Target> {
        Ok(Target { kind: KIND.into(), path: self.path.into(), definition: Value::Null })
    }
    fn writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>> {
        let next = context.staging.first_checkpoint();
        Ok(Box::new(Writer { area: context.staging, next, end: self.end, rows: Vec::new() }))
    }
    fn committer(&self) -> Arc<dyn Committer> {
        Arc::new(self.clone())
    }
}

struct Writer {
    area: Arc<dyn StagingArea>,
    /// The checkpoint of the open epoch.
    next: CheckpointId,
    end: i64,
    rows: Vec<Vec<i64>>,
}

impl SinkWriter for Writer {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<()>> {
        let end = self.end;
        self.rows.extend(rows(&batch).into_iter().filter(|row| row[1] < end));
        Box::pin(std::future::ready(Ok(())))
    }

    fn close_epoch(&mut self, checkpoint: CheckpointId) -> BoxFuture<'static, Result<Staged>> {
        let due = std::mem::replace(&mut self.next, checkpoint.next());
        let rows = std::mem::take(&mut self.rows);
        let parts: Vec<Vec<u8>> =
            rows.chunks(PART_ROWS).map(|part| serde_json::to_vec(part).unwrap()).collect();
        let area = Arc::clone(&self.area);
        let mut staged = Staged { items: Vec::new(), rows: rows.len() as u64 };
        Box::pin(async move {
            if checkpoint != due {
                return Err(Error::corrupt(format!("checkpoint {checkpoint} where {due} was due")));
            }
            for (part, bytes) in (0..).zip(parts) {
                let area = Arc::clone(&area);
                let putting = move || area.put(checkpoint, part, &bytes);
                let stored = blocking("staging rows", putting).await.flatten()?;
                staged.items.push(stored.to_item());
            }
            Ok(staged)
        })
    }
}

/// Goes on when nobody waits for it any more, as work on another thread does.
fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + 'static,
) -> BoxFuture<'static, Result<T>> {
    let task = tokio::task::spawn_local(work);
    Box::pin(async move { task.await.unwrap() })
}

impl Committer for Topic {
    fn kind(&self) -> &'static str {
        KIND
    }

    /// All that a process makes ask one world.
    fn identity(&self) -> usize {
        0
    }

    fn open<'a>(
        &'a self,
        target: &'a Target,
        app_id: &'a str,
        expected: &'a TargetExpectation,
        _adopt: bool,
    ) -> BoxFuture<'a, Result<TargetStatus>> {
        let (sessions, target, id) =
            (Arc::clone(&self.sessions), target.clone(), app_id.to_owned());
        let expected = expected.clone();
        detached(async move { sessions.open(&target, &id, &expected).await })
    }

    fn commit<'a>(
        &'a self,
        pending: &'a PendingCommit,
        checkpoint: &'a Arc<dyn DecidedCheckpoint>,
    ) -> BoxFuture<'a, Result<Committed>> {
        let (sessions, pending) = (Arc::clone(&self.sessions), pending.clone());
        let checkpoint = Arc::clone(checkpoint);
        detached(async move { sessions.commit(&pending, &checkpoint).await })
    }

    fn version<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn publish_cut<'a>(
        &'a self,
        cut: &'a Cut,
        checkpoint: &'a Arc<dyn DecidedCheckpoint>,
    ) -> BoxFuture<'a, Result<()>> {
        let (sessions, n) = (Arc::clone(&self.sessions), cut.checkpoint);
        let checkpoint = Arc::clone(checkpoint);
        detached(async move {
            sessions.refresh(n, &checkpoint).await;
            Ok(())
        })
    }
}
