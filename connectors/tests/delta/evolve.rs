//! Columns that a table lacks: a newer release adds them by an entry of their own, and nothing else changes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use futures::FutureExt;
use serde_json::{Value, json};
use thalweg_connectors::delta::{DeltaSink, SchemaEvolution};
use thalweg_core::connector::sink::{Committer, Sink, Staged, TargetExpectation, TargetStatus};
use thalweg_core::sensitivity::{Clearance, Sensitivity, mark};
use thalweg_core::{CheckpointId, ErrorKind, Result};

use crate::support::faults::{Fault, Plan};
use crate::support::{APP, Lake, batch, schema, writer};

/// The columns of every table here, and these.
fn with(new: impl IntoIterator<Item = Field>) -> SchemaRef {
    let all = schema();
    let fields = all.fields().iter().map(|field| field.as_ref().clone());
    Arc::new(Schema::new(fields.chain(new).collect::<Vec<_>>()))
}

/// What a newer release writes: a number more, and a text that is never null.
fn wide() -> SchemaRef {
    with([Field::new("more", DataType::Int64, true), Field::new("most", DataType::Utf8, false)])
}

fn newer(lake: &Lake) -> DeltaSink {
    lake.sink().schema_evolution(SchemaEvolution::AddColumns)
}

/// Opens the table for a newer release.
async fn open(lake: &Lake, expected: &TargetExpectation) -> Result<TargetStatus> {
    let target = newer(lake).target(&wide()).unwrap();
    lake.committer.open(&target, APP, expected, false).await
}

/// Stages rows of a newer release.
async fn stage(lake: &Lake, ids: std::ops::Range<i64>) -> Staged {
    let more: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.clone().map(|id| id * 7)));
    let most = StringArray::from_iter_values(ids.clone().map(|id| format!("most {id}")));
    let most: ArrayRef = Arc::new(most);
    let columns = batch(ids).columns().iter().cloned().chain([more, most]).collect();
    let mut writer = writer(&newer(lake), wide());
    writer.write(RecordBatch::try_new(wide(), columns).unwrap()).await.unwrap();
    writer.close_epoch(CheckpointId(1)).await.unwrap()
}

/// What a manifest knows behind checkpoint `n`.
fn known(lake: &Lake, n: u64, version: u64) -> TargetExpectation {
    let txn = (n > 0).then_some(CheckpointId(n));
    TargetExpectation { id: Some(lake.id.clone()), txn, version: Some(version) }
}

/// A column as the log has it.
fn column(name: &str, data_type: &str) -> Value {
    json!({ "name": name, "type": data_type, "nullable": true, "metadata": {} })
}

fn actions(lake: &Lake, v: u64) -> Vec<Value> {
    let text = std::fs::read_to_string(lake.entry(v)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What an entry says of the table, and of its columns.
fn metadata(lake: &Lake, v: u64) -> (Value, Vec<Value>) {
    let found = actions(lake, v).into_iter().find_map(|action| action.get("metaData").cloned());
    let mut metadata = found.unwrap();
    let text = metadata["schemaString"].take();
    let schema: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    (metadata, schema["fields"].as_array().unwrap().clone())
}

/// The columns that a stranger finds behind those that every table here has.
async fn added(lake: &Lake) -> Vec<String> {
    let columns = lake.table().await.snapshot().unwrap().schema();
    columns.fields().skip(schema().fields().len()).map(|field| field.name().clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_behind_the_tables_own_and_nothing_else_changes() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    lake.foreign_change(2, |metadata, schema| {
        metadata["name"] = json!("events");
        metadata["description"] = json!("what others say of it");
        metadata["configuration"]["note"] = json!("theirs");
        let fields = schema["fields"].as_array_mut().unwrap();
        fields[0]["metadata"] = json!({ "comment": "who" });
        fields.insert(1, column("theirs", "date"));
    });
    let status = open(&lake.restarted(), &known(&lake, 1, 1)).await.unwrap();
    let txn = Some(CheckpointId(1));
    assert_eq!(status, TargetStatus { id: lake.id.clone(), txn, version: 3 });
    let ((before, mut expected), (after, columns)) = (metadata(&lake, 2), metadata(&lake, 3));
    assert_eq!(after, before);
    expected.extend([column("more", "long"), column("most", "string")]);
    assert_eq!(columns, expected);
    let told: Vec<Value> = actions(&lake, 3);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().any(|action| action["commitInfo"]["operation"] == "ADD COLUMN"));
    // Once they are there, by the entry or by a log checkpoint, nothing is written.
    assert_eq!(open(&lake.restarted(), &known(&lake, 1, 3)).await.unwrap().version, 3);
    lake.foreign_cleanup().await;
    assert!(!lake.entry(2).exists());
    assert_eq!(open(&lake.restarted(), &known(&lake, 1, 3)).await.unwrap().version, 3);
    assert_eq!(lake.version().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_process_that_writes_on_leaves_rows_without_the_new_columns() {
    let old = Lake::new().await;
    old.append(1, 0..10).await.unwrap();
    let staged = old.stage(10..20).await;
    let new = old.restarted();
    assert_eq!(open(&new, &known(&old, 1, 1)).await.unwrap().version, 2);
    assert_eq!(old.commit(2, staged).await.unwrap().version, 3);
    assert_eq!(new.commit(3, stage(&new, 20..30).await).await.unwrap().version, 4);
    let mut rows = (0, 0);
    for batch in new.read().await {
        match batch.column_by_name("more") {
            None => rows.0 += batch.num_rows(),
            Some(values) => rows.1 += values.len() - values.null_count(),
        }
    }
    assert_eq!(rows, (20, 10));
    assert_eq!(new.ids().await, (0..30).collect::<Vec<_>>());
    // An older release takes the wider table, whatever it says about columns.
    for evolution in [SchemaEvolution::Refuse, SchemaEvolution::AddColumns] {
        let lake = old.restarted();
        let sink = lake.sink().schema_evolution(evolution);
        assert_eq!(lake.open(&sink, &known(&old, 3, 4), false).await.unwrap().version, 4);
    }
    assert_eq!(added(&old).await, ["more", "most"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_died_behind_the_columns_leaves_a_table_that_the_next_one_takes() {
    let lake = Lake::new().await;
    open(&lake.restarted(), &known(&lake, 0, 0)).await.unwrap();
    // No manifest knows of it: what the next start expects is what this one did.
    let expected = known(&lake, 0, 0);
    let old = lake.restarted();
    assert_eq!(old.open(&old.sink(), &expected, false).await.unwrap().version, 1);
    let new = lake.restarted();
    assert_eq!(open(&new, &expected).await.unwrap().version, 1);
    assert_eq!(new.commit(1, stage(&new, 0..10).await).await.unwrap().version, 2);
    assert_eq!(added(&lake).await, ["more", "most"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_whose_answer_is_lost_are_found_and_those_that_were_not_added_are_added_again() {
    for (fault, tried) in [(Fault::LoseAnswer, 1), (Fault::Refuse, 2)] {
        let lake = Lake::new().await;
        let plan = Plan::new();
        let newer = lake.restarted_with(plan.apply());
        plan.on_log(fault);
        assert_eq!(open(&newer, &known(&lake, 0, 0)).await.unwrap().version, 1);
        assert_eq!(plan.entries.load(Ordering::Relaxed), tried);
        assert_eq!(added(&lake).await, ["more", "most"]);
    }
    let lake = Lake::new().await;
    let plan = Plan::new();
    let newer = lake.restarted_with(plan.apply());
    plan.on_log(Fault::DiskFull);
    open(&newer, &known(&lake, 0, 0)).await.unwrap_err();
    assert!(!lake.entry(1).exists());
    assert_eq!(open(&newer, &known(&lake, 0, 0)).await.unwrap().version, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_meanwhile_stays_and_decides_anew() {
    type Columns = &'static [(&'static str, &'static str)];
    /// Columns that others add when we are about to, and the version that is opened then, if any.
    const CASES: [(Columns, Option<u64>); 5] = [
        (&[("more", "long")], Some(2)),
        (&[("more", "long"), ("most", "string")], Some(1)),
        (&[("theirs", "date")], Some(2)),
        (&[], Some(2)),
        (&[("more", "string")], None),
    ];
    for (theirs, version) in CASES {
        let lake = Lake::new().await;
        let plan = Plan::new();
        let newer = lake.restarted_with(plan.apply());
        let other = lake.restarted();
        plan.on_log(Fault::Before(Box::new(move || {
            async move {
                other.foreign_change(1, |_, schema| {
                    let fields = schema["fields"].as_array_mut().unwrap();
                    fields.extend(theirs.iter().map(|(name, data_type)| column(name, data_type)));
                });
            }
            .boxed()
        })));
        let opened = open(&newer, &known(&lake, 0, 0)).await;
        let mut expected: Vec<&str> = theirs.iter().map(|(name, _)| *name).collect();
        if let Some(version) = version {
            assert_eq!(opened.unwrap().version, version, "{theirs:?}");
            for ours in ["more", "most"] {
                if !expected.contains(&ours) {
                    expected.push(ours);
                }
            }
        } else {
            let error = opened.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::IncompatibleState, "{error}");
            assert!(error.to_string().contains("`more` has another type"), "{error}");
        }
        assert_eq!(added(&lake).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_add_columns_at_once_leave_each_of_them_once() {
    for _ in 0..8 {
        let lake = Lake::new().await;
        let open = async |own: &'static str| {
            let process = lake.restarted();
            let more = ["more", own].map(|name| Field::new(name, DataType::Int64, true));
            let target = newer(&process).target(&with(more)).unwrap();
            process.committer.open(&target, APP, &known(&lake, 0, 0), false).await
        };
        let (a, again, b) = tokio::join!(open("a"), open("a"), open("b"));
        for opened in [a, again, b] {
            opened.unwrap();
        }
        let mut names = added(&lake).await;
        names.sort_unstable();
        assert_eq!(names, ["a", "b", "more"]);
        assert_eq!(lake.version().await, 2, "an entry for who was first, and one for the other");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_does_not_fit_otherwise_gets_no_column() {
    let lake = Lake::new().await;
    lake.foreign_change(1, |metadata, _| {
        metadata["configuration"]["delta.constraints.c"] = json!("id > 0");
    });
    let error = open(&lake.restarted(), &known(&lake, 0, 0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IncompatibleState, "{error}");
    assert!(error.to_string().contains("delta.constraints.c"), "{error}");
    assert_eq!(lake.version().await, 1);

    // Nothing was marked when it was made, so others may tell values of every column in its log.
    let lake = Lake::new().await;
    let name = mark(Field::new("family", DataType::Utf8, true), [Sensitivity::PhiName]);
    let target = newer(&lake).clearance(Clearance::all()).target(&with([name])).unwrap();
    let fresh = lake.restarted();
    let opened = fresh.committer.open(&target, APP, &known(&lake, 0, 0), false).await;
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IncompatibleState, "{error}");
    assert!(error.to_string().contains("delta.dataSkippingStatsColumns"), "{error}");
    assert_eq!(lake.version().await, 0);
    let guard = json!("`id`,`at`,`day`");
    lake.foreign_change(1, |metadata, _| {
        metadata["configuration"]["delta.dataSkippingStatsColumns"] = guard;
    });
    let opened = fresh.committer.open(&target, APP, &known(&lake, 0, 0), false).await;
    assert_eq!(opened.unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_adopted_or_restored_gets_the_columns_too() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    let target = newer(&lake).target(&wide()).unwrap();
    let (app_id, nothing) = ("job/another-chain/0/silver", TargetExpectation::default());
    let other = lake.restarted();
    let error = other.committer.open(&target, app_id, &nothing, false).await.unwrap_err();
    assert!(error.to_string().contains("--adopt-tables"), "{error}");
    assert_eq!(lake.version().await, 1);
    let status = other.committer.open(&target, app_id, &nothing, true).await.unwrap();
    let id = lake.id.clone();
    assert_eq!(status, TargetStatus { id, txn: None, version: 3 }, "a claim, then columns");
    // A table is restored with the columns that it had.
    lake.foreign_change(4, |_, _| ());
    assert!(added(&lake).await.is_empty());
    assert_eq!(open(&lake.restarted(), &known(&lake, 1, 3)).await.unwrap().version, 5);
    assert_eq!(added(&lake).await, ["more", "most"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_says_how_columns_are_added_only_where_they_are() {
    let lake = Lake::new().await;
    let said = |sink: DeltaSink| {
        sink.target(&schema()).unwrap().definition.get("schema_evolution").cloned()
    };
    assert_eq!(said(lake.sink()), None, "builds that do not know it read it");
    assert_eq!(said(newer(&lake)), Some(json!("add_columns")));
}
