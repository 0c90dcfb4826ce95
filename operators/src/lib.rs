//! The operators that pipelines are put together from.
//!
//! Each is an [`OperatorFactory`](thalweg_core::operator::OperatorFactory): a description that is checked when the
//! graph is built and makes one instance per subtask. None reads a clock, waits, or keeps anything outside of what a
//! checkpoint stores, and all that can carry a person's data know what they do to the marks of
//! [`thalweg_core::sensitivity`].
//!
//! * [`Map`], [`Filter`], [`Project`]: batches by closure, rows by predicate, columns by name
//! * [`Mask`]: direct identifiers become what may be shown
//! * [`Validate`]: rules with reason codes; rejected rows leave by a side output
//! * [`Seal`]: events as received, encrypted per row
//! * [`Lateness`]: rows that came after their window had closed leave by a side output
//! * [`Aggregate`]: one row per key and window, in two phases
//! * [`detect`]: [`Threshold`] with persistence and hysteresis, [`EwmaZScore`] against each key's own past
//! * [`alert`]: [`Alerts`] by rules about columns; the state machine behind it, for operators that watch something else

pub mod aggregate;
pub mod alert;
mod batch;
mod column;
pub mod detect;
pub mod filter;
#[cfg(test)]
mod fixture;
pub mod lateness;
pub mod map;
pub mod mask;
pub mod prelude;
pub mod project;
pub mod seal;
pub mod validate;

pub use aggregate::Aggregate;
pub use alert::{AlertRule, Alerts};
pub use column::ColumnRef;
pub use detect::{EwmaZScore, Threshold};
pub use filter::Filter;
pub use lateness::{LATE, Lateness};
pub use map::Map;
pub use mask::{Mask, MaskCounters};
pub use project::Project;
pub use seal::Seal;
pub use validate::{OnRejected, REJECTED, Validate};
