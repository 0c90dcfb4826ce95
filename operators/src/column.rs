//! How a pipeline names a column to an operator.

use thalweg_core::record::{Column, ColumnName};

/// Whatever names a column: a typed constant of a record, or a plain name.
///
/// ```
/// use thalweg_core::record::{Column, Float64};
/// use thalweg_operators::ColumnRef;
/// const HEART_RATE: Column<Float64> = Column::nullable("heart_rate");
/// assert_eq!(HEART_RATE.column_name(), "heart_rate".column_name());
/// ```
pub trait ColumnRef {
    /// The column's name.
    fn column_name(self) -> &'static str;
}

impl ColumnRef for &'static str {
    fn column_name(self) -> &'static str {
        self
    }
}

impl<T> ColumnRef for Column<T> {
    fn column_name(self) -> &'static str {
        self.name()
    }
}

impl ColumnRef for ColumnName {
    fn column_name(self) -> &'static str {
        self.0
    }
}
