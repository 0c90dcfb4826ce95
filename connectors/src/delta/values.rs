//! Values that a table's log, or the name of a folder, would tell wrongly or not at all.
//!
//! The log has least and greatest days, and the values of partitions, as text: by a calendar that has a first and a last
//! day. There an empty text is a null, and the folder of the rows without a value has a name that is a text like any other.

use std::ops::RangeInclusive;

use arrow_array::cast::AsArray;
use arrow_array::types::Date32Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use thalweg_core::{Error, ErrorKind, Result};

/// From 1 January -262143 to 31 December 262142, the calendar that all of Delta's crates share.
const DAYS: RangeInclusive<i32> = -96_465_292..=95_026_236;

/// The folder of the rows that have no value.
const FOLDER_OF_NULLS: &str = "__HIVE_DEFAULT_PARTITION__";

/// A record that cannot be stored. Its value is not told.
pub(super) fn unfit(table: &str, column: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidRecord, format!("column `{column}` of table `{table}` {why}"))
}

/// Whether a column has, at any depth, a day that the calendar has not.
pub(super) fn has_impossible_day(column: &dyn Array) -> bool {
    match column.data_type() {
        DataType::Date32 => {
            let mut days = column.as_primitive::<Date32Type>().iter().flatten();
            days.any(|day| !DAYS.contains(&day))
        }
        DataType::Struct(_) => {
            column.as_struct().columns().iter().any(|inner| has_impossible_day(inner.as_ref()))
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            // A part of a batch has the values of the whole.
            let [first, .., last] = list.value_offsets() else { return false };
            let values = list.values().slice(*first as usize, (last - first) as usize);
            has_impossible_day(values.as_ref())
        }
        _ => false,
    }
}

/// Refuses rows that a reader would find under another value of a column that makes folders.
pub(super) fn check_folders(
    table: &str,
    batch: &RecordBatch,
    partition_by: &[String],
) -> Result<()> {
    for name in partition_by {
        let column = batch.column_by_name(name);
        if let Some(why) = column.and_then(|column| no_folder(column.as_ref())) {
            return Err(unfit(table, name, why));
        }
    }
    Ok(())
}

/// Why a value of this column makes no folder of its own, if there is one. Days were looked at before.
fn no_folder(column: &dyn Array) -> Option<&'static str> {
    column.as_string_opt::<i32>()?.iter().flatten().find_map(|text| match text {
        "" => Some("makes folders: a text must not be empty, readers would find a null"),
        FOLDER_OF_NULLS => Some("makes folders: a text must not be the name of that for nulls"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow_array::types::Int32Type;
    use arrow_array::{ArrayRef, Date32Array, ListArray, StructArray};
    use arrow_schema::Field;

    fn days(days: impl IntoIterator<Item = Option<i32>>) -> ArrayRef {
        Arc::new(days.into_iter().collect::<Date32Array>())
    }

    #[test]
    fn the_calendars_last_days_pass_and_those_behind_them_do_not() {
        let (first, last) = (*DAYS.start(), *DAYS.end());
        assert!(!has_impossible_day(&days([Some(first), None, Some(0), Some(last)])));
        for day in [first - 1, last + 1, i32::MIN, i32::MAX] {
            assert!(has_impossible_day(&days([Some(0), Some(day)])), "{day}");
        }
    }

    #[test]
    fn days_inside_of_structs_and_lists_count_where_the_rows_have_them() {
        let field = Arc::new(Field::new("day", DataType::Date32, true));
        let inner = days([Some(0), Some(i32::MAX)]);
        let pair = StructArray::from(vec![(field, inner)]);
        assert!(has_impossible_day(&pair));
        assert!(!has_impossible_day(&pair.slice(0, 1)));
        let numbers = [Some([Some(0)]), Some([Some(i32::MAX)]), Some([Some(1)])];
        let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>(numbers);
        let (_, offsets, values, nulls) = numbers.into_parts();
        let element = Arc::new(Field::new("element", DataType::Date32, true));
        let values = days(values.as_primitive::<Int32Type>().iter());
        let lists: ArrayRef = Arc::new(ListArray::new(element, offsets, values, nulls));
        assert!(has_impossible_day(&lists));
        assert!(!has_impossible_day(lists.slice(0, 1).as_ref()));
        assert!(!has_impossible_day(lists.slice(2, 1).as_ref()));
        assert!(!has_impossible_day(lists.slice(0, 0).as_ref()));
    }
}
