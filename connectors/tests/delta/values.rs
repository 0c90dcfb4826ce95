//! Values that the log, or the name of a folder, would tell wrongly or not at all are refused before a file has them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::{Field, Schema};
use thalweg_connectors::delta::DeltaSink;
use thalweg_core::connector::sink::{Sink, Staged};
use thalweg_core::error::chain;
use thalweg_core::{CheckpointId, Error, ErrorKind, Result};

use crate::support::{Lake, add, writer};

/// Writes the values, each beside an id, as one epoch.
async fn write(
    lake: &Lake,
    sink: impl FnOnce(DeltaSink) -> DeltaSink,
    values: ArrayRef,
) -> Result<Staged> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", ids.data_type().clone(), false),
        Field::new("value", values.data_type().clone(), true),
    ]));
    let sink = sink(DeltaSink::append(&lake.committer, "values"));
    sink.target(&schema)?;
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![ids, values]).unwrap();
    let mut writer = writer(&sink, schema);
    writer.write(rows).await?;
    writer.close_epoch(CheckpointId(1)).await
}

/// It is the record that is wrong, and its value stays untold.
fn assert_unfit(error: &Error, value: &str) {
    let text = chain(error);
    assert_eq!(error.kind(), ErrorKind::InvalidRecord, "{text}");
    assert!(text.contains("`value`") && text.contains("`values`"), "{text}");
    assert!(value.is_empty() || !text.contains(value), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_another_year_than_1_to_9999_is_refused() {
    let lake = Lake::new().await;
    for day in [i32::MIN, -96_465_293, -719_163, 2_932_897, 95_026_237, i32::MAX] {
        let days = Arc::new(Date32Array::from(vec![Some(0), Some(day)]));
        let error = write(&lake, |sink| sink, days).await.unwrap_err();
        assert_unfit(&error, &day.to_string());
    }
    let days = Arc::new(Date32Array::from(vec![Some(-719_162), None, Some(2_932_896)]));
    assert_eq!(write(&lake, |sink| sink, days).await.unwrap().rows, 3);
}

/// Readers take the text of such a time for none, and of those that lie far off no statistics can be made: the epoch could not
/// be closed, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_of_another_year_than_1_to_9999_is_refused() {
    let lake = Lake::new().await;
    let (first, last) = (-62_135_596_800_000_000, 253_402_300_799_999_999);
    let times = |times: Vec<Option<i64>>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
    };
    for time in [i64::MIN, first - 1, last + 1, i64::MAX] {
        let error = write(&lake, |sink| sink, times(vec![Some(0), Some(time)])).await.unwrap_err();
        assert_unfit(&error, &time.to_string());
    }
    let times = times(vec![Some(first), None, Some(last)]);
    assert_eq!(write(&lake, |sink| sink, times).await.unwrap().rows, 3);
}

fn folders(sink: DeltaSink) -> DeltaSink {
    sink.partition_by(["value"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_a_reader_would_take_for_null_makes_no_folder() {
    let lake = Lake::new().await;
    let texts =
        |text: &'static str| Arc::new(StringArray::from(vec![Some("east"), None, Some(text)]));
    for text in ["", "__HIVE_DEFAULT_PARTITION__"] {
        assert_unfit(&write(&lake, folders, texts(text)).await.unwrap_err(), text);
        // Where it makes no folder it is a text like any other.
        assert_eq!(write(&lake, |sink| sink, texts(text)).await.unwrap().rows, 3);
    }
    let staged = write(&lake, folders, texts("__HIVE_DEFAULT_PARTITION")).await.unwrap();
    let mut values: Vec<Option<String>> =
        staged.items.iter().map(|item| add(item).partition_values["value"].clone()).collect();
    values.sort();
    let expected = ["__HIVE_DEFAULT_PARTITION", "east"].map(|text| Some(text.to_owned()));
    assert_eq!(values, [vec![None], expected.to_vec()].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_whose_folder_would_have_too_long_a_name_is_refused() {
    let lake = Lake::new().await;
    // With `value=` before them and three bytes for each that is encoded they are 255 bytes, and more.
    for (fits, long) in [("x".repeat(249), "x".repeat(250)), (" ".repeat(83), " ".repeat(84))] {
        let texts = |text: &str| Arc::new(StringArray::from(vec![Some("east"), Some(text)]));
        assert_eq!(write(&lake, folders, texts(&fits)).await.unwrap().rows, 2);
        assert_unfit(&write(&lake, folders, texts(&long)).await.unwrap_err(), &long);
        // Where it makes no folder it may be as long as it likes.
        assert_eq!(write(&lake, |sink| sink, texts(&long)).await.unwrap().rows, 2);
    }
}
