//! The quality of a day: its summary, judged, as JSON and as a page.

use serde::Serialize;
use thalweg_connectors::delta::DeltaReader;
use thalweg_core::Result;
use thalweg_core::time::EventTime;
use thalweg_objects::{Access, Place};

use super::check::{Check, Status, judge, worst};
use super::collect::{collect, total};
use super::day::Day;
use super::html::{Page, Table};
use super::summary::DaySummary;
use crate::healthcare::config::HealthcareConfig;

/// A day, judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quality {
    /// The worst of the checks.
    pub status: Status,
    /// All checks.
    pub checks: Vec<Check>,
    /// What they judged.
    pub day: DaySummary,
}

impl Quality {
    /// Reads a day of the tables below `place` and judges it. `now`: µs.
    ///
    /// # Errors
    /// A table cannot be read; one that is missing or has other columns is a failed check instead.
    pub fn of(place: &Place, config: &HealthcareConfig, day: Day, now: EventTime) -> Result<Self> {
        let reader = DeltaReader::at(place, &Access::from_environment())?;
        let summary = collect(&reader, day, now, &config.quality, &config.ranges)?;
        let checks = judge(&summary, day, now, &config.quality);
        Ok(Self { status: worst(&checks), checks, day: summary })
    }

    /// Names of the checks that ended like this.
    pub fn named(&self, status: Status) -> Vec<&str> {
        let alike = self.checks.iter().filter(|check| check.status == status);
        alike.map(|check| check.name.as_str()).collect()
    }

    /// What looks like an identifier in the open, over all columns.
    pub fn leaks(&self) -> u64 {
        total(&self.day.leaks)
    }

    /// The report as a page.
    pub fn html(&self) -> String {
        let checks = self.checks.iter().map(|check| {
            vec![
                check.name.clone(),
                check.status.name().to_owned(),
                check.observed.clone(),
                check.expected.clone(),
            ]
        });
        let day = &self.day;
        let leaks = day.leaks.iter().flat_map(|(column, kinds)| {
            kinds.iter().map(move |(kind, count)| (format!("{column}: {kind}"), *count))
        });
        let earlier = day.earlier.iter().zip(1u32..);
        let tables = vec![
            Table {
                heading: "Checks",
                columns: vec!["check", "result", "found", "expected"],
                rows: checks.collect(),
            },
            Table::of("Events by kind", counted(&day.kinds)),
            Table::of("Reasons for quarantine", counted(&day.reasons)),
            Table::of("Looks like an identifier in the open", leaks),
            Table::of("Rows of gold", counted(&day.gold)),
            Table::of(
                "Events of the days before",
                earlier.map(|(n, ago)| (format!("{ago} before"), *n)),
            ),
        ];
        let title = format!("Data quality of {}", day.date);
        Page { title, verdict: self.status.name(), tables }.render()
    }
}

fn counted(map: &std::collections::BTreeMap<String, u64>) -> impl Iterator<Item = (&str, u64)> {
    map.iter().map(|(name, count)| (name.as_str(), *count))
}
