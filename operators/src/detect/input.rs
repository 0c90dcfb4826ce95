//! What a detector reads of a batch: a key, a time and a number per row.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, Float64Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use thalweg_core::key::{for_each_key, hash_key};
use thalweg_core::operator::OpenContext;
use thalweg_core::record::ColumnName;
use thalweg_core::{Error, Result};

use super::ahead::{Ahead, ArrivalColumn, Arrivals};
use crate::batch;

/// Which column is watched, by which keys, when its readings were taken, and how far ahead a clock may be.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) keys: Vec<&'static str>,
    pub(super) event_time: ColumnName,
    pub(super) column: ColumnName,
    pub(super) ahead: Option<Ahead>,
}

impl Watched {
    pub(super) fn new(
        keys: impl IntoIterator<Item = &'static str>,
        event_time: impl Into<ColumnName>,
        column: impl Into<ColumnName>,
    ) -> Self {
        let keys = keys.into_iter().collect();
        Self { keys, event_time: event_time.into(), column: column.into(), ahead: None }
    }

    /// Where the columns are, if they can be read.
    pub(super) fn find(&self, input: &Schema) -> Result<Columns> {
        let keys = self.keys.iter().map(|key| batch::index_of(input, key));
        Ok(Columns {
            keys: keys.collect::<Result<_>>()?,
            time: time_of(input, self.event_time.0)?,
            value: number_of(input, self.column.0)?,
            arrival: self.ahead.map(|ahead| ahead.find(input)).transpose()?,
        })
    }

    /// The input's columns and those that are `added`, which tell about the watched value and so carry its marks.
    pub(super) fn with_added(
        &self,
        input: &Schema,
        added: impl IntoIterator<Item = Field>,
    ) -> Result<SchemaRef> {
        let marks = batch::field_of(input, self.column.0)?.metadata();
        let added = added.into_iter().map(|field| Arc::new(field.with_metadata(marks.clone())));
        let fields: Vec<_> = input.fields().iter().cloned().chain(added).collect();
        Ok(Arc::new(Schema::new(fields).with_metadata(input.metadata().clone())))
    }
}

/// Where the columns are.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    keys: Vec<usize>,
    time: usize,
    value: usize,
    arrival: Option<ArrivalColumn>,
}

/// A batch's readings, a row each.
pub(super) struct Readings<'a> {
    /// Hash and canonical bytes.
    pub(super) keys: Vec<(u64, Box<[u8]>)>,
    pub(super) times: &'a TimestampMicrosecondArray,
    pub(super) values: Float64Array,
    arrivals: Option<Arrivals<'a>>,
}

impl Columns {
    /// The readings, of keys that belong to the instance that asks.
    pub(super) fn read<'a>(
        &self,
        batch: &'a RecordBatch,
        open: &OpenContext,
    ) -> Result<Readings<'a>> {
        let rows = batch.num_rows();
        let mut keys = Vec::with_capacity(rows);
        for_each_key(&batch::columns(batch, &self.keys)?, rows, |_, bytes| {
            keys.push((hash_key(bytes), bytes.into()));
        })?;
        open.check_keys(keys.iter().map(|(hash, _): &(u64, Box<[u8]>)| *hash))?;
        let changed = || Error::internal("a detector was given other columns than planned");
        let times = batch::column(batch, self.time)?
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(changed)?;
        let values = numbers(batch::column(batch, self.value)?).ok_or_else(changed)?;
        let arrivals = self.arrival.map(|arrival| arrival.read(batch)).transpose()?;
        Ok(Readings { keys, times, values, arrivals })
    }
}

impl Readings<'_> {
    /// When and how much, where both are known and the clock may be right. NaN is no reading, as null is none.
    pub(super) fn of(&self, row: usize) -> Option<(i64, f64)> {
        let known = self.times.is_valid(row) && self.values.is_valid(row);
        let reading = known.then(|| (self.times.value(row), self.values.value(row)));
        reading.filter(|(_, value)| !value.is_nan() && !self.is_ahead(row))
    }

    /// How many rows are of clocks that are too far ahead.
    pub(super) fn ahead(&self) -> u64 {
        let rows = if self.arrivals.is_some() { self.times.len() } else { 0 };
        (0..rows).filter(|row| self.is_ahead(*row)).count() as u64
    }

    fn is_ahead(&self, row: usize) -> bool {
        let Some(arrivals) = &self.arrivals else { return false };
        self.times.is_valid(row) && arrivals.is_ahead(row, self.times.value(row))
    }
}

/// Where a column of event times is.
pub(crate) fn time_of(input: &Schema, column: &str) -> Result<usize> {
    let is_time = |t: &DataType| matches!(t, DataType::Timestamp(TimeUnit::Microsecond, _));
    if !is_time(batch::field_of(input, column)?.data_type()) {
        return Err(Error::graph(format!("column `{column}` must be a timestamp in microseconds")));
    }
    batch::index_of(input, column)
}

/// Where a column of numbers is.
pub(crate) fn number_of(input: &Schema, column: &str) -> Result<usize> {
    let found = batch::field_of(input, column)?.data_type();
    if !matches!(found, DataType::Float64 | DataType::Int32 | DataType::Int64) {
        return Err(Error::graph(format!("column `{column}` of type {found} is no number")));
    }
    batch::index_of(input, column)
}

/// A column that [`number_of`] has found.
pub(crate) fn numbers(column: &dyn Array) -> Option<Float64Array> {
    let float = column.as_primitive_opt::<Float64Type>().cloned();
    let int = || column.as_primitive_opt::<Int32Type>().map(|c| c.unary(f64::from));
    let long = || column.as_primitive_opt::<Int64Type>().map(|c| c.unary(|v| v as f64));
    float.or_else(int).or_else(long)
}
