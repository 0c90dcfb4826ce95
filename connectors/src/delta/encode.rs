//! From batches to synced Parquet files and their `add` actions.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Schema, SchemaRef};
use delta_kernel::table_properties::DataSkippingNumIndexedCols;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::Add;
use futures::FutureExt;
use object_store::ObjectStore;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use thalweg_core::connector::sink::{BoxFuture, Staged};
use thalweg_core::{CheckpointId, Error, Result};

use super::storage::Storage;
use super::values::{self, Rows};
use super::{entry, failure, schema};
use crate::epoch_writer::{OpenEpoch, Stager};

/// Rows handed to the Parquet writer at a time.
pub(super) const WRITE_BATCH_ROWS: usize = 8_192;
/// A row group is encoded in memory, so it is bounded both ways.
const ROW_GROUP_ROWS: usize = 262_144;
const ROW_GROUP_BYTES: usize = 32 << 20;
/// A file that grows beyond this is closed and another begun.
const FILE_BYTES: NonZeroU64 = NonZeroU64::new(256 << 20).expect("it is not zero");

/// How the files of one table are made.
pub(crate) struct Recipe {
    table: String,
    /// The table, for messages.
    shown: String,
    storage: Storage,
    data: Arc<dyn ObjectStore>,
    columns: SchemaRef,
    partition_by: Vec<String>,
    config: WriterConfig,
}

impl Recipe {
    /// `input`: the columns of the batches, marks included, so that no marked value enters the log's statistics.
    pub(crate) fn new(
        storage: &Storage,
        table: &str,
        input: &Schema,
        partition_by: &[String],
        uncompressed: &BTreeSet<String>,
    ) -> Result<Self> {
        let columns = schema::file_schema(table, input)?;
        let indexed = schema::indexed_columns(input, partition_by);
        let config = WriterConfig::new(
            Arc::clone(&columns),
            partition_by.to_vec(),
            Some(properties(&columns, uncompressed)),
            Some(FILE_BYTES),
            Some(WRITE_BATCH_ROWS),
            DataSkippingNumIndexedCols::NumColumns(indexed.len() as u64),
            Some(indexed.iter().map(|name| quoted(name)).collect()),
        );
        let data = storage.data(table)?;
        let shown = format!("table `{table}`");
        let (table, storage) = (table.to_owned(), storage.clone());
        let partition_by = partition_by.to_vec();
        Ok(Self { table, shown, storage, data, columns, partition_by, config })
    }

    /// The batch as its files have it.
    pub(super) fn fit(&self, batch: &RecordBatch, rows: Rows) -> Result<RecordBatch> {
        let batch = schema::conform(&self.table, batch, &self.columns, rows)?;
        values::check_folders(&self.table, &batch, &self.partition_by)?;
        Ok(batch)
    }
}

impl Stager for Recipe {
    fn target(&self) -> &str {
        &self.shown
    }

    fn conform(&self, batch: RecordBatch) -> Result<RecordBatch> {
        self.fit(&batch, Rows::New)
    }

    fn begin(&self, _checkpoint: CheckpointId) -> Box<dyn OpenEpoch + '_> {
        let writer = DeltaWriter::new(Arc::clone(&self.data), self.config.clone());
        Box::new(Files { recipe: self, writer, rows: 0 })
    }
}

/// The open files of one epoch. Dropping them removes what is half-written.
struct Files<'a> {
    recipe: &'a Recipe,
    writer: DeltaWriter,
    rows: u64,
}

impl OpenEpoch for Files<'_> {
    fn write<'a>(&'a mut self, batch: &'a RecordBatch) -> BoxFuture<'a, Result<()>> {
        async move {
            let written = self.writer.write(batch).await;
            written.map_err(|e| self.recipe.failed("write a data file", &e))?;
            self.rows += batch.num_rows() as u64;
            Ok(())
        }
        .boxed()
    }

    fn close<'a>(self: Box<Self>) -> BoxFuture<'a, Result<Staged>>
    where
        Self: 'a,
    {
        async move {
            let Self { recipe, writer, rows } = *self;
            let adds = writer.close().await.map_err(|e| recipe.failed("close a data file", &e))?;
            let names = adds.iter().map(|a| a.path.clone()).collect();
            recipe.storage.sync(&recipe.table, names).await?;
            let items = adds.iter().map(|a| entry::describe(&recipe.table, a));
            let items = items.collect::<Result<Vec<_>>>()?;
            recipe.counted(&adds, rows)?;
            Ok(Staged { items, rows })
        }
        .boxed()
    }
}

impl Recipe {
    fn failed(&self, what: &str, error: &deltalake::DeltaTableError) -> Error {
        failure::storage(what, &self.table, error)
    }

    /// Statistics are written from what the files hold: a last look that no row was lost on the way.
    fn counted(&self, adds: &[Add], rows: u64) -> Result<()> {
        let mut held = 0;
        for add in adds {
            match add.get_stats() {
                Ok(Some(stats)) => held += stats.num_records as u64,
                _ => return Err(self.miscounted("statistics are missing")),
            }
        }
        if held == rows { Ok(()) } else { Err(self.miscounted("rows are missing")) }
    }

    fn miscounted(&self, what: &str) -> Error {
        Error::internal(format!("{what} from a data file of table `{}`", self.table))
    }
}

/// Dictionaries pay off for text that repeats; for numbers, times and bytes they cost more than they save.
pub(super) fn properties(columns: &Schema, uncompressed: &BTreeSet<String>) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_write_batch_size(WRITE_BATCH_ROWS)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES));
    for field in columns.fields() {
        let Some((leaf, data_type)) = leaf(field.name(), field.data_type()) else { continue };
        let plain = uncompressed.contains(field.name());
        if plain {
            properties = properties.set_column_compression(leaf.clone(), Compression::UNCOMPRESSED);
        }
        if plain || !matches!(data_type, DataType::Utf8) {
            properties = properties.set_column_dictionary_enabled(leaf, false);
        }
    }
    properties.build()
}

/// The Parquet column that holds the values of a simple column or a list of simple values.
fn leaf<'a>(name: &str, data_type: &'a DataType) -> Option<(ColumnPath, &'a DataType)> {
    match data_type {
        DataType::List(inner) if !inner.data_type().is_nested() => {
            let path = [name, "list", inner.name()].map(ToOwned::to_owned);
            Some((ColumnPath::new(path.to_vec()), inner.data_type()))
        }
        nested if nested.is_nested() => None,
        _ => Some((ColumnPath::new(vec![name.to_owned()]), data_type)),
    }
}

/// Statistics columns are parsed as SQL identifiers.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
