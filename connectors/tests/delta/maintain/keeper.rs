//! Maintenance of one table, and what the table and its folder hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow_array::RecordBatch;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use thalweg_connectors::delta::{Compacted, Compaction, DeltaMaintenance, Vacuum};
use thalweg_core::Result;
use thalweg_core::connector::sink::PendingCommit;

use crate::support::faults::Plan;
use crate::support::{Lake, TABLE};

pub(crate) const NOTHING: &(dyn Fn() -> Result<Vec<PendingCommit>> + Send + Sync) =
    &|| Ok(Vec::new());

pub(crate) fn maintenance(lake: &Lake) -> DeltaMaintenance {
    DeltaMaintenance::new(lake.folder.path()).unwrap()
}

pub(crate) fn all_files() -> Compaction {
    Compaction { min_files: 2, ..Compaction::default() }
}

pub(crate) fn at_once() -> Vacuum {
    Vacuum { retention: Duration::ZERO, force: true, dry_run: false }
}

pub(crate) async fn compact(lake: &Lake) -> Compacted {
    maintenance(lake).compact(TABLE, &all_files()).await.unwrap()
}

/// Every row with its partition, as text, with how often it occurs.
pub(crate) async fn rows(lake: &Lake) -> BTreeMap<String, u64> {
    let table = lake.table().await;
    let mut rows = BTreeMap::new();
    for view in table.snapshot().unwrap().log_data().iter() {
        let partition: BTreeMap<_, _> = view.partition_values_map().into_iter().collect();
        for batch in read(&lake.table_folder().join(view.path().as_ref())) {
            for row in 0..batch.num_rows() {
                let row = batch.slice(row, 1);
                *rows.entry(format!("{partition:?} {:?}", row.columns())).or_default() += 1;
            }
        }
    }
    rows
}

pub(crate) fn read(path: &std::path::Path) -> Vec<RecordBatch> {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.map(|batch| batch.unwrap()).collect()
}

/// The actions of entry `v`.
pub(crate) fn actions(lake: &Lake, v: u64) -> Vec<Value> {
    let text = std::fs::read_to_string(lake.entry(v)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Data files that are in the folder, whether the log knows them or not.
pub(crate) fn files_on_disk(lake: &Lake) -> usize {
    fn walk(folder: &std::path::Path, count: &mut usize) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("_delta_log") {
                    walk(&path, count);
                }
            } else {
                *count += 1;
            }
        }
    }
    let mut count = 0;
    walk(&lake.table_folder(), &mut count);
    count
}

/// As if nobody had written below `folder` for years.
pub(crate) fn age(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        } else {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
    }
}

/// Eight small files, and maintenance whose stores misbehave.
pub(crate) async fn troubled() -> (Lake, Arc<Plan>, DeltaMaintenance) {
    let (lake, plan) = (Lake::new().await, Plan::new());
    for n in 1..=8 {
        lake.append(n, n as i64 * 10..n as i64 * 10 + 10).await.unwrap();
    }
    let faulty = maintenance(&lake).decorate_stores({
        let plan = Arc::clone(&plan);
        move |inner| -> Arc<dyn ObjectStore> { plan.around(inner) }
    });
    (lake, plan, faulty)
}
