//! How bad it is.

use serde::{Deserialize, Serialize};

/// How bad what an alert tells is; ordered.
///
/// ```
/// use thalweg_operators::alert::Severity;
/// assert!(Severity::Critical > Severity::Warning);
/// assert_eq!(Severity::Warning.worse(), Some(Severity::Critical));
/// assert_eq!(Severity::Warning.as_str(), "warning");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a look at some time.
    Info,
    /// Someone should look soon.
    Warning,
    /// Someone must come now.
    Critical,
}

impl Severity {
    /// Its name in tables, messages and configuration files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The next step up; there is none above critical.
    pub const fn worse(self) -> Option<Self> {
        match self {
            Self::Info => Some(Self::Warning),
            Self::Warning => Some(Self::Critical),
            Self::Critical => None,
        }
    }
}
