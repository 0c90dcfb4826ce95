//! Detectors: what is out of the ordinary, reading by reading.
//!
//! [`Limit`] and [`Ewma`] judge single values, purely. [`Threshold`] and [`EwmaZScore`] are operators around them, for
//! any numeric column and any key; [`crate::alert`] makes alerts of what they find.

pub(crate) mod ahead;
mod ewma;
pub(crate) mod input;
mod limit;
mod threshold;
mod zscore;

pub use ewma::{Ewma, EwmaSettings};
pub use limit::{Limit, Side, Verdict};
pub use threshold::{RAISED, Threshold};
pub use zscore::EwmaZScore;
