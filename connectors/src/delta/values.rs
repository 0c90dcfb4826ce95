//! Values that a table's log, or the name of a folder, would tell wrongly or not at all.
//!
//! The log has least and greatest days and times, and the values of partitions, as text: by a calendar that has a first and a
//! last day ([`crate::calendar`]). There an empty text is a null, and the folder of the rows without a value has a name that is
//! a text like any other. A file system takes no longer names than it takes.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use thalweg_core::{Error, ErrorKind, Result};

use crate::calendar::{READABLE, WRITABLE};

/// The folder of the rows that have no value.
const FOLDER_OF_NULLS: &str = "__HIVE_DEFAULT_PARTITION__";

/// The longest name of a folder, `column=text`, that file systems take, in bytes.
const LONGEST_FOLDER: usize = 255;

/// A record that cannot be stored. Its value is not told.
pub(super) fn unfit(table: &str, column: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidRecord, format!("column `{column}` of table `{table}` {why}"))
}

/// Where rows come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows {
    /// They are new: everybody must be able to read them.
    New,
    /// The table has them already: whatever years they are of, they must be able to move to another file.
    Kept,
}

/// Refuses a column with a day or a time that such rows must not have.
pub(super) fn check_times(table: &str, name: &str, column: &dyn Array, rows: Rows) -> Result<()> {
    let (calendar, why) = match rows {
        Rows::New => (READABLE, "has a day or a time outside of the years 1 to 9999"),
        // The log's statistics would be asked for its name: some panic, others fail for ever.
        Rows::Kept => (WRITABLE, "has a day or a time that no calendar has"),
    };
    if calendar.lacks_any_of(column) { Err(unfit(table, name, why)) } else { Ok(()) }
}

/// Refuses rows that a reader would find under another value of a column that makes folders, or that have no folder.
pub(super) fn check_folders(
    table: &str,
    batch: &RecordBatch,
    partition_by: &[String],
) -> Result<()> {
    for name in partition_by {
        let column = batch.column_by_name(name);
        if let Some(why) = column.and_then(|column| no_folder(name, column.as_ref())) {
            return Err(unfit(table, name, why));
        }
    }
    Ok(())
}

/// Why a value of this column makes no folder of its own, if there is one. Days were looked at before.
fn no_folder(name: &str, column: &dyn Array) -> Option<&'static str> {
    let longest = LONGEST_FOLDER.saturating_sub(name.len() + 1);
    column.as_string_opt::<i32>()?.iter().flatten().find_map(|text| match text {
        "" => Some("makes folders: a text must not be empty, readers would find a null"),
        FOLDER_OF_NULLS => Some("makes folders: a text must not be the name of that for nulls"),
        // It would fail as a disk does that may be mended, and be tried again for ever.
        text if 3 * text.len() > longest && encoded_bytes(text) > longest => Some(
            "makes folders: a text must not be so long that its folder's name is over 255 bytes",
        ),
        _ => None,
    })
}

/// How long a text is in the name of a folder, where three characters stand for each byte of most signs and of all letters
/// beyond ASCII.
fn encoded_bytes(text: &str) -> usize {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::schema;
    use super::*;
    use arrow_array::{Date32Array, StringArray};

    /// A table from before the years were looked at must be maintained all the same.
    #[test]
    fn rows_of_the_year_0_are_not_appended_but_can_move_to_another_file() {
        let days = Date32Array::from(vec![-719_163]);
        let batch = RecordBatch::try_from_iter([("day", Arc::new(days) as _)]).unwrap();
        let file = schema::file_schema("t", &batch.schema()).unwrap();
        schema::conform("t", &batch, &file, Rows::Kept).unwrap();
        let error = schema::conform("t", &batch, &file, Rows::New).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRecord, "{error}");
    }

    #[test]
    fn a_text_whose_folder_would_have_too_long_a_name_makes_none() {
        let why = |name: &str, text: &str| no_folder(name, &StringArray::from(vec![text]));
        // With `value=` they are 255 bytes.
        for fits in ["x".repeat(249), "ü".repeat(41), "a/b".repeat(49)] {
            assert_eq!(why("value", &fits), None, "{}", fits.len());
        }
        for long in ["x".repeat(250), "ü".repeat(42), "a/b".repeat(50)] {
            assert!(why("value", &long).is_some_and(|why| why.contains("255")), "{}", long.len());
        }
        assert!(why(&"v".repeat(255), "x").is_some());
    }
}
