//! Keeps the rows that a closure says yes to.

use std::fmt;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use thalweg_core::operator::{Collector, Context, OpenContext, Operator, OperatorFactory};
use thalweg_core::{Error, Result};

use crate::batch;

type Predicate = dyn Fn(&RecordBatch) -> Result<BooleanArray> + Send + Sync;

/// Keeps the rows where a closure is true; false and null drop a row.
///
/// **Shape**: the input's columns, marks included; row order is kept. A batch of which every row stays is passed on
/// without a copy.
///
/// ```
/// use thalweg_core::record::{Column, Float64, column_of};
/// use thalweg_operators::Filter;
///
/// const HEART_RATE: Column<Float64> = Column::nullable("heart_rate");
/// let fast = Filter::new("tachycardia", |batch| {
///     Ok(column_of(batch, HEART_RATE)?.iter().map(|v| v.map(|v| v > 100.0)).collect())
/// });
/// # let _ = fast;
/// ```
#[derive(Clone)]
pub struct Filter {
    name: String,
    keep: Arc<Predicate>,
}

impl Filter {
    /// A filter called `name`. The closure answers for each row; it must be deterministic.
    pub fn new(
        name: &str,
        keep: impl Fn(&RecordBatch) -> Result<BooleanArray> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.to_owned(), keep: Arc::new(keep) }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({})", self.name)
    }
}

impl OperatorFactory for Filter {
    fn describe(&self) -> String {
        format!("filter {}", self.name)
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        Ok(Arc::clone(input))
    }

    fn create(&self, _context: OpenContext) -> Result<Box<dyn Operator>> {
        Ok(Box::new(self.clone()))
    }
}

impl Operator for Filter {
    fn process(
        &mut self,
        batch: RecordBatch,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let keep = (self.keep)(&batch)?;
        if keep.len() != batch.num_rows() {
            return Err(Error::graph("a filter answered for another number of rows"));
        }
        if keep.true_count() < keep.len() {
            let (columns, rows) = batch::filter_columns(batch.columns(), &keep)?;
            out.emit(batch::assemble(&batch.schema(), columns, rows)?);
        } else {
            out.emit(batch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
