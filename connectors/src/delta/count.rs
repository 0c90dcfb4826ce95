//! How many rows a table holds, by the statistics of its files (P19). It reads the whole log: for tools.

use deltalake::kernel::LogicalFileView;
use thalweg_core::{Error, Result};

use super::failure;
use super::storage::Storage;

/// The rows in the newest version of `table`; `None` when a file of others came without statistics.
pub(crate) async fn rows(storage: &Storage, table: &str) -> Result<Option<u64>> {
    let missing = || Error::data_loss(format!("table `{table}` is missing"));
    let loaded = storage.load(table, None).await?.ok_or_else(missing)?;
    let state = loaded.snapshot().map_err(|e| failure::log("read the log", table, &e))?;
    Ok(state.log_data().iter().map(|file| rows_of(&file)).sum())
}

/// The rows of a file that are still there; `None` when it came without statistics.
pub(super) fn rows_of(file: &LogicalFileView) -> Option<u64> {
    let deleted = file.deletion_vector_descriptor().map_or(0, |vector| vector.cardinality);
    let deleted = u64::try_from(deleted).unwrap_or(0);
    file.num_records().map(|rows| (rows as u64).saturating_sub(deleted))
}
