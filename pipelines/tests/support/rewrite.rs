//! Another writer, who puts values into a table that the job does not let pass, or columns out of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_select::concat::concat_batches;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::table_log::{change_columns, data_files, replace_a_file};

/// Puts a text into a column of the row of the latest `time`, by a file that is written anew.
pub(crate) fn plant(table: &Path, time: &str, column: &str, text: &str) {
    let read = |file: PathBuf| {
        let batch = whole(&file);
        (latest(&batch, time), file, batch)
    };
    let newest = data_files(table).into_iter().map(read).max_by_key(|((at, _), ..)| *at);
    let ((_, row), file, batch) = newest.unwrap();
    let place = batch.schema().index_of(column).unwrap();
    let texts = batch.column(place).as_string::<i32>().iter().enumerate();
    let changed: StringArray =
        texts.map(|(at, old)| if at == row { Some(text) } else { old }).collect();
    let changed: ArrayRef = Arc::new(changed);
    let columns = batch.columns().iter().enumerate();
    let columns = columns.map(|(at, old)| Arc::clone(if at == place { &changed } else { old }));
    replace(table, &file, &RecordBatch::try_new(batch.schema(), columns.collect()).unwrap());
}

/// Makes a table what it was before it had some columns.
pub(crate) fn take_out(table: &Path, is_new: impl Fn(&str) -> bool) {
    for file in data_files(table) {
        let batch = whole(&file);
        let schema = batch.schema();
        let kept = (0..batch.num_columns()).filter(|at| !is_new(schema.field(*at).name()));
        let kept: Vec<usize> = kept.collect();
        replace(table, &file, &batch.project(&kept).unwrap());
    }
    change_columns(table, |fields| {
        fields.retain(|field| !is_new(field["name"].as_str().unwrap()));
    });
}

fn replace(table: &Path, file: &Path, rows: &RecordBatch) {
    let name = format!("planted-{}", file.file_name().unwrap().to_str().unwrap());
    let new = file.with_file_name(name);
    let out = File::create(&new).unwrap();
    let mut writer = ArrowWriter::try_new(out, rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    replace_a_file(table, file, &new);
}

fn whole(file: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// The latest time, and its row.
fn latest(batch: &RecordBatch, time: &str) -> (i64, usize) {
    let times = batch.column_by_name(time).unwrap().as_primitive::<TimestampMicrosecondType>();
    let row = (0..times.len()).max_by_key(|row| times.value(*row)).unwrap();
    (times.value(row), row)
}
