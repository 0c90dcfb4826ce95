//! Turns batches into other batches by a closure that the graph cannot look into.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;
use thalweg_core::operator::{
    Collector, Context, OpenContext, Operator, OperatorFactory, check_columns,
};
use thalweg_core::sensitivity::inherit;
use thalweg_core::{Error, Result};

use crate::{ColumnRef, batch};

type MapSchema = dyn Fn(&SchemaRef) -> Result<SchemaRef> + Send + Sync;
type MapBatch = dyn Fn(RecordBatch) -> Result<RecordBatch> + Send + Sync;

/// Applies a closure to every batch.
///
/// What the closure copies from where is unknown to the graph, so every output column carries the sensitivities of
/// *all* input columns, unless [`Map::declassify`] says, with a reason that people can check, that it cannot hold
/// them.
///
/// **Shape**: as the given schema says; the closure may drop and add rows.
///
/// **Errors**: other columns, or nulls that the schema rules out, are [`thalweg_core::ErrorKind::InvalidGraph`]: whoever wrote
/// the closure mends it, and no restart would help.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{Array, Int64Array, RecordBatch};
/// use thalweg_core::Record;
/// use thalweg_core::error::Error;
/// use thalweg_operators::Map;
///
/// #[derive(Record)]
/// struct Count {
///     rows: i64,
/// }
///
/// let count = Map::new("count", Count::schema(), |batch| {
///     let rows = Int64Array::from(vec![batch.num_rows() as i64]);
///     RecordBatch::try_new(Count::schema(), vec![Arc::new(rows)])
///         .map_err(|_| Error::internal("not a count"))
/// })
/// .declassify("rows", "a number of rows is nobody's");
/// # let _ = count;
/// ```
#[derive(Clone)]
pub struct Map {
    name: String,
    schema: Arc<MapSchema>,
    logic: Arc<MapBatch>,
    declassified: BTreeMap<&'static str, &'static str>,
}

impl Map {
    /// A map called `name` whose closure makes batches of `output`. The closure must be deterministic.
    pub fn new(
        name: &str,
        output: SchemaRef,
        logic: impl Fn(RecordBatch) -> Result<RecordBatch> + Send + Sync + 'static,
    ) -> Self {
        Self::with_schema(name, move |_| Ok(Arc::clone(&output)), logic)
    }

    /// As [`Map::new`], with output columns that depend on the input's: to add one, for instance.
    pub fn with_schema(
        name: &str,
        schema: impl Fn(&SchemaRef) -> Result<SchemaRef> + Send + Sync + 'static,
        logic: impl Fn(RecordBatch) -> Result<RecordBatch> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            schema: Arc::new(schema),
            logic: Arc::new(logic),
            declassified: BTreeMap::new(),
        }
    }

    /// Promises that output column `column` discloses nothing but what its own schema marks, because of `reason`.
    #[must_use]
    pub fn declassify(mut self, column: impl ColumnRef, reason: &'static str) -> Self {
        self.declassified.insert(column.column_name(), reason);
        self
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({})", self.name)
    }
}

impl OperatorFactory for Map {
    fn describe(&self) -> String {
        let declassified: Vec<String> = self
            .declassified
            .iter()
            .map(|(column, reason)| format!(", declassifies {column} ({reason})"))
            .collect();
        format!("map {}{}", self.name, declassified.concat())
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        let output = (self.schema)(input)?;
        if let Some(column) = self.declassified.keys().find(|c| output.index_of(c).is_err()) {
            return Err(Error::graph(format!(
                "declassified column `{column}` is not in the output"
            )));
        }
        let declassified: Vec<_> = self.declassified.iter().map(|(c, r)| (*c, *r)).collect();
        let output = inherit(&output, input, &declassified)?;
        let distinct: BTreeSet<&String> = output.fields().iter().map(|f| f.name()).collect();
        if distinct.len() < output.fields().len() {
            return Err(Error::graph("two output columns have the same name"));
        }
        Ok(Arc::new(output))
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        let schema = self.output_schema(&context.input_schema)?;
        Ok(Box::new(Mapper { schema, logic: Arc::clone(&self.logic) }))
    }
}

struct Mapper {
    schema: SchemaRef,
    logic: Arc<MapBatch>,
}

impl Operator for Mapper {
    fn process(
        &mut self,
        batch: RecordBatch,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let mapped = (self.logic)(batch)?;
        let rows = mapped.num_rows();
        // Columns are matched by place, so a closure that makes them in another order must not pass unnoticed.
        check_columns(mapped.schema_ref(), &self.schema)?;
        let mut fields = self.schema.fields().iter().zip(mapped.columns());
        if let Some((field, _)) = fields.find(|(f, c)| !f.is_nullable() && c.null_count() > 0) {
            let name = field.name();
            return Err(Error::graph(format!(
                "its closure made nulls in column `{name}`, which its schema rules out"
            )));
        }
        out.emit(batch::assemble(&self.schema, mapped.columns().to_vec(), rows)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
