//! A reserve of the disk where tables and checkpoints are apart: every folder that the job writes to counts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::connector::sink::Sink;
use thalweg_core::crypto::MasterKey;
use thalweg_core::prelude::*;
use thalweg_runtime::{
    ByteSize, CheckpointStorage, JobBuilder, LocalStorage, MemoryStorage, Settings,
};

#[derive(thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Row {
    id: i64,
}

const ROWS: i64 = 10;

fn source() -> MemorySource {
    let ids = Int64Array::from_iter_values(0..ROWS);
    let rows = RecordBatch::try_new(Row::schema(), vec![Arc::new(ids)]).unwrap();
    MemorySource::new(Row::schema()).split("a", [rows])
}

fn job(
    source: MemorySource,
    sink: impl Sink + 'static,
    storage: Arc<dyn CheckpointStorage>,
    reserve: ByteSize,
) -> Result<u64> {
    let env = StreamEnvironment::new("reserve");
    env.source::<Row>("rows", source).sink("all", sink);
    let key = Arc::new(MasterKey::generate().unwrap());
    let settings = Settings { disk_reserve: Some(reserve), ..Settings::default() };
    let job = JobBuilder::new(env.build().unwrap(), storage, key).settings(settings);
    Ok(job.start()?.join()?.written.values().sum())
}

/// Does not end before it is ended.
fn held() -> MemorySource {
    source().hold_at("a", ROWS / 2)
}

#[test]
fn tables_in_a_folder_have_a_reserve_wherever_the_checkpoints_are() {
    let folder = tempfile::tempdir().unwrap();
    let sink = |root: &str| {
        let committer = Arc::new(DeltaCommitter::new(folder.path().join(root)).unwrap());
        DeltaSink::append(&committer, "all")
    };
    let memory = || Arc::new(MemoryStorage::default());
    let full = job(held(), sink("full"), memory(), ByteSize::eb(1)).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::ResourceExhausted, "{full}");
    let table = folder.path().join("full").join("all");
    assert!(full.to_string().contains(&table.display().to_string()), "{full}");
    let written = job(source(), sink("roomy"), memory(), ByteSize::b(1)).unwrap();
    assert_eq!(written, ROWS as u64);
}

#[test]
fn checkpoints_in_a_folder_have_a_reserve_wherever_the_tables_are() {
    let folder = tempfile::tempdir().unwrap();
    let (local, store) = (LocalStorage::open(folder.path()).unwrap(), MemoryStore::default());
    let full = job(held(), store.sink("all"), Arc::new(local), ByteSize::eb(1)).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::ResourceExhausted, "{full}");
}

#[test]
fn a_job_that_writes_to_no_folder_has_no_reserve() {
    let (memory, store) = (Arc::new(MemoryStorage::default()), MemoryStore::default());
    let refused = job(held(), store.sink("all"), memory, ByteSize::b(1)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidConfig, "{refused}");
    assert!(refused.to_string().contains("disk_reserve needs a folder"), "{refused}");
}
