//! Alerts in event time: normal → pending → firing → acknowledged or snoozed → resolved.
//!
//! [`Slot`] is the state machine of one rule of one key, in pure functions: [`Slot::decide`] says what a [`Fact`] means
//! and changes nothing, [`Slot::advance`] does it and returns what to tell people. There is room for one open alert in
//! a slot. Nothing here knows limits, patients or columns: whoever judges rows, [`crate::detect`] say, turns them into
//! facts.
//!
//! **Time**: event time only. Time passes for a slot by [`Fact::Passed`]; [`Slot::due`] says when something would
//! happen by itself.
//!
//! **Late rows**: a reading older than the newest of its slot changes nothing. It opens no alert, and no alert that was
//! resolved opens again.

mod machine;
mod severity;

pub use machine::{Change, Fact, Phase, Policy, Slot, State, Transition};
pub use severity::Severity;
