//! What the checks need to know of a day: numbers only, so that judging is a pure function and nothing that a record says
//! of a person can reach a report. Of single records there is when the newest of the day and of those before happened.

use std::collections::BTreeMap;

use serde::Serialize;
use thalweg_core::time::EventTime;

/// A day in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct DaySummary {
    /// Which day, such as `2025-11-24`.
    pub date: String,
    /// Valid events that happened on it.
    pub events: u64,
    /// Of them, those of each kind.
    pub kinds: BTreeMap<String, u64>,
    /// Patients they are about.
    pub patients: u64,
    /// When the last of them happened, µs; those that claim a time to come do not count.
    pub newest: Option<EventTime>,
    /// When the last event of the days before happened, µs; of as many days as `earlier` has.
    pub newest_before: Option<EventTime>,
    /// Events of them that came too late for gold.
    pub late: u64,
    /// Events that are there again.
    pub repeated: u64,
    /// How often a column should have a value, and how often it has.
    pub filled: BTreeMap<String, Filled>,
    /// Values outside of what is possible, by column.
    pub impossible: BTreeMap<String, u64>,
    /// Messages that arrived on the day.
    pub received: u64,
    /// Of them, those in quarantine.
    pub rejected: u64,
    /// Reasons for that; a message may have several.
    pub reasons: BTreeMap<String, u64>,
    /// Events of each of the days before, the day before first; of a day that is judged while it goes on, those up to
    /// the same time of day.
    pub earlier: Vec<u64>,
    /// The same of each kind that they had.
    pub earlier_kinds: BTreeMap<String, Vec<u64>>,
    /// Columns that are not as they should be.
    pub drift: BTreeMap<String, Drift>,
    /// What looks like an identifier in the open: by column, by kind.
    pub leaks: BTreeMap<String, BTreeMap<String, u64>>,
    /// Rows of each gold table for the day.
    pub gold: BTreeMap<String, u64>,
}

/// How complete a column is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Filled {
    /// Events that should have a value.
    pub expected: u64,
    /// Those that have one.
    pub found: u64,
}

/// How a table's columns differ from those that this release writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Whether the table itself is missing.
    pub no_table: bool,
    /// Columns that are missing.
    pub missing: Vec<String>,
    /// Columns of another type.
    pub retyped: Vec<String>,
    /// Columns that nobody here writes.
    pub added: Vec<String>,
}

impl Drift {
    /// Whether its rows cannot be read as they should.
    pub fn breaks(&self) -> bool {
        self.no_table || !self.missing.is_empty() || !self.retyped.is_empty()
    }
}
