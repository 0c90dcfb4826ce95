//! Tables over a log of commits, as one process sees them: sink, writer, committer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_schema::SchemaRef;
use serde_json::Value;
use thalweg_core::connector::sink::{
    BoxFuture, Committed, Committer, PendingCommit, Sink, SinkWriter, Staged, Target,
    TargetExpectation, TargetStatus, WriterContext,
};
use thalweg_core::connector::staging::DecidedCheckpoint;
use thalweg_core::connector::standing::{Standing, standing};
use thalweg_core::{CheckpointId, Error, Result};

use super::world::{Entry, Fault, Mutation, World, lost};

pub(super) const KIND: &str = "sim";

/// Who touches what.
#[derive(Debug, Clone)]
pub(super) struct Hand {
    pub(super) world: Arc<World>,
    pub(super) process: u64,
    /// Whether the process is recovering.
    pub(super) recovering: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(super) struct Table(pub(super) &'static str, pub(super) Hand);

impl Sink for Table {
    fn describe(&self) -> String {
        self.0.to_owned()
    }
    fn target(&self, _: &SchemaRef) -> Result<Target> {
        Ok(Target { kind: KIND.into(), path: self.0.into(), definition: Value::Null })
    }
    fn rank(&self) -> u8 {
        u8::from(self.0 == "counts")
    }
    fn writer(&self, _: WriterContext) -> Result<Box<dyn SinkWriter>> {
        self.1.recovering.store(false, Ordering::Relaxed);
        Ok(Box::new(Writer { hand: self.1.clone(), rows: Vec::new() }))
    }
    fn committer(&self) -> Arc<dyn Committer> {
        Arc::new(Log(self.1.clone()))
    }
}

struct Writer {
    hand: Hand,
    rows: Vec<Vec<i64>>,
}

/// The rows of a batch, its `Int64` columns only; what the watermark strategy added is left out.
pub(super) fn rows(batch: &RecordBatch) -> Vec<Vec<i64>> {
    let schema = batch.schema();
    let columns: Vec<_> = (0..batch.num_columns())
        .filter(|i| schema.field(*i).name() != thalweg_core::watermark::ROW_WATERMARK)
        .filter_map(|i| batch.column(i).as_primitive_opt::<Int64Type>())
        .collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|c| c.value(row)).collect()).collect()
}

impl SinkWriter for Writer {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<()>> {
        self.rows.extend(rows(&batch));
        Box::pin(std::future::ready(Ok(())))
    }

    fn close_epoch(&mut self, _: CheckpointId) -> BoxFuture<'static, Result<Staged>> {
        let rows = std::mem::take(&mut self.rows);
        let hand = self.hand.clone();
        Box::pin(async move {
            hand.world.dawdle().await;
            if hand.world.touch(hand.process, 5) == Fault::Before {
                return Err(lost());
            }
            let count = rows.len() as u64;
            let items = if rows.is_empty() { Vec::new() } else { vec![serde_json::json!(rows)] };
            Ok(Staged { items, rows: count })
        })
    }
}

/// Puts a commit behind the table's newest.
pub(super) fn append(world: &World, pending: &PendingCommit) -> u64 {
    world.audit_commit(pending);
    let staged = pending.staged.iter();
    let rows = staged.flat_map(|i| serde_json::from_value::<Vec<Vec<i64>>>(i.clone())).flatten();
    let entry =
        Entry { app_id: pending.app_id.clone(), txn: pending.checkpoint.0, rows: rows.collect() };
    let mut inner = world.inner();
    let log = inner.tables.entry(pending.path.clone()).or_default();
    log.push(entry);
    log.len() as u64
}

#[derive(Debug)]
struct Log(Hand);

impl Log {
    fn newest(&self, path: &str, app_id: &str) -> (u64, Option<u64>) {
        let inner = self.0.world.inner();
        let log = inner.tables.get(path).map_or(&[][..], Vec::as_slice);
        (log.len() as u64, log.iter().rev().find(|e| e.app_id == app_id).map(|e| e.txn))
    }

    /// An error, should the table's store give nothing else at the moment.
    async fn ask(&self, path: &str) -> Result<()> {
        let refusing = self.0.world.inner().refusing.filter(|(table, _)| *table == path);
        let Some((_, answer)) = refusing else { return Ok(()) };
        tokio::time::sleep(answer).await;
        Err(Error::transient("the table's store refuses"))
    }

    async fn commit_now(&self, pending: &PendingCommit) -> Result<Committed> {
        let Hand { world, process, recovering } = &self.0;
        world.dawdle().await;
        self.ask(&pending.path).await?;
        let fault = world.touch(*process, 6);
        if world.mutation == Mutation::NoReplay && recovering.load(Ordering::Relaxed) {
            let (version, _) = self.newest(&pending.path, &pending.app_id);
            return Ok(Committed { version, replayed: true });
        }
        if fault == Fault::Before {
            return Err(lost());
        }
        loop {
            let (version, txn) = self.newest(&pending.path, &pending.app_id);
            match standing(txn.map(CheckpointId), pending.checkpoint) {
                Standing::Done => {
                    world.count(|c| c.replays += 1);
                    return Ok(Committed { version, replayed: true });
                }
                Standing::Fenced => return Err(Error::fenced("a later checkpoint is there")),
                Standing::Missing => {}
            }
            // Between reading the log and putting the next entry others may put theirs.
            world.dawdle().await;
            if self.newest(&pending.path, &pending.app_id).0 != version {
                continue;
            }
            let version = append(world, pending);
            world.dawdle().await;
            if fault == Fault::After {
                return Err(lost());
            }
            return Ok(Committed { version, replayed: false });
        }
    }
}

impl Committer for Log {
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
        Box::pin(async move {
            self.0.recovering.store(true, Ordering::Relaxed);
            self.0.world.dawdle().await;
            self.ask(&target.path).await?;
            if self.0.world.touch(self.0.process, 7) == Fault::Before {
                return Err(lost());
            }
            let (version, txn) = self.newest(&target.path, app_id);
            if txn < expected.txn.map(|n| n.0) {
                return Err(Error::data_loss(format!("{} is behind", target.path)));
            }
            Ok(TargetStatus { id: target.path.clone(), txn: txn.map(CheckpointId), version })
        })
    }

    fn commit<'a>(
        &'a self,
        pending: &'a PendingCommit,
        _: &'a Arc<dyn DecidedCheckpoint>,
    ) -> BoxFuture<'a, Result<Committed>> {
        Box::pin(self.commit_now(pending))
    }

    fn version<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            self.0.world.dawdle().await;
            Ok(self.newest(path, "").0)
        })
    }
}
