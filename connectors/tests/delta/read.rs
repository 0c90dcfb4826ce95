//! Readers of tools hand out the rows of a table, or say why they cannot.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use thalweg_connectors::delta::{DeltaReader, read_table};
use thalweg_core::{ErrorKind, Result};
use thalweg_objects::{Access, Place};

use crate::support::{Lake, TABLE};

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
