//! Typed views of Arrow batches: a record type names its columns, a [`Column`] knows its Arrow type, and
//! [`Batch`] hands out typed arrays. Inside the engine everything is a plain `RecordBatch`.

mod fit;

use std::marker::PhantomData;
use std::sync::Arc;

use arrow_array::types::{
    ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, ListArray, PrimitiveArray, RecordBatch, StringArray,
};
use arrow_schema::{DataType, Field, TimeUnit};
pub use arrow_schema::{Schema, SchemaRef};

pub(crate) use fit::{is_read_as, misfits, retyped};

use crate::{Error, Result};

/// A Rust type that names the columns of a stream; made by `#[derive(Record)]`.
///
/// The sensitivities that a graph is checked with are those of its schemas, never those of the Rust type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a record",
    note = "add `#[derive(thalweg_core::Record)]` to the struct"
)]
pub trait Record: 'static {
    /// The columns, in order, sensitivities marked.
    fn schema() -> SchemaRef;

    /// The names of the columns, in the same order.
    const COLUMNS: &'static [&'static str];
}

/// Records of unknown columns, for operators written without a record type.
#[derive(Debug, Clone, Copy)]
pub struct Untyped;

/// Marker of a column's Rust-side type.
pub trait ColumnType: 'static {
    /// The Arrow array that holds it.
    type Array: Array + Clone + 'static;
    /// The Arrow type.
    fn data_type() -> DataType;
}

macro_rules! primitive_column {
    ($(#[$doc:meta])* $name:ident, $arrow:ty, $data_type:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl ColumnType for $name {
            type Array = PrimitiveArray<$arrow>;
            fn data_type() -> DataType {
                $data_type
            }
        }
    };
}

primitive_column!(/** 64-bit floating point. */ Float64, Float64Type, DataType::Float64);
primitive_column!(/** 64-bit integer. */ Int64, Int64Type, DataType::Int64);
primitive_column!(/** 32-bit integer. */ Int32, Int32Type, DataType::Int32);
primitive_column!(
    /** Event time: microseconds, UTC. */ Timestamp,
    TimestampMicrosecondType,
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
);

/// Text.
#[derive(Debug, Clone, Copy)]
pub struct Utf8;
impl ColumnType for Utf8 {
    type Array = StringArray;
    fn data_type() -> DataType {
        DataType::Utf8
    }
}

/// True or false.
#[derive(Debug, Clone, Copy)]
pub struct Boolean;
impl ColumnType for Boolean {
    type Array = BooleanArray;
    fn data_type() -> DataType {
        DataType::Boolean
    }
}

/// Bytes.
#[derive(Debug, Clone, Copy)]
pub struct Binary;
impl ColumnType for Binary {
    type Array = BinaryArray;
    fn data_type() -> DataType {
        DataType::Binary
    }
}

/// A list of texts.
#[derive(Debug, Clone, Copy)]
pub struct Utf8List;
impl ColumnType for Utf8List {
    type Array = ListArray;
    fn data_type() -> DataType {
        DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))
    }
}

/// A column of a record: its name, its type, and whether it may be null.
///
/// ```
/// use thalweg_core::record::{Column, Float64};
/// const HEART_RATE: Column<Float64> = Column::nullable("heart_rate");
/// assert_eq!(HEART_RATE.name(), "heart_rate");
/// ```
pub struct Column<T> {
    name: &'static str,
    nullable: bool,
    column_type: PhantomData<fn() -> T>,
}

impl<T> Clone for Column<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Column<T> {}

impl<T> std::fmt::Debug for Column<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Column({})", self.name)
    }
}

impl<T> Column<T> {
    /// A column without nulls.
    pub const fn required(name: &'static str) -> Self {
        Self { name, nullable: false, column_type: PhantomData }
    }

    /// A column that may hold nulls.
    pub const fn nullable(name: &'static str) -> Self {
        Self { name, nullable: true, column_type: PhantomData }
    }

    /// The column's name in every schema.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it may hold nulls.
    pub const fn is_nullable(&self) -> bool {
        self.nullable
    }
}

impl<T: ColumnType> Column<T> {
    /// The Arrow field, without a sensitivity.
    pub fn field(&self) -> Field {
        Field::new(self.name, T::data_type(), self.nullable)
    }
}

/// A column as operators keep it: name only, so that configurations need no type parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnName(pub &'static str);

impl<T> From<Column<T>> for ColumnName {
    fn from(column: Column<T>) -> Self {
        Self(column.name)
    }
}

/// A `RecordBatch` seen as records of type `R`.
pub struct Batch<R> {
    inner: RecordBatch,
    record: PhantomData<fn() -> R>,
}

impl<R> Clone for Batch<R> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), record: PhantomData }
    }
}

impl<R> std::fmt::Debug for Batch<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Schema and row count, never values.
        let names: Vec<_> =
            self.inner.schema_ref().fields().iter().map(|f| f.name().clone()).collect();
        write!(f, "Batch({} rows of {})", self.inner.num_rows(), names.join(", "))
    }
}

impl<R> Batch<R> {
    /// Looks at a batch as records of `R`; columns are checked when they are asked for.
    pub fn new(inner: RecordBatch) -> Self {
        Self { inner, record: PhantomData }
    }

    /// Rows.
    pub fn num_rows(&self) -> usize {
        self.inner.num_rows()
    }

    /// The Arrow batch.
    pub fn as_record_batch(&self) -> &RecordBatch {
        &self.inner
    }

    /// The Arrow batch.
    pub fn into_record_batch(self) -> RecordBatch {
        self.inner
    }

    /// A column as its typed array.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Internal`] when the batch lacks it, has another type there, or has nulls in a required
    /// column. The graph rules all three out for the columns of the records that sources and keyed operators name.
    pub fn column<T: ColumnType>(&self, column: Column<T>) -> Result<&T::Array> {
        column_of(&self.inner, column)
    }

    /// Splits the rows: first those where `mask` is true, then the others. Order is kept.
    pub fn partition(&self, mask: &BooleanArray) -> Result<(Self, Self)> {
        let wrong = |_| Error::internal("a mask of another length than its batch");
        let hit = arrow_select::filter::filter_record_batch(&self.inner, mask).map_err(wrong)?;
        let other: BooleanArray = mask.iter().map(|m| Some(!m.unwrap_or(false))).collect();
        let miss = arrow_select::filter::filter_record_batch(&self.inner, &other).map_err(wrong)?;
        Ok((Self::new(hit), Self::new(miss)))
    }
}

/// A typed column of an untyped batch; see [`Batch::column`].
pub fn column_of<T: ColumnType>(batch: &RecordBatch, column: Column<T>) -> Result<&T::Array> {
    let array: &ArrayRef = batch
        .column_by_name(column.name)
        .ok_or_else(|| Error::internal(format!("a batch lacks column `{}`", column.name)))?;
    let typed = array.as_any().downcast_ref::<T::Array>().ok_or_else(|| {
        Error::internal(format!("column `{}` has type {}", column.name, array.data_type()))
    })?;
    if !column.nullable && typed.null_count() > 0 {
        return Err(Error::internal(format!("required column `{}` has nulls", column.name)));
    }
    Ok(typed)
}

/// Helps the derive: a Rust field's type as a column.
pub trait FieldType {
    /// The column type.
    type Column: ColumnType;
    /// Whether the Rust type has a place for null.
    const NULLABLE: bool;
}

macro_rules! field_types {
    ($($rust:ty => $column:ty),* $(,)?) => { $(
        impl FieldType for $rust {
            type Column = $column;
            const NULLABLE: bool = false;
        }
        impl FieldType for Option<$rust> {
            type Column = $column;
            const NULLABLE: bool = true;
        }
    )* };
}

/// Rust-side stand-in for an event-time column in `#[derive(Record)]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub i64);

field_types! {
    f64 => Float64, i64 => Int64, i32 => Int32, bool => Boolean, String => Utf8,
    Micros => Timestamp, Vec<u8> => Binary, Vec<String> => Utf8List,
}

/// The Arrow primitive type of a column type; used by operators that compute on numbers.
pub trait Numeric: ColumnType {
    /// Arrow's type.
    type Primitive: ArrowPrimitiveType;
}
impl Numeric for Float64 {
    type Primitive = Float64Type;
}
impl Numeric for Int32 {
    type Primitive = Int32Type;
}
impl Numeric for Int64 {
    type Primitive = Int64Type;
}
