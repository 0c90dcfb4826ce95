//! Reads a table's newest version file by file: for tools. Blocking.

use std::fs::File;
use std::path::Path;

use arrow_array::RecordBatch;
use deltalake::{DeltaTableBuilder, ensure_table_uri};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use thalweg_core::{Error, Result, error};

/// Hands each batch of the columns called `columns` (in the table's own order) to `visit`.
///
/// # Errors
/// There is no such table below `root`, or one of its files cannot be read.
pub fn read_table(
    root: &Path,
    table: &str,
    columns: &[&str],
    mut visit: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    for path in files(root, table)? {
        let broken = || Error::corrupt(format!("a file of table {table} cannot be read"));
        let file =
            File::open(&path).map_err(|e| error::io(format!("open a file of table {table}"), e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|_| broken())?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        for batch in builder.with_projection(mask).build().map_err(|_| broken())? {
            visit(batch.map_err(|_| broken())?)?;
        }
    }
    Ok(())
}

/// Paths of the files of the newest version.
fn files(root: &Path, table: &str) -> Result<Vec<std::path::PathBuf>> {
    let folder = root.join(table);
    let missing = || Error::config(format!("there is no table {table} in {}", root.display()));
    if !folder.join("_delta_log").is_dir() {
        return Err(missing());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| error::io("start the I/O threads", e))?;
    let url = ensure_table_uri(folder.to_string_lossy()).map_err(|_| missing())?;
    let names = runtime.block_on(async {
        let table = DeltaTableBuilder::from_url(url).map_err(|_| missing())?.load().await;
        table
            .and_then(|t| t.get_file_uris().map(Iterator::collect::<Vec<String>>))
            .map_err(|_| missing())
    })?;
    Ok(names
        .into_iter()
        .map(|name| std::path::PathBuf::from(name.strip_prefix("file://").unwrap_or(&name)))
        .collect())
}
