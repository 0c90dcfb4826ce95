//! The sink that writes a table in memory.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use serde_json::{Value, json};
use thalweg_core::connector::sink::{
    BoxFuture, Committer, Sink, SinkWriter, Staged, Target, WriterContext,
};
use thalweg_core::sensitivity::mark;
use thalweg_core::{CheckpointId, Clearance, Error, Result};

use super::lock;
use super::store::{MemoryStore, pass, unique};

/// Which committer serves the tables.
pub(super) const KIND: &str = "memory";

/// Writes a table of a [`MemoryStore`].
///
/// **Shape**: any columns; rows appear as they were given, without sensitivity marks, once their checkpoint is
/// committed. **Errors**: none of its own.
///
/// It is cleared for everything, as a test wants it; see [`MemorySink::cleared_for`].
#[derive(Debug, Clone)]
pub struct MemorySink {
    store: MemoryStore,
    path: String,
    clearance: Clearance,
    rank: u8,
    writers: Option<u32>,
}

impl MemorySink {
    pub(super) fn new(store: MemoryStore, path: &str) -> Self {
        Self { store, path: path.to_owned(), clearance: Clearance::all(), rank: 0, writers: None }
    }

    /// Admits only columns with these marks, and unmarked ones.
    #[must_use]
    pub fn cleared_for(mut self, clearance: Clearance) -> Self {
        self.clearance = clearance;
        self
    }

    /// Commits after the sinks of lower rank. Default 0.
    #[must_use]
    pub fn ranked(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    /// Writers to run. Default as many as its input has.
    #[must_use]
    pub fn writers(mut self, writers: u32) -> Self {
        self.writers = Some(writers);
        self
    }
}

impl Sink for MemorySink {
    fn describe(&self) -> String {
        format!("memory {}", self.path)
    }

    fn clearance(&self) -> Clearance {
        self.clearance.clone()
    }

    fn target(&self, input: &SchemaRef) -> Result<Target> {
        Ok(Target { kind: KIND.to_owned(), path: self.path.clone(), definition: columns(input) })
    }

    fn rank(&self) -> u8 {
        self.rank
    }

    fn parallelism(&self) -> Option<u32> {
        self.writers
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>> {
        Ok(Box::new(MemoryWriter {
            store: self.store.clone(),
            path: self.path.clone(),
            schema: unmarked(&context.schema),
            open: Vec::new(),
        }))
    }

    fn committer(&self) -> Arc<dyn Committer> {
        self.store.committer()
    }
}

/// Names, types and nullability, as JSON.
fn columns(schema: &Schema) -> Value {
    let column = |f: &Arc<Field>| json!([f.name(), f.data_type().to_string(), f.is_nullable()]);
    schema.fields().iter().map(column).collect()
}

/// The schema without sensitivity marks.
fn unmarked(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|f| mark(f.as_ref().clone(), []));
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// Collects the batches of an epoch; nothing else happens until it is closed.
struct MemoryWriter {
    store: MemoryStore,
    path: String,
    schema: SchemaRef,
    open: Vec<RecordBatch>,
}

impl fmt::Debug for MemoryWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryWriter({}, {} batches)", self.path, self.open.len())
    }
}

impl SinkWriter for MemoryWriter {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<()>> {
        *lock(&self.store.shared().inner).write_calls.entry(self.path.clone()).or_default() += 1;
        Box::pin(async move {
            pass(&self.store.shared().writes_stalled).await;
            let batch = RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())
                .map_err(|_| Error::internal("a memory sink was given other columns"))?;
            if batch.num_rows() > 0 {
                self.open.push(batch);
            }
            Ok(())
        })
    }

    fn close_epoch(&mut self, checkpoint: CheckpointId) -> BoxFuture<'static, Result<Staged>> {
        let batches = std::mem::take(&mut self.open);
        let rows = batches.iter().map(|b| b.num_rows() as u64).sum();
        let items = if batches.is_empty() {
            Vec::new()
        } else {
            let token = unique(&format!("{}@{checkpoint}", self.path));
            let item = json!({ "token": &token, "rows": rows });
            lock(&self.store.shared().inner).staged.insert(token, batches);
            vec![item]
        };
        Box::pin(std::future::ready(Ok(Staged { items, rows })))
    }
}
