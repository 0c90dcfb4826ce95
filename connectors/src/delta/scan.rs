//! Reads the rows of one data file: the columns that are wanted, and those of a stretch of time.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::statistics::Statistics;
use thalweg_core::time::EventTime;
use thalweg_core::{Error, Result};

use super::{failure, instants, plan};

pub(super) fn broken(table: &str) -> Error {
    Error::corrupt(format!("a file of table {table} cannot be read"))
}

/// A stretch of a time column.
#[derive(Debug)]
pub(super) struct Within<'a> {
    pub(super) column: &'a str,
    pub(super) range: Range<EventTime>,
}

impl Within<'_> {
    /// Whether no row between these can lie in it.
    fn is_outside(&self, least: EventTime, greatest: EventTime) -> bool {
        greatest < self.range.start || least >= self.range.end
    }

    /// By what the log says of a file.
    pub(super) fn excludes(&self, stats: Option<&str>) -> bool {
        plan::times_told(stats, self.column)
            .is_some_and(|(least, greatest)| self.is_outside(least, greatest))
    }

    /// By what a footer says of a row group.
    fn excludes_group(&self, group: &RowGroupMetaData) -> bool {
        let mut columns = group.columns().iter();
        let column = columns.find(|c| c.column_path().string() == self.column);
        let column = column.filter(|c| instants::are_micros(c.column_descr()));
        let Some(Statistics::Int64(stats)) = column.and_then(|c| c.statistics()) else {
            return false;
        };
        match (stats.min_opt(), stats.max_opt()) {
            (Some(least), Some(greatest)) => self.is_outside(*least, *greatest),
            _ => false,
        }
    }

    /// Which rows lie in it; one without a time does not.
    pub(super) fn inside(&self, table: &str, batch: &RecordBatch) -> Result<BooleanArray> {
        let column = batch.column_by_name(self.column);
        let times = column.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let times = times.ok_or_else(|| {
            Error::corrupt(format!("table {table} has no times in a column `{}`", self.column))
        })?;
        Ok(times.iter().map(|t| Some(t.is_some_and(|t| self.range.contains(&t)))).collect())
    }

    pub(super) fn filter(&self, table: &str, batch: &RecordBatch) -> Result<RecordBatch> {
        let inside = self.inside(table, batch)?;
        if inside.true_count() == inside.len() {
            return Ok(batch.clone());
        }
        filter_record_batch(batch, &inside).map_err(|_| broken(table))
    }
}

/// What is wanted of a file.
pub(super) struct Wanted<'a> {
    pub(super) table: &'a str,
    /// Not said: all of them.
    pub(super) columns: Option<&'a [&'a str]>,
    pub(super) within: Option<&'a Within<'a>>,
}

impl Wanted<'_> {
    /// A local file is read as it is needed, a remote one is fetched whole: files are bounded in size.
    pub(super) async fn open(&self, data: &Arc<dyn ObjectStore>, file: &Path) -> Result<Rows> {
        let failed = |e| failure::storage("read a data file", self.table, &e);
        let found = data.get(file).await.map_err(failed)?;
        match found.payload {
            GetResultPayload::File(file, _) => self.reader(file),
            GetResultPayload::Stream(_) => self.reader(found.bytes().await.map_err(failed)?),
        }
    }

    fn reader(&self, file: impl ChunkReader + 'static) -> Result<Rows> {
        let failed = |_| broken(self.table);
        let metadata = columns_of(&file).map_err(failed)?;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        if let Some(columns) = self.columns {
            let columns = columns.iter().copied().chain(self.within.map(|w| w.column));
            let mask = ProjectionMask::columns(builder.parquet_schema(), columns);
            builder = builder.with_projection(mask);
        }
        if let Some(within) = self.within {
            let groups = builder.metadata().row_groups().iter().enumerate();
            let read = groups.filter(|(_, group)| !within.excludes_group(group));
            let read = read.map(|(index, _)| index).collect();
            builder = builder.with_row_groups(read);
        }
        builder.build().map(Rows).map_err(failed)
    }
}

/// What a file's footer says, and the columns as they are read: as Arrow reads them, but for times.
fn columns_of(file: &impl ChunkReader) -> std::result::Result<ArrowReaderMetadata, ParquetError> {
    // What Arrow's types were for whoever wrote it does not count: a text is a text.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let found = ArrowReaderMetadata::load(file, options)?;
    let Some(columns) = instants::hint(found.parquet_schema(), found.schema()) else {
        return Ok(found);
    };
    let options = ArrowReaderOptions::new().with_schema(columns);
    ArrowReaderMetadata::try_new(Arc::clone(found.metadata()), options)
}

/// The rows of a file, batch by batch, with all times in microseconds.
pub(super) struct Rows(ParquetRecordBatchReader);

impl Iterator for Rows {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.and_then(instants::in_micros))
    }
}
