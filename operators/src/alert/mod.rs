//! Alerts in event time: normal → pending → firing → acknowledged or snoozed → resolved.
//!
//! [`Slot`] is the state machine of one rule of one key, in pure functions: [`Slot::decide`] says what a [`Fact`] means
//! and changes nothing, [`Slot::advance`] does it and returns what to tell people. There is room for one open alert in
//! a slot. It knows neither limits nor columns: whoever judges rows turns them into facts. [`RuleSlot`] is a slot among
//! those of a key, in a state that outlives changes of the rules.
//!
//! [`Alerts`] is the operator for limits of columns, with its rules as data ([`AlertRule`]). An operator that has more to
//! judge by keeps slots of its own.
//!
//! **Time**: event time only. Time passes for a slot by [`Fact::Passed`]; [`Slot::due`] says when something would
//! happen by itself.
//!
//! **Late rows**: a reading older than the newest of its slot changes nothing. It opens no alert, and no alert that was
//! resolved opens again.

mod alerts;
mod level;
mod machine;
mod record;
mod rows;
mod rule;
mod severity;
mod slots;
mod watched;

pub use alerts::Alerts;
pub use machine::{Change, Fact, Phase, Policy, Slot, State, Transition};
pub use record::{AlertChange, AlertCommand};
pub use rule::AlertRule;
pub use severity::Severity;
pub use slots::{Rule, RuleSlot};
