//! Writers: what they stage is all there, durable, described, and bounded in memory.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Int32Array, Int64Array,
    RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field, Schema};
use futures::FutureExt;
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};
use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
use thalweg_core::connector::sink::{Committer, Sink, Staged, TargetExpectation};
use thalweg_core::sensitivity::Clearance;
use thalweg_core::{CheckpointId, ErrorKind};

use crate::support::faults::{Fault, Plan};
use crate::support::{APP, Lake, add, batch, marked_schema, schema, stage, wait_until, writer};

const FIRST: CheckpointId = CheckpointId(1);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_back_by_others_nulls_lists_and_bytes_included() {
    let lake = Lake::new().await;
    lake.append(1, 0..100).await.unwrap();
    let read = lake.read().await;
    assert_eq!(read.len(), 1);
    let (read, wrote) = (&read[0], batch(0..100));
    for name in ["id", "name", "at", "payload", "day"] {
        assert_eq!(read.column_by_name(name), wrote.column_by_name(name), "{name}");
    }
    let tags = read.column_by_name("tags").unwrap();
    assert_eq!(tags.null_count(), 25);
    let DataType::List(inner) = tags.data_type() else { panic!("{}", tags.data_type()) };
    assert_eq!(inner.name(), "element");
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_true_count_nulls_and_leave_out_what_has_no_order() {
    let lake = Lake::new().await;
    let staged = lake.stage(0..10).await;
    assert_eq!(staged.rows, 10);
    let stats: serde_json::Value =
        serde_json::from_str(add(&staged.items[0]).stats.as_ref().unwrap()).unwrap();
    assert_eq!(stats["numRecords"], 10);
    assert_eq!((&stats["minValues"]["id"], &stats["maxValues"]["id"]), (&0.into(), &9.into()));
    assert_eq!(stats["minValues"]["name"], "name 1");
    assert_eq!(stats["maxValues"]["name"], "name 8");
    assert_eq!(stats["nullCount"]["name"], 4);
    assert_eq!(stats["nullCount"]["id"], 0);
    assert_eq!(stats["maxValues"]["at"], "1970-01-01T00:00:09Z");
    assert_eq!(stats["minValues"].as_object().unwrap().len(), 4);
    assert!(add(&staged.items[0]).get_stats().unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_values_match_the_rows_null_and_odd_characters_included() {
    let sink = |sink: DeltaSink| sink.partition_by(["day"]);
    let lake = Lake::with(|c| c, sink).await;
    let staged = stage(&sink(lake.sink()), 0..10).await;
    let mut days: Vec<Option<String>> =
        staged.items.iter().map(|item| add(item).partition_values["day"].clone()).collect();
    days.sort();
    assert_eq!(days, [None, Some("2026-01-02 ü/%?".to_owned())]);
    for item in &staged.items {
        let add = add(item);
        assert_eq!(serde_json::to_value(&add).unwrap(), *item, "the description round-trips");
        assert!(lake.table_folder().join(&add.path).is_file(), "{}", add.path);
        let stats = add.get_stats().unwrap().unwrap();
        assert_eq!(stats.num_records, 5);
        assert!(!stats.min_values.contains_key("day"));
    }
    lake.commit(1, staged).await.unwrap();
    assert_eq!(lake.ids().await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_values_of_every_type_are_those_of_the_rows() {
    let lake = Lake::new().await;
    let price = Decimal128Array::from(vec![Some(-12_345), None]).with_precision_and_scale(9, 2);
    let columns: [(ArrayRef, &str); 6] = [
        (Arc::new(Date32Array::from(vec![Some(20_512), None])), "2026-02-28"),
        (Arc::new(Date32Array::from(vec![Some(-1), None])), "1969-12-31"),
        (Arc::new(Int32Array::from(vec![Some(-7), None])), "-7"),
        (Arc::new(BooleanArray::from(vec![Some(true), None])), "true"),
        (Arc::new(price.unwrap()), "-123.45"),
        (Arc::new(StringArray::from(vec![Some("ü/%?="), None])), "ü/%?="),
    ];
    for (number, (column, text)) in columns.into_iter().enumerate() {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("value", column.data_type().clone(), true),
        ]));
        let path = format!("typed/{number}");
        let sink = DeltaSink::append(&lake.committer, path).partition_by(["value"]);
        let target = sink.target(&schema).unwrap();
        let nothing = TargetExpectation::default();
        lake.committer.open(&target, APP, &nothing, false).await.unwrap();
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2));
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![ids, column]).unwrap();
        let mut writer = writer(&sink, schema);
        writer.write(rows).await.unwrap();
        let staged = writer.close_epoch(FIRST).await.unwrap();
        assert_eq!(staged.items.len(), 2, "{text}");
        for item in &staged.items {
            let add = add(item);
            let stats: serde_json::Value =
                serde_json::from_str(add.stats.as_deref().unwrap()).unwrap();
            let value = add.partition_values["value"].as_deref();
            let expected = (stats["minValues"]["id"] == 0).then_some(text);
            assert_eq!(value, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_marked_column_enters_the_log_or_the_manifest() {
    let lake = Lake::new().await;
    let marked = marked_schema();
    let sink = DeltaSink::append(&lake.committer, "silver/marked").clearance(Clearance::all());
    let definition = sink.target(&marked).unwrap().definition;
    assert!(!definition["schema"].to_string().contains("phi"), "{definition}");
    let indexed = definition["configuration"]["delta.dataSkippingStatsColumns"].to_string();
    assert!(indexed.contains("`id`") && !indexed.contains("`name`"), "{indexed}");
    let mut writer = writer(&sink, Arc::clone(&marked));
    let rows = RecordBatch::try_new(marked, batch(0..10).columns().to_vec()).unwrap();
    writer.write(rows).await.unwrap();
    let staged = writer.close_epoch(FIRST).await.unwrap();
    assert!(!serde_json::to_string(&staged.items).unwrap().contains("name 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ciphertext_is_stored_as_it_is_and_the_rest_is_compressed() {
    let lake = Lake::new().await;
    let staged = stage(&lake.sink().uncompressed(["payload"]), 0..10).await;
    let path = lake.table_folder().join(add(&staged.items[0]).path);
    let file = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let group = file.metadata().row_group(0).clone();
    for column in group.columns() {
        let plain = column.column_path().string() == "payload";
        let want = if plain { Compression::UNCOMPRESSED } else { Compression::SNAPPY };
        assert_eq!(column.compression(), want, "{}", column.column_path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_without_rows_stages_nothing() {
    let lake = Lake::new().await;
    let mut writer = writer(&lake.sink(), schema());
    assert_eq!(writer.close_epoch(FIRST).await.unwrap(), Staged::default());
    writer.write(batch(0..0)).await.unwrap();
    assert_eq!(writer.close_epoch(CheckpointId(2)).await.unwrap(), Staged::default());
    writer.write(batch(0..3)).await.unwrap();
    assert_eq!(writer.close_epoch(CheckpointId(3)).await.unwrap().rows, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_after_the_barrier_are_taken_while_the_old_epoch_is_being_closed() {
    let plan = Plan::new();
    let lake = Lake::with(plan.apply(), |sink| sink).await;
    let mut writer = writer(&lake.sink(), schema());
    plan.on_data(Fault::Stall);
    writer.write(batch(0..10)).await.unwrap();
    let first = writer.close_epoch(FIRST);
    plan.stalled().await;
    writer.write(batch(10..20)).await.unwrap();
    let second = writer.close_epoch(CheckpointId(2)).await.unwrap();
    assert_eq!(second.rows, 10);
    plan.release();
    let first = first.await.unwrap();
    lake.commit(1, first).await.unwrap();
    assert_eq!(lake.ids().await, (0..10).collect::<Vec<_>>());
    lake.commit(2, second).await.unwrap();
    assert_eq!(lake.ids().await, (0..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_store_makes_write_wait_and_its_recovery_lets_everything_through() {
    const ROW: usize = 1 << 20;
    let plan = Plan::new();
    let lake = Lake::with(plan.apply(), |sink| sink).await;
    let bytes = Arc::new(Schema::new(vec![Field::new("c", DataType::Binary, false)]));
    let sink = DeltaSink::append(&lake.committer, "raw").uncompressed(["c"]).buffer_bytes(8 * ROW);
    let row = || {
        let column = BinaryArray::from_iter_values([vec![7_u8; ROW]]);
        RecordBatch::try_new(Arc::clone(&bytes), vec![Arc::new(column)]).unwrap()
    };
    let mut writer = writer(&sink, Arc::clone(&bytes));
    plan.on_data(Fault::Stall);
    let mut rows = 0;
    loop {
        tokio::select! {
            biased;
            written = writer.write(row()) => written.unwrap(),
            () = plan.stalled() => break,
        }
        rows += 1;
        assert!(rows < 1_000, "the store is never reached");
    }
    // Nothing is taken from the queue any more, so at most the buffer's size is accepted on top.
    let mut accepted = 0;
    while writer.write(row()).now_or_never().is_some() {
        accepted += 1;
        assert!(accepted <= 8, "write must wait");
    }
    plan.release();
    writer.write(row()).await.unwrap();
    let staged = writer.close_epoch(FIRST).await.unwrap();
    assert_eq!(staged.rows, rows + accepted + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn epochs_that_cannot_be_closed_do_not_pile_up() {
    let plan = Plan::new();
    let lake = Lake::with(plan.apply(), |sink| sink).await;
    let mut writer = writer(&lake.sink(), schema());
    let mut closing = Vec::new();
    for n in 0..3 {
        plan.on_data(Fault::Stall);
        writer.write(batch(n..n + 1)).await.unwrap();
        closing.push(writer.close_epoch(CheckpointId(n as u64 + 1)));
        plan.stalled().await;
    }
    assert!(writer.write(batch(3..4)).now_or_never().is_none());
    plan.release();
    writer.write(batch(3..4)).await.unwrap();
    plan.release();
    plan.release();
    closing.push(writer.close_epoch(CheckpointId(4)));
    for epoch in closing {
        assert_eq!(epoch.await.unwrap().rows, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_surfaces_when_the_epoch_is_closed_and_at_every_call_after_it() {
    let plan = Plan::new();
    let lake = Lake::with(plan.apply(), |sink| sink).await;
    let mut writer = writer(&lake.sink(), schema());
    plan.on_data(Fault::DiskFull);
    writer.write(batch(0..10)).await.unwrap();
    let error = writer.close_epoch(FIRST).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.to_string().contains("disk is full"), "{error}");
    for next in 2..4 {
        assert_eq!(writer.write(batch(10..20)).await.unwrap_err().kind(), ErrorKind::Transient);
        assert_eq!(
            writer.close_epoch(CheckpointId(next)).await.unwrap_err().kind(),
            ErrorKind::Transient
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_a_null_where_none_may_be_is_refused_without_its_values() {
    let lake = Lake::new().await;
    let loose = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    let strict = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    let mut writer = writer(&lake.sink(), strict);
    let column = Int64Array::from(vec![Some(4711), None]);
    let rows = RecordBatch::try_new(loose, vec![Arc::new(column)]).unwrap();
    let error = writer.write(rows).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord);
    assert!(!thalweg_core::error::chain(&error).contains("4711"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_writer_removes_the_file_it_was_in_the_middle_of() {
    let lake = Lake::new().await;
    let bytes = Arc::new(Schema::new(vec![Field::new("c", DataType::Binary, false)]));
    let sink = DeltaSink::append(&lake.committer, "raw").uncompressed(["c"]);
    let folder = lake.folder.path().join("raw");
    let files = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    let mut writer = writer(&sink, Arc::clone(&bytes));
    for _ in 0..200 {
        let column = BinaryArray::from_iter_values([vec![7_u8; 1 << 20]]);
        let row = RecordBatch::try_new(Arc::clone(&bytes), vec![Arc::new(column)]).unwrap();
        writer.write(row).await.unwrap();
        if files() > 0 {
            break;
        }
    }
    wait_until(Duration::from_mins(2), || files() > 0).await;
    assert_eq!(files(), 1, "an upload has begun");
    drop(writer);
    let gone = async {
        while files() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), gone).await.expect("the file stays");
}

#[test]
fn a_sink_refuses_what_the_table_could_not_hold_or_every_reader_not_read() {
    let committer = Arc::new(DeltaCommitter::new("unused").unwrap());
    let sink = || DeltaSink::append(&committer, "t");
    let refused = [
        DeltaSink::append(&committer, "../up"),
        sink().partition_by(["absent"]),
        sink().partition_by(["payload"]),
        sink().partition_by(["tags"]),
        sink().partition_by(["at"]),
        sink().partition_by(["day", "day"]),
        sink().uncompressed(["absent"]),
        sink().configuration("delta.enableDeletionVectors", "true"),
        sink().configuration("delta.setTransactionRetentionDuration", "interval 1 days"),
    ];
    for sink in refused {
        let error = sink.target(&schema()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGraph, "{error}");
    }
    assert!(sink().configuration("owner", "ward 7").target(&schema()).is_ok());
    // Its folders would have times without a zone.
    let error = sink().partition_by(["at"]).target(&schema()).unwrap_err().to_string();
    assert!(error.contains("`at`") && error.contains("date column"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    // The names of its folders would tell who was there.
    let named = sink().clearance(Clearance::all()).partition_by(["name"]);
    assert!(named.target(&schema()).is_ok());
    let error = named.target(&marked_schema()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGraph, "{error}");
    assert!(error.to_string().contains("`name`"), "{error}");
}
