//! Rows of a stretch of time are replaced by one entry, all others stay, and whoever was first was first.
#![cfg(feature = "delta")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod delta_support;

use std::ops::Range;
use std::sync::Arc;

use delta_support::faults::{Fault, Plan};
use delta_support::{Lake, TABLE, batch};
use futures::FutureExt;
use object_store::ObjectStore;
use serde_json::{Value, json};
use thalweg_connectors::delta::{DeltaMaintenance, Overwritten};
use thalweg_core::connector::sink::Committer;
use thalweg_core::record::{Column, Timestamp};
use thalweg_core::{ErrorKind, Result};

const AT: Column<Timestamp> = Column::required("at");

/// The times of rows with these ids.
fn times(ids: Range<i64>) -> Range<i64> {
    ids.start * 1_000_000..ids.end * 1_000_000
}

/// Files of ten rows each, ids from 0 to 40.
async fn lake() -> Lake {
    let lake = Lake::new().await;
    for n in 1..=4 {
        lake.append(n as u64, (n - 1) * 10..n * 10).await.unwrap();
    }
    lake
}

fn tables(lake: &Lake) -> DeltaMaintenance {
    DeltaMaintenance::new(lake.folder.path()).unwrap()
}

fn entry(lake: &Lake, v: u64) -> Vec<Value> {
    let text = std::fs::read_to_string(lake.entry(v)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn overwrite(
    tables: &DeltaMaintenance,
    ids: Range<i64>,
    by: Range<i64>,
) -> Result<Overwritten> {
    tables.overwrite(TABLE, AT, times(ids), &[batch(by)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_stretch_are_replaced_and_all_others_stay() {
    let lake = lake().await;
    // The second half of one file, the first of the next.
    let done = overwrite(&tables(&lake), 15..25, 17..19).await.unwrap();
    assert_eq!(done, Overwritten { removed: 10, added: 2, files: 2 });
    let expected: Vec<i64> = (0..15).chain(17..19).chain(25..40).collect();
    assert_eq!((lake.ids().await, lake.version().await), (expected.clone(), 5), "one entry");
    assert_eq!(lake.committer.count_rows(TABLE).await.unwrap(), Some(32));
    let actions = entry(&lake, 5);
    let files = |kind: &str| actions.iter().filter(|a| a.get(kind).is_some()).count();
    assert_eq!((files("remove"), files("add")), (2, 1));
    let changes = actions.iter().filter_map(|a| a.get("add").or(a.get("remove")));
    assert!(changes.clone().count() == 3 && changes.clone().all(|a| a["dataChange"] == true));
    // The same again finds what it has written.
    let again = overwrite(&tables(&lake), 15..25, 17..19).await.unwrap();
    assert_eq!(again, Overwritten { removed: 2, added: 2, files: 1 });
    assert_eq!(lake.ids().await, expected);
    // The job goes on.
    lake.append(5, 40..50).await.unwrap();
    assert_eq!(lake.ids().await, expected.into_iter().chain(40..50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_can_be_added_where_none_were_and_taken_without_others() {
    let lake = lake().await;
    let done = overwrite(&tables(&lake), 100..200, 150..152).await.unwrap();
    assert_eq!(done, Overwritten { removed: 0, added: 2, files: 0 });
    let done = tables(&lake).overwrite(TABLE, AT, times(5..10), &[]).await.unwrap();
    assert_eq!(done, Overwritten { removed: 5, added: 0, files: 1 });
    let expected: Vec<i64> = (0..5).chain(10..40).chain(150..152).collect();
    assert_eq!(lake.ids().await, expected);
    let error = tables(&lake).overwrite(TABLE, AT, times(10..20), &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert_eq!(lake.ids().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_append_meanwhile_stays_and_what_they_remove_is_looked_at_again() {
    let (lake, plan) = (lake().await, Plan::new());
    let faulty = tables(&lake).decorate_stores({
        let plan = Arc::clone(&plan);
        move |inner| -> Arc<dyn ObjectStore> { plan.around(inner) }
    });
    let other = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move {
            other.append(5, 40..50).await.unwrap();
        }
        .boxed()
    })));
    overwrite(&faulty, 15..25, 15..16).await.unwrap();
    let expected: Vec<i64> = (0..16).chain(25..50).collect();
    assert_eq!((lake.ids().await, lake.version().await), (expected, 6));
    let removed = entry(&lake, 4).iter().find_map(|a| a["add"]["path"].as_str().map(str::to_owned));
    let remove = json!({ "remove": { "path": removed.unwrap(), "dataChange": true, "deletionTimestamp": 1 } });
    let other = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move { other.foreign_entry(7, &[remove]) }.boxed()
    })));
    overwrite(&faulty, 35..45, 36..37).await.unwrap();
    // Another took the file with 30 to 40 away: its rows outside of the stretch do not come back.
    let expected: Vec<i64> = (0..16).chain(25..30).chain(36..37).chain(45..50).collect();
    assert_eq!((lake.ids().await, lake.version().await), (expected, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_whose_rows_must_stay_are_refused() {
    for (key, value, says) in [
        ("delta.appendOnly", "true", "appendOnly"),
        ("delta.dataSkippingNumIndexedCols", "0", "statistics"),
    ] {
        let lake = lake().await;
        lake.foreign_change(5, |metadata, _| metadata["configuration"][key] = json!(value));
        let error = overwrite(&tables(&lake), 0..10, 0..1).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(lake.ids().await.len(), 40);
    }
    let lake = Lake::with(|c| c, |sink| sink.partition_by(["day"])).await;
    let error = overwrite(&tables(&lake), 0..10, 0..1).await.unwrap_err();
    assert!(error.to_string().contains("partitioned"), "{error}");
}
