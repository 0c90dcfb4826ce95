//! Readers of tools hand out the rows of a table, or say why they cannot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use parquet::data_type::{DataType as Physical, Int64Type as Bits64, Int96, Int96Type as Bits96};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::Value;
use thalweg_connectors::delta::{DeltaMaintenance, DeltaReader, Overwritten, read_table};
use thalweg_core::record::{Column, Timestamp};
use thalweg_core::{ErrorKind, Result};
use thalweg_objects::{Access, Place};

use crate::support::{Lake, TABLE, batch, schema};

const AT: Column<Timestamp> = Column::required("at");

/// Every id that a scan finds, ascending.
async fn scan(lake: &Lake) -> Result<Vec<i64>> {
    let place = Place::Folder(lake.folder.path().to_owned());
    let read = move || -> Result<Vec<i64>> {
        let mut ids = Vec::new();
        let visit = |batch: RecordBatch| {
            ids.extend(batch.column(0).as_primitive::<Int64Type>().values());
            Ok(())
        };
        read_table(&place, &Access::from_environment(), TABLE, &["id"], visit)?;
        ids.sort_unstable();
        Ok(ids)
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

/// How many rows the table is said to have.
async fn rows(lake: &Lake) -> Option<u64> {
    let place = Place::Folder(lake.folder.path().to_owned());
    let read = move || {
        let reader = DeltaReader::at(&place, &Access::from_environment()).unwrap();
        let table = reader.open(TABLE).unwrap().unwrap();
        table.rows()
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_deletion_vector_has_erased_do_not_come_back() {
    let lake = Lake::new().await;
    lake.append(1, 0..10).await.unwrap();
    lake.append(2, 10..20).await.unwrap();
    lake.foreign_vectors(3);
    assert_eq!(scan(&lake).await.unwrap(), (0..20).collect::<Vec<_>>(), "none was used yet");

    lake.foreign_deletion(4);
    let error = scan(&lake).await.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::IncompatibleState, "{text}");
    assert!(text.contains(TABLE) && text.contains("1 of its files"), "{text}");
    assert!(text.contains("PURGE") && text.lines().count() == 1, "{text}");
    assert_eq!(rows(&lake).await, Some(14));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ends_of_a_column_are_those_of_all_files() {
    let lake = Lake::new().await;
    lake.append(1, 5..10).await.unwrap();
    lake.append(2, 2..4).await.unwrap();
    let place = Place::Folder(lake.folder.path().to_owned());
    let read = move || {
        let reader = DeltaReader::at(&place, &Access::from_environment()).unwrap();
        let table = reader.open(TABLE).unwrap().unwrap();
        (table.earliest(AT), table.latest(AT))
    };
    let ends = tokio::task::spawn_blocking(read).await.unwrap();
    assert_eq!(ends, (Some(2_000_000), Some(9_000_999)));
}

/// A file of another with ids and times, the latter as `at` says, and the action that takes it in.
fn foreign_times<T: Physical>(
    lake: &Lake,
    name: &str,
    at: &str,
    ids: &[i64],
    times: &[T::T],
) -> Value {
    let message = format!("message rows {{ REQUIRED INT64 id; REQUIRED {at}; }}");
    let columns = Arc::new(parse_message_type(&message).unwrap());
    let file = std::fs::File::create(lake.table_folder().join(name)).unwrap();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file, columns, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Bits64>().write_batch(ids, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<T>().write_batch(times, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    lake.foreign_add(name, ids.len())
}

/// A time of 96 bits, of microseconds.
fn bits_96(micros: i64) -> Int96 {
    const DAY: i64 = 86_400_000_000;
    let (day, nanos) = (micros.div_euclid(DAY) + 2_440_588, micros.rem_euclid(DAY) * 1_000);
    Int96::from(vec![nanos as u32, (nanos >> 32) as u32, day as u32])
}

/// The ids and times, µs, that a scan finds in a stretch of time, ascending.
async fn times(lake: &Lake, range: Range<i64>) -> Vec<(i64, i64)> {
    let place = Place::Folder(lake.folder.path().to_owned());
    let read = move || {
        let reader = DeltaReader::at(&place, &Access::from_environment()).unwrap();
        let table = reader.open(TABLE).unwrap().unwrap();
        let mut found = Vec::new();
        let visit = |rows: RecordBatch| {
            let ids = rows.column_by_name("id").unwrap().as_primitive::<Int64Type>();
            let at = rows.column_by_name("at").unwrap();
            assert_eq!(at.data_type(), schema().field_with_name("at").unwrap().data_type());
            let at = at.as_primitive::<TimestampMicrosecondType>();
            found.extend(ids.values().iter().copied().zip(at.values().iter().copied()));
            Ok(())
        };
        table.scan(&["id"], Some((AT, range)), visit).unwrap();
        found.sort_unstable();
        found
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_microseconds_whatever_others_wrote_them_as() {
    let lake = Lake::new().await;
    // Nanoseconds would not reach that far.
    let year_3000 = 32_503_680_000_000_000;
    let spark = [1_000_001, 2_500_000, year_3000].map(bits_96);
    let added = [
        foreign_times::<Bits96>(&lake, "spark.parquet", "INT96 at", &[100, 101, 102], &spark),
        foreign_times::<Bits64>(
            &lake,
            "millis.parquet",
            "INT64 at (TIMESTAMP_MILLIS)",
            &[200, 201],
            &[1_500, 2_000],
        ),
    ];
    lake.foreign_entry(1, &added);
    let found = times(&lake, 1_000_000..2_000_000).await;
    assert_eq!(found, [(100, 1_000_001), (200, 1_500_000)]);
    let found = times(&lake, i64::MIN..i64::MAX).await;
    let all =
        [(100, 1_000_001), (101, 2_500_000), (102, year_3000), (200, 1_500_000), (201, 2_000_000)];
    assert_eq!(found, all);

    // The rows that stay when others are replaced, too.
    let tables = DeltaMaintenance::new(lake.folder.path()).unwrap();
    let done = tables.overwrite(TABLE, AT, 2_000_000..3_000_000, &[batch(2..3)]).await.unwrap();
    assert_eq!(done, Overwritten { removed: 2, added: 1, files: 2 });
    let found = times(&lake, i64::MIN..i64::MAX).await;
    assert_eq!(found, [(2, 2_000_000), (100, 1_000_001), (102, year_3000), (200, 1_500_000)]);
}
