//! Chooses, orders and renames columns.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use thalweg_core::operator::{Collector, Context, OpenContext, Operator, OperatorFactory};
use thalweg_core::record::Record;
use thalweg_core::{Error, Result};

use crate::{ColumnRef, batch};

/// Passes on the given columns in the given order.
///
/// **Shape**: every row, in order; fields keep type, nullability and metadata, marks included. No value is copied.
///
/// ```
/// use thalweg_operators::Project;
/// let narrow = Project::columns(["offset", "payload"]).rename("offset", "position");
/// # let _ = narrow;
/// ```
#[derive(Debug, Clone)]
pub struct Project {
    columns: Vec<Choice>,
    unknown_renames: Vec<&'static str>,
}

#[derive(Debug, Clone, Copy)]
struct Choice {
    from: &'static str,
    to: &'static str,
}

impl Project {
    /// These columns.
    pub fn columns<C: ColumnRef>(columns: impl IntoIterator<Item = C>) -> Self {
        let columns = columns.into_iter().map(ColumnRef::column_name);
        Self {
            columns: columns.map(|name| Choice { from: name, to: name }).collect(),
            unknown_renames: Vec::new(),
        }
    }

    /// The columns of record `R`, in its order.
    pub fn to<R: Record>() -> Self {
        Self::columns(R::COLUMNS.iter().copied())
    }

    /// Gives the chosen column `from` the name `to`.
    #[must_use]
    pub fn rename(mut self, from: impl ColumnRef, to: impl ColumnRef) -> Self {
        let (from, to) = (from.column_name(), to.column_name());
        match self.columns.iter_mut().find(|c| c.from == from) {
            Some(choice) => choice.to = to,
            None => self.unknown_renames.push(from),
        }
        self
    }
}

impl OperatorFactory for Project {
    fn describe(&self) -> String {
        let columns: Vec<String> =
            self.columns
                .iter()
                .map(|c| {
                    if c.from == c.to { c.to.to_owned() } else { format!("{} as {}", c.from, c.to) }
                })
                .collect();
        format!("project {}", columns.join(", "))
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        if let Some(column) = self.unknown_renames.first() {
            return Err(Error::graph(format!("column `{column}` is renamed but not chosen")));
        }
        let mut fields: Vec<Field> = Vec::with_capacity(self.columns.len());
        for choice in &self.columns {
            if fields.iter().any(|f| f.name() == choice.to) {
                return Err(Error::graph(format!("column `{}` is chosen twice", choice.to)));
            }
            fields.push(batch::field_of(input, choice.from)?.as_ref().clone().with_name(choice.to));
        }
        Ok(Arc::new(Schema::new(fields).with_metadata(input.metadata().clone())))
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        let input = &context.input_schema;
        let indices =
            self.columns.iter().map(|c| batch::index_of(input, c.from)).collect::<Result<_>>()?;
        Ok(Box::new(Projector { schema: self.output_schema(input)?, indices }))
    }
}

struct Projector {
    schema: SchemaRef,
    indices: Vec<usize>,
}

impl Operator for Projector {
    fn process(
        &mut self,
        batch: RecordBatch,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let columns = batch::columns(&batch, &self.indices)?;
        out.emit(batch::assemble(&self.schema, columns, batch.num_rows())?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
