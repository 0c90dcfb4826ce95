//! What the tables of two folders hold, compared by a hash of each row: hundreds of folders are compared with one.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_cast::display::{ArrayFormatter, FormatOptions};

use super::{ALERTS, TABLES, VOLATILE, batches};

/// How many of the rows that differ are named.
const NAMED: usize = 5;

/// What every table of a folder holds.
pub(crate) struct AllRows(Vec<(&'static str, Vec<Row>)>);

impl AllRows {
    pub(crate) fn of(data: &Path) -> Self {
        let tables = TABLES.into_iter().chain([ALERTS]);
        Self(tables.map(|table| (table, hashed(data, table))).collect())
    }

    /// The folder holds the same rows in every table, and the same alerts, if there are any.
    pub(crate) fn assert_same(&self, found: &Path) {
        let differences = self.differences(found);
        assert!(differences.is_empty(), "{}: {differences:#?}", found.display());
    }

    /// A line for each table that differs: how many rows, and where some of them are.
    pub(crate) fn differences(&self, found: &Path) -> Vec<String> {
        let mut lines = Vec::new();
        for (table, expected) in &self.0 {
            let found = hashed(found, table);
            if expected.iter().map(|row| row.hash).eq(found.iter().map(|row| row.hash)) {
                continue;
            }
            let (lost, more) = (without(expected, &found), without(&found, expected));
            lines.push(format!(
                "{table}: {} lost{}, {} doubled or new{}",
                lost.len(),
                named(&lost),
                more.len(),
                named(&more)
            ));
        }
        lines
    }
}

/// Both folders hold the same rows in every table, and the same alerts, if there are any.
pub(crate) fn assert_same_tables(expected: &Path, found: &Path) {
    AllRows::of(expected).assert_same(found);
}

struct Row {
    /// Of 128 bits: rows that differ have others.
    hash: u128,
    /// Its number in the table.
    number: usize,
    /// Partition and offset of its message, where the table has them.
    message: Option<(i32, i64)>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message {
            Some((partition, offset)) => write!(f, "partition {partition} offset {offset}"),
            None => write!(f, "row {}", self.number),
        }
    }
}

/// Those of `rows` that are not among `others`, each as often as it is missing.
fn without<'a>(rows: &'a [Row], others: &[Row]) -> Vec<&'a Row> {
    let mut left: HashMap<u128, usize> = HashMap::new();
    for row in others {
        *left.entry(row.hash).or_default() += 1;
    }
    let is_missing = |row: &&Row| match left.get_mut(&row.hash) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    rows.iter().filter(is_missing).collect()
}

/// Where some of the rows are. No value of theirs is told.
fn named(rows: &[&Row]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut names: Vec<String> = rows.iter().take(NAMED).map(ToString::to_string).collect();
    if rows.len() > NAMED {
        names.push("...".to_owned());
    }
    format!(" ({})", names.join("; "))
}

/// The rows of a table in the order of their hashes. Floating point is rounded to nine digits: the order in which means
/// are summed is not promised.
fn hashed(data: &Path, table: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let options = FormatOptions::default();
    let mut bytes = Vec::new();
    for batch in batches(&data.join(table)) {
        let columns = columns(&batch, &options);
        let partitions = batch.column_by_name("partition");
        let partitions = partitions.and_then(|c| c.as_primitive_opt::<Int32Type>());
        let offsets = batch.column_by_name("offset");
        let offsets = offsets.and_then(|c| c.as_primitive_opt::<Int64Type>());
        for row in 0..batch.num_rows() {
            bytes.clear();
            for column in &columns {
                column.append(row, &mut bytes);
            }
            let message = partitions.zip(offsets).map(|(p, o)| (p.value(row), o.value(row)));
            rows.push(Row { hash: hash(&bytes), number: rows.len(), message });
        }
    }
    rows.sort_unstable_by_key(|row| row.hash);
    rows
}

fn hash(bytes: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(bytes);
        u128::from(hasher.finish())
    };
    (half(0) << 64) | half(1)
}

/// The columns of which an undisturbed run has the same values.
fn columns<'a>(batch: &'a RecordBatch, options: &FormatOptions<'a>) -> Vec<Column<'a>> {
    let schema = batch.schema_ref();
    let compared = schema.fields().iter().zip(batch.columns());
    let compared = compared.filter(|(field, _)| !VOLATILE.contains(&field.name().as_str()));
    compared.map(|(_, array)| Column::new(array.as_ref(), options)).collect()
}

struct Column<'a> {
    array: &'a dyn Array,
    cells: Cells<'a>,
}

enum Cells<'a> {
    Ints(&'a Int32Array),
    Longs(&'a Int64Array),
    Times(&'a TimestampMicrosecondArray),
    Floats(&'a Float64Array),
    Texts(&'a StringArray),
    /// Of types that few columns have: slow, but any.
    Others(ArrayFormatter<'a>),
}

impl<'a> Column<'a> {
    fn new(array: &'a dyn Array, options: &FormatOptions<'a>) -> Self {
        let cells = if let Some(ints) = array.as_primitive_opt::<Int32Type>() {
            Cells::Ints(ints)
        } else if let Some(longs) = array.as_primitive_opt::<Int64Type>() {
            Cells::Longs(longs)
        } else if let Some(times) = array.as_primitive_opt::<TimestampMicrosecondType>() {
            Cells::Times(times)
        } else if let Some(floats) = array.as_primitive_opt::<Float64Type>() {
            Cells::Floats(floats)
        } else if let Some(texts) = array.as_string_opt::<i32>() {
            Cells::Texts(texts)
        } else {
            Cells::Others(ArrayFormatter::try_new(array, options).unwrap())
        };
        Self { array, cells }
    }

    /// Appends a cell, so that other cells are other bytes whatever stands beside them.
    fn append(&self, row: usize, to: &mut Vec<u8>) {
        let is_valid = self.array.is_valid(row);
        to.push(u8::from(is_valid));
        if !is_valid {
            return;
        }
        match &self.cells {
            Cells::Ints(ints) => to.extend_from_slice(&ints.value(row).to_le_bytes()),
            Cells::Longs(longs) => to.extend_from_slice(&longs.value(row).to_le_bytes()),
            Cells::Times(times) => to.extend_from_slice(&times.value(row).to_le_bytes()),
            Cells::Floats(floats) => append_text(&format!("{:.9e}", floats.value(row)), to),
            Cells::Texts(texts) => append_text(texts.value(row), to),
            Cells::Others(others) => append_text(&others.value(row).to_string(), to),
        }
    }
}

fn append_text(text: &str, to: &mut Vec<u8>) {
    to.extend_from_slice(&text.len().to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}
