//! A day on one page: what happened, what was rejected and why, and where the tables stand.

use std::collections::BTreeMap;

use serde::Serialize;
use thalweg_connectors::delta::{COMMITTED_AT, CUT_JOB, CUTS, DeltaReader};
use thalweg_core::Result;
use thalweg_core::record::column_of;
use thalweg_objects::{Access, Place};

use super::collect::collect;
use super::day::Day;
use super::html::{Page, Table};
use super::recompute::GOLD;
use super::summary::{DaySummary, Drift};
use crate::healthcare::alerts::AlertEvent;
use crate::healthcare::config::HealthcareConfig;
use crate::healthcare::graph::{ALERTS, BRONZE, JOB, LATE_EVENTS, QUARANTINE, SILVER};

/// A day, summed up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The day in numbers.
    pub day: DaySummary,
    /// Every table as it is now.
    pub tables: BTreeMap<String, TableState>,
    /// Checkpoints that were published on the day.
    pub checkpoints: u64,
    /// The newest of all.
    pub newest_checkpoint: Option<u64>,
    /// Changes of alerts of the day, by rule and state; absent without a table of alerts.
    pub alerts: Option<BTreeMap<String, u64>>,
}

/// A table as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableState {
    /// Its newest version.
    pub version: u64,
    /// Its files.
    pub files: u64,
    /// Its rows; absent when a file says nothing about them.
    pub rows: Option<u64>,
}

impl Report {
    /// Sums up a day of the tables below `place`.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn of(place: &Place, config: &HealthcareConfig, day: Day) -> Result<Self> {
        let reader = DeltaReader::at(place, &Access::from_environment())?;
        let summary = collect(&reader, day, day.end(), &config.quality, &config.ranges)?;
        let mut tables = BTreeMap::new();
        let gold = GOLD.iter().map(|table| table.path);
        for name in [BRONZE, SILVER, QUARANTINE, LATE_EVENTS, CUTS, ALERTS].into_iter().chain(gold)
        {
            if let Some(open) = reader.open(name)? {
                let (version, rows) = (open.version(), open.rows());
                let state = TableState { version, files: open.files() as u64, rows };
                tables.insert(name.to_owned(), state);
            }
        }
        Ok(Self {
            day: summary,
            tables,
            checkpoints: published(&reader, day)?,
            newest_checkpoint: reader.newest_cut(JOB)?.map(|cut| cut.checkpoint.0),
            alerts: alerts(&reader, day)?,
        })
    }

    /// Whether nothing at all happened on the day.
    pub fn is_empty(&self) -> bool {
        self.day.events + self.day.received + self.checkpoints == 0
    }

    /// A table without which nothing is known of a day, and which is not there or cannot be read.
    pub fn unread(&self) -> Option<&'static str> {
        let breaks = |table: &str| self.day.drift.get(table).is_none_or(Drift::breaks);
        [SILVER, BRONZE].into_iter().find(|table| breaks(table))
    }

    /// The report as a page.
    pub fn html(&self) -> String {
        let day = &self.day;
        let counted = |map: &BTreeMap<String, u64>| map.clone().into_iter();
        let numbers = [
            ("events", day.events),
            ("patients", day.patients),
            ("events too late for gold", day.late),
            ("events that are there again", day.repeated),
            ("messages that arrived", day.received),
            ("messages that were rejected", day.rejected),
            ("checkpoints published", self.checkpoints),
        ];
        let row = |(name, state): (&String, &TableState)| {
            let rows = state.rows.map_or_else(|| "unknown".to_owned(), |rows| rows.to_string());
            vec![name.clone(), rows, state.files.to_string(), state.version.to_string()]
        };
        let mut tables = vec![
            Table::of("The day", numbers),
            Table::of("Events by kind", counted(&day.kinds)),
            Table::of("Rejected, by reason", counted(&day.reasons)),
            Table::of("Rows of gold of the day", counted(&day.gold)),
            Table {
                heading: "Tables as they are now",
                columns: vec!["table", "rows", "files", "version"],
                rows: self.tables.iter().map(row).collect(),
            },
        ];
        if let Some(alerts) = &self.alerts {
            tables.push(Table::of("Alerts, by rule and state", counted(alerts)));
        }
        let title = format!("Report of {}", day.date);
        Page { title, verdict: "", tables }.render()
    }
}

fn published(reader: &DeltaReader, day: Day) -> Result<u64> {
    let mut count = 0;
    if let Some(cuts) = reader.open(CUTS)? {
        cuts.scan(&[CUT_JOB.name()], Some((COMMITTED_AT, day.range())), |batch| {
            let jobs = column_of(&batch, CUT_JOB)?;
            count += jobs.iter().filter(|job| *job == Some(JOB)).count() as u64;
            Ok(())
        })?;
    }
    Ok(count)
}

fn alerts(reader: &DeltaReader, day: Day) -> Result<Option<BTreeMap<String, u64>>> {
    let Some(table) = reader.open(ALERTS)? else { return Ok(None) };
    let mut count: BTreeMap<String, u64> = BTreeMap::new();
    let columns = [AlertEvent::RULE.name(), AlertEvent::STATE.name()];
    table.scan(&columns, Some((AlertEvent::EVENT_TIME, day.range())), |batch| {
        let rules = column_of(&batch, AlertEvent::RULE)?;
        let states = column_of(&batch, AlertEvent::STATE)?;
        for (rule, state) in rules.iter().flatten().zip(states.iter().flatten()) {
            *count.entry(format!("{rule}: {state}")).or_default() += 1;
        }
        Ok(())
    })?;
    Ok(Some(count))
}
