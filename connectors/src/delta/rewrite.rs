//! Reads the files of a bin as batches and writes them, row for row, into one.
//!
//! Memory holds a row group that is read, compressed, one batch, and the row group that is being written.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use bytes::Bytes;
use delta_kernel::table_properties::DataSkippingNumIndexedCols;
use deltalake::datafile::writer::{PartitionWriter, PartitionWriterConfig};
use deltalake::kernel::Add;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::basic::Compression;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use thalweg_core::{Error, Result, failpoint};

use super::plan::DataFile;
use super::storage::Storage;
use super::values::Rows;
use super::{encode, failure, schema};

/// Bytes of a footer that are read at once with the file's end.
const FOOTER_BYTES: usize = 32 << 10;
/// Bytes of rows in one batch.
const BATCH_BYTES: u64 = 8 << 20;
/// Footers that are read at the same time.
const CONCURRENT_FOOTERS: usize = 8;

/// Files of one bin that look the same.
pub(super) struct Group {
    columns: SchemaRef,
    uncompressed: BTreeSet<String>,
    /// Rows of the widest file that make up [`BATCH_BYTES`].
    batch_rows: usize,
    rows: u64,
    pub(super) files: Vec<DataFile>,
}

/// What a footer says.
struct Footer {
    columns: SchemaRef,
    uncompressed: BTreeSet<String>,
    batch_rows: usize,
    rows: u64,
}

/// Rewrites files of one table.
pub(super) struct Rewriter {
    table: String,
    storage: Storage,
    data: Arc<dyn ObjectStore>,
}

impl Rewriter {
    pub(super) fn new(storage: &Storage, table: &str) -> Result<Self> {
        let data = storage.data(table)?;
        Ok(Self { table: table.to_owned(), storage: storage.clone(), data })
    }

    /// Splits a bin by the columns that its files have: others may have added one meanwhile. Files that our writers
    /// would not write as they are stay out.
    pub(super) async fn groups(&self, bin: Vec<DataFile>) -> Result<Vec<Group>> {
        let footers: Vec<(DataFile, Footer)> = futures::stream::iter(bin)
            .map(|file| async move { self.footer(&file).await.map(|footer| (file, footer)) })
            .buffered(CONCURRENT_FOOTERS)
            .try_collect()
            .await?;
        let mut groups: Vec<Group> = Vec::new();
        for (file, footer) in footers {
            let same = |g: &&mut Group| {
                g.columns.fields() == footer.columns.fields()
                    && g.uncompressed == footer.uncompressed
            };
            if let Some(group) = groups.iter_mut().find(same) {
                group.batch_rows = group.batch_rows.min(footer.batch_rows);
                group.rows += footer.rows;
                group.files.push(file);
            } else {
                let Footer { columns, uncompressed, batch_rows, rows } = footer;
                groups.push(Group { columns, uncompressed, batch_rows, rows, files: vec![file] });
            }
        }
        groups.retain(|g| {
            let ours = schema::file_schema(&self.table, &g.columns);
            g.files.len() > 1 && ours.is_ok_and(|ours| ours.fields() == g.columns.fields())
        });
        Ok(groups)
    }

    async fn footer(&self, file: &DataFile) -> Result<Footer> {
        let metadata = self.metadata(file).await?;
        let parquet = metadata.metadata();
        let rows = u64::try_from(parquet.file_metadata().num_rows()).unwrap_or(0);
        if file.rows.is_some_and(|said| said != rows) {
            return Err(Error::corrupt(format!(
                "a file of table `{}` holds {rows} rows where the log says otherwise",
                self.table
            )));
        }
        let bytes: i64 = parquet.row_groups().iter().map(RowGroupMetaData::total_byte_size).sum();
        let row_bytes = u64::try_from(bytes).unwrap_or(0).checked_div(rows).unwrap_or(0).max(1);
        let batch_rows =
            (BATCH_BYTES / row_bytes).clamp(1, encode::WRITE_BATCH_ROWS as u64) as usize;
        let chunks = parquet.row_groups().iter().take(1).flat_map(RowGroupMetaData::columns);
        let uncompressed = chunks
            .filter(|c| c.compression() == Compression::UNCOMPRESSED)
            .filter_map(|c| c.column_path().parts().first().cloned())
            .collect();
        Ok(Footer { columns: Arc::clone(metadata.schema()), uncompressed, batch_rows, rows })
    }

    /// Writes the rows of a group, in the order of its files, syncs the new file (or files) and describes it.
    /// `told`: columns whose least and greatest values may stand in the log.
    pub(super) async fn write(&self, group: &Group, told: &BTreeSet<String>) -> Result<Vec<Add>> {
        let columns = schema::file_schema(&self.table, &group.columns)?;
        let indexed = schema::indexed_columns(&columns, &[]);
        let indexed: Vec<String> = indexed.into_iter().filter(|c| told.contains(c)).collect();
        // The partition's values are copied from the actions of the files, to the letter.
        #[expect(clippy::default_trait_access, reason = "a map of a crate that we do not know")]
        let no_values = Default::default();
        let config = PartitionWriterConfig::try_new(
            Arc::clone(&columns),
            no_values,
            Some(encode::properties(&columns, &group.uncompressed)),
            None::<NonZeroU64>,
            Some(encode::WRITE_BATCH_ROWS),
            None,
            Some(folder_of(&group.files)),
        );
        let count = DataSkippingNumIndexedCols::NumColumns(indexed.len() as u64);
        let quoted = indexed.iter().map(|name| encode::quoted(name)).collect();
        let mut writer = config
            .and_then(|c| {
                PartitionWriter::try_with_config(Arc::clone(&self.data), c, count, Some(quoted))
            })
            .map_err(|e| failure::storage("begin a data file", &self.table, &e))?;
        let rows = match self.copy(group, &columns, &mut writer).await {
            Ok(rows) => rows,
            Err(error) => {
                // Half a file helps nobody; what cannot be removed is left to the next vacuum.
                drop(writer.abort().await);
                return Err(error);
            }
        };
        let closed = writer.close().await;
        let mut adds =
            closed.map_err(|e| failure::storage("close a data file", &self.table, &e))?;
        let names = adds.iter().map(|a| a.path.clone()).collect();
        self.storage.sync(&self.table, names).await?;
        for add in &mut adds {
            add.data_change = false;
            add.partition_values = group
                .files
                .first()
                .map(|f| f.partition.clone().into_iter().collect())
                .unwrap_or_default();
        }
        self.counted(group, rows, &adds)?;
        failpoint::hit("compact.written")?;
        Ok(adds)
    }

    async fn copy(
        &self,
        group: &Group,
        columns: &SchemaRef,
        writer: &mut PartitionWriter,
    ) -> Result<u64> {
        let mut rows = 0;
        for file in &group.files {
            let metadata = self.metadata(file).await?;
            let reader = self.reader(file)?;
            let mut batches = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
                .with_batch_size(group.batch_rows)
                .build()
                .map_err(|e| self.unreadable(&e))?;
            while let Some(batch) = batches.next().await {
                let batch = batch.map_err(|e| self.unreadable(&e))?;
                let batch = schema::conform(&self.table, &batch, columns, Rows::Kept)?;
                rows += batch.num_rows() as u64;
                let written = writer.write(&batch).await;
                written.map_err(|e| failure::storage("write a data file", &self.table, &e))?;
            }
            failpoint::hit("compact.read")?;
        }
        Ok(rows)
    }

    /// The last look before rows change their file: read, promised and described must agree.
    fn counted(&self, group: &Group, rows: u64, adds: &[Add]) -> Result<()> {
        let mut described = 0;
        for add in adds {
            described += match add.get_stats() {
                Ok(Some(stats)) => stats.num_records as u64,
                _ => 0,
            };
        }
        if rows == group.rows && rows == described {
            return Ok(());
        }
        Err(Error::internal(format!(
            "{described} of {} rows of table `{}` arrived in a merged file; the table is as it was",
            group.rows, self.table
        )))
    }

    /// Removes files that no log entry will ever name.
    pub(super) async fn discard(&self, adds: &[Add]) {
        for add in adds {
            if let Ok(path) = Path::parse(&add.path) {
                // The next vacuum finds what is left.
                drop(self.data.delete(&path).await);
            }
        }
    }

    async fn metadata(&self, file: &DataFile) -> Result<ArrowReaderMetadata> {
        let mut reader = self.reader(file)?;
        ArrowReaderMetadata::load_async(&mut reader, ArrowReaderOptions::default())
            .await
            .map_err(|e| self.unreadable(&e))
    }

    fn reader(&self, file: &DataFile) -> Result<FileReader> {
        let path = Path::parse(&file.path).map_err(|_| {
            Error::corrupt(format!("table `{}` has a file of an impossible name", self.table))
        })?;
        Ok(FileReader { data: Arc::clone(&self.data), path, size: file.size })
    }

    fn unreadable(&self, error: &ParquetError) -> Error {
        if failure::io_kind(error).is_some() {
            return failure::storage("read a data file", &self.table, error);
        }
        Error::corrupt(format!("a data file of table `{}` cannot be read", self.table))
    }
}

fn folder_of(files: &[DataFile]) -> Path {
    let first = files.first().and_then(|f| Path::parse(&f.path).ok()).unwrap_or_default();
    let mut parts: Vec<_> = first.parts().collect();
    parts.pop();
    parts.into_iter().collect()
}

/// Ranges of one object.
struct FileReader {
    data: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl AsyncFileReader for FileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let get = self.data.get_range(&self.path, range);
        get.map_err(|e| ParquetError::External(Box::new(e))).boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            let got = self.data.get_ranges(&self.path, &ranges).await;
            got.map_err(|e| ParquetError::External(Box::new(e)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size;
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES));
            reader.load_and_finish(self, size).await.map(Arc::new)
        }
        .boxed()
    }
}
