//! The vitals that rules can watch.

use serde::{Deserialize, Serialize};

use super::news2;

/// A numeric column of an event, by its name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vital {
    /// Beats per minute.
    HeartRate,
    /// mmHg.
    Systolic,
    /// mmHg.
    Diastolic,
    /// Degrees Fahrenheit.
    Temperature,
    /// Oxygen saturation in percent.
    Spo2,
    /// Breaths per minute.
    RespiratoryRate,
}

impl Vital {
    /// All of them, in the order in which a patient's state keeps them: it never changes.
    pub const ALL: [Self; 6] = [
        Self::HeartRate,
        Self::Systolic,
        Self::Diastolic,
        Self::Temperature,
        Self::Spo2,
        Self::RespiratoryRate,
    ];

    /// The column's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HeartRate => "heart_rate",
            Self::Systolic => "systolic",
            Self::Diastolic => "diastolic",
            Self::Temperature => "temperature",
            Self::Spo2 => "spo2",
            Self::RespiratoryRate => "respiratory_rate",
        }
    }

    /// A value as the chart of NEWS2 has it, by which limits are judged as well: whole numbers, and a temperature in tenths
    /// of a degree Celsius.
    #[inline]
    pub fn charted(self, value: f64) -> f64 {
        match self {
            Self::Temperature => news2::tenths_of_celsius(value),
            Self::HeartRate
            | Self::Systolic
            | Self::Diastolic
            | Self::Spo2
            | Self::RespiratoryRate => value.round(),
        }
    }
}
