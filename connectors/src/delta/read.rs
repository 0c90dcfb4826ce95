//! Reads a table's newest version file by file: for tools. Blocking.

use std::sync::Arc;

use arrow_array::RecordBatch;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;
use thalweg_core::{Error, Result, error};
use thalweg_objects::{Access, Place};

use super::failure;
use super::storage::Storage;

/// Hands each batch of the columns called `columns` (in the table's own order) to `visit`.
///
/// # Errors
/// There is no such table below `root`, or one of its files cannot be read.
pub fn read_table(
    root: &Place,
    access: &Access,
    table: &str,
    columns: &[&str],
    mut visit: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| error::io("start the I/O threads", e))?;
    let storage = Storage::at(root, access)?;
    let data = storage.data(table)?;
    for file in runtime.block_on(files(&storage, table))? {
        for batch in runtime.block_on(open(&data, table, &file, columns))? {
            visit(batch.map_err(|_| broken(table))?)?;
        }
    }
    Ok(())
}

fn broken(table: &str) -> Error {
    Error::corrupt(format!("a file of table {table} cannot be read"))
}

/// Names of the files of the newest version.
async fn files(storage: &Storage, table: &str) -> Result<Vec<Path>> {
    let missing = || Error::config(format!("there is no table {table} in {storage}"));
    let loaded = storage.load(table).await?.ok_or_else(missing)?;
    let state = loaded.snapshot().map_err(|e| failure::log("read the log", table, &e))?;
    Ok(state.log_data().iter().map(|file| file.object_store_path()).collect())
}

/// A local file is read as it is needed, a remote one is fetched whole: files are bounded in size.
async fn open(
    data: &Arc<dyn ObjectStore>,
    table: &str,
    file: &Path,
    columns: &[&str],
) -> Result<ParquetRecordBatchReader> {
    let failed = |e| failure::storage("read a data file", table, &e);
    let found = data.get(file).await.map_err(failed)?;
    match found.payload {
        GetResultPayload::File(file, _) => reader(table, file, columns),
        GetResultPayload::Stream(_) => reader(table, found.bytes().await.map_err(failed)?, columns),
    }
}

fn reader(
    table: &str,
    file: impl ChunkReader + 'static,
    columns: &[&str],
) -> Result<ParquetRecordBatchReader> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|_| broken(table))?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    builder.with_projection(mask).build().map_err(|_| broken(table))
}
