//! How many rows a table holds, by the statistics of its files (P19). It reads the whole log: for tools.

use thalweg_core::{Error, Result};

use super::failure;
use super::storage::Storage;

/// The rows in the newest version of `table`; `None` when a file of others came without statistics.
pub(crate) async fn rows(storage: &Storage, table: &str) -> Result<Option<u64>> {
    let missing = || Error::data_loss(format!("table `{table}` is missing"));
    let loaded = storage.load(table, None).await?.ok_or_else(missing)?;
    let state = loaded.snapshot().map_err(|e| failure::log("read the log", table, &e))?;
    Ok(state.log_data().iter().map(|file| file.num_records().map(|n| n as u64)).sum())
}
