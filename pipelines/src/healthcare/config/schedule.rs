//! When `healthcare schedule` does what: cron expressions, UTC.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use serde::{Deserialize, Serialize};
use thalweg_core::{Error, Result};

/// Cron expressions of five fields, or six with seconds first; empty: never.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSection {
    /// `healthcare maintain`.
    pub maintain: String,
    /// `healthcare refresh` of the day before.
    pub refresh: String,
    /// `healthcare quality` of the day before.
    pub quality: String,
    /// `healthcare report` of the day before.
    pub report: String,
    /// `healthcare monitor`.
    pub monitor: String,
    /// Folder for the reports.
    pub out: String,
    /// How long a command may run before it is terminated; zero: as long as it likes.
    #[serde(with = "humantime_serde")]
    pub time_limit: Duration,
}

impl Default for ScheduleSection {
    fn default() -> Self {
        Self {
            maintain: String::new(),
            refresh: "10 1 * * *".to_owned(),
            quality: "20 1 * * *".to_owned(),
            report: "40 1 * * *".to_owned(),
            monitor: "*/5 * * * *".to_owned(),
            out: "reports".to_owned(),
            time_limit: Duration::from_hours(6),
        }
    }
}

impl ScheduleSection {
    /// Every command that is scheduled, by name, and when.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] naming the setting that is no cron expression.
    pub fn entries(&self) -> Result<Vec<(&'static str, Cron)>> {
        let settings = [
            ("maintain", &self.maintain),
            ("refresh", &self.refresh),
            ("quality", &self.quality),
            ("report", &self.report),
            ("monitor", &self.monitor),
        ];
        let parser = CronParser::builder().seconds(Seconds::Optional).build();
        let given = settings.into_iter().filter(|(_, text)| !text.trim().is_empty());
        given
            .map(|(name, text)| {
                let cron = parser.parse(text).map_err(|_| {
                    Error::config(format!(
                        "schedule.{name} is no cron expression such as 20 1 * * *"
                    ))
                });
                cron.map(|cron| (name, cron))
            })
            .collect()
    }

    /// Refuses what is no cron expression.
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub fn check(&self) -> Result<()> {
        self.entries().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_expression_is_never_and_a_wrong_one_is_named() {
        let names = |section: &ScheduleSection| {
            section.entries().map(|all| all.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        let section = ScheduleSection::default();
        assert_eq!(names(&section).unwrap(), ["refresh", "quality", "report", "monitor"]);
        let seconds = ScheduleSection { maintain: "*/10 * * * * *".to_owned(), ..section.clone() };
        assert_eq!(names(&seconds).unwrap().len(), 5);
        let wrong = ScheduleSection { report: "at noon".to_owned(), ..section };
        assert!(names(&wrong).unwrap_err().to_string().contains("schedule.report"));
    }
}
