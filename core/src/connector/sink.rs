//! The contract of a sink: writers that stage, a committer that makes visible.
//!
//! A writer stages rows and, at a barrier, closes what it has staged and describes it as JSON. Those descriptions
//! enter the manifest. Only after the manifest exists does the committer make them visible, from the manifest's
//! bytes alone (P11), so that a sink that has been renamed or removed since is finished all the same.

use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::staging::{DecidedCheckpoint, StagingArea};
use crate::sensitivity::Clearance;
use crate::{Attempt, CheckpointId, Result, SubtaskIndex};

/// A boxed future that can be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where a sink's rows go, as the genesis manifest remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Which committer serves it ([`Committer::kind`]): `delta`, `kafka`, `memory`.
    pub kind: String,
    /// Its place, relative to the committer's root: `silver/events`.
    pub path: String,
    /// What to create when it does not exist: schema, partitioning, properties; and what becomes of one that lacks some of
    /// it. In the committer's own words.
    pub definition: Value,
}

/// What must be true of a target before anything is read (P12).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetExpectation {
    /// The target's own identity; `None` before the first manifest that knows it. A committer recognises a target that
    /// a crashed start of the same chain made.
    pub id: Option<String>,
    /// The newest checkpoint that was committed to it by this chain.
    pub txn: Option<CheckpointId>,
    /// A version that must exist.
    pub version: Option<u64>,
}

/// What a committer found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetStatus {
    /// The target's own identity.
    pub id: String,
    /// The newest checkpoint that the target remembers for the app id.
    pub txn: Option<CheckpointId>,
    /// Its newest version.
    pub version: u64,
}

/// Everything that is needed to make one sink's share of one checkpoint visible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PendingCommit {
    /// The sink's uid, for messages.
    pub sink: String,
    /// Which committer serves it.
    pub kind: String,
    /// The target's place, relative to the committer's root.
    pub path: String,
    /// The target's own identity.
    pub target_id: String,
    /// Who commits: job / chain / shard / sink (P3).
    pub app_id: String,
    /// The checkpoint that is committed.
    pub checkpoint: CheckpointId,
    /// Targets of a lower rank are committed first (gold after bronze and silver, P18).
    pub rank: u8,
    /// Rows in it.
    pub rows: u64,
    /// What the writers staged (Delta: `add` actions).
    pub staged: Vec<Value>,
    /// A person gave these rows up (P15): finishing calls [`Committer::void`] and nothing of them becomes visible.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub void: bool,
}

/// The result of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The version that holds exactly the checkpoints up to this one.
    pub version: u64,
    /// Whether it had been there already.
    pub replayed: bool,
}

/// Makes staged rows visible. One per kind and job; serves live commits and recovery alike. Never runs on an Arbiter.
pub trait Committer: Send + Sync + Debug {
    /// The kind of target it serves.
    fn kind(&self) -> &'static str;

    /// What tells it from another of its kind: all sinks of one kind in a graph are served by one. Default: its place in
    /// memory.
    fn identity(&self) -> usize {
        std::ptr::from_ref(self).cast::<()>().addr()
    }

    /// Creates the target if it is absent and nothing is expected of it, checks it against `expected` otherwise. What it
    /// lacks of its definition may be added, where the definition says so.
    ///
    /// `adopt` allows rows in a target that no manifest knows (P3).
    ///
    /// # Errors
    /// Terminal when the target was removed, re-created, is behind `expected`, or cannot take the schema (P12). One
    /// that is ahead is reported, not judged: only the caller knows the newest manifest's number.
    fn open<'a>(
        &'a self,
        target: &'a Target,
        app_id: &'a str,
        expected: &'a TargetExpectation,
        adopt: bool,
    ) -> BoxFuture<'a, Result<TargetStatus>>;

    /// Commits exactly once: done already is a success, another's newer commit is fenced, an unclear outcome is read
    /// and decided (P5, P12–P15). `checkpoint` holds what was staged in it.
    fn commit<'a>(
        &'a self,
        pending: &'a PendingCommit,
        checkpoint: &'a Arc<dyn DecidedCheckpoint>,
    ) -> BoxFuture<'a, Result<Committed>>;

    /// Gives up the rows of a checkpoint: the target counts it as committed, and nothing becomes visible. Only a
    /// person decides so (P15).
    fn void<'a>(&'a self, pending: &'a PendingCommit) -> BoxFuture<'a, Result<Committed>> {
        let kind = crate::Error::config(format!(
            "targets of kind `{}` cannot give up a checkpoint",
            pending.kind
        ));
        Box::pin(std::future::ready(Err(kind)))
    }

    /// How a person takes out what was committed after `version`; `None` where that cannot be done.
    fn how_to_undo(&self, path: &str, version: u64) -> Option<String> {
        let _ = (path, version);
        None
    }

    /// The local folder that a target's rows are written to, for who watches how much room is left there. Default: none.
    fn folder(&self, path: &str) -> Option<PathBuf> {
        let _ = path;
        None
    }

    /// The target's newest version now.
    fn version<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<u64>>;

    /// Rows in the target now, when the committer can tell (P19).
    fn count_rows<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<u64>>> {
        let _ = path;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Tells readers which versions of all targets belong to one instant; after every commit of the checkpoint.
    /// Publishing a cut again does nothing.
    fn publish_cut<'a>(&'a self, cut: &'a Cut) -> BoxFuture<'a, Result<()>> {
        let _ = cut;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Writes down again what targets would forget of this job by themselves, when it is time. Called behind each finished
    /// checkpoint of a running job, with commits or without; a job in which nothing happens takes one now and then.
    /// `checkpoint` is that one. What fails is tried again at a later one.
    fn refresh<'a>(&'a self, checkpoint: &'a Arc<dyn DecidedCheckpoint>) -> BoxFuture<'a, ()> {
        let _ = checkpoint;
        Box::pin(std::future::ready(()))
    }

    /// Waits until nothing goes on that it began by itself beside commits. Asked for when a job has ended, before its
    /// threads are. Default: there is nothing.
    fn idle(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// An instant at which all targets of a kind belong together (P18).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The job's name.
    pub job: String,
    /// The chain of manifests.
    pub chain: String,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// When its manifest was made, µs.
    pub created_at: i64,
    /// The version of each target, by path, that holds exactly the checkpoints up to this one.
    pub versions: std::collections::BTreeMap<String, u64>,
}

/// Which subtask a writer serves.
#[derive(Debug, Clone)]
pub struct WriterContext {
    /// The parallel instance.
    pub subtask: SubtaskIndex,
    /// The attempt, part of staged names.
    pub attempt: Attempt,
    /// The columns of every batch, sensitivity marks included (a writer strips them).
    pub schema: SchemaRef,
    /// The multi-thread runtime on which storage work runs.
    pub io: IoHandle,
    /// For sinks that keep the rows of an epoch in the checkpoint.
    pub staging: Arc<dyn StagingArea>,
}

/// Spawns futures on the runtime's I/O threads; core knows no executor, so it is handed in.
#[derive(Clone)]
pub struct IoHandle(Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>);

impl IoHandle {
    /// Wraps a spawn function.
    pub fn new(spawn: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(spawn))
    }

    /// Runs `future` on the I/O threads, detached.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        (self.0)(Box::pin(future));
    }
}

impl Debug for IoHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IoHandle")
    }
}

/// What one writer staged for one checkpoint. Nothing staged: no rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Staged {
    /// Descriptions for the committer, durable by the time they are handed over.
    pub items: Vec<Value>,
    /// Rows in them.
    pub rows: u64,
}

/// A sink as data. Cheap to clone behind an `Arc`.
pub trait Sink: Send + Sync + Debug {
    /// One line for people: `delta silver/events`.
    fn describe(&self) -> String;

    /// Which sensitivities may enter.
    fn clearance(&self) -> Clearance {
        Clearance::none()
    }

    /// Where the rows of `input` go, and what to create there. A graph in which the place of one sink is, or lies inside
    /// of, that of another of its kind does not build, unless they share it ([`Sink::shares_target`]).
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidGraph`] when the sink cannot take these columns.
    fn target(&self, input: &SchemaRef) -> Result<Target>;

    /// Whether it can keep its promise where checkpoints are `interval` apart. Asked before a job starts.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidConfig`]: what to change.
    fn check_interval(&self, interval: Duration) -> Result<()> {
        let _ = interval;
        Ok(())
    }

    /// Targets of a lower rank are committed first.
    fn rank(&self) -> u8 {
        0
    }

    /// Writers to run; `None` for as many as its input has. Small tables are best written by one.
    fn parallelism(&self) -> Option<u32> {
        None
    }

    /// Whether other sinks of the graph may have the same target: a topic, whose messages nobody counts.
    fn shares_target(&self) -> bool {
        false
    }

    /// A writer for one subtask.
    fn writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>>;

    /// The committer of this kind of target: the same for all sinks of a kind in a graph, as [`Committer::identity`] tells.
    fn committer(&self) -> Arc<dyn Committer>;
}

/// Stages rows. Never blocks a thread: it waits in its futures.
pub trait SinkWriter: Send {
    /// Takes rows of the current epoch; resolves when there is room for more (this is the back-pressure).
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<()>>;

    /// Ends the epoch: rows written after this call belong to the next. Returns at once; the future resolves when what
    /// was staged is durable, while the next epoch is already being written.
    fn close_epoch(&mut self, checkpoint: CheckpointId) -> BoxFuture<'static, Result<Staged>>;
}
