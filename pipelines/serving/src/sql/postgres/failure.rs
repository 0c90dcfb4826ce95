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
            _ if text.contains("Invalid function 'array'") => {
                return Self::new(
                    "0A000",
                    "ARRAY(SELECT …) takes a plain SELECT of one column, in whose ORDER BY the column stands once at most, and \
                     not if there is a query in it",
                );
            }
            _ if text.contains("Invalid function") => "42883",
            _ => "42000",
        };
        Self::new(code, text)
    }

    /// The planner refused after all: it looks at types last. Files may have been looked at by then, so that only what it
    /// says about the query itself is passed on.
    pub(super) fn typing(error: &DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::Plan(_) | DataFusionError::SchemaError(..) => Self::planning(error),
            _ => Self::execution(error),
        }
    }

    /// Reading or computing failed.
    pub(super) fn execution(error: &DataFusionError) -> Self {
        let root = error.find_root();
        if let Some(told) = Self::inside(root) {
            return told;
        }
        if let Some(error) = Self::find::<ArrowError>(root)
            && let Some(told) = Self::conversion(error)
        {
            return told;
        }
        match root {
            DataFusionError::Execution(text) if text.starts_with(MORE_ROWS) => {
                Self::new("21000", "a subquery that stands for a value has more than one row")
            }
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

    /// A value is not what the query takes it for. Where a condition is checked while a file is read, the error of its
    /// values comes as one of that file's.
    fn conversion(error: &ArrowError) -> Option<Self> {
        Some(match error {
            ArrowError::CastError(_) | ArrowError::ParseError(_) => {
                Self::new("22P02", "a value cannot be converted to the type that is asked for")
            }
            ArrowError::ComputeError(text) if text.starts_with(CONDITION) => {
                Self::new("22000", "a condition cannot be computed: do its values have one type?")
            }
            ArrowError::DivideByZero => Self::new("22012", "division by zero"),
            ArrowError::ArithmeticOverflow(_) => {
                Self::new("22003", "a number is too large for its type")
            }
            _ => return None,
        })
    }

    /// One of ours that a library passed on.
    fn inside(error: &DataFusionError) -> Option<Self> {
        Self::find::<Self>(error).cloned()
    }

    /// An error of a kind among those that led to this one.
    fn find<E: StdError + 'static>(error: &DataFusionError) -> Option<&E> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<E>() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

/// How `DataFusion` begins to tell of it.
const CONDITION: &str = "Error evaluating filter predicate";

/// And of a subquery that has no one value.
const MORE_ROWS: &str = "Scalar subquery returned more than one row";

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

impl From<Told> for DataFusionError {
    fn from(told: Told) -> Self {
        Self::External(Box::new(told))
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
        let condition = ArrowError::ComputeError(format!("{CONDITION}: {secret}"));
        let told = Told::execution(&DataFusionError::External(Box::new(condition)));
        assert_eq!(told.code, "22000");
        assert!(!told.message.contains("Quimby"));
        assert_eq!(Told::typing(&error).code, "22P02");
        assert_eq!(Told::typing(&DataFusionError::Plan("no".to_owned())).code, "42000");
        for error in [
            DataFusionError::Execution(secret.to_owned()),
            DataFusionError::Internal(secret.to_owned()),
            DataFusionError::External(secret.into()),
        ] {
            assert!(!Told::execution(&error.context(secret)).message.contains("Quimby"));
        }
    }

    #[test]
    fn a_subquery_of_many_rows_is_no_value() {
        let error = DataFusionError::Execution(MORE_ROWS.to_owned()).context("x");
        assert_eq!(Told::execution(&error).code, "21000");
    }

    #[test]
    fn an_error_of_ours_keeps_its_words() {
        let ours = Told::new("22023", "there is no version 9 of table t");
        let error = DataFusionError::External(Box::new(ours.clone())).context("opening");
        assert_eq!(Told::planning(&error), ours);
    }
}
