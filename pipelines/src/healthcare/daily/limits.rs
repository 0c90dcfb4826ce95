//! When the data of a day are good: the limits of its checks.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_core::{Error, Record, Result};

use crate::healthcare::record::Silver;

/// The limits of the checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QualitySection {
    /// Columns of silver that events of kind `vitals` should have.
    pub complete: Vec<String>,
    /// The share of them that should, at least.
    pub complete_warn: f64,
    /// Fewer fail.
    pub complete_fail: f64,
    /// The share of the day's messages that may be rejected.
    pub rejected_warn: f64,
    /// More fail.
    pub rejected_fail: f64,
    /// The share of events that may be there again.
    pub repeated_warn: f64,
    /// More fail.
    pub repeated_fail: f64,
    /// The share of events that may be too late for gold.
    pub late_warn: f64,
    /// More fail.
    pub late_fail: f64,
    /// How many days before the median is taken of.
    pub volume_days: u32,
    /// By how much the number of events may differ from the median: 0.5 is half or double.
    pub volume_warn: f64,
    /// More fails.
    pub volume_fail: f64,
    /// How long before the day's end, or now, the last event may have happened.
    #[serde(with = "humantime_serde")]
    pub fresh_warn: Duration,
    /// Longer fails; too little volume does so once a day is older than that.
    #[serde(with = "humantime_serde")]
    pub fresh_fail: Duration,
}

impl Default for QualitySection {
    fn default() -> Self {
        let complete = [
            Silver::HEART_RATE.name(),
            Silver::SYSTOLIC.name(),
            Silver::DIASTOLIC.name(),
            Silver::TEMPERATURE.name(),
        ];
        Self {
            complete: complete.map(str::to_owned).to_vec(),
            complete_warn: 0.95,
            complete_fail: 0.8,
            rejected_warn: 0.05,
            rejected_fail: 0.2,
            repeated_warn: 0.0,
            repeated_fail: 0.01,
            late_warn: 0.05,
            late_fail: 0.25,
            volume_days: 7,
            volume_warn: 0.5,
            volume_fail: 0.1,
            fresh_warn: Duration::from_mins(15),
            fresh_fail: Duration::from_hours(2),
        }
    }
}

impl QualitySection {
    /// Refuses limits that make no sense.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] naming the setting.
    pub fn check(&self) -> Result<()> {
        let unknown = |name: &&String| !Silver::COLUMNS.contains(&name.as_str());
        if let Some(none) = self.complete.iter().find(unknown) {
            return Err(Error::config(format!("quality.complete: silver has no column {none}")));
        }
        for (name, share) in [
            ("complete_warn", self.complete_warn),
            ("complete_fail", self.complete_fail),
            ("rejected_warn", self.rejected_warn),
            ("rejected_fail", self.rejected_fail),
            ("repeated_warn", self.repeated_warn),
            ("repeated_fail", self.repeated_fail),
            ("late_warn", self.late_warn),
            ("late_fail", self.late_fail),
            ("volume_warn", self.volume_warn),
            ("volume_fail", self.volume_fail),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::config(format!("quality.{name} must be between 0 and 1")));
            }
        }
        if self.volume_warn == 0.0 || self.volume_fail == 0.0 {
            return Err(Error::config("quality.volume_warn and volume_fail must be more than 0"));
        }
        if !(1..=366).contains(&self.volume_days) {
            return Err(Error::config("quality.volume_days must be between 1 and 366"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        for wrong in [
            QualitySection { complete_warn: 1.5, ..QualitySection::default() },
            QualitySection { late_fail: f64::NAN, ..QualitySection::default() },
            QualitySection { volume_days: 0, ..QualitySection::default() },
            QualitySection { complete: vec!["heartrate".to_owned()], ..QualitySection::default() },
        ] {
            assert!(wrong.check().is_err());
        }
        assert!(QualitySection::default().check().is_ok());
    }
}
