//! Commits: once, in order, and only to the table that is meant.

use std::sync::Arc;

use futures::FutureExt;
use serde_json::json;
use thalweg_connectors::delta::DeltaSink;
use thalweg_core::connector::sink::{Committer, Sink, Staged, TargetExpectation};
use thalweg_core::{CheckpointId, ErrorKind};

use crate::support::faults::{Fault, Plan};
use crate::support::{self, Lake, batch, decided, schema, stage, writer};

fn all(ids: std::ops::Range<i64>) -> Vec<i64> {
    ids.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_two_writers_become_visible_in_one_commit() {
    let lake = Lake::new().await;
    let mut staged = lake.stage(0..10).await;
    let other = lake.stage(10..20).await;
    staged.items.extend(other.items);
    staged.rows += other.rows;
    assert_eq!(lake.ids().await, Vec::<i64>::new());
    let committed = lake.commit(1, staged).await.unwrap();
    assert_eq!((committed.version, committed.replayed), (1, false));
    assert_eq!(lake.ids().await, all(0..20));
    let table = lake.table().await;
    let state = table.snapshot().unwrap();
    let txn = state.transaction_version(table.log_store().as_ref(), support::APP).await;
    assert_eq!(txn.unwrap(), Some(1));
    let protocol = state.protocol();
    assert_eq!((protocol.min_reader_version(), protocol.min_writer_version()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_adds_no_row_to_a_live_or_a_restarted_committer() {
    let lake = Lake::new().await;
    let pending = lake.pending(1, lake.stage(0..10).await);
    assert!(!lake.committer.commit(&pending, &decided()).await.unwrap().replayed);
    for lake in [&lake, &lake.restarted()] {
        let again = lake.committer.commit(&pending, &decided()).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.version, 1);
        assert_eq!(lake.ids().await, all(0..10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_after_the_log_was_cleaned_is_still_none() {
    let lake = Lake::new().await;
    let pending = lake.pending(1, lake.stage(0..10).await);
    lake.committer.commit(&pending, &decided()).await.unwrap();
    lake.foreign_entries(2..30);
    lake.foreign_cleanup().await;
    assert!(lake.restarted().committer.commit(&pending, &decided()).await.unwrap().replayed);
    assert_eq!(lake.ids().await, all(0..10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_checkpoint_in_the_table_fences_a_live_and_a_restarted_committer() {
    let zombie = Lake::new().await;
    zombie.append(1, 0..10).await.unwrap();
    let late = zombie.stage(10..20).await;
    zombie.restarted().append(3, 20..30).await.unwrap();
    for lake in [&zombie, &zombie.restarted()] {
        let error = lake.commit(2, late.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
    }
    assert_eq!(zombie.ids().await, [all(0..10), all(20..30)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_epoch_writes_no_entry() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    let committed = lake.commit(2, Staged::default()).await.unwrap();
    assert_eq!((committed.version, committed.replayed), (1, false));
    assert_eq!(lake.version().await, 1);
    assert_eq!(lake.append(3, 10..20).await.unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_others_move_ours_to_the_next_free_version() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    lake.foreign_entries(2..5);
    assert_eq!(lake.append(2, 10..20).await.unwrap().version, 5);
    assert_eq!(lake.ids().await, all(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_commit_the_same_checkpoint_at_once_add_its_rows_once() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    for n in 2..12 {
        let pending = lake.pending(n, lake.stage(n as i64 * 10..n as i64 * 10 + 10).await);
        let (a, b) = (lake.restarted(), lake.restarted());
        let decided = decided();
        let (a, b) = tokio::join!(
            a.committer.commit(&pending, &decided),
            b.committer.commit(&pending, &decided)
        );
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(a.replayed != b.replayed, "{a:?} {b:?}");
    }
    assert_eq!(lake.ids().await.len(), 110);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_checkpoint_folder_does_not_take_anothers_rows_for_its_own() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    let copy = lake.restarted();
    copy.commit(1, Staged::default()).await.unwrap();
    let theirs = copy.stage(10..15).await;
    lake.append(2, 10..20).await.unwrap();
    let error = copy.commit(2, theirs).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("a copy of the checkpoint folder"), "{error}");
    assert_eq!(lake.ids().await, all(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_not_a_second_commit() {
    let plan = Plan::new();
    let lake = Lake::with(plan.apply(), |sink| sink).await;
    plan.on_log(Fault::LoseAnswer);
    let committed = lake.append(1, 0..10).await.unwrap();
    assert_eq!((committed.version, committed.replayed), (1, false));
    assert_eq!(lake.append(2, 10..20).await.unwrap().version, 2);
    assert_eq!(lake.ids().await, all(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_gives_no_answer_is_asked_again_and_then_the_attempt_ends() {
    let plan = Plan::new();
    let lake = Lake::with(plan.apply(), |sink| sink).await;
    plan.on_log(Fault::Refuse);
    plan.on_log(Fault::Refuse);
    assert_eq!(lake.append(1, 0..10).await.unwrap().version, 1);
    let pending = lake.pending(2, lake.stage(10..20).await);
    for _ in 0..6 {
        plan.on_log(Fault::Refuse);
    }
    let error = lake.committer.commit(&pending, &decided()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(!thalweg_core::error::chain(&error).contains("secret"));
    lake.committer.commit(&pending, &decided()).await.unwrap();
    assert_eq!(lake.ids().await, all(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_says_so_and_the_next_attempt_commits() {
    let plan = Plan::new();
    let lake = Lake::with(plan.apply(), |sink| sink).await;
    let pending = lake.pending(1, lake.stage(0..10).await);
    plan.on_log(Fault::DiskFull);
    let error = lake.committer.commit(&pending, &decided()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("disk is full"), "{error}");
    lake.committer.commit(&pending, &decided()).await.unwrap();
    assert_eq!(lake.ids().await, all(0..10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_shortened_file_is_terminal_and_nothing_is_committed() {
    let lake = Lake::new().await;
    for damage in [true, false] {
        let staged = lake.stage(0..10).await;
        let file = lake.table_folder().join(support::add(&staged.items[0]).path);
        if damage {
            std::fs::remove_file(&file).unwrap();
        } else {
            std::fs::write(&file, b"short").unwrap();
        }
        let error = lake.commit(1, staged).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.to_string().contains(support::TABLE), "{error}");
        assert_eq!(lake.version().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_compaction_has_removed_do_not_matter_to_a_replay() {
    let lake = Lake::new().await;
    let pending = lake.pending(1, lake.stage(0..10).await);
    lake.committer.commit(&pending, &decided()).await.unwrap();
    let path = support::add(&pending.staged[0]).path;
    let remove = json!({ "remove": { "path": path, "dataChange": false, "deletionTimestamp": 1 } });
    lake.foreign_entry(2, &[remove]);
    std::fs::remove_file(lake.table_folder().join(path)).unwrap();
    assert!(lake.restarted().committer.commit(&pending, &decided()).await.unwrap().replayed);
    assert_eq!(lake.ids().await, Vec::<i64>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_removed_under_a_live_committer_is_terminal() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    let staged = lake.stage(10..20).await;
    std::fs::remove_dir_all(lake.table_folder().join("_delta_log")).unwrap();
    for lake in [&lake, &lake.restarted()] {
        let error = lake.commit(2, staged.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.to_string().contains(support::TABLE), "{error}");
        assert!(!lake.table_folder().join("_delta_log").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_created_again_under_a_live_committer_is_terminal() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    let pending = lake.pending(2, lake.stage(10..20).await);
    std::fs::remove_dir_all(lake.table_folder().join("_delta_log")).unwrap();
    let mut other = lake.restarted();
    let status = other.open(&other.sink(), &TargetExpectation::default(), false).await.unwrap();
    other.id = status.id;
    other.append(1, 100..110).await.unwrap();
    for lake in [&lake, &lake.restarted()] {
        let error = lake.committer.commit(&pending, &decided()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DataLoss);
    }
    assert_eq!(other.ids().await, all(100..110));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_added_by_others_passes() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    let staged = lake.stage(10..20).await;
    lake.foreign_change(2, |_, schema| {
        let column = json!({ "name": "new", "type": "string", "nullable": true, "metadata": {} });
        schema["fields"].as_array_mut().unwrap().insert(0, column);
    });
    assert_eq!(lake.commit(2, staged).await.unwrap().version, 3);
    assert_eq!(lake.ids().await, all(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_dropped_or_retyped_or_a_constraint_added_by_others_stops() {
    type Change = fn(&mut serde_json::Value, &mut serde_json::Value);
    let changes: [Change; 3] = [
        |_, schema| drop(schema["fields"].as_array_mut().unwrap().remove(1)),
        |_, schema| schema["fields"][0]["type"] = json!("string"),
        |metadata, _| metadata["configuration"]["delta.constraints.c"] = json!("id > 0"),
    ];
    for change in changes {
        let lake = Lake::new().await;
        lake.append(1, 0..10).await.unwrap();
        let pending = lake.pending(2, lake.stage(10..20).await);
        lake.foreign_change(2, change);
        // The live committer meets the change, a restarted one finds it.
        for lake in [&lake, &lake.restarted()] {
            let error = lake.committer.commit(&pending, &decided()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::IncompatibleState);
            assert!(error.to_string().contains("at version 2"), "{error}");
        }
        assert_eq!(lake.version().await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_after_300_foreign_commits_and_a_cleaned_log_is_visible() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    let staged = lake.stage(10..20).await;
    lake.foreign_entries(2..302);
    lake.foreign_cleanup().await;
    assert!(!lake.entry(1).exists());
    assert_eq!(lake.commit(2, staged).await.unwrap().version, 302);
    assert_eq!(lake.ids().await, all(0..20));
    assert!(!lake.entry(2).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_fell_into_a_hole_is_committed_again_where_it_shows() {
    let plan = Plan::new();
    let lake = Lake::with(plan.apply(), |sink| sink).await;
    lake.append(1, 0..10).await.unwrap();
    let staged = lake.stage(10..20).await;
    // Between our look at entry 1 and our creation of entry 2, others commit, write a checkpoint and clean up.
    let elsewhere = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move {
            elsewhere.foreign_entries(2..30);
            elsewhere.foreign_cleanup().await;
        }
        .boxed()
    })));
    let committed = lake.commit(2, staged).await.unwrap();
    assert!(lake.entry(2).exists(), "the entry in the hole");
    assert_eq!(committed.version, 30);
    assert_eq!(lake.ids().await, all(0..20));
    assert_eq!(lake.append(3, 20..30).await.unwrap().version, 31);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_renamed_since_its_manifest_is_finished_without_being_opened() {
    let lake = Lake::new().await;
    let mut pending = lake.pending(1, lake.stage(0..10).await);
    pending.sink = "silver-old-name".to_owned();
    assert_eq!(lake.restarted().committer.commit(&pending, &decided()).await.unwrap().version, 1);
    assert_eq!(lake.ids().await, all(0..10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_opened_only_as_the_manifest_remembers_it() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    lake.append(2, 10..20).await.unwrap();
    let expected = |id: &str, txn: Option<u64>, version: u64| TargetExpectation {
        id: Some(id.to_owned()),
        txn: txn.map(CheckpointId),
        version: Some(version),
    };
    let lake = lake.restarted();
    let sink = lake.sink();
    let status = lake.open(&sink, &expected(&lake.id, Some(2), 2), false).await.unwrap();
    assert_eq!((status.txn, status.version), (Some(CheckpointId(2)), 2));
    let cases = [
        (expected(&lake.id, Some(3), 2), ErrorKind::DataLoss),
        (expected(&lake.id, Some(2), 3), ErrorKind::DataLoss),
        (expected("another", Some(2), 2), ErrorKind::DataLoss),
    ];
    for (expected, kind) in cases {
        let error = lake.open(&sink, &expected, false).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(support::TABLE), "{error}");
    }
    // Ahead of what was remembered: told, not judged; the newest manifest decides.
    let status = lake.open(&sink, &expected(&lake.id, Some(1), 1), false).await.unwrap();
    assert_eq!(status.txn, Some(CheckpointId(2)));
    std::fs::remove_dir_all(lake.table_folder()).unwrap();
    let error = lake.open(&sink, &expected(&lake.id, Some(2), 2), false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_made_before_its_manifest_is_ours_after_a_crash() {
    let lake = Lake::new().await;
    let again = lake.restarted();
    let status = again.open(&again.sink(), &TargetExpectation::default(), false).await.unwrap();
    assert_eq!(status.id, lake.id);
    assert_eq!((status.txn, status.version), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_no_manifest_knows_are_refused_and_kept_when_adopted() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    let other = lake.restarted();
    let target = other.sink().target(&schema()).unwrap();
    let (app_id, nothing) = ("job/another-chain/0/silver", TargetExpectation::default());
    let error = other.committer.open(&target, app_id, &nothing, false).await.unwrap_err();
    assert!(error.to_string().contains("--adopt-tables"), "{error}");
    let status = other.committer.open(&target, app_id, &nothing, true).await.unwrap();
    assert_eq!((status.id.as_str(), status.txn), (lake.id.as_str(), None));
    // Once adopted it is known, whether the manifest came or not.
    assert!(other.committer.open(&target, app_id, &nothing, false).await.is_ok());
    let mut pending = other.pending(1, other.stage(10..20).await);
    pending.app_id = app_id.to_owned();
    other.committer.commit(&pending, &decided()).await.unwrap();
    assert_eq!(lake.ids().await, all(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_other_columns_is_refused_even_when_adopted() {
    let lake = Lake::new().await;
    let narrow = Arc::new(schema().project(&[0, 1]).unwrap());
    let mut wide = narrow.fields().to_vec();
    wide.push(Arc::new(arrow_schema::Field::new("more", arrow_schema::DataType::Int64, true)));
    let wide = Arc::new(arrow_schema::Schema::new(wide));
    for (columns, missing) in [(wide, true), (narrow, false)] {
        let target = lake.sink().target(&columns).unwrap();
        let opened = lake
            .restarted()
            .committer
            .open(&target, "job/x/0/silver", &TargetExpectation::default(), true)
            .await;
        // Too many columns have no place; too few leave `at` without the value it must have.
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IncompatibleState);
        let told = error.to_string();
        assert_eq!(told.contains("`more`") && told.contains("ADD COLUMN"), missing, "{told}");
        assert!(!told.contains("resolve"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_that_create_a_table_at_once_cannot_both_own_it() {
    for _ in 0..8 {
        let folder = tempfile::tempdir().unwrap();
        let open = async |app_id: &'static str| {
            let committer = thalweg_connectors::delta::DeltaCommitter::new(folder.path()).unwrap();
            let target = DeltaSink::append(&Arc::new(committer), "t").target(&schema()).unwrap();
            let committer = thalweg_connectors::delta::DeltaCommitter::new(folder.path()).unwrap();
            committer.open(&target, app_id, &TargetExpectation::default(), false).await
        };
        let (a, b) = tokio::join!(open("a/1/0/s"), open("b/1/0/s"));
        assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_of_one_job_share_a_table() {
    let lake = Lake::new().await;
    let mut other = lake.pending(1, lake.stage(10..20).await);
    other.app_id = "job/chain/0/second".to_owned();
    lake.append(1, 0..10).await.unwrap();
    assert_eq!(lake.committer.commit(&other, &decided()).await.unwrap().version, 2);
    assert!(lake.committer.commit(&other, &decided()).await.unwrap().replayed);
    assert_eq!(lake.append(2, 20..30).await.unwrap().version, 3);
    assert_eq!(lake.ids().await, all(0..30));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitioned_rows_survive_the_manifest_and_keep_their_values() {
    let lake = Lake::with(|c| c, |sink| sink.partition_by(["day"])).await;
    let staged = stage(&lake.sink().partition_by(["day"]), 0..10).await;
    assert_eq!(staged.items.len(), 2);
    let text = serde_json::to_vec(&lake.pending(1, staged)).unwrap();
    let pending = serde_json::from_slice(&text).unwrap();
    lake.committer.commit(&pending, &decided()).await.unwrap();
    assert_eq!(lake.ids().await, all(0..10));
    let mut writer = writer(&lake.sink(), schema());
    writer.write(batch(10..20)).await.unwrap();
    let unpartitioned = writer.close_epoch(CheckpointId(1)).await.unwrap();
    let error = lake.restarted().commit(2, unpartitioned).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IncompatibleState);
}
