//! Merging: the same rows in fewer files, and nothing else.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch};
use arrow_schema::Schema;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use serde_json::{Value, json};
use thalweg_connectors::delta::{Compaction, DeltaSink, Vacuum};
use thalweg_core::CheckpointId;
use thalweg_core::connector::sink::{Committer, PendingCommit, Sink, TargetExpectation};
use thalweg_objects::testing::deltalake;

use super::keeper::{
    NOTHING, actions, all_files, at_once, compact, files_on_disk, maintenance, read, rows, troubled,
};
use crate::support::{self, Lake, TABLE, batch, schema, stage, writer};

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_the_same_whatever_a_table_is_partitioned_by() {
    for partitions in [&[][..], &["day"], &["day", "name"], &["id"]] {
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
    let marked = support::marked_schema();
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
        lake.committer.commit(&pending, &support::decided()).await.unwrap();
    }
    maintenance(&lake).compact("bronze/events", &Compaction::default()).await.unwrap();
    maintenance(&lake).checkpoint_log("bronze/events").await.unwrap();
    let folder = lake.folder.path().join("bronze/events");
    for entry in std::fs::read_dir(folder.join("_delta_log")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("name 1") && !text.contains("name 8"), "{text}");
    }
    let table = support::open_table(&folder).await;
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
async fn files_of_others_whose_names_a_removal_would_not_match_are_left_alone() {
    let (lake, _, _) = troubled().await;
    // As Spark names the folder of a partition: what is not ASCII stands in the log as it is.
    let names = ["ü-1.parquet", "ü-2.parquet"];
    let staged = [lake.stage(90..100).await, lake.stage(100..110).await];
    let adds = names.iter().zip(&staged).map(|(name, staged)| {
        let ours = lake.table_folder().join(support::add(&staged.items[0]).path);
        std::fs::rename(ours, lake.table_folder().join(name)).unwrap();
        lake.foreign_add(name, 10)
    });
    lake.foreign_entry(9, &adds.collect::<Vec<_>>());
    let before = rows(&lake).await;
    let report = compact(&lake).await;
    assert_eq!((report.merges, report.files_before, report.files_after), (1, 10, 3));
    let why = report.skipped.unwrap();
    assert!(why.starts_with("2 files") && why.contains(TABLE) && !why.contains('ü'), "{why}");
    assert_eq!(rows(&lake).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_independent_reader_sees_the_same_rows() {
    // Another library than ours, in an environment of its own: what the system's Python has is nobody's choice.
    let python = match deltalake() {
        Ok(python) => python,
        Err(why) => {
            let required = std::env::var("THALWEG_REQUIRE_EMULATORS").is_ok_and(|v| v == "1");
            assert!(!required, "THALWEG_REQUIRE_EMULATORS=1, but: {why}");
            eprintln!("\n==== SKIPPED: no independent reader: {why} ====\n");
            return;
        }
    };
    let partitioned = |sink: DeltaSink| sink.partition_by(["day"]);
    let lake = Lake::with(|c| c, partitioned).await;
    for n in 1..=10 {
        let staged = stage(&partitioned(lake.sink()), n * 10..n * 10 + 10).await;
        lake.commit(n as u64, staged).await.unwrap();
    }
    let read = || {
        let script = "import sys, deltalake\n\
            t = deltalake.DeltaTable(sys.argv[1]).to_pyarrow_table().sort_by('id')\n\
            print(len(deltalake.DeltaTable(sys.argv[1]).file_uris()), t.num_rows, file=sys.stderr)\n\
            print(t.to_pylist())";
        let out = std::process::Command::new(&python)
            .args(["-c", script])
            .arg(lake.table_folder())
            .output()
            .unwrap();
        let told = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.success(), "{told}");
        (String::from_utf8(out.stdout).unwrap(), told.trim().to_owned())
    };
    let (before, files) = read();
    assert_eq!(files, "20 100");
    compact(&lake).await;
    maintenance(&lake).checkpoint_log(TABLE).await.unwrap();
    maintenance(&lake).vacuum(TABLE, &at_once(), NOTHING).await.unwrap();
    assert_eq!(read(), (before, "2 100".to_owned()));
}
