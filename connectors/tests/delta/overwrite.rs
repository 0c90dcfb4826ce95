//! Rows of a stretch of time are replaced by one entry, all others stay, and whoever was first was first.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, LargeStringArray, RecordBatch};
use futures::FutureExt;
use object_store::ObjectStore;
use serde_json::{Value, json};
use thalweg_connectors::delta::{DeltaMaintenance, Overwritten};
use thalweg_core::connector::sink::Committer;
use thalweg_core::record::{Column, Timestamp};
use thalweg_core::{ErrorKind, Result};

use crate::support::faults::{Fault, Plan};
use crate::support::{Lake, TABLE, batch};

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

/// The same, meeting what is planned.
fn planned(lake: &Lake, plan: &Arc<Plan>) -> DeltaMaintenance {
    let plan = Arc::clone(plan);
    tables(lake).decorate_stores(move |inner| -> Arc<dyn ObjectStore> { plan.around(inner) })
}

/// Another appends rows right before our next entry.
fn another_appends(plan: &Plan, lake: &Lake, ids: Range<i64>) {
    let other = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move {
            other.append(5, ids).await.unwrap();
        }
        .boxed()
    })));
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
async fn new_rows_outside_of_the_stretch_are_refused() {
    let lake = lake().await;
    for outside in [14..16, 24..26, 100..101] {
        let error = overwrite(&tables(&lake), 15..25, outside).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        let text = error.to_string();
        assert!(text.contains(TABLE) && text.contains("outside"), "{text}");
        assert!(!text.contains("25000000") && text.lines().count() == 1, "{text}");
    }
    assert_eq!((lake.ids().await, lake.version().await), ((0..40).collect::<Vec<_>>(), 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_append_meanwhile_stays_and_what_they_remove_is_looked_at_again() {
    let (lake, plan) = (lake().await, Plan::new());
    let faulty = planned(&lake, &plan);
    another_appends(&plan, &lake, 40..50);
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
async fn what_others_add_to_the_stretch_meanwhile_is_replaced_with_it() {
    let (lake, plan) = (lake().await, Plan::new());
    let faulty = planned(&lake, &plan);
    // There are no rows in the stretch yet, and so no files that both touch: a second one that does the same is first.
    another_appends(&plan, &lake, 150..152);
    let done = overwrite(&faulty, 100..200, 150..152).await.unwrap();
    assert_eq!(done, Overwritten { removed: 2, added: 2, files: 1 });
    let expected: Vec<i64> = (0..40).chain(150..152).collect();
    assert_eq!((lake.ids().await, lake.version().await), (expected.clone(), 6));
    // Of a file without statistics nobody knows whether it has rows of that time.
    let unsaid = lake.foreign_file("unsaid.parquet", &batch(360..362));
    let other = lake.restarted();
    plan.on_log(Fault::Before(Box::new(move || {
        async move { other.foreign_entry(7, &[unsaid]) }.boxed()
    })));
    let done = overwrite(&faulty, 300..400, 350..352).await.unwrap();
    assert_eq!(done, Overwritten { removed: 2, added: 2, files: 1 });
    let expected: Vec<i64> = expected.into_iter().chain(350..352).collect();
    assert_eq!((lake.ids().await, lake.version().await), (expected, 8));
}

/// Rows as another writes them: these columns, with texts of another of Arrow's types, and `extra` when it is asked for.
fn foreign(ids: Range<i64>, columns: &[&str]) -> RecordBatch {
    let rows = batch(ids.clone());
    let column = |name: &str| -> ArrayRef {
        match name {
            "extra" => Arc::new(Int64Array::from_iter_values(ids.clone().map(|id| id * 7))),
            "name" | "day" => {
                let texts = rows.column_by_name(name).unwrap().as_string::<i32>();
                Arc::new(texts.iter().collect::<LargeStringArray>())
            }
            _ => Arc::clone(rows.column_by_name(name).unwrap()),
        }
    };
    let columns = columns.iter().map(|name| (*name, column(name), *name != "id" && *name != "at"));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn kept_rows_keep_their_values_whatever_others_did_to_the_columns() {
    let lake = lake().await;
    // Two columns of one type change places, and one comes along.
    lake.foreign_change(5, |_, schema| {
        let fields = schema["fields"].as_array_mut().unwrap();
        fields.swap(1, 5);
        fields.push(json!({ "name": "extra", "type": "long", "nullable": true, "metadata": {} }));
    });
    // All rows are written anew: some in the order of then, some in that of now.
    let before = ["id", "name", "at", "tags", "payload", "day", "extra"];
    let now = ["id", "day", "at", "tags", "payload", "name", "extra"];
    let removed = (1..=4).filter_map(|v| {
        let path = entry(&lake, v).iter().find_map(|a| a["add"]["path"].as_str().map(str::to_owned));
        path.map(|path| json!({ "remove": { "path": path, "dataChange": false, "deletionTimestamp": 1 } }))
    });
    let mut actions: Vec<Value> = removed.collect();
    actions.push(lake.foreign_file("before.parquet", &foreign(0..20, &before)));
    actions.push(lake.foreign_file("now.parquet", &foreign(20..40, &now)));
    lake.foreign_entry(6, &actions);

    let done = overwrite(&tables(&lake), 15..25, 17..19).await.unwrap();
    assert_eq!(done, Overwritten { removed: 10, added: 2, files: 2 });
    let mut found = BTreeMap::new();
    for rows in lake.read().await {
        let names: Vec<String> = rows.schema().fields().iter().map(|f| f.name().clone()).collect();
        assert_eq!(names, now);
        let ids = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        let texts = |name: &str| rows.column_by_name(name).unwrap().as_string::<i32>().clone();
        let (names, days) = (texts("name"), texts("day"));
        let extra = rows.column(6).as_primitive::<Int64Type>();
        for (row, id) in ids.into_iter().enumerate() {
            let text = |texts: &arrow_array::StringArray| {
                texts.is_valid(row).then(|| texts.value(row).to_owned())
            };
            let extra = extra.is_valid(row).then(|| extra.value(row));
            found.insert(id, (text(&names), text(&days), extra));
        }
    }
    let expected = (0..15).chain(17..19).chain(25..40).map(|id: i64| {
        let name = (id % 3 != 0).then(|| format!("name {id}"));
        let day = (id % 2 != 0).then(|| "2026-01-02 ü/%?".to_owned());
        (id, (name, day, (!(17..19).contains(&id)).then_some(id * 7)))
    });
    assert_eq!(found, expected.collect::<BTreeMap<_, _>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_with_a_column_that_the_table_has_no_more_are_refused() {
    let lake = lake().await;
    lake.foreign_change(5, |_, schema| {
        drop(schema["fields"].as_array_mut().unwrap().pop());
    });
    let error = overwrite(&tables(&lake), 15..25, 17..19).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert!(error.to_string().contains("no column `day`"), "{error}");
    assert_eq!(lake.version().await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_a_file_of_others_whose_name_a_removal_would_not_match_are_refused() {
    let lake = lake().await;
    let staged = lake.stage(40..50).await;
    let ours = lake.table_folder().join(crate::support::add(&staged.items[0]).path);
    std::fs::rename(ours, lake.table_folder().join("ü.parquet")).unwrap();
    lake.foreign_entry(5, &[lake.foreign_add("ü.parquet", 10)]);
    let error = overwrite(&tables(&lake), 35..45, 35..40).await.unwrap_err();
    assert_eq!((error.kind(), lake.version().await), (ErrorKind::InvalidConfig, 5));
    assert!(error.to_string().contains("a file of others"), "{error}");
    // Where none of its rows are to go it is no hindrance.
    let done = overwrite(&tables(&lake), 30..40, 35..40).await.unwrap();
    assert_eq!(done, Overwritten { removed: 10, added: 5, files: 1 });
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
