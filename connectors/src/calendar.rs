//! The calendar that Arrow, its JSON and all of Delta's crates share. It has a first and a last day: what lies beyond is
//! written by none of them, and a row that has it would be tried again for ever.

use std::ops::{Range, RangeInclusive};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrowPrimitiveType};
use arrow_schema::{DataType, TimeUnit};

/// From 1 January -262143 to 31 December 262142.
const DAYS: RangeInclusive<i64> = -96_465_292..=95_026_236;
const DAY_SECONDS: i64 = 86_400;

/// Its times, of which there are so many in a second.
fn times(per_second: i64) -> Range<i64> {
    let day = DAY_SECONDS * per_second;
    *DAYS.start() * day..(*DAYS.end() + 1) * day
}

/// Whether the calendar has this time, µs since the epoch.
pub(crate) fn has_micros(micros: i64) -> bool {
    times(1_000_000).contains(&micros)
}

/// Whether a column has, at any depth, a day or a time that the calendar has not. Nanoseconds do not reach that far.
pub(crate) fn has_impossible_time(column: &dyn Array) -> bool {
    match column.data_type() {
        DataType::Date32 => {
            let mut days = column.as_primitive::<Date32Type>().iter().flatten();
            days.any(|day| !DAYS.contains(&i64::from(day)))
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            any::<TimestampSecondType>(column, |time| !times(1).contains(&time))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            any::<TimestampMillisecondType>(column, |time| !times(1_000).contains(&time))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            any::<TimestampMicrosecondType>(column, |time| !has_micros(time))
        }
        DataType::Struct(_) => {
            column.as_struct().columns().iter().any(|inner| has_impossible_time(inner.as_ref()))
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            // A part of a batch has the values of the whole.
            let [first, .., last] = list.value_offsets() else { return false };
            let values = list.values().slice(*first as usize, (last - first) as usize);
            has_impossible_time(values.as_ref())
        }
        _ => false,
    }
}

fn any<T: ArrowPrimitiveType<Native = i64>>(
    column: &dyn Array,
    is_it: impl Fn(i64) -> bool,
) -> bool {
    column.as_primitive::<T>().iter().flatten().any(is_it)
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
    use arrow_schema::Field;

    fn days(days: impl IntoIterator<Item = Option<i32>>) -> ArrayRef {
        Arc::new(days.into_iter().collect::<Date32Array>())
    }

    #[test]
    fn the_calendars_last_days_pass_and_those_behind_them_do_not() {
        let (first, last) = (-96_465_292, 95_026_236);
        assert!(!has_impossible_time(&days([Some(first), None, Some(0), Some(last)])));
        for day in [first - 1, last + 1, i32::MIN, i32::MAX] {
            assert!(has_impossible_time(&days([Some(0), Some(day)])), "{day}");
        }
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
        for (unit, per_second) in [
            (TimeUnit::Second, 1),
            (TimeUnit::Millisecond, 1_000),
            (TimeUnit::Microsecond, 1_000_000),
        ] {
            let Range { start, end } = times(per_second);
            for time in [start, end - 1] {
                assert!(!has_impossible_time(&column(unit, time)), "{unit:?} {time}");
            }
            for time in [i64::MIN, start - 1, end, i64::MAX] {
                assert!(has_impossible_time(&column(unit, time)), "{unit:?} {time}");
            }
        }
        assert!(!has_impossible_time(&column(TimeUnit::Nanosecond, i64::MAX)));
        let nothing: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![None, Some(0)]));
        assert!(!has_impossible_time(&nothing));
    }

    #[test]
    fn days_inside_of_structs_and_lists_count_where_the_rows_have_them() {
        let field = Arc::new(Field::new("day", DataType::Date32, true));
        let inner = days([Some(0), Some(i32::MAX)]);
        let pair = StructArray::from(vec![(field, inner)]);
        assert!(has_impossible_time(&pair));
        assert!(!has_impossible_time(&pair.slice(0, 1)));
        let numbers = [Some([Some(0)]), Some([Some(i32::MAX)]), Some([Some(1)])];
        let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>(numbers);
        let (_, offsets, values, nulls) = numbers.into_parts();
        let element = Arc::new(Field::new("element", DataType::Date32, true));
        let values = days(values.as_primitive::<Int32Type>().iter());
        let lists: ArrayRef = Arc::new(ListArray::new(element, offsets, values, nulls));
        assert!(has_impossible_time(&lists));
        assert!(!has_impossible_time(lists.slice(0, 1).as_ref()));
        assert!(!has_impossible_time(lists.slice(2, 1).as_ref()));
        assert!(!has_impossible_time(lists.slice(0, 0).as_ref()));
    }
}
