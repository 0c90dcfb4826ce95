//! Declarative rules with reason codes: good rows go on, bad ones leave by a side output and say why.
//!
//! `rules` evaluates a batch into bits, knowing nothing of streams; this module cuts the batch by them. A bad row is
//! no error of the job unless that is asked for.

mod breaker;
mod place;
mod policy;
mod reasons;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use thalweg_core::operator::{
    Collector, Context, LeftOut, OpenContext, Operator, OperatorFactory, OutputTag, SideOutput,
};
use thalweg_core::record::{ColumnType, Untyped, Utf8List};
use thalweg_core::{Error, ErrorKind, Result};

use crate::{ColumnRef, batch};
use breaker::{Breaker, Limit};
use policy::Policies;
use reasons::{DecodeErrors, Judged};
use rules::{Bound, Condition, Rule};

/// The side output with the rejected rows.
pub const REJECTED: OutputTag<Untyped> = OutputTag::new("rejected");

/// The column of the side output that says why: every code that applies.
pub const REASON_CODES: &str = "reason_codes";

/// Splits rows into valid and rejected ones.
///
/// **Shape**: the main output is the valid rows in order, with the input's columns except that of
/// [`Validate::decode_errors`]; a required column cannot be null any more. The side output [`REJECTED`] is the other
/// rows in order, with the same columns as they were and [`REASON_CODES`] (list of text): first the decoder's codes
/// as it gave them, then those of the violated rules in the order of their declaration, none twice.
/// A batch without a bad row is passed on without a copy.
///
/// **Rules** judge what was decoded. A null violates only [`Validate::required`], and not even that when the decoder
/// has a code about the same subject (`patient_id.type` explains why `patient_id` is null, so `patient_id.missing`
/// is not added; the subject is what stands before the last dot). When nothing at all could be read
/// ([`Validate::unreadable`]), no rule is applied.
///
/// **Errors**: the graph does not build when a column is missing or of the wrong type, or when a range is empty.
///
/// ```
/// use thalweg_operators::Validate;
/// let vitals = Validate::new()
///     .required("patient_id", "patient_id.missing")
///     .one_of("event_type", ["vitals", "lab_result", "medication"], "event_type.unknown")
///     .in_range("heart_rate", 20..=300, "heart_rate.range")
///     .decode_errors("decode_errors")
///     .unreadable(["json.malformed"]);
/// # let _ = vitals;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Validate {
    rules: Vec<Rule>,
    decode_errors: Option<&'static str>,
    unreadable: Vec<&'static str>,
    on_rejected: OnRejected,
    on_undecodable: Option<OnRejected>,
    limit: Option<Limit>,
}

/// What becomes of rejected rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRejected {
    /// They leave by [`REJECTED`]: into a table or a topic, or nowhere if nothing is connected to it.
    #[default]
    SideOutput,
    /// They go nowhere and are counted as dropped.
    Drop,
    /// The first one ends the job with [`thalweg_core::ErrorKind::InvalidRecord`].
    Fail,
}

impl Validate {
    /// No rules: every row is valid.
    pub fn new() -> Self {
        Self::default()
    }

    /// A null is a violation.
    #[must_use]
    pub fn required(self, column: impl ColumnRef, code: &'static str) -> Self {
        self.rule(code, Condition::Required(column.column_name()))
    }

    /// A number outside of `range` is a violation, bounds belonging to the range; so are NaN and the infinities.
    /// 64-bit integers are compared as floating-point numbers.
    #[must_use]
    pub fn in_range<N: Into<f64> + Copy>(
        self,
        column: impl ColumnRef,
        range: RangeInclusive<N>,
        code: &'static str,
    ) -> Self {
        let range = (*range.start()).into()..=(*range.end()).into();
        self.rule(code, Condition::InRange(column.column_name(), range))
    }

    /// A text that is none of `values` is a violation; letter case matters.
    #[must_use]
    pub fn one_of<V: Into<String>>(
        self,
        column: impl ColumnRef,
        values: impl IntoIterator<Item = V>,
        code: &'static str,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.rule(code, Condition::OneOf(column.column_name(), values))
    }

    /// A row for which `violated` answers true is in violation; false and null are fine. Must be deterministic.
    #[must_use]
    pub fn check(
        self,
        code: &'static str,
        violated: impl Fn(&RecordBatch) -> Result<BooleanArray> + Send + Sync + 'static,
    ) -> Self {
        self.rule(code, Condition::Check(Arc::new(violated)))
    }

    /// Column `column` (list of text, may be null) holds what the decoder found wrong; a row with anything in it is
    /// rejected.
    #[must_use]
    pub fn decode_errors(mut self, column: impl ColumnRef) -> Self {
        self.decode_errors = Some(column.column_name());
        self
    }

    /// Codes of the decoder that say that nothing of the message could be read: its nulls mean nothing, and only
    /// the decoder's codes are reported.
    #[must_use]
    pub fn unreadable(mut self, codes: impl IntoIterator<Item = &'static str>) -> Self {
        self.unreadable.extend(codes);
        self
    }

    /// What becomes of rejected rows. Default: [`OnRejected::SideOutput`].
    #[must_use]
    pub fn on_rejected(mut self, policy: OnRejected) -> Self {
        self.on_rejected = policy;
        self
    }

    /// What becomes of those rejected rows that the decoder could not read whole: they have a code that no rule has.
    /// Default: the same as of all others. [`Validate::on_rejected`] is then said of rows that only break rules.
    #[must_use]
    pub fn on_undecodable(mut self, policy: OnRejected) -> Self {
        self.on_undecodable = Some(policy);
        self
    }

    /// Ends the job with [`thalweg_core::ErrorKind::InvalidRecord`], naming the most frequent codes, when more than `share`
    /// (0 to 1; the graph does not build with another) of a subtask's latest rows are rejected, judged over at least `rows`
    /// of them. Default: never.
    #[must_use]
    pub fn stop_above(mut self, share: f64, rows: u64) -> Self {
        self.limit = Some(Limit { share, rows });
        self
    }

    fn rule(mut self, code: &'static str, condition: Condition) -> Self {
        self.rules.push(Rule { code, condition });
        self
    }

    fn bind(&self, input: &Schema) -> Result<Vec<Bound>> {
        self.rules.iter().map(|rule| rule.bind(input)).collect()
    }

    /// Positions of the columns that are passed on.
    fn kept(&self, input: &Schema) -> Result<Vec<usize>> {
        let dropped = self.decode_errors.map(|c| batch::index_of(input, c)).transpose()?;
        Ok((0..input.fields().len()).filter(|i| Some(*i) != dropped).collect())
    }

    fn kept_fields(&self, input: &Schema) -> Result<Vec<Field>> {
        let kept = self.kept(input)?;
        Ok(kept.iter().map(|i| input.field(*i).clone()).collect())
    }

    fn rejected_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        let mut fields = self.kept_fields(input)?;
        if fields.iter().any(|f| f.name() == REASON_CODES) {
            return Err(Error::graph(format!("the input has a column `{REASON_CODES}` already")));
        }
        fields.push(Field::new(REASON_CODES, Utf8List::data_type(), false));
        Ok(Arc::new(Schema::new(fields).with_metadata(input.metadata().clone())))
    }
}

impl OperatorFactory for Validate {
    fn describe(&self) -> String {
        let codes: Vec<&str> = self.rules.iter().map(|r| r.code).collect();
        format!("validate {}", codes.join(", "))
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        self.bind(input)?;
        // Above a share of more than 1, or NaN, nothing ever is.
        if self.limit.is_some_and(|limit| !(0.0..=1.0).contains(&limit.share)) {
            return Err(Error::graph("the share above which to stop must be between 0 and 1"));
        }
        if let Some(column) = self.decode_errors {
            let field = batch::field_of(input, column)?;
            let is_codes = matches!(field.data_type(), DataType::List(item) if *item.data_type() == DataType::Utf8);
            if !is_codes {
                return Err(Error::graph(format!("column `{column}` must be a list of text")));
            }
        }
        let required: BTreeSet<&str> =
            self.rules.iter().filter_map(Rule::required_column).collect();
        let fields = self.kept_fields(input)?.into_iter().map(|field| {
            let nullable = field.is_nullable() && !required.contains(field.name().as_str());
            field.with_nullable(nullable)
        });
        let schema = Schema::new(fields.collect::<Vec<_>>());
        Ok(Arc::new(schema.with_metadata(input.metadata().clone())))
    }

    fn side_outputs(&self, input: &SchemaRef) -> Result<Vec<SideOutput>> {
        Ok(vec![SideOutput { tag: REJECTED.name(), schema: self.rejected_schema(input)? }])
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        let input = &context.input_schema;
        Ok(Box::new(Validating {
            rules: self.bind(input)?,
            decode_errors: self.decode_errors.map(|c| batch::index_of(input, c)).transpose()?,
            unreadable: self.unreadable.clone(),
            kept: self.kept(input)?,
            valid_schema: self.output_schema(input)?,
            rejected_schema: self.rejected_schema(input)?,
            policies: Policies {
                undecodable: self.on_undecodable.unwrap_or(self.on_rejected),
                invalid: self.on_rejected,
                of_rules: self.rules.iter().map(|rule| rule.code).collect(),
            },
            breaker: self.limit.map(Breaker::new),
        }))
    }
}

struct Validating {
    rules: Vec<Bound>,
    decode_errors: Option<usize>,
    unreadable: Vec<&'static str>,
    kept: Vec<usize>,
    valid_schema: SchemaRef,
    rejected_schema: SchemaRef,
    policies: Policies,
    breaker: Option<Breaker>,
}

impl Validating {
    /// Ends the job when the policy of a rejected row says so, or when they are too many.
    fn check(
        &mut self,
        batch: &RecordBatch,
        judged: &Judged,
        policies: &[OnRejected],
    ) -> Result<()> {
        let place = |position| place::of_marked(batch, &judged.rejected, position);
        if let Some(first) = policies.iter().position(|policy| *policy == OnRejected::Fail) {
            let codes = judged.codes.value(first);
            let code = codes.as_string_opt::<i32>().filter(|c| !c.is_empty()).map(|c| c.value(0));
            let place = place(first).map(|place| format!("; {place}")).unwrap_or_default();
            return Err(Error::new(
                ErrorKind::InvalidRecord,
                format!(
                    "a row was rejected ({}{place}), and the job is to fail then: mend the input, or go on with \
                     another policy for rejected rows",
                    code.unwrap_or("?")
                ),
            ));
        }
        let rows = batch.num_rows() as u64;
        match &mut self.breaker {
            Some(breaker) => breaker.observe(rows, Some(&judged.codes), || place(0)),
            None => Ok(()),
        }
    }
}

impl Operator for Validating {
    fn process(
        &mut self,
        batch: RecordBatch,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let rows = batch.num_rows();
        let decoded = match self.decode_errors {
            None => DecodeErrors::none(),
            Some(index) => DecodeErrors::new(batch::column(&batch, index)?)?,
        };
        let violations = rules::evaluate(&self.rules, &batch)?;
        let columns = batch::columns(&batch, &self.kept)?;
        if violations.is_empty() && decoded.is_empty() {
            if let Some(breaker) = &mut self.breaker {
                breaker.observe(rows as u64, None, || None)?;
            }
            out.emit(batch::assemble(&self.valid_schema, columns, rows)?);
            return Ok(());
        }
        let judged = reasons::judge(rows, &violations, &decoded, &self.unreadable);
        let policies = self.policies.of_each(&judged.codes);
        self.check(&batch, &judged, &policies)?;
        let (valid, valid_rows) = batch::filter_columns(&columns, &judged.valid)?;
        out.emit(batch::assemble(&self.valid_schema, valid, valid_rows)?);
        let dropped = policies.iter().filter(|policy| **policy == OnRejected::Drop).count();
        if dropped > 0 {
            out.leave_out(LeftOut { dropped: dropped as u64, ..LeftOut::default() });
        }
        if dropped == policies.len() {
            return Ok(());
        }
        let (mut rejected, mut rejected_rows) = batch::filter_columns(&columns, &judged.rejected)?;
        debug_assert_eq!(rows, valid_rows + rejected_rows, "no row is lost");
        rejected.push(Arc::new(judged.codes));
        if dropped > 0 {
            let kept = policies.iter().map(|policy| Some(*policy != OnRejected::Drop));
            let kept: BooleanArray = kept.collect();
            (rejected, rejected_rows) = batch::filter_columns(&rejected, &kept)?;
        }
        out.side_output(
            REJECTED.name(),
            batch::assemble(&self.rejected_schema, rejected, rejected_rows)?,
        );
        Ok(())
    }
}
