//! The footer of a data file: its columns, read by range from wherever the file is.

use std::sync::Arc;

use deltalake::kernel::Add;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use thalweg_core::{Error, Result};

use super::failure;
use super::storage::Storage;

/// Enough for the footer of most files, so that one request does.
const FIRST_GUESS: u64 = 64 << 10;

/// Reads the footer of a file of `table`.
pub(crate) async fn read(storage: &Storage, table: &str, add: &Add) -> Result<ArrowReaderMetadata> {
    let broken =
        || Error::corrupt(format!("the footer of a data file of table `{table}` cannot be read"));
    let path = Path::parse(&add.path).map_err(|_| broken())?;
    let size = u64::try_from(add.size).map_err(|_| broken())?;
    let data = storage.data(table)?;
    let mut wanted = FIRST_GUESS.min(size);
    loop {
        let bytes = data
            .get_range(&path, size - wanted..size)
            .await
            .map_err(|e| failure::storage("read the footer of a data file", table, &e))?;
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(&bytes, size) {
            Ok(()) => {
                let footer = Arc::new(reader.finish().map_err(|_| broken())?);
                return ArrowReaderMetadata::try_new(footer, ArrowReaderOptions::default())
                    .map_err(|_| broken());
            }
            Err(ParquetError::NeedMoreData(more))
                if more as u64 > wanted && more as u64 <= size =>
            {
                wanted = more as u64;
            }
            Err(_) => return Err(broken()),
        }
    }
}
