//! Maintenance changes no row, whoever commits meanwhile, and takes no file that anybody needs.
#![cfg(feature = "delta")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod delta_support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch};
use arrow_schema::Schema;
use delta_support::faults::{Fault, Plan};
use delta_support::{Lake, TABLE, batch, foreign_cleanup, schema, stage, writer};
use futures::FutureExt;
use object_store::ObjectStore;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use serde_json::{Value, json};
use thalweg_connectors::delta::{Compacted, Compaction, DeltaMaintenance, DeltaSink, Vacuum};
use thalweg_core::connector::sink::{Committer, PendingCommit, Sink, Staged, TargetExpectation};
use thalweg_core::sensitivity::{Sensitivity, mark};
use thalweg_core::{CheckpointId, ErrorKind, Result};

const NOTHING: &(dyn Fn() -> Result<Vec<PendingCommit>> + Send + Sync) = &|| Ok(Vec::new());

fn maintenance(lake: &Lake) -> DeltaMaintenance {
    DeltaMaintenance::new(lake.folder.path()).unwrap()
}

fn all_files() -> Compaction {
    Compaction { min_files: 2, ..Compaction::default() }
}

fn at_once() -> Vacuum {
    Vacuum { retention: Duration::ZERO, force: true, dry_run: false }
}

async fn compact(lake: &Lake) -> Compacted {
    maintenance(lake).compact(TABLE, &all_files()).await.unwrap()
}

/// Every row with its partition, as text, with how often it occurs.
async fn rows(lake: &Lake) -> BTreeMap<String, u64> {
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

fn read(path: &std::path::Path) -> Vec<RecordBatch> {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    reader.map(|batch| batch.unwrap()).collect()
}

/// The actions of entry `v`.
fn actions(lake: &Lake, v: u64) -> Vec<Value> {
    let text = std::fs::read_to_string(lake.entry(v)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Data files that are in the folder, whether the log knows them or not.
fn files_on_disk(lake: &Lake) -> usize {
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

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_the_same_whatever_a_table_is_partitioned_by() {
    for partitions in [&[][..], &["day"], &["day", "name"], &["at"], &["id"]] {
        let partitioned = |sink: DeltaSink| sink.partition_by(partitions.iter().copied());
        let lake = Lake::with(|c| c, partitioned).await;
        for n in 1..=12 {
            // Some rows come again and again: each partition has several files.
            let mut all = stage(&partitioned(lake.sink()), n * 10..n * 10 + 10).await;
            let again = stage(&partitioned(lake.sink()), 0..4).await;
            all.items.extend(again.items);
            all.rows += again.rows;
            lake.commit(n as u64, all).await.unwrap();
        }
        let (before, version) = (rows(&lake).await, lake.version().await);
        let report = compact(&lake).await;
        assert!(report.merges > 0 && report.files_after < report.files_before, "{report:?}");
        assert_eq!(rows(&lake).await, before, "{partitions:?}");
        assert_eq!(lake.version().await, version + report.merges);
        assert_eq!(
            lake.table().await.snapshot().unwrap().log_data().num_files() as u64,
            report.files_after
        );
        assert_eq!(lake.committer.count_rows(TABLE).await.unwrap(), Some(168));
        let again = compact(&lake).await;
        assert_eq!((again.merges, again.files_before), (0, report.files_after), "{partitions:?}");
        // Odd names of folders are the same names to a vacuum.
        let gone = maintenance(&lake).vacuum(TABLE, &at_once(), NOTHING).await.unwrap();
        assert!(gone.files > 0, "{partitions:?}");
        assert_eq!(rows(&lake).await, before, "{partitions:?}");
        assert_eq!(files_on_disk(&lake) as u64, report.files_after);
        // And the job goes on.
        let staged = stage(&partitioned(lake.sink()), 500..501).await;
        lake.commit(13, staged).await.unwrap();
        assert_eq!(lake.committer.count_rows(TABLE).await.unwrap(), Some(169));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_keep_their_order_and_the_entry_is_nobodys_epoch() {
    let lake = Lake::new().await;
    for n in 1..=10 {
        lake.append(n, n as i64 * 10..n as i64 * 10 + 10).await.unwrap();
    }
    let report = compact(&lake).await;
    assert_eq!((report.files_before, report.files_after, report.merges), (10, 1, 1));
    let ids: Vec<i64> = lake
        .read()
        .await
        .iter()
        .flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(ids, (10..110).collect::<Vec<_>>());
    let actions = actions(&lake, 11);
    assert!(actions.iter().all(|a| a.get("txn").is_none() && a.get("metaData").is_none()));
    let changes = |kind: &str| {
        let all = actions.iter().filter_map(|a| a.get(kind));
        all.map(|a| a["dataChange"].as_bool().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((changes("add"), changes("remove")), (vec![false], vec![false; 10]));
    assert_eq!(actions[0]["commitInfo"]["operation"], "OPTIMIZE");
    // What the job has committed it finds again, live and restarted.
    let tenth = stage(&lake.sink(), 100..110).await;
    assert!(lake.commit(10, tenth.clone()).await.unwrap().replayed);
    assert!(lake.restarted().commit(10, tenth).await.unwrap().replayed);
    assert_eq!(lake.restarted().append(11, 0..1).await.unwrap().version, 12);
    assert_eq!(lake.append(12, 1..2).await.unwrap().version, 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_files_and_dry_runs_change_nothing() {
    let lake = Lake::new().await;
    for n in 1..=7 {
        lake.append(n, 0..10).await.unwrap();
    }
    let default = Compaction::default();
    let report = maintenance(&lake).compact(TABLE, &default).await.unwrap();
    assert_eq!((report.merges, report.files_after), (0, 7));
    lake.append(8, 0..10).await.unwrap();
    let dry = Compaction { dry_run: true, ..default.clone() };
    let report = maintenance(&lake).compact(TABLE, &dry).await.unwrap();
    assert_eq!((report.merges, report.files_after, lake.version().await), (1, 1, 8));
    let report = maintenance(&lake).compact(TABLE, &default).await.unwrap();
    assert_eq!((report.merges, report.files_after, lake.version().await), (1, 1, 9));
    let dry = Vacuum { dry_run: true, ..at_once() };
    let would = maintenance(&lake).vacuum(TABLE, &dry, NOTHING).await.unwrap();
    assert_eq!((would.files, files_on_disk(&lake)), (8, 9));
    assert!(would.bytes > 0);
    // The target of the table counts.
    let small = Compaction { target_bytes: Some(1), ..all_files() };
    assert_eq!(maintenance(&lake).compact(TABLE, &small).await.unwrap().merges, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn marked_columns_stay_out_of_the_log_and_ciphertext_stays_as_it_is() {
    let lake = Lake::new().await;
    let marked: Vec<_> = schema()
        .fields()
        .iter()
        .map(|f| match f.name().as_str() {
            "name" => mark(f.as_ref().clone(), [Sensitivity::PhiName]),
            _ => f.as_ref().clone(),
        })
        .collect();
    let marked = Arc::new(Schema::new(marked));
    let sink = DeltaSink::append(&lake.committer, "bronze/events").uncompressed(["payload"]);
    let app = "job/chain/0/bronze";
    let target = sink.target(&marked).unwrap();
    let nothing = TargetExpectation::default();
    let id = lake.committer.open(&target, app, &nothing, false).await.unwrap().id;
    let mut payloads = Vec::new();
    for n in 1..=8 {
        let mut writer = writer(&sink, Arc::clone(&marked));
        let rows = batch(n * 100..n * 100 + 50);
        let rows = RecordBatch::try_new(Arc::clone(&marked), rows.columns().to_vec()).unwrap();
        payloads.extend(rows.column(4).as_binary::<i32>().iter().map(|v| v.unwrap().to_vec()));
        writer.write(rows).await.unwrap();
        let staged = writer.close_epoch(CheckpointId(1)).await.unwrap();
        let pending = PendingCommit {
            path: "bronze/events".to_owned(),
            target_id: id.clone(),
            app_id: app.to_owned(),
            ..lake.pending(n as u64, staged)
        };
        lake.committer.commit(&pending, &delta_support::decided()).await.unwrap();
    }
    maintenance(&lake).compact("bronze/events", &Compaction::default()).await.unwrap();
    maintenance(&lake).checkpoint_log("bronze/events").await.unwrap();
    let folder = lake.folder.path().join("bronze/events");
    for entry in std::fs::read_dir(folder.join("_delta_log")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("name 1") && !text.contains("name 8"), "{text}");
    }
    let table = delta_support::open_table(&folder).await;
    let files: Vec<_> = table.snapshot().unwrap().log_data().iter().collect();
    assert_eq!(files.len(), 1);
    let stats: Value = serde_json::from_str(&files[0].stats().unwrap()).unwrap();
    assert_eq!(stats["numRecords"], 400);
    assert_eq!((&stats["minValues"]["id"], &stats["maxValues"]["id"]), (&json!(100), &json!(849)));
    assert!(stats["minValues"].get("name").is_none(), "{stats}");
    let path = folder.join(files[0].path().as_ref());
    let found: Vec<Vec<u8>> = read(&path)
        .iter()
        .flat_map(|b| {
            let column = b.column_by_name("payload").unwrap().as_binary::<i32>().clone();
            (0..column.len()).map(move |i| column.value(i).to_vec()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(found, payloads);
    let file = std::fs::File::open(&path).unwrap();
    let footer = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    for chunk in footer.metadata().row_group(0).columns() {
        let plain = chunk.column_path().string() == "payload";
        assert_eq!(chunk.compression() == Compression::UNCOMPRESSED, plain, "{chunk:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committing_job_and_maintenance_do_not_disturb_each_other() {
    let lake = Arc::new(Lake::with(|c| c.checkpoint_every(20), |sink| sink).await);
    let job = tokio::spawn({
        let lake = Arc::clone(&lake);
        async move {
            for n in 1..=150 {
                let committed = lake.append(n, n as i64..n as i64 + 1).await.unwrap();
                assert!(!committed.replayed);
            }
        }
    });
    // As another process would: it knows nothing of the committer.
    let (other, mut merges, mut abandoned) = (maintenance(&lake), 0, 0);
    while !job.is_finished() {
        let report = other.compact(TABLE, &all_files()).await.unwrap();
        merges += report.merges;
        abandoned += report.abandoned;
        other.checkpoint_log(TABLE).await.unwrap();
        let kept = Vacuum { retention: Duration::from_hours(1), ..Vacuum::default() };
        other.vacuum(TABLE, &kept, NOTHING).await.unwrap();
    }
    job.await.unwrap();
    println!("{merges} merges beside 150 commits, {abandoned} abandoned");
    assert!(merges > 1);
    assert_eq!(abandoned, 0, "appends are no conflict");
    assert_eq!(lake.ids().await, (1..=150).collect::<Vec<_>>());
    assert_eq!(lake.committer.count_rows(TABLE).await.unwrap(), Some(150));
    compact(&lake).await;
    assert!(lake.restarted().append(150, 0..1).await.unwrap().replayed);
    assert_eq!(lake.ids().await, (1..=150).collect::<Vec<_>>());
}

/// Eight small files, and maintenance whose stores misbehave.
async fn troubled() -> (Lake, Arc<Plan>, DeltaMaintenance) {
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

#[tokio::test(flavor = "multi_thread")]
async fn someone_who_removed_one_of_the_files_was_first() {
    let (lake, plan, faulty) = troubled().await;
    let first = actions(&lake, 1);
    let removed = first.iter().find_map(|a| a["add"]["path"].as_str()).unwrap().to_owned();
    let other = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move {
            let remove = json!({ "remove": { "path": removed, "dataChange": true, "deletionTimestamp": 1 } });
            other.foreign_entry(9, &[remove]);
        }
        .boxed()
    })));
    let report = faulty.compact(TABLE, &all_files()).await.unwrap();
    assert_eq!((report.merges, report.abandoned), (0, 1));
    assert_eq!((lake.version().await, files_on_disk(&lake)), (9, 8), "the merged file is gone");
    assert_eq!(lake.ids().await, (20..90).collect::<Vec<_>>());
    // The next run takes the table as it is now.
    assert_eq!(compact(&lake).await.merges, 1);
    assert_eq!(lake.ids().await, (20..90).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_of_others_move_the_entry_and_a_change_of_the_table_stops_it() {
    let (lake, plan, faulty) = troubled().await;
    let other = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move {
            other.append(9, 90..100).await.unwrap();
            other.foreign_entries(10..12);
        }
        .boxed()
    })));
    assert_eq!(faulty.compact(TABLE, &all_files()).await.unwrap().merges, 1);
    assert_eq!((lake.version().await, lake.ids().await), (12, (10..100).collect::<Vec<_>>()));
    let other = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move { other.foreign_change(13, |_, _| ()) }.boxed()
    })));
    let report = faulty.compact(TABLE, &all_files()).await.unwrap();
    assert_eq!((report.merges, report.abandoned), (0, 1));
    assert_eq!((lake.version().await, lake.ids().await), (13, (10..100).collect::<Vec<_>>()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_or_refused_is_read_and_decided() {
    for fault in [Fault::LoseAnswer, Fault::Refuse] {
        let (lake, plan, faulty) = troubled().await;
        plan.on_log(fault);
        let report = faulty.compact(TABLE, &all_files()).await.unwrap();
        assert_eq!((report.merges, report.files_after), (1, 1));
        assert_eq!((lake.version().await, lake.ids().await), (9, (10..90).collect::<Vec<_>>()));
    }
    let (lake, plan, faulty) = troubled().await;
    plan.on_log(Fault::DiskFull);
    let error = faulty.compact(TABLE, &all_files()).await.unwrap_err();
    assert!(error.to_string().contains("disk is full"), "{error}");
    plan.on_data(Fault::DiskFull);
    let error = faulty.compact(TABLE, &all_files()).await.unwrap_err();
    assert!(error.to_string().contains("disk is full"), "{error}");
    assert_eq!((lake.version().await, lake.ids().await), (8, (10..90).collect::<Vec<_>>()));
    assert_eq!(compact(&lake).await.merges, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_in_a_hole_that_others_have_cleaned_is_not_believed() {
    let (lake, plan, faulty) = troubled().await;
    let other = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move {
            other.foreign_entries(9..40);
            foreign_cleanup(&other.table_folder()).await;
        }
        .boxed()
    })));
    let report = faulty.compact(TABLE, &all_files()).await.unwrap();
    assert!(lake.entry(9).exists(), "it stands in the hole, and nobody reads it");
    assert_eq!((report.merges, report.abandoned, lake.version().await), (1, 0, 40));
    assert!(lake.entry(40).exists(), "what counts is behind the log checkpoint");
    assert_eq!(lake.ids().await, (10..90).collect::<Vec<_>>());
    assert_eq!(lake.table().await.snapshot().unwrap().log_data().num_files(), 1);
    assert_eq!(lake.restarted().append(9, 90..100).await.unwrap().version, 41);
    assert_eq!(lake.ids().await, (10..100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_cleaned_while_files_are_merged_is_read_anew() {
    let (lake, plan, faulty) = troubled().await;
    let other = lake.restarted();
    plan.on_data(Fault::Before(Box::new(move || {
        async move {
            other.append(9, 90..100).await.unwrap();
            other.foreign_entries(10..40);
            foreign_cleanup(&other.table_folder()).await;
        }
        .boxed()
    })));
    let report = faulty.compact(TABLE, &all_files()).await.unwrap();
    assert_eq!((report.merges, report.abandoned), (1, 0));
    assert_eq!((lake.version().await, lake.ids().await), (40, (10..100).collect::<Vec<_>>()));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_from_before_a_column_was_added_are_merged_among_themselves() {
    let (lake, _, _) = troubled().await;
    lake.foreign_change(9, |_, schema| {
        let field = json!({ "name": "extra", "type": "long", "nullable": true, "metadata": {} });
        schema["fields"].as_array_mut().unwrap().push(field);
    });
    let mut fields: Vec<_> = schema().fields().iter().cloned().collect();
    fields.push(Arc::new(arrow_schema::Field::new("extra", arrow_schema::DataType::Int64, true)));
    let wider = Arc::new(Schema::new(fields));
    for n in 9..12 {
        let mut writer = writer(&lake.sink(), Arc::clone(&wider));
        let rows = batch(n * 10..n * 10 + 10);
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(Int64Array::from(vec![7; 10])));
        writer.write(RecordBatch::try_new(Arc::clone(&wider), columns).unwrap()).await.unwrap();
        let staged = writer.close_epoch(CheckpointId(1)).await.unwrap();
        lake.commit(n as u64, staged).await.unwrap();
    }
    let before = rows(&lake).await;
    let report = compact(&lake).await;
    assert_eq!((report.merges, report.files_after), (2, 2));
    assert_eq!(rows(&lake).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_features_that_are_not_understood_is_left_alone() {
    let (lake, _, _) = troubled().await;
    let protocol = json!({ "protocol": {
        "minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"],
    }});
    lake.foreign_entry(9, &[protocol]);
    let report = compact(&lake).await;
    assert_eq!((report.merges, report.files_after), (0, 8));
    let why = report.skipped.unwrap();
    assert!(why.contains(TABLE) && why.contains("deletionVectors") && !why.contains('\n'), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_manifest_or_a_running_job_may_still_commit_is_never_removed() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    let old = |staged: &Staged| {
        for item in &staged.items {
            let path = lake.table_folder().join(delta_support::add(item).path);
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
    };
    let (decided, lost, young) =
        (lake.stage(10..20).await, lake.stage(20..30).await, lake.stage(30..40).await);
    old(&decided);
    old(&lost);
    for half in ["part-1.snappy.parquet#1", "_delta_log/.tmp-1-1"] {
        std::fs::write(lake.table_folder().join(half), b"half").unwrap();
        let file = std::fs::File::options().write(true).open(lake.table_folder().join(half));
        file.unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    let decided = lake.pending(2, decided);
    let pending = || Ok(vec![decided.clone()]);
    let safe = Vacuum { retention: Duration::from_hours(1), ..Vacuum::default() };
    let gone = maintenance(&lake).vacuum(TABLE, &safe, &pending).await.unwrap();
    assert_eq!(gone.files, 3, "the lost one, and two that were half-written");
    // Forced, while nobody writes: only what is decided stays.
    let gone = maintenance(&lake).vacuum(TABLE, &at_once(), &pending).await.unwrap();
    assert_eq!(gone.files, young.items.len() as u64);
    assert!(!lake.committer.commit(&decided, &delta_support::decided()).await.unwrap().replayed);
    assert_eq!(lake.ids().await, (0..20).collect::<Vec<_>>());
    // A manifest that cannot be read stops it.
    let unreadable = || Err(thalweg_core::Error::corrupt("a checkpoint manifest is damaged"));
    let error = maintenance(&lake).vacuum(TABLE, &safe, &unreadable).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_stay_readable_until_the_retention_is_over() {
    let (lake, _, _) = troubled().await;
    compact(&lake).await;
    let safe = Vacuum { retention: Duration::from_hours(1), ..Vacuum::default() };
    for entry in std::fs::read_dir(lake.table_folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
    }
    let gone = maintenance(&lake).vacuum(TABLE, &safe, NOTHING).await.unwrap();
    assert_eq!(gone.files, 0, "they are old, but were removed a moment ago");
    let mut table = lake.table().await;
    table.load_version(8).await.unwrap();
    assert_eq!(
        delta_support::read_files(&table).iter().map(RecordBatch::num_rows).sum::<usize>(),
        80
    );
    // The log remembers it through a log checkpoint.
    maintenance(&lake).checkpoint_log(TABLE).await.unwrap();
    assert_eq!(maintenance(&lake).vacuum(TABLE, &safe, NOTHING).await.unwrap().files, 0);
    assert_eq!(maintenance(&lake).vacuum(TABLE, &at_once(), NOTHING).await.unwrap().files, 8);
    assert_eq!(lake.ids().await, (10..90).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_that_is_not_safe_or_not_understood_is_refused() {
    let (lake, _, _) = troubled().await;
    let tables = maintenance(&lake);
    for hours in [0, 8 * 24] {
        let vacuum = Vacuum { retention: Duration::from_hours(hours), ..Vacuum::default() };
        let error = tables.vacuum(TABLE, &vacuum, NOTHING).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{hours}");
    }
    let path = actions(&lake, 3).iter().find_map(|a| a["add"]["path"].as_str().map(str::to_owned));
    let path = lake.table_folder().join(path.unwrap());
    std::fs::rename(&path, path.with_extension("elsewhere")).unwrap();
    let error = tables.vacuum(TABLE, &at_once(), NOTHING).await.unwrap_err();
    assert_eq!((error.kind(), files_on_disk(&lake)), (ErrorKind::DataLoss, 8));
    let absent = tables.vacuum("no/table", &at_once(), NOTHING).await.unwrap();
    assert_eq!(absent.files, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_checkpointed_once_per_version_and_cleaned() {
    let keep_none =
        |sink: DeltaSink| sink.configuration("delta.logRetentionDuration", "interval 0 seconds");
    let lake = Lake::with(|c| c.checkpoint_every(0), keep_none).await;
    let tables = maintenance(&lake);
    assert_eq!(tables.checkpoint_log(TABLE).await.unwrap().checkpoint, None, "nothing is in it");
    for n in 1..=10 {
        lake.append(n, n as i64..n as i64 + 1).await.unwrap();
    }
    let done = tables.checkpoint_log(TABLE).await.unwrap();
    assert_eq!((done.checkpoint, done.removed), (Some(10), 10));
    let done = tables.checkpoint_log(TABLE).await.unwrap();
    assert_eq!((done.checkpoint, done.removed), (None, 0));
    assert_eq!(lake.append(11, 11..12).await.unwrap().version, 11);
    assert_eq!(lake.ids().await, (1..=11).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_reader_sees_the_same_rows() {
    let partitioned = |sink: DeltaSink| sink.partition_by(["day"]);
    let lake = Lake::with(|c| c, partitioned).await;
    for n in 1..=10 {
        let staged = stage(&partitioned(lake.sink()), n * 10..n * 10 + 10).await;
        lake.commit(n as u64, staged).await.unwrap();
    }
    let read = || {
        let script = "import sys, deltalake\n\
            t = deltalake.DeltaTable(sys.argv[1]).to_pyarrow_table().sort_by('id')\n\
            print(len(deltalake.DeltaTable(sys.argv[1]).file_uris()), file=sys.stderr)\n\
            print(t.to_pylist())";
        let python = std::process::Command::new("python3")
            .args(["-c", "import deltalake, pyarrow"])
            .output();
        if !python.is_ok_and(|out| out.status.success()) {
            return None;
        }
        let out = std::process::Command::new("python3")
            .args(["-c", script])
            .arg(lake.table_folder())
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let files: u64 = String::from_utf8(out.stderr).unwrap().trim().parse().unwrap();
        Some((String::from_utf8(out.stdout).unwrap(), files))
    };
    let Some((before, files)) = read() else {
        println!("SKIPPED: needs python3 with deltalake and pyarrow");
        return;
    };
    assert_eq!(files, 20);
    compact(&lake).await;
    maintenance(&lake).checkpoint_log(TABLE).await.unwrap();
    maintenance(&lake).vacuum(TABLE, &at_once(), NOTHING).await.unwrap();
    assert_eq!(read(), Some((before, 2)));
}
