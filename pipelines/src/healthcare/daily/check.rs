//! The checks of a day: pure functions of its summary and the limits that are set.

use std::time::Duration;

use serde::Serialize;
use thalweg_core::time::{EventTime, MICROS_PER_SECOND, micros};

use super::day::Day;
use super::limits::QualitySection;
use super::summary::{DaySummary, Drift, Filled};

mod volume;

/// How a check went, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Pass,
    /// Worth a look.
    Warn,
    /// Not to be relied on.
    Fail,
}

impl Status {
    /// A word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One judgement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// Which check, such as `completeness.heart_rate`.
    pub name: String,
    /// What it is about: completeness, validity, uniqueness, volume, freshness, schema or privacy.
    pub dimension: &'static str,
    /// What was found.
    pub observed: String,
    /// What would pass.
    pub expected: String,
    /// The judgement.
    pub status: Status,
}

/// Judges what is known of `date`. `now`: µs.
pub fn judge(day: &DaySummary, date: Day, now: EventTime, limits: &QualitySection) -> Vec<Check> {
    let mut checks = completeness(day, limits);
    checks.extend(validity(day, limits));
    checks.push(uniqueness(day, limits));
    checks.push(volume::volume(day, volume::Progress::of(date, now, limits), limits));
    checks.push(freshness(day, date.end().min(now), limits));
    checks.extend(schema(day));
    checks.push(privacy(day));
    checks
}

/// The worst of them.
pub fn worst(checks: &[Check]) -> Status {
    checks.iter().map(|check| check.status).max().unwrap_or(Status::Pass)
}

fn completeness(day: &DaySummary, limits: &QualitySection) -> Vec<Check> {
    let check = |column: &String| {
        let Filled { expected, found } = day.filled.get(column).copied().unwrap_or_default();
        // Nothing to fill says nothing of how full it is. Whether such events should be there is for volume to say.
        let (observed, status) = match share(found, expected) {
            None => ("not judged: no event of kind vitals".to_owned(), Status::Pass),
            Some(share) => (
                format!("{found} of {expected} events ({})", percent(share)),
                at_least(share, limits.complete_warn, limits.complete_fail),
            ),
        };
        Check {
            name: format!("completeness.{column}"),
            dimension: "completeness",
            observed,
            expected: format!("at least {}", percent(limits.complete_warn)),
            status,
        }
    };
    limits.complete.iter().map(check).collect()
}

fn validity(day: &DaySummary, limits: &QualitySection) -> Vec<Check> {
    let rejected = share(day.rejected, day.received).unwrap_or(0.0);
    let late = share(day.late, day.events).unwrap_or(0.0);
    let impossible: u64 = day.impossible.values().sum();
    let columns: Vec<&str> = day.impossible.keys().map(String::as_str).collect();
    vec![
        Check {
            name: "validity.rejected".to_owned(),
            dimension: "validity",
            observed: format!(
                "{} of {} messages ({})",
                day.rejected,
                day.received,
                percent(rejected)
            ),
            expected: format!("at most {}", percent(limits.rejected_warn)),
            status: at_most(rejected, limits.rejected_warn, limits.rejected_fail),
        },
        Check {
            name: "validity.ranges".to_owned(),
            dimension: "validity",
            observed: if columns.is_empty() {
                "0 values outside".to_owned()
            } else {
                format!("{impossible} values outside, in {}", columns.join(", "))
            },
            expected: "every value of silver within [ranges]".to_owned(),
            status: if impossible == 0 { Status::Pass } else { Status::Fail },
        },
        Check {
            name: "validity.late".to_owned(),
            dimension: "validity",
            observed: format!("{} of {} events ({})", day.late, day.events, percent(late)),
            expected: format!("at most {}", percent(limits.late_warn)),
            status: at_most(late, limits.late_warn, limits.late_fail),
        },
    ]
}

fn uniqueness(day: &DaySummary, limits: &QualitySection) -> Check {
    let repeated = share(day.repeated, day.events).unwrap_or(0.0);
    Check {
        name: "uniqueness.events".to_owned(),
        dimension: "uniqueness",
        observed: format!(
            "{} of {} events again ({})",
            day.repeated,
            day.events,
            percent(repeated)
        ),
        expected: format!("at most {}", percent(limits.repeated_warn)),
        status: at_most(repeated, limits.repeated_warn, limits.repeated_fail),
    }
}

fn freshness(day: &DaySummary, until: EventTime, limits: &QualitySection) -> Check {
    let seconds = |d: i64| Duration::from_secs((d.max(0) / MICROS_PER_SECOND).unsigned_abs());
    // Where the day has none yet, silence is as old as the last event of those before.
    let (observed, status) = match day.newest.or(day.newest_before) {
        None => ("no event".to_owned(), Status::Fail),
        Some(newest) => {
            let age = until - newest;
            let status = if age > micros(limits.fresh_fail) {
                Status::Fail
            } else if age > micros(limits.fresh_warn) {
                Status::Warn
            } else {
                Status::Pass
            };
            (format!("the last event {} before", humantime::format_duration(seconds(age))), status)
        }
    };
    let within = humantime::format_duration(limits.fresh_warn);
    Check {
        name: "freshness.events".to_owned(),
        dimension: "freshness",
        observed,
        expected: format!("within {within} of the day's end, or of now"),
        status,
    }
}

fn schema(day: &DaySummary) -> Vec<Check> {
    let check = |(table, drift): (&String, &Drift)| {
        let parts = [
            ("missing", &drift.missing),
            ("of another type", &drift.retyped),
            ("new", &drift.added),
        ];
        let told: Vec<String> = parts
            .iter()
            .filter(|(_, columns)| !columns.is_empty())
            .map(|(what, columns)| format!("{what}: {}", columns.join(", ")))
            .collect();
        let observed = match (drift.no_table, told.is_empty()) {
            (true, _) => "no such table".to_owned(),
            (false, true) => "as written".to_owned(),
            (false, false) => told.join("; "),
        };
        let status = match (drift.breaks(), drift.added.is_empty()) {
            (true, _) => Status::Fail,
            (false, true) => Status::Pass,
            (false, false) => Status::Warn,
        };
        Check {
            name: format!("schema.{}", table.replace('/', "_")),
            dimension: "schema",
            observed,
            expected: "the columns that this release writes".to_owned(),
            status,
        }
    };
    day.drift.iter().map(check).collect()
}

fn privacy(day: &DaySummary) -> Check {
    let found: Vec<String> = day
        .leaks
        .iter()
        .flat_map(|(column, kinds)| {
            kinds.iter().map(move |(kind, count)| format!("{column}: {count} like {kind}"))
        })
        .collect();
    let status = if found.is_empty() { Status::Pass } else { Status::Fail };
    Check {
        name: "privacy.leaks".to_owned(),
        dimension: "privacy",
        observed: if found.is_empty() { "nothing".to_owned() } else { found.join("; ") },
        expected: "no identifier in the open in silver, late, alerts and gold".to_owned(),
        status,
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn percent(share: f64) -> String {
    format!("{} %", rounded(share * 100.0))
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

fn at_most(found: f64, warn: f64, fail: f64) -> Status {
    if found > fail {
        Status::Fail
    } else if found > warn {
        Status::Warn
    } else {
        Status::Pass
    }
}

fn at_least(found: f64, warn: f64, fail: f64) -> Status {
    at_most(-found, -warn, -fail)
}

#[cfg(test)]
mod tests;
