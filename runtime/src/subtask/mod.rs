//! One parallel instance of a chain: an actor on an Arbiter that owns its operators and runs one loop over its input.

mod actor;
mod chain;
mod emitter;
mod report;
mod sinks;
mod source_loop;
mod source_pump;
mod task_loop;

pub(crate) use actor::{AddSplits, Inject, Pace, SubtaskActor, SubtaskPlan, Work};
pub(crate) use chain::{Chain, ChainNode, Output, Target};
pub(crate) use emitter::{Emitter, OutgoingEdge};
pub(crate) use report::{Checkpointer, Event, SourceReport, SubtaskEvent, SubtaskReport};
pub(crate) use sinks::SinkSlot;
pub(crate) use source_loop::{Budget, Order, SourceWork};
pub(crate) use source_pump::Pump;
pub(crate) use task_loop::TaskWork;
