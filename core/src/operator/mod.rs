//! The extension point: an operator computes, synchronously and purely; the runtime awaits.
//!
//! An operator sees no clock, does no I/O and spawns nothing. What it needs to remember it returns from
//! [`Operator::snapshot`] in key groups; what waits belongs in a source or a sink.

mod context;
mod keyed;
mod output;
mod promise;
mod state;

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

pub use context::{Context, OpenContext};
pub use keyed::{KeyedContext, KeyedFactory, KeyedOperator};
pub use output::{Collector, LeftOut, OutputTag};
pub use promise::{Promised, check_columns};
pub use state::{StateBlob, StateChunk, StatePayload};

use crate::element::Watermark;
use crate::time::EventTime;
use crate::{Result, key::KeyGroup};

/// One parallel instance of an operator.
pub trait Operator: Send {
    /// Takes rows and emits rows. Row order within a batch is the input's.
    ///
    /// # Errors
    /// An error fails the job's attempt; a record that merely is bad belongs into a side output.
    fn process(
        &mut self,
        batch: RecordBatch,
        context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()>;

    /// Event time has advanced to `watermark`, which is passed on after this returns. Timers and windows fire here.
    ///
    /// Rows that are held back and not emitted here are late downstream once their windows close with this watermark. Only
    /// in front of the end of time they need not be: [`Self::before_barrier`] is called first then.
    fn on_watermark(
        &mut self,
        watermark: Watermark,
        context: &Context<'_>,
        out: &mut Collector,
    ) -> Result<()> {
        let _ = (watermark, context, out);
        Ok(())
    }

    /// Called at each barrier before [`Operator::snapshot`], and before the end of time ([`Watermark::MAX`]): whatever is
    /// buffered without being state goes downstream now, in front of the barrier (P24).
    fn before_barrier(&mut self, context: &Context<'_>, out: &mut Collector) -> Result<()> {
        let _ = (context, out);
        Ok(())
    }

    /// The state as immutable chunks; encoding and writing happen elsewhere while processing goes on.
    fn snapshot(&mut self) -> Result<Vec<StateChunk>> {
        Ok(Vec::new())
    }

    /// Takes back chunks of its own key groups, possibly written by several instances at another parallelism. Called
    /// once, before anything else.
    fn restore(&mut self, blobs: Vec<StateBlob>) -> Result<()> {
        if blobs.is_empty() {
            return Ok(());
        }
        Err(crate::Error::incompatible(
            "the checkpoint holds state for an operator that keeps none",
        ))
    }
}

/// What a factory promises about a side output.
#[derive(Debug, Clone)]
pub struct SideOutput {
    /// The tag's name.
    pub tag: &'static str,
    /// The columns.
    pub schema: SchemaRef,
}

/// Makes the parallel instances of an operator and tells, before anything runs, what they will emit.
pub trait OperatorFactory: Send + Sync + Debug {
    /// One line for people: `mask name, ssn`.
    fn describe(&self) -> String;

    /// The columns of the record that it reads rows by, if it does: the graph compares them with those that come in.
    fn input_record(&self) -> Option<SchemaRef> {
        None
    }

    /// Whether it waits for event time. The graph refuses it where none would ever come.
    fn needs_event_time(&self) -> bool {
        false
    }

    /// The columns emitted for these input columns, sensitivities included.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidGraph`] when the operator cannot take them.
    fn output_schema(&self, input: &SchemaRef) -> Result<SchemaRef>;

    /// The side outputs for these input columns.
    fn side_outputs(&self, input: &SchemaRef) -> Result<Vec<SideOutput>> {
        let _ = input;
        Ok(Vec::new())
    }

    /// An instance. Scratch space yes, shared state no.
    fn create(&self, context: OpenContext) -> Result<Box<dyn Operator>>;
}

/// A factory behind a pointer, as the graph keeps it.
pub type SharedFactory = Arc<dyn OperatorFactory>;

/// Whether an event time lies before the watermark.
pub fn is_before(time: EventTime, watermark: Watermark) -> bool {
    time < watermark.0
}

/// The key group that holds state of operators whose every instance has the empty key.
pub fn empty_key_group(max_parallelism: u16) -> KeyGroup {
    crate::key::key_group_of(crate::key::EMPTY_KEY_HASH, max_parallelism)
}
