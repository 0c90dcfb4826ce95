//! One process: it opens the table, finishes the newest checkpoint, and decides and commits the next ones.

use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use thalweg_core::connector::sink::{
    Committer, PendingCommit, Sink, Target, TargetExpectation, TargetStatus,
};
use thalweg_core::connector::staging::DecidedCheckpoint;
use thalweg_core::testing::MemoryStaging;
use thalweg_core::{CheckpointId, Error, ErrorKind, Result};
use tokio::task::{JoinHandle, LocalSet};

use super::store::SimStore;
use super::world::{APP, CHECKPOINTS, Manifest, Seen, TABLE, World};
use crate::delta::storage::Storage;
use crate::delta::{DeltaCommitter, DeltaSink, KIND};

/// A log checkpoint and a clean-up every so many entries.
const UPKEEP: u64 = 4;
const ROWS: u64 = 3;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// What every data file holds: the committer reads no more of it than its columns.
static FILE: LazyLock<Bytes> = LazyLock::new(|| {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS as i64));
    let batch = RecordBatch::try_new(schema(), vec![ids]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::<u8>::new(), schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
});

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]))
}

/// All tasks of one process.
pub(super) struct Process {
    pub(super) number: u64,
    pub(super) tasks: Pin<Box<LocalSet>>,
    pub(super) job: JoinHandle<Result<()>>,
    pub(super) frozen_until: Option<Duration>,
}

impl Process {
    pub(super) fn start(world: &Arc<World>, number: u64) -> Self {
        let job = Job::new(SimStore { world: Arc::clone(world), process: number });
        let tasks = LocalSet::new();
        let job = tasks.spawn_local(async move { job.run().await });
        Self { number, tasks: Box::pin(tasks), job, frozen_until: None }
    }

    pub(super) fn lives(&self) -> bool {
        self.frozen_until.is_none()
    }
}

/// A committer over `storage` and the table that it is asked for.
pub(super) fn committer(storage: Storage) -> (DeltaCommitter, Target) {
    let committer = Arc::new(DeltaCommitter::over(storage.clone()));
    let target = DeltaSink::append(&committer, TABLE).target(&schema()).unwrap();
    (DeltaCommitter::over(storage).checkpoint_every(UPKEEP), target)
}

struct Job {
    store: SimStore,
    committer: DeltaCommitter,
    target: Target,
    decided: Arc<dyn DecidedCheckpoint>,
}

impl Job {
    fn new(store: SimStore) -> Self {
        let shared: Arc<dyn ObjectStore> = Arc::new(store.clone());
        let (committer, target) = committer(Storage::on(store.world.remote.clone(), shared));
        Self { store, committer, target, decided: Arc::new(MemoryStaging::default()) }
    }

    async fn run(&self) -> Result<()> {
        loop {
            match self.attempt().await {
                Err(error) if error.kind() == ErrorKind::Transient => {
                    self.store.world.count(|c| c.restarts += 1);
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }

    async fn attempt(&self) -> Result<()> {
        let world = &self.store.world;
        let mut manifest = world.newest();
        world.dawdle().await;
        let TargetStatus { id, txn, mut version } =
            self.committer.open(&self.target, APP, &manifest.expected, false).await?;
        if txn > Some(CheckpointId(manifest.number)) {
            return Err(Error::fenced("the table is ahead of the newest manifest"));
        }
        loop {
            if let Some(pending) = &manifest.pending {
                version = self.commit(pending).await?;
            }
            if manifest.number == CHECKPOINTS {
                return Ok(());
            }
            let txn = (manifest.number > 0).then_some(CheckpointId(manifest.number));
            let expected = TargetExpectation { id: Some(id.clone()), txn, version: Some(version) };
            manifest = self.next(manifest.number + 1, expected).await?;
        }
    }

    async fn commit(&self, pending: &PendingCommit) -> Result<u64> {
        let world = &self.store.world;
        world.begins(self.store.process, Seen { committing: true, ..Seen::default() });
        let committed = self.committer.commit(pending, &self.decided).await;
        world.begins(self.store.process, Seen::default());
        let committed = committed?;
        world.audit_commit(pending, committed);
        // As behind a cut that names it: only then the log is cleaned.
        self.committer.slot(TABLE).upkeep.published(committed.version);
        Ok(committed.version)
    }

    /// Stages some files and decides them.
    async fn next(&self, number: u64, expected: TargetExpectation) -> Result<Manifest> {
        let world = &self.store.world;
        let mut staged = Vec::new();
        for _ in 0..=world.choose(3) {
            staged.push(self.stage(number).await?);
        }
        let pending = PendingCommit {
            sink: "silver".to_owned(),
            kind: KIND.to_owned(),
            path: TABLE.to_owned(),
            target_id: expected.id.clone().unwrap_or_default(),
            app_id: APP.to_owned(),
            checkpoint: CheckpointId(number),
            rank: 0,
            rows: ROWS * staged.len() as u64,
            staged,
            void: false,
        };
        let manifest = Manifest { number, expected, pending: Some(pending) };
        world.dawdle().await;
        world.decide(&manifest)?;
        world.dawdle().await;
        Ok(manifest)
    }

    async fn stage(&self, number: u64) -> Result<Value> {
        let world = &self.store.world;
        let file = {
            let mut inner = world.inner();
            inner.files += 1;
            inner.files
        };
        let name = format!("part-{number}-{file}.parquet");
        let path = Path::from(format!("{}/{TABLE}/{name}", world.remote.prefix()));
        let put = self.store.put(&path, FILE.clone().into()).await;
        put.map_err(|_| Error::transient("a data file could not be written"))?;
        Ok(add(&name, FILE.len()))
    }
}

/// An `add` action without its wrapper.
pub(super) fn add(path: &str, size: usize) -> Value {
    json!({
        "path": path,
        "partitionValues": {},
        "size": size,
        "modificationTime": 0,
        "dataChange": true,
    })
}
