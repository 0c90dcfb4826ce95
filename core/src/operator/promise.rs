//! What an operator has promised to emit, held against what it emits.
//!
//! The graph is planned by the promise. Rows of other columns would be read by their place further down, as something that
//! they are not.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;

use super::OperatorFactory;
use crate::record::is_read_as;
use crate::{Error, Result};

/// The columns of each output, by its tag: `None` is the main one.
#[derive(Debug, Clone, Default)]
pub struct Promised(Vec<(Option<&'static str>, SchemaRef)>);

impl Promised {
    /// These outputs.
    pub fn new(outputs: impl IntoIterator<Item = (Option<&'static str>, SchemaRef)>) -> Self {
        Self(outputs.into_iter().collect())
    }

    /// What `factory` promises for these input columns.
    ///
    /// # Errors
    /// Those of the factory.
    pub fn of(factory: &dyn OperatorFactory, input: &SchemaRef) -> Result<Self> {
        let main = (None, factory.output_schema(input)?);
        let sides = factory.side_outputs(input)?.into_iter().map(|o| (Some(o.tag), o.schema));
        Ok(Self::new(std::iter::once(main).chain(sides)))
    }

    /// The columns of the output `tag`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidGraph`]: there is no such output.
    pub fn columns(&self, tag: Option<&'static str>) -> Result<&SchemaRef> {
        let found = self.0.iter().find(|(name, _)| *name == tag);
        found.map(|(_, schema)| schema).ok_or_else(|| {
            let tag = tag.unwrap_or_default();
            Error::graph(format!("it emits to side output `{tag}`, which it does not declare"))
        })
    }

    /// Refuses rows of other columns, nulls where none may be, and rows for an output that there is not.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidGraph`]: the text names the column, or the output.
    pub fn check(&self, tag: Option<&'static str>, batch: &RecordBatch) -> Result<()> {
        let (found, promised) = (batch.schema_ref(), self.columns(tag)?);
        // No batch has nulls where its own columns have none.
        if Arc::ptr_eq(found, promised) {
            return Ok(());
        }
        check_columns(found, promised)?;
        let mut columns = promised.fields().iter().zip(batch.columns());
        match columns.find(|(field, column)| !field.is_nullable() && column.null_count() > 0) {
            None => Ok(()),
            Some((field, _)) => Err(unlike(&format!("`{}` has nulls", field.name()))),
        }
    }
}

/// Refuses columns that are not those promised, in their order and of their types. A zone of time and the field inside a
/// list are no matter, nor are marks: those of the promise are what counts.
///
/// # Errors
/// [`crate::ErrorKind::InvalidGraph`], with the first such column.
pub fn check_columns(found: &SchemaRef, promised: &SchemaRef) -> Result<()> {
    if Arc::ptr_eq(found, promised) {
        return Ok(());
    }
    for (found, promised) in found.fields().iter().zip(promised.fields()) {
        let (name, belongs) = (found.name(), promised.name());
        if name != belongs {
            return Err(unlike(&format!("`{name}` where `{belongs}` belongs")));
        }
        if !is_read_as(found.data_type(), promised.data_type()) {
            let (is, belongs) = (found.data_type(), promised.data_type());
            return Err(unlike(&format!("`{name}` of type {is} instead of {belongs}")));
        }
    }
    let both = found.fields().len().min(promised.fields().len());
    match (found.fields().get(both), promised.fields().get(both)) {
        (None, None) => Ok(()),
        (Some(further), _) => Err(unlike(&format!("`{}` besides", further.name()))),
        (None, Some(missing)) => Err(unlike(&format!("`{}` is missing", missing.name()))),
    }
}

/// Says in what the columns differ.
pub(super) fn unlike(text: &str) -> Error {
    Error::graph(format!("it emits other columns than it promised: {text}"))
}

#[cfg(test)]
mod tests {
    use arrow_array::{ArrayRef, Int64Array};
    use arrow_schema::{DataType, Field, Schema, TimeUnit};

    use super::*;
    use crate::ErrorKind;
    use crate::operator::{Collector, Context, OpenContext, Operator};
    use crate::testing::OperatorHarness;

    /// Passes rows on as they are, and says that it emits others.
    #[derive(Debug, Clone)]
    struct Untrue(SchemaRef);

    impl OperatorFactory for Untrue {
        fn describe(&self) -> String {
            "untrue".to_owned()
        }
        fn output_schema(&self, _: &SchemaRef) -> Result<SchemaRef> {
            Ok(Arc::clone(&self.0))
        }
        fn create(&self, _: OpenContext) -> Result<Box<dyn Operator>> {
            Ok(Box::new(self.clone()))
        }
    }

    impl Operator for Untrue {
        fn process(
            &mut self,
            batch: RecordBatch,
            _: &Context<'_>,
            out: &mut Collector,
        ) -> Result<()> {
            out.emit(batch);
            Ok(())
        }
    }

    #[test]
    fn the_harness_refuses_what_a_job_would() {
        let input = columns(&[("id", DataType::Int64)]);
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let rows = RecordBatch::try_new(Arc::clone(&input), vec![ids]).unwrap();
        let required = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        for (promised, says) in [
            (columns(&[("more", DataType::Int64)]), "`id` where `more` belongs"),
            (required, "`id` has nulls"),
        ] {
            let untrue = Arc::new(Untrue(promised));
            let mut harness = OperatorHarness::new(untrue, Arc::clone(&input), [], 1).unwrap();
            let error = harness.push(&rows).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidGraph);
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    fn columns(fields: &[(&str, DataType)]) -> SchemaRef {
        let field = |(name, of): &(&str, DataType)| Field::new(*name, of.clone(), true);
        Arc::new(Schema::new(fields.iter().map(field).collect::<Vec<_>>()))
    }

    fn time(zone: Option<&str>) -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))
    }

    #[test]
    fn other_columns_than_promised_are_told_by_the_first_of_them() {
        let (id, at) = (("id", DataType::Int64), ("at", time(Some("UTC"))));
        let promised = columns(&[id.clone(), at.clone()]);
        for (found, says) in [
            (vec![at.clone(), id.clone()], "`at` where `id` belongs"),
            (vec![("id", DataType::Utf8), at.clone()], "`id` of type Utf8 instead of Int64"),
            (vec![id.clone()], "`at` is missing"),
            (vec![id.clone(), at.clone(), ("more", DataType::Utf8)], "`more` besides"),
        ] {
            let error = check_columns(&columns(&found), &promised).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidGraph);
            assert!(error.to_string().contains(says), "{error}");
        }
        check_columns(&columns(&[id, ("at", time(None))]), &promised).unwrap();
    }

    #[test]
    fn a_null_where_none_was_promised_is_told_by_its_column() {
        let with = |nullable, value| {
            let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, nullable)]));
            let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), value]));
            RecordBatch::try_new(schema, vec![ids]).unwrap()
        };
        let required = Promised::new([(None, with(false, Some(8)).schema())]);
        required.check(None, &with(true, Some(8))).unwrap();
        let error = required.check(None, &with(true, None)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGraph);
        assert!(error.to_string().contains("`id` has nulls"), "{error}");
        let optional = Promised::new([(None, with(true, None).schema())]);
        optional.check(None, &with(true, None)).unwrap();
    }

    #[test]
    fn an_output_that_is_not_declared_is_told_by_its_tag() {
        let promised = Promised::new([(None, columns(&[])), (Some("late"), columns(&[]))]);
        let batch = RecordBatch::new_empty(columns(&[]));
        promised.check(None, &batch).unwrap();
        promised.check(Some("late"), &batch).unwrap();
        let error = promised.check(Some("bad"), &batch).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGraph);
        assert!(error.to_string().contains("`bad`"), "{error}");
    }
}
