//! How far back a log reaches.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow_array::RecordBatch;
use serde_json::{Value, json};
use thalweg_connectors::delta::{DeltaReader, DeltaSink, Vacuum};
use thalweg_core::connector::sink::{Committer, Cut, TargetExpectation};
use thalweg_core::{CheckpointId, ErrorKind, Result};
use thalweg_objects::{Access, Place};

use super::keeper::{NOTHING, age, at_once, compact, maintenance};
use crate::support::{Lake, TABLE, read_files};

fn keep_none(sink: DeltaSink) -> DeltaSink {
    sink.configuration("delta.logRetentionDuration", "interval 0 seconds")
}

/// A table of which every entry is too old at once.
async fn lake(checkpoint_every: u64) -> Lake {
    Lake::with(|c| c.checkpoint_every(checkpoint_every), keep_none).await
}

/// One row in each of these versions.
async fn append(lake: &Lake, versions: std::ops::RangeInclusive<u64>) {
    for n in versions {
        let committed = lake.append(n, n as i64..n as i64 + 1).await.unwrap();
        assert_eq!(committed.version, n);
    }
    lake.committer.maintained().await;
}

/// A published cut that names this version of the table.
async fn publish(lake: &Lake, job: &str, version: u64) {
    publish_at(lake, job, version, version).await;
}

/// The cut of a checkpoint that finds the table at this version.
async fn publish_at(lake: &Lake, job: &str, checkpoint: u64, version: u64) {
    let cut = Cut {
        job: job.to_owned(),
        chain: "chain".to_owned(),
        checkpoint: CheckpointId(checkpoint),
        created_at: 1_000,
        versions: BTreeMap::from([(TABLE.to_owned(), version)]),
    };
    lake.committer.publish_cut(&cut).await.unwrap();
}

/// How many rows a reader finds who opens the table at a version.
async fn rows_at(lake: &Lake, version: u64) -> Result<Option<u64>> {
    let place = Place::Folder(lake.folder.path().to_owned());
    let read = move || -> Result<Option<u64>> {
        let reader = DeltaReader::at(&place, &Access::from_environment())?;
        let rows = reader.open_at(TABLE, version)?.and_then(|table| table.rows());
        Ok(rows)
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

async fn assert_gone(lake: &Lake, version: u64) {
    let error = rows_at(lake, version).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    let told = error.to_string();
    assert!(told.contains(&format!("version {version} of table `{TABLE}`")), "{told}");
    assert!(told.contains("delta.logRetentionDuration"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_newest_cut_of_a_stopped_job_names_outlives_merges_and_clean_ups() {
    let lake = lake(0).await;
    let tables = maintenance(&lake);
    append(&lake, 1..=4).await;
    // Beside a log checkpoint from before there is something that could go.
    assert_eq!(tables.checkpoint_log(TABLE).await.unwrap().checkpoint, Some(4));
    append(&lake, 5..=5).await;
    publish(&lake, "job", 5).await;
    assert_eq!(compact(&lake).await.merges, 1);
    assert_eq!(tables.checkpoint_log(TABLE).await.unwrap().checkpoint, Some(6));
    assert_eq!(rows_at(&lake, 5).await.unwrap(), Some(5));
    // Once more, and by a job that shares the table and is further on.
    publish(&lake, "other", 6).await;
    assert_eq!(tables.checkpoint_log(TABLE).await.unwrap().removed, 0);
    assert_eq!(rows_at(&lake, 5).await.unwrap(), Some(5));
    publish(&lake, "job", 6).await;
    assert!(tables.checkpoint_log(TABLE).await.unwrap().removed > 0, "nobody asks for 5");
    assert_gone(&lake, 5).await;
    assert_eq!(rows_at(&lake, 6).await.unwrap(), Some(5));
    let error = rows_at(&lake, 7).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert!(error.to_string().contains("there is no version 7"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_version_that_the_newest_cut_of_a_stopped_job_names_outlive_vacuums() {
    let lake = Lake::new().await;
    append(&lake, 1..=4).await;
    publish(&lake, "job", 4).await;
    assert_eq!(compact(&lake).await.merges, 1);
    // All of it was long ago.
    let merge = std::fs::read_to_string(lake.entry(5)).unwrap();
    let long_ago = merge.lines().map(|line| {
        let mut action: Value = serde_json::from_str(line).unwrap();
        if let Some(remove) = action.get_mut("remove") {
            remove["deletionTimestamp"] = json!(1);
        }
        action.to_string()
    });
    let long_ago: Vec<String> = long_ago.collect();
    std::fs::write(lake.entry(5), long_ago.join("\n")).unwrap();
    age(&lake.table_folder());
    let tables = maintenance(&lake);
    let safe = Vacuum { retention: Duration::from_hours(1), ..Vacuum::default() };
    assert_eq!(tables.vacuum(TABLE, &safe, NOTHING).await.unwrap().files, 0);
    let mut named = lake.table().await;
    named.load_version(4).await.unwrap();
    assert_eq!(read_files(&named).iter().map(RecordBatch::num_rows).sum::<usize>(), 4);
    // Nobody reads it once a cut names the version behind the merge.
    publish(&lake, "job", 5).await;
    assert_eq!(tables.vacuum(TABLE, &safe, NOTHING).await.unwrap().files, 4);
    assert_eq!(lake.ids().await, [1, 2, 3, 4]);
}

/// One that another had begun to write when it died.
#[tokio::test(flavor = "multi_thread")]
async fn behind_half_a_log_checkpoint_nothing_is_removed() {
    let lake = lake(0).await;
    let tables = maintenance(&lake);
    append(&lake, 1..=5).await;
    publish(&lake, "job", 5).await;
    append(&lake, 6..=6).await;
    let half = format!("_delta_log/{:020}.checkpoint.0000000001.0000000002.parquet", 5);
    std::fs::write(lake.table_folder().join(half), b"half").unwrap();
    let done = tables.checkpoint_log(TABLE).await.unwrap();
    assert_eq!((done.checkpoint, done.removed), (Some(6), 0));
    assert_eq!(rows_at(&lake, 5).await.unwrap(), Some(5));
    // Once the whole one of a later version will do, it is no hindrance.
    publish(&lake, "job", 6).await;
    assert_eq!(tables.checkpoint_log(TABLE).await.unwrap().removed, 6);
    assert_eq!(rows_at(&lake, 6).await.unwrap(), Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_commits_keeps_what_its_last_cut_names_until_the_next_one() {
    let lake = lake(4).await;
    append(&lake, 1..=4).await;
    publish(&lake, "job", 4).await;
    // The commits of an epoch whose cut is not published yet.
    append(&lake, 5..=8).await;
    assert_eq!(rows_at(&lake, 4).await.unwrap(), Some(4));
    publish(&lake, "job", 8).await;
    append(&lake, 9..=12).await;
    assert_gone(&lake, 4).await;
    assert_eq!(rows_at(&lake, 8).await.unwrap(), Some(8));
}

/// What a manifest knows of the table may be later than what is published: a start looks, and may die before its first cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_started_again_removes_nothing_before_its_next_cut() {
    let lake = lake(4).await;
    append(&lake, 1..=4).await;
    publish(&lake, "job", 4).await;
    append(&lake, 5..=8).await;
    let started = lake.restarted_with(|c| c.checkpoint_every(4));
    let (id, txn) = (Some(lake.id.clone()), Some(CheckpointId(8)));
    let expected = TargetExpectation { id, txn, version: Some(8) };
    started.open(&keep_none(started.sink()), &expected, false).await.unwrap();
    // It makes up for the newest cut, which is there, and finds what was committed behind it.
    publish_at(&started, "job", 4, 8).await;
    append(&started, 9..=12).await;
    assert_eq!(rows_at(&lake, 4).await.unwrap(), Some(4));
    publish(&started, "job", 12).await;
    append(&started, 13..=16).await;
    assert_gone(&lake, 4).await;
    assert_eq!(rows_at(&lake, 12).await.unwrap(), Some(12));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_which_features_were_dropped_is_written_and_merged_and_keeps_its_history() {
    let lake = lake(2).await;
    append(&lake, 1..=1).await;
    // As `DROP FEATURE deletionVectors` leaves it.
    lake.foreign_entry(
        2,
        &[json!({ "protocol": {
            "minReaderVersion": 1, "minWriterVersion": 7,
            "writerFeatures": ["appendOnly", "invariants", "checkpointProtection"],
        }})],
    );
    append(&lake, 3..=6).await;
    assert_eq!(lake.restarted().append(7, 7..8).await.unwrap().version, 7);
    let ids: Vec<i64> = [1].into_iter().chain(3..=7).collect();
    assert_eq!(lake.ids().await, ids);
    let tables = maintenance(&lake);
    let merged = compact(&lake).await;
    assert_eq!((merged.merges, merged.skipped), (1, None));
    let done = tables.checkpoint_log(TABLE).await.unwrap();
    assert_eq!((done.checkpoint, done.removed), (Some(8), 0));
    assert!((0..=8).all(|version| lake.entry(version).exists()), "an entry was removed");
    let gone = tables.vacuum(TABLE, &at_once(), NOTHING).await.unwrap();
    assert_eq!((gone.files, gone.skipped), (6, None));
    assert_eq!(lake.ids().await, ids);
}
