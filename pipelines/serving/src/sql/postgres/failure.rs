//! What a client is told when something fails: a code and a line, never a value of a record.
//!
//! While a query is planned only its own text and the names that the role may see are at hand, so the planner's words are
//! passed on. Once rows are read the libraries' words can quote them ("cannot cast string '…'"): only the kind is told.

use std::error::Error as StdError;
use std::fmt;

use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use pgwire::error::{ErrorInfo, PgWireError};

/// An error as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// SQLSTATE.
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Told {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A statement that would change something.
    pub(super) fn read_only() -> Self {
        Self::new("25006", "this server is read-only: it answers queries")
    }

    /// The planner refused.
    pub(super) fn planning(error: &DataFusionError) -> Self {
        let root = error.find_root();
        if let Some(told) = Self::inside(root) {
            return told;
        }
        let text = one_line(&root.strip_backtrace());
        let code = match root {
            DataFusionError::SQL(..) => "42601",
            DataFusionError::NotImplemented(_) => "0A000",
            DataFusionError::SchemaError(error, _) => match error.as_ref() {
                SchemaError::FieldNotFound { .. } => "42703",
                SchemaError::AmbiguousReference { .. } => "42702",
                _ => "42000",
            },
            DataFusionError::ArrowError(..)
            | DataFusionError::Execution(_)
            | DataFusionError::IoError(_)
            | DataFusionError::ObjectStore(_)
            | DataFusionError::ParquetError(_)
            | DataFusionError::External(_) => return Self::execution(error),
            _ if text.contains("not found") && text.contains("table") => "42P01",
            _ if text.contains("Invalid function") => "42883",
            _ => "42000",
        };
        Self::new(code, text)
    }

    /// Reading or computing failed.
    pub(super) fn execution(error: &DataFusionError) -> Self {
        let root = error.find_root();
        if let Some(told) = Self::inside(root) {
            return told;
        }
        match root {
            DataFusionError::ArrowError(error, _) => Self::arrow(error),
            DataFusionError::ResourcesExhausted(_) => Self::new(
                "53200",
                "the query needs more memory than this server gives: select fewer rows or columns",
            ),
            DataFusionError::NotImplemented(_) => {
                Self::new("0A000", "the query uses what is not supported here")
            }
            DataFusionError::IoError(_)
            | DataFusionError::ObjectStore(_)
            | DataFusionError::ParquetError(_)
            | DataFusionError::External(_) => Self::new(
                "58030",
                "a file of the table cannot be read: an old version's files may have been removed",
            ),
            _ => Self::new("XX000", "the query failed while it was computed"),
        }
    }

    fn arrow(error: &ArrowError) -> Self {
        match error {
            ArrowError::CastError(_) | ArrowError::ParseError(_) => {
                Self::new("22P02", "a value cannot be converted to the type that is asked for")
            }
            ArrowError::DivideByZero => Self::new("22012", "division by zero"),
            ArrowError::ArithmeticOverflow(_) => {
                Self::new("22003", "a number is too large for its type")
            }
            _ => Self::new("XX000", "the query failed while it was computed"),
        }
    }

    /// One of ours that a library passed on.
    fn inside(error: &DataFusionError) -> Option<Self> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(error) = next {
            if let Some(told) = error.downcast_ref::<Self>() {
                return Some(told.clone());
            }
            next = error.source();
        }
        None
    }
}

/// The first line that says something.
fn one_line(text: &str) -> String {
    text.lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("the query cannot be planned")
        .to_owned()
}

impl From<thalweg_core::Error> for Told {
    fn from(error: thalweg_core::Error) -> Self {
        let code = match error.kind() {
            thalweg_core::ErrorKind::InvalidConfig => "22023",
            _ => "58030",
        };
        Self::new(code, error.to_string())
    }
}

impl From<Told> for ErrorInfo {
    fn from(told: Told) -> Self {
        Self::new("ERROR".to_owned(), told.code.to_owned(), told.message)
    }
}

impl From<Told> for PgWireError {
    fn from(told: Told) -> Self {
        Self::UserError(Box::new(told.into()))
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Told {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_a_library_quotes_is_not_passed_on() {
        let secret = "Cannot cast string 'Zoe Quimby' to value of Int64 type";
        let error =
            DataFusionError::ArrowError(Box::new(ArrowError::CastError(secret.to_owned())), None);
        for told in [Told::execution(&error), Told::planning(&error)] {
            assert_eq!(told.code, "22P02");
            assert!(!told.message.contains("Quimby"));
        }
        for error in [
            DataFusionError::Execution(secret.to_owned()),
            DataFusionError::Internal(secret.to_owned()),
            DataFusionError::External(secret.into()),
        ] {
            assert!(!Told::execution(&error.context(secret)).message.contains("Quimby"));
        }
    }

    #[test]
    fn an_error_of_ours_keeps_its_words() {
        let ours = Told::new("22023", "there is no version 9 of table t");
        let error = DataFusionError::External(Box::new(ours.clone())).context("opening");
        assert_eq!(Told::planning(&error), ours);
    }
}
