//! Replaces direct identifiers by what may be shown.
//!
//! What happens to a column follows from its mark in the *schema* that arrives, not from its name: [`Policy`] says
//! per sensitivity, [`Mask`] applies it. A column that the policy cannot make showable never slips through: the
//! graph does not build until it is dropped, by name or by [`Mask::strict`].

mod policy;
#[cfg(test)]
mod tests;
pub mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_buffer::{Buffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use thalweg_core::operator::{Collector, Context, OpenContext, Operator, OperatorFactory};
use thalweg_core::sensitivity::{mark, sensitivities};
use thalweg_core::{Error, Result};

pub use policy::{Policy, Rule, TextMask};

use crate::{ColumnRef, batch};
use text::Parsed;

/// Masks the marked columns by a [`Policy`].
///
/// **Shape**: the input's columns without the dropped ones, every row in order. A masked column keeps name, type and
/// nulls and loses its mark; a kept one keeps its mark, and the sink's clearance decides.
///
/// **State**: none. The masks are deterministic and idempotent, so a replay yields the same bytes.
///
/// **Errors**: the graph does not build with a column that the policy refuses (an event as received, a mark of an
/// unknown name, several marks at once, an identifier that is no text) unless it is dropped.
///
/// ```
/// use thalweg_operators::Mask;
/// let mask = Mask::display().drop_column("payload");
/// let counters = mask.counters();
/// assert!(counters.unparsed().is_empty());
/// ```
#[derive(Debug, Clone)]
pub struct Mask {
    policy: Policy,
    dropped: Vec<&'static str>,
    strict: bool,
    counters: Arc<MaskCounters>,
}

impl Mask {
    /// The policy that keeps a dashboard readable; see [`Policy::DISPLAY`].
    pub fn display() -> Self {
        Self::with_policy(Policy::DISPLAY)
    }

    /// A policy of one's own.
    pub fn with_policy(policy: Policy) -> Self {
        Self { policy, dropped: Vec::new(), strict: false, counters: Arc::default() }
    }

    /// Leaves a column out.
    #[must_use]
    pub fn drop_column(mut self, column: impl ColumnRef) -> Self {
        self.dropped.push(column.column_name());
        self
    }

    /// Leaves out every marked column that the policy does not mask, instead of keeping or refusing it: behind a
    /// strict mask no column is marked.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Counts values that were not understood, for whoever watches the job.
    pub fn counters(&self) -> Arc<MaskCounters> {
        Arc::clone(&self.counters)
    }

    /// Counts them in `counters`, for whoever has these before there is a graph.
    #[must_use]
    pub fn counting(mut self, counters: &Arc<MaskCounters>) -> Self {
        self.counters = Arc::clone(counters);
        self
    }

    /// What happens to each column of the input.
    fn plan(&self, input: &Schema) -> Result<Vec<(usize, Field, Fate)>> {
        for column in &self.dropped {
            batch::index_of(input, column)?;
        }
        let fields = input.fields().iter().enumerate();
        fields
            .filter(|(_, field)| !self.dropped.contains(&field.name().as_str()))
            .filter_map(|(index, field)| match self.fate(field) {
                Ok(fate @ Fate::Mask(_)) => {
                    Some(Ok((index, mark(field.as_ref().clone(), []), fate)))
                }
                Ok(Fate::Keep) if self.strict && !sensitivities(field).is_empty() => None,
                Ok(Fate::Keep) => Some(Ok((index, field.as_ref().clone(), Fate::Keep))),
                Err(_) if self.strict => None,
                Err(error) => Some(Err(error)),
            })
            .collect()
    }

    fn fate(&self, field: &Field) -> Result<Fate> {
        let marks = sensitivities(field);
        let refused = |why: &str| {
            Error::graph(format!(
                "column `{name}` {why}, which the {policy} policy cannot mask; leave it out with \
                 drop_column(\"{name}\")",
                name = field.name(),
                policy = self.policy.name
            ))
        };
        let mut masks = Vec::new();
        for mark in &marks {
            match self.policy.rule(*mark) {
                Rule::Refuse => return Err(refused(&format!("is marked {mark}"))),
                Rule::Text(mask) => masks.push(mask),
                Rule::Keep => {}
            }
        }
        match masks.as_slice() {
            [] => Ok(Fate::Keep),
            [_] if *field.data_type() != DataType::Utf8 => {
                Err(refused(&format!("is an identifier of type {}", field.data_type())))
            }
            [mask] if marks.len() == 1 => Ok(Fate::Mask(*mask)),
            _ => Err(refused("has several marks")),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Keep,
    Mask(TextMask),
}

/// How many values of each column were not understood and came out fully masked, since the process started; a
/// replay counts its rows again. A rising count means that a producer changed its format.
#[derive(Debug, Default)]
pub struct MaskCounters {
    columns: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

impl MaskCounters {
    /// Column and count, in the order of the names.
    pub fn unparsed(&self) -> Vec<(String, u64)> {
        let columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        columns.iter().map(|(name, count)| (name.clone(), count.load(Ordering::Relaxed))).collect()
    }

    /// The counter that all subtasks share; asked for when an instance is made, never per row.
    fn of(&self, column: &str) -> Arc<AtomicU64> {
        let mut columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(columns.entry(column.to_owned()).or_default())
    }
}

impl OperatorFactory for Mask {
    fn describe(&self) -> String {
        let strict = if self.strict { ", strict" } else { "" };
        let mut text = format!("mask by policy {}{strict}", self.policy.name);
        if !self.dropped.is_empty() {
            text = format!("{text}, without {}", self.dropped.join(", "));
        }
        text
    }

    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef> {
        let fields: Vec<Field> = self.plan(input)?.into_iter().map(|(_, field, _)| field).collect();
        Ok(Arc::new(Schema::new(fields).with_metadata(input.metadata().clone())))
    }

    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>> {
        let plan = self.plan(&context.input_schema)?;
        let columns = plan.into_iter().map(|(index, field, fate)| {
            let mask = match fate {
                Fate::Keep => None,
                Fate::Mask(mask) => {
                    let unparsed = self.counters.of(field.name());
                    Some(ColumnMask { name: field.name().clone(), mask, unparsed, bytes: 0 })
                }
            };
            (index, mask)
        });
        Ok(Box::new(Masking {
            columns: columns.collect(),
            schema: self.output_schema(&context.input_schema)?,
        }))
    }
}

struct Masking {
    schema: SchemaRef,
    /// Where each output column comes from.
    columns: Vec<(usize, Option<ColumnMask>)>,
}

impl Operator for Masking {
    fn process(
        &mut self,
        batch: RecordBatch,
        _context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (index, mask) in &mut self.columns {
            let column = batch::column(&batch, *index)?;
            columns.push(match mask {
                None => Arc::clone(column),
                Some(mask) => Arc::new(mask.apply(column)?),
            });
        }
        out.emit(batch::assemble(&self.schema, columns, batch.num_rows())?);
        Ok(())
    }
}

struct ColumnMask {
    name: String,
    mask: TextMask,
    unparsed: Arc<AtomicU64>,
    /// How long the last batch came out: room for the next one, so that its one buffer does not grow.
    bytes: usize,
}

impl ColumnMask {
    fn apply(&mut self, column: &ArrayRef) -> Result<StringArray> {
        let texts = column
            .as_any()
            .downcast_ref::<StringArray>()
            .ok_or_else(|| Error::internal("a column to mask is no text"))?;
        // The buffer becomes the column: nothing is copied a second time.
        let mut masked = String::with_capacity(self.bytes + self.bytes / 8);
        let mut ends = Vec::with_capacity(texts.len() + 1);
        ends.push(0);
        let mut unparsed = 0;
        for text in texts {
            if let Some(text) = text {
                unparsed += u64::from((self.mask)(text, &mut masked) == Parsed::No);
            }
            ends.push(masked.len() as i32);
        }
        // A mask writes at most 4 KiB, so this takes a batch of more than 500,000 rows.
        if i32::try_from(masked.len()).is_err() {
            return Err(Error::internal("a masked column is longer than 2 GiB"));
        }
        // The log is told once of each column: whoever writes one so writes many.
        if unparsed > 0 && self.unparsed.fetch_add(unparsed, Ordering::Relaxed) == 0 {
            tracing::warn!(
                column = self.name,
                "values that were not understood are masked whole: look at how their senders write them"
            );
        }
        self.bytes = masked.len();
        let (ends, values) =
            (OffsetBuffer::new(ends.into()), Buffer::from_vec(masked.into_bytes()));
        StringArray::try_new(ends, values, texts.nulls().cloned())
            .map_err(|_| Error::internal("masked texts do not form a column"))
    }
}
