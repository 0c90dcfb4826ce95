//! How bad an open alert is: as people are told, and as its readings say.

use serde::{Deserialize, Serialize};

use super::Severity;

/// What people are told is the worst that a reading said, or worse where nobody looked after it for too long. Kept apart,
/// so that a reading which says worse than those before fires again, whatever time has made of the alert meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(super) struct Level {
    /// The worst that a reading said.
    read: Severity,
    /// Never less.
    told: Severity,
}

/// In a checkpoint, where a severity stood before there were two: its numbers mean what they meant. New ones stand behind
/// them.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Stored {
    Info,
    Warning,
    Critical,
    InfoToldAsWarning,
    InfoToldAsCritical,
    WarningToldAsCritical,
}

impl Level {
    /// As the first reading says.
    pub(super) fn of(severity: Severity) -> Self {
        Self { read: severity, told: severity }
    }

    /// The worst that a reading said.
    pub(super) fn read(self) -> Severity {
        self.read
    }

    /// What people are told.
    pub(super) fn told(self) -> Severity {
        self.told
    }

    /// A reading says so.
    pub(super) fn learn(&mut self, severity: Severity) {
        self.read = self.read.max(severity);
        self.raise(severity);
    }

    /// People are to be told no less.
    pub(super) fn raise(&mut self, severity: Severity) {
        self.told = self.told.max(severity);
    }
}

impl From<Stored> for Level {
    fn from(stored: Stored) -> Self {
        use Severity::{Critical, Info, Warning};
        let (read, told) = match stored {
            Stored::Info => (Info, Info),
            Stored::Warning => (Warning, Warning),
            Stored::Critical => (Critical, Critical),
            Stored::InfoToldAsWarning => (Info, Warning),
            Stored::InfoToldAsCritical => (Info, Critical),
            Stored::WarningToldAsCritical => (Warning, Critical),
        };
        Self { read, told }
    }
}

impl From<Level> for Stored {
    fn from(level: Level) -> Self {
        use Severity::{Critical, Info, Warning};
        match (level.read, level.told) {
            (Info, Info) => Self::Info,
            (Info, Warning) => Self::InfoToldAsWarning,
            (Info, Critical) => Self::InfoToldAsCritical,
            (Warning, Critical) => Self::WarningToldAsCritical,
            (Warning, _) => Self::Warning,
            (Critical, _) => Self::Critical,
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::state::codec;

    use super::*;

    const ALL: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

    #[test]
    fn what_was_stored_as_a_severity_is_read_as_what_readings_said() {
        for severity in ALL {
            let before = codec::encode(1, &severity).unwrap();
            assert_eq!(codec::encode(1, &Level::of(severity)).unwrap(), before);
            assert_eq!(codec::decode::<Level>(1, &before).unwrap(), Level::of(severity));
        }
    }

    #[test]
    fn what_time_has_raised_is_stored_as_that() {
        for read in ALL {
            for told in ALL {
                let mut level = Level::of(read);
                level.raise(told);
                assert_eq!((level.read(), level.told()), (read, told.max(read)));
                let stored = codec::encode(1, &level).unwrap();
                assert_eq!(codec::decode::<Level>(1, &stored).unwrap(), level);
            }
        }
    }
}
