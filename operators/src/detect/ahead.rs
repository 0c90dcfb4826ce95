//! Clocks that are ahead. All that a key says behind a row of such a clock is older than that row, and so it is late until
//! event time gets there: who watches a key does not look at the row.

use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch, TimestampMicrosecondArray};
use arrow_schema::Schema;
use thalweg_core::record::ColumnName;
use thalweg_core::time::{EventTime, micros};
use thalweg_core::{Error, Result};

use super::input::time_of;
use crate::batch;

/// How far ahead of its arrival a row may claim to have happened. By the arrival, a column, and by no clock: a replay judges
/// alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ahead {
    pub(crate) arrival: ColumnName,
    pub(crate) limit: Duration,
}

impl Ahead {
    /// Where the column of arrivals is, if it is one of times.
    pub(crate) fn find(&self, input: &Schema) -> Result<ArrivalColumn> {
        Ok(ArrivalColumn { index: time_of(input, self.arrival.0)?, limit: micros(self.limit) })
    }
}

/// Where the column of arrivals is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArrivalColumn {
    pub(crate) index: usize,
    /// µs.
    limit: i64,
}

impl ArrivalColumn {
    pub(crate) fn read<'a>(&self, batch: &'a RecordBatch) -> Result<Arrivals<'a>> {
        let times = batch::column(batch, self.index)?
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| Error::internal("arrivals are in another column than planned"))?;
        Ok(Arrivals { times, limit: self.limit })
    }
}

/// When the rows of a batch arrived.
pub(crate) struct Arrivals<'a> {
    times: &'a TimestampMicrosecondArray,
    limit: i64,
}

impl Arrivals<'_> {
    /// Whether a row claims to have happened at `at`, too long after it arrived. One without an arrival is believed.
    #[inline]
    pub(crate) fn is_ahead(&self, row: usize, at: EventTime) -> bool {
        self.times.is_valid(row) && at > self.times.value(row).saturating_add(self.limit)
    }
}
