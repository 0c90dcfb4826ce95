//! The log over time: commits stay cheap, checkpoints and clean-up run beside them, cuts are published.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use serde_json::json;
use thalweg_connectors::delta::{
    Compaction, DeltaCommitter, DeltaFollower, DeltaMaintenance, DeltaReader, DeltaSink,
};
use thalweg_core::CheckpointId;
use thalweg_core::connector::sink::{Committer, Cut, TargetExpectation};
use thalweg_core::record::{Column, Timestamp};
use thalweg_objects::{Access, Place};

use crate::long_support::{Turns, now};
use crate::support::faults::Plan;
use crate::support::{Lake, TABLE, batch, open_table, read_files};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_lists_nothing_and_asks_the_store_the_same_each_time() {
    let plan = Plan::new();
    let lake = Lake::with(|c| plan.apply()(c).checkpoint_every(0), |sink| sink).await;
    lake.append(1, 0..1).await.unwrap();
    let staged = lake.stage(1..2).await;
    let mut asked = Vec::new();
    for n in 2..40 {
        let before = (plan.calls.load(Ordering::Relaxed), plan.lists.load(Ordering::Relaxed));
        lake.commit(n, staged.clone()).await.unwrap();
        let after = (plan.calls.load(Ordering::Relaxed), plan.lists.load(Ordering::Relaxed));
        asked.push((after.0 - before.0, after.1 - before.1));
    }
    assert!(asked.iter().all(|a| *a == asked[0]), "{asked:?}");
    assert_eq!(asked[0].1, 0, "lists");
    assert!(asked[0].0 <= 6, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_commits_are_flat_and_the_log_is_checkpointed_beside_them() {
    let lake = Lake::with(|c| c.checkpoint_every(60), |sink| sink).await;
    let mut n = 0;
    let mut commit = async |turns: &mut Vec<Duration>| {
        n += 1;
        let staged = lake.stage(n..n + 1).await;
        let begun = now();
        let committed = lake.commit(n as u64, staged).await.unwrap();
        turns.push(begun.elapsed());
        assert_eq!(committed.version, n as u64);
    };
    for _ in 0..300 {
        commit(&mut Vec::new()).await;
    }
    lake.committer.maintained().await;
    // One that was due while another ran is begun with the next commit.
    commit(&mut Vec::new()).await;
    lake.committer.maintained().await;
    let hint = std::fs::read(lake.table_folder().join("_delta_log/_last_checkpoint")).unwrap();
    let hint: serde_json::Value = serde_json::from_slice(&hint).unwrap();
    assert!(hint["version"].as_u64().unwrap() > 301 - 60, "{hint}");

    let (fresh, mut turns) =
        (Lake::with(|c| c.checkpoint_every(60), |sink| sink).await, Turns::default());
    for n in 1..=40 {
        commit(&mut turns.old).await;
        let staged = fresh.stage(n..n + 1).await;
        let begun = now();
        fresh.commit(n as u64, staged).await.unwrap();
        turns.new.push(begun.elapsed());
    }
    turns.assert_as_short();
    assert_eq!(lake.ids().await, (1..=341).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_entries_are_removed_and_the_job_goes_on_live_and_restarted() {
    let keep_none =
        |sink: DeltaSink| sink.configuration("delta.logRetentionDuration", "interval 0 seconds");
    let lake = Lake::with(|c| c.checkpoint_every(10), keep_none).await;
    for n in 1..=25 {
        lake.append(n, n as i64..n as i64 + 1).await.unwrap();
        lake.committer.maintained().await;
    }
    assert!(!lake.entry(3).exists(), "entry 3 should have expired");
    assert!(lake.entry(25).exists());
    let replay = lake.restarted().append(25, 99..100).await.unwrap();
    assert!(replay.replayed);
    assert_eq!(lake.restarted().append(26, 26..27).await.unwrap().version, 26);
    // The live committer meets the entry of the other.
    assert_eq!(lake.append(27, 27..28).await.unwrap().version, 27);
    assert_eq!(lake.ids().await, (1..=27).collect::<Vec<_>>());
    assert_eq!(lake.committer.version(TABLE).await.unwrap(), 27);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_checkpointed_however_often_the_job_is_restarted() {
    let lake = Lake::with(|c| c.checkpoint_every(10), |sink| sink).await;
    let log = lake.table_folder().join("_delta_log");
    let checkpoints = || {
        let names = std::fs::read_dir(&log).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains(".checkpoint.")).count()
    };
    for n in 1..=35 {
        let restarted = lake.restarted_with(|c| c.checkpoint_every(10));
        restarted.append(n, n as i64..n as i64 + 1).await.unwrap();
        restarted.committer.maintained().await;
        assert_eq!(checkpoints(), n as usize / 10, "after commit {n}");
    }
}

fn cut(n: u64, chain: &str, versions: &BTreeMap<String, u64>) -> Cut {
    Cut {
        job: "job".to_owned(),
        chain: chain.to_owned(),
        checkpoint: CheckpointId(n),
        created_at: 1_000,
        versions: versions.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_version_and_the_rows_are_told_whatever_others_did() {
    let plan = Plan::new();
    let lake = Lake::with(plan.apply(), |sink| sink).await;
    let newest = async || lake.committer.version(TABLE).await.unwrap();
    lake.append(1, 0..10).await.unwrap();
    let lists = plan.lists.load(Ordering::Relaxed);
    assert_eq!(newest().await, 1);
    lake.foreign_entries(2..5);
    assert_eq!(newest().await, 4);
    assert_eq!(plan.lists.load(Ordering::Relaxed), lists, "stepping is enough");
    lake.foreign_change(5, |_, _| ());
    assert_eq!(newest().await, 5);
    lake.foreign_entries(6..40);
    lake.foreign_cleanup().await;
    assert_eq!(newest().await, 39);
    assert_eq!(lake.append(2, 10..20).await.unwrap().version, 40);
    assert_eq!(lake.committer.count_rows(TABLE).await.unwrap(), Some(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn published_cuts_are_rows_that_a_replay_does_not_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let versions = BTreeMap::from([("gold/a".to_owned(), 3), ("silver/b".to_owned(), 7)]);
    let fresh = || DeltaCommitter::new(folder.path()).unwrap();
    let committer = fresh();
    let publish = async |committer: &DeltaCommitter, n: u64| {
        committer.publish(&cut(n, "chain", &versions)).await.unwrap()
    };
    assert_eq!(publish(&committer, 1).await, 1);
    assert_eq!(publish(&committer, 2).await, 2);
    assert_eq!(publish(&committer, 2).await, 2);
    assert_eq!(publish(&fresh(), 1).await, 2);
    assert_eq!(publish(&fresh(), 2).await, 2);
    assert_eq!(publish(&fresh(), 3).await, 3);
    let other = fresh();
    // Another chain shares the table.
    let version = other.publish(&cut(1, "next", &BTreeMap::new())).await;
    assert_eq!(version.unwrap(), 5, "one entry to join, one for the row");
    assert_eq!(publish(&committer, 4).await, 6);
    let mut rows = Vec::new();
    for batch in read_files(&open_table(&folder.path().join("meta/checkpoints")).await) {
        let column = |name| batch.column_by_name(name).unwrap();
        let tables = column("tables").as_list::<i32>().value(0);
        let numbers = column("versions").as_list::<i32>().value(0);
        rows.push((
            column("chain").as_string::<i32>().value(0).to_owned(),
            column("checkpoint").as_primitive::<Int64Type>().value(0),
            column("committed_at").as_primitive::<TimestampMicrosecondType>().value(0),
            tables.as_string::<i32>().iter().flatten().map(ToOwned::to_owned).collect::<Vec<_>>(),
            numbers.as_primitive::<Int64Type>().values().to_vec(),
        ));
    }
    rows.sort();
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[4].0, "next");
    let (chain, n, at, tables, numbers) = &rows[3];
    assert_eq!((chain.as_str(), *n, *at), ("chain", 4, 1_000));
    assert_eq!(tables, &["gold/a", "silver/b"]);
    assert_eq!(numbers, &[3, 7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_cut_of_a_job_is_its_last_whatever_a_clock_did_and_others_published() {
    let folder = tempfile::tempdir().unwrap();
    let committer = DeltaCommitter::new(folder.path()).unwrap();
    let publish = async |job: &str, chain: &str, n: u64, created_at: i64| {
        let about = cut(n, chain, &BTreeMap::new());
        let cut = Cut { job: job.to_owned(), created_at, ..about };
        committer.publish(&cut).await.unwrap();
    };
    let place = Place::Folder(folder.path().to_owned());
    let newest = async |job: &'static str| {
        let place = place.clone();
        let read = move || {
            let reader = DeltaReader::at(&place, &Access::from_environment()).unwrap();
            reader.newest_cut(job).unwrap().map(|cut| (cut.chain, cut.checkpoint.0))
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    };
    let at = |chain: &str, n: u64| Some((chain.to_owned(), n));
    assert_eq!(newest("job").await, None);
    publish("job", "first", 8, 9_000).await;
    // The clock was set back.
    publish("job", "first", 9, 5_000).await;
    assert_eq!(newest("job").await, at("first", 9));
    publish("other", "foreign", 20, 20_000).await;
    assert_eq!(newest("job").await, at("first", 9));
    assert_eq!(newest("other").await, at("foreign", 20));
    // A chain that had to begin with its numbers anew.
    publish("job", "second", 1, 6_000).await;
    assert_eq!(newest("job").await, at("second", 1));
}

#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
fn follower(lake: &Lake) -> DeltaFollower {
    let place = Place::Folder(lake.folder.path().to_owned());
    DeltaFollower::at(&place, &Access::from_environment()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_says_when_a_log_was_cleaned_behind_it_or_is_far_ahead() {
    let lake = Lake::new().await;
    let follower = follower(&lake);
    lake.append(1, 0..10).await.unwrap();
    let first = follower.newest(TABLE).await.unwrap().unwrap();
    assert_eq!(first.number(), 1);
    assert_eq!(follower.since(TABLE, &first).await.unwrap(), Some((first.clone(), Vec::new())));
    for n in 2..=4 {
        lake.append(n, 0..1).await.unwrap();
    }
    let (fourth, files) = follower.since(TABLE, &first).await.unwrap().unwrap();
    assert_eq!((fourth.number(), files.len()), (4, 3));
    // The entry behind the first one is gone: that is not to say that there are no others.
    lake.foreign_cleanup().await;
    assert!(!lake.entry(1).exists() && !lake.entry(2).exists() && lake.entry(4).exists());
    assert_eq!(follower.since(TABLE, &first).await.unwrap(), None);
    assert_eq!(follower.added(TABLE, 1, 4).await.unwrap(), None);
    assert_eq!(follower.newest(TABLE).await.unwrap(), Some(fourth.clone()));
    assert_eq!(follower.since(TABLE, &fourth).await.unwrap(), Some((fourth.clone(), Vec::new())));

    lake.foreign_entries(5..=104);
    let (newest, files) = follower.since(TABLE, &fourth).await.unwrap().unwrap();
    assert_eq!((newest.number(), files.len()), (104, 0));
    lake.foreign_entries(105..=105);
    assert_eq!(follower.since(TABLE, &fourth).await.unwrap(), None, "one entry too many");
    assert_eq!(follower.newest(TABLE).await.unwrap().unwrap().number(), 105);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_reads_anew_where_rows_were_taken_away_and_follows_what_was_merged() {
    let lake = Lake::new().await;
    let follower = follower(&lake);
    for n in 1..=3 {
        lake.append(n, n as i64 * 10..n as i64 * 10 + 10).await.unwrap();
    }
    let known = follower.newest(TABLE).await.unwrap().unwrap();
    let tables = DeltaMaintenance::new(lake.folder.path()).unwrap();
    let all = Compaction { min_files: 2, ..Compaction::default() };
    assert_eq!(tables.compact(TABLE, &all).await.unwrap().merges, 1);
    let (merged, files) = follower.since(TABLE, &known).await.unwrap().unwrap();
    assert_eq!((merged.number(), files.len()), (4, 0), "there is no new row");

    let (at, stretch) = (Column::<Timestamp>::required("at"), 15_000_000..25_000_000);
    tables.overwrite(TABLE, at, stretch, &[batch(15..16)]).await.unwrap();
    assert_eq!(follower.since(TABLE, &merged).await.unwrap(), None, "rows were put right");
    let known = follower.newest(TABLE).await.unwrap().unwrap();
    // As an engine erases rows: the file is written anew without them.
    let file = lake.table().await.get_file_uris().unwrap().next().unwrap();
    let name = file.rsplit('/').next().unwrap();
    let remove = json!({ "remove": { "path": name, "dataChange": true, "deletionTimestamp": 1 } });
    let mut add = lake.foreign_file("rewritten.parquet", &batch(30..40));
    add["add"]["dataChange"] = json!(true);
    lake.foreign_entry(6, &[remove, add]);
    assert_eq!(follower.since(TABLE, &known).await.unwrap(), None, "rows were erased");
    assert_eq!(follower.added(TABLE, 5, 6).await.unwrap(), None);
    assert_eq!(follower.files(TABLE, 6).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_does_not_take_a_table_that_was_made_anew_for_the_one_it_knows() {
    let lake = Lake::new().await;
    let follower = follower(&lake);
    for n in 1..=3 {
        lake.append(n, 0..10).await.unwrap();
    }
    let known = follower.newest(TABLE).await.unwrap().unwrap();
    assert_eq!(known.number(), 3);
    // It may have fewer versions than the one before, as many, or more.
    for versions in [2, 3, 5] {
        std::fs::remove_dir_all(lake.table_folder()).unwrap();
        assert_eq!(follower.since(TABLE, &known).await.unwrap(), None);
        assert_eq!(follower.newest(TABLE).await.unwrap(), None);
        let mut anew = lake.restarted();
        let sink = anew.sink();
        anew.id = anew.open(&sink, &TargetExpectation::default(), false).await.unwrap().id;
        for n in 1..=versions {
            anew.append(n, 0..10).await.unwrap();
        }
        assert_eq!(follower.since(TABLE, &known).await.unwrap(), None, "{versions} versions");
        assert_eq!(follower.newest(TABLE).await.unwrap().unwrap().number(), versions);
    }
}
