//! Days and times that can be told, and to whom.
//!
//! Arrow, its JSON and all of Delta's crates share a calendar that has a first and a last day: what lies beyond is written by
//! none of them, and a row that has it would be tried again for ever. Others read less of it: a year that has not four digits
//! is written with a sign in front, which no reader of tables or topics expects, and some know no year 0.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrowPrimitiveType};
use arrow_schema::{DataType, TimeUnit};

const DAY_SECONDS: i64 = 86_400;

/// Consecutive days, counted from the epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calendar {
    first: i64,
    last: i64,
}

/// What can be written: from 1 January -262143 to 31 December 262142. It holds for rows that a table has already.
pub(crate) const WRITABLE: Calendar = Calendar { first: -96_465_292, last: 95_026_236 };

/// What everybody can read: the years 1 to 9999. It holds for rows that are new.
pub(crate) const READABLE: Calendar = Calendar { first: -719_162, last: 2_932_896 };

/// Times that are read from texts: the years 1 to 9998, so that what is computed from one, the end of a window say, can be
/// told as well.
pub(crate) const READ: Calendar = Calendar { last: READABLE.last - 365, ..READABLE };

/// Times that rows come with: the years 2 to 9998. The first year is a sender's way to say none, and a window that has it may
/// begin before it.
pub(crate) const EVENT: Calendar = Calendar { first: READ.first + 365, ..READ };

impl Calendar {
    /// Its days.
    fn days(self) -> Range<i64> {
        self.first..self.last + 1
    }

    /// Its times, of which there are so many in a second.
    fn times(self, per_second: i64) -> Range<i64> {
        let day = DAY_SECONDS * per_second;
        let Range { start, end } = self.days();
        start * day..end * day
    }

    /// Whether it has this time, µs since the epoch.
    pub(crate) fn has_micros(self, micros: i64) -> bool {
        self.times(1_000_000).contains(&micros)
    }

    /// Whether a column has, at any depth, a day or a time that the calendar has not. Nanoseconds do not reach that far.
    pub(crate) fn lacks_any_of(self, column: &dyn Array) -> bool {
        match column.data_type() {
            DataType::Date32 => any_outside::<Date32Type>(column, &self.days()),
            DataType::Timestamp(TimeUnit::Second, _) => {
                any_outside::<TimestampSecondType>(column, &self.times(1))
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                any_outside::<TimestampMillisecondType>(column, &self.times(1_000))
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                any_outside::<TimestampMicrosecondType>(column, &self.times(1_000_000))
            }
            DataType::Struct(_) => {
                column.as_struct().columns().iter().any(|inner| self.lacks_any_of(inner.as_ref()))
            }
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                // A part of a batch has the values of the whole.
                let [first, .., last] = list.value_offsets() else { return false };
                let values = list.values().slice(*first as usize, (last - first) as usize);
                self.lacks_any_of(values.as_ref())
            }
            _ => false,
        }
    }
}

/// Whether a value of a column lies outside of a range.
fn any_outside<T>(column: &dyn Array, range: &Range<i64>) -> bool
where
    T: ArrowPrimitiveType,
    T::Native: Into<i64>,
{
    let column = column.as_primitive::<T>();
    // One comparison for both ends: what lies before the range is, without a sign, far behind it.
    let length = range.end.abs_diff(range.start);
    let is_outside = |value: T::Native| {
        let value: i64 = value.into();
        value.wrapping_sub(range.start) as u64 >= length
    };
    // Every row of every sink comes by, and hardly ever one that is outside: no branch at each, and none for nulls, whose place
    // may hold anything. Whether it was one of those is asked behind that.
    let any = column.values().iter().fold(false, |any, value| any | is_outside(*value));
    any && column.iter().flatten().any(is_outside)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow_array::types::Int32Type;
    use arrow_array::{
        ArrayRef, Date32Array, ListArray, StructArray, TimestampMicrosecondArray,
        TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
    };
    use arrow_buffer::NullBuffer;
    use arrow_schema::Field;

    fn days(days: impl IntoIterator<Item = Option<i32>>) -> ArrayRef {
        Arc::new(days.into_iter().collect::<Date32Array>())
    }

    #[test]
    fn a_calendars_last_days_pass_and_those_behind_them_do_not() {
        for calendar in [WRITABLE, READABLE, READ, EVENT] {
            let (first, last) = (calendar.first as i32, calendar.last as i32);
            assert!(!calendar.lacks_any_of(&days([Some(first), None, Some(0), Some(last)])));
            for day in [first - 1, last + 1, i32::MIN, i32::MAX] {
                assert!(calendar.lacks_any_of(&days([Some(0), Some(day)])), "{day}");
            }
        }
    }

    #[test]
    fn everybody_reads_the_years_that_have_four_digits() {
        let seconds = |text: &str| speedate::DateTime::parse_str(text).unwrap().timestamp_tz();
        let Range { start, end } = READABLE.times(1);
        assert_eq!(start, seconds("0001-01-01T00:00:00Z"));
        assert_eq!(end - 1, seconds("9999-12-31T23:59:59Z"));
        let Range { start, end } = EVENT.times(1);
        assert_eq!(start, seconds("0002-01-01T00:00:00Z"));
        assert_eq!(end - 1, seconds("9998-12-31T23:59:59Z"));
    }

    #[test]
    fn so_do_its_last_times_whatever_their_unit() {
        let column = |unit: TimeUnit, time: i64| -> ArrayRef {
            match unit {
                TimeUnit::Second => Arc::new(TimestampSecondArray::from(vec![0, time])),
                TimeUnit::Millisecond => Arc::new(TimestampMillisecondArray::from(vec![0, time])),
                TimeUnit::Microsecond => Arc::new(TimestampMicrosecondArray::from(vec![0, time])),
                TimeUnit::Nanosecond => Arc::new(TimestampNanosecondArray::from(vec![0, time])),
            }
        };
        let calendar = READABLE;
        for (unit, per_second) in [
            (TimeUnit::Second, 1),
            (TimeUnit::Millisecond, 1_000),
            (TimeUnit::Microsecond, 1_000_000),
        ] {
            let Range { start, end } = calendar.times(per_second);
            for time in [start, end - 1] {
                assert!(!calendar.lacks_any_of(&column(unit, time)), "{unit:?} {time}");
            }
            for time in [i64::MIN, start - 1, end, i64::MAX] {
                assert!(calendar.lacks_any_of(&column(unit, time)), "{unit:?} {time}");
            }
        }
        assert!(!calendar.lacks_any_of(&column(TimeUnit::Nanosecond, i64::MAX)));
        let nothing: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![None, Some(0)]));
        assert!(!calendar.lacks_any_of(&nothing));
    }

    #[test]
    fn what_is_in_the_place_of_a_null_does_not_count() {
        let nulls = NullBuffer::from(vec![false, true, true]);
        let column = |second: i64| {
            let times = vec![i64::MAX, second, 0];
            TimestampMicrosecondArray::new(times.into(), Some(nulls.clone()))
        };
        assert!(!READABLE.lacks_any_of(&column(0)));
        assert!(READABLE.lacks_any_of(&column(i64::MIN)));
        assert!(!READABLE.lacks_any_of(&column(i64::MIN).slice(2, 1)));
    }

    #[test]
    fn days_inside_of_structs_and_lists_count_where_the_rows_have_them() {
        let field = Arc::new(Field::new("day", DataType::Date32, true));
        let inner = days([Some(0), Some(i32::MAX)]);
        let pair = StructArray::from(vec![(field, inner)]);
        assert!(READABLE.lacks_any_of(&pair));
        assert!(!READABLE.lacks_any_of(&pair.slice(0, 1)));
        let numbers = [Some([Some(0)]), Some([Some(i32::MAX)]), Some([Some(1)])];
        let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>(numbers);
        let (_, offsets, values, nulls) = numbers.into_parts();
        let element = Arc::new(Field::new("element", DataType::Date32, true));
        let values = days(values.as_primitive::<Int32Type>().iter());
        let lists: ArrayRef = Arc::new(ListArray::new(element, offsets, values, nulls));
        assert!(READABLE.lacks_any_of(&lists));
        assert!(!READABLE.lacks_any_of(lists.slice(0, 1).as_ref()));
        assert!(!READABLE.lacks_any_of(lists.slice(2, 1).as_ref()));
        assert!(!READABLE.lacks_any_of(lists.slice(0, 0).as_ref()));
    }
}
