//! Whether rows can be read as records: what a graph checks before anything runs.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, ArrayRef, ListArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};

/// What keeps rows of the columns `found` from being read as records of the columns `wanted`, a text per column. It is
/// what [`super::column_of`] may refuse when rows come: further columns, marks and time zones are no matter.
pub(crate) fn misfits(found: &Schema, wanted: &Schema) -> Vec<String> {
    wanted.fields().iter().filter_map(|wanted| misfit(found, wanted)).collect()
}

fn misfit(found: &Schema, wanted: &Field) -> Option<String> {
    let name = wanted.name();
    let Ok(found) = found.field_with_name(name) else {
        return Some(format!("its rows have no column `{name}`, which their record has"));
    };
    if !is_read_as(found.data_type(), wanted.data_type()) {
        return Some(format!(
            "column `{name}` is of type {}, and of type {} in its record",
            found.data_type(),
            wanted.data_type()
        ));
    }
    (found.is_nullable() && !wanted.is_nullable())
        .then(|| format!("column `{name}` may be null, which its record rules out"))
}

/// Whether the arrays are the same; a zone of time and the field inside a list do not show there.
pub(crate) fn is_read_as(found: &DataType, wanted: &DataType) -> bool {
    match (found, wanted) {
        (DataType::Timestamp(found, _), DataType::Timestamp(wanted, _)) => found == wanted,
        (DataType::List(found), DataType::List(wanted)) => {
            is_read_as(found.data_type(), wanted.data_type())
        }
        (found, wanted) => found.equals_datatype(wanted),
    }
}

/// A column that fits, as the type that was promised for it: another zone of time and another field inside a list are no other
/// values.
pub(crate) fn retyped(column: &ArrayRef, promised: &DataType) -> Option<ArrayRef> {
    match (column.data_type(), promised) {
        (found, promised) if found == promised => Some(Arc::clone(column)),
        (_, DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            let times = column.as_primitive_opt::<TimestampMicrosecondType>()?;
            Some(Arc::new(times.clone().with_timezone_opt(zone.clone())))
        }
        (_, DataType::List(field)) => {
            let list = column.as_list_opt::<i32>()?;
            let values = retyped(list.values(), field.data_type())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            let list = ListArray::try_new(Arc::clone(field), offsets, values, nulls).ok()?;
            Some(Arc::new(list))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::builder::{ListBuilder, StringBuilder};
    use arrow_array::{Int64Array, TimestampMicrosecondArray};

    use super::*;
    use crate::record::{Column, Float64, Int64, Timestamp, Utf8, Utf8List};
    use crate::sensitivity::{Sensitivity, mark};

    fn record() -> Schema {
        Schema::new(vec![
            Column::<Int64>::required("patient").field(),
            Column::<Float64>::nullable("bpm").field(),
            Column::<Timestamp>::required("at").field(),
            Column::<Utf8List>::nullable("codes").field(),
        ])
    }

    /// The columns of the record, one of them as it is here.
    fn with(field: &Field) -> Schema {
        let record = record();
        let fields = record.fields().iter().map(|known| {
            if known.name() == field.name() { field.clone() } else { known.as_ref().clone() }
        });
        Schema::new(fields.collect::<Vec<_>>())
    }

    #[test]
    fn whatever_a_record_can_be_read_from_fits() {
        let zone = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        let texts = DataType::List(Arc::new(Field::new("element", DataType::Utf8, false)));
        let marked = mark(Column::<Int64>::required("patient").field(), [Sensitivity::PhiId]);
        for field in [
            Field::new("at", zone, false),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), false),
            Field::new("codes", texts, true),
            Column::<Float64>::required("bpm").field(),
            marked,
        ] {
            assert!(misfits(&with(&field), &record()).is_empty(), "{}", field.name());
        }
        let mut fields = vec![Column::<Utf8>::nullable("more").field()];
        fields.extend(record().fields().iter().rev().map(|field| field.as_ref().clone()));
        assert!(misfits(&Schema::new(fields), &record()).is_empty());
    }

    #[test]
    fn what_would_be_refused_when_rows_come_is_told_by_column() {
        let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        let numbers = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
        let coded = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Float64));
        for (field, says) in [
            (Field::new("at", millis, false), "column `at` is of type"),
            (Field::new("codes", numbers, true), "column `codes` is of type"),
            (Field::new("bpm", coded, true), "column `bpm` is of type"),
            (Field::new("bpm", DataType::Float32, true), "column `bpm` is of type Float32"),
            (Column::<Int64>::nullable("patient").field(), "column `patient` may be null"),
        ] {
            let told = misfits(&with(&field), &record());
            let [told] = told.as_slice() else { panic!("{told:?}") };
            assert!(told.starts_with(says), "{told}");
        }
        let told = misfits(&Schema::empty(), &record());
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told.contains(&"its rows have no column `at`, which their record has".to_owned()));
    }

    #[test]
    fn what_fits_becomes_what_was_promised() {
        let record = record();
        let promised = |name: &str| record.field_with_name(name).unwrap().data_type().clone();
        let at: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from(vec![Some(7), None]).with_timezone("+00:00"));
        let mut texts = ListBuilder::new(StringBuilder::new()).with_field(Field::new(
            "element",
            DataType::Utf8,
            true,
        ));
        texts.append_value([Some("a"), None]);
        texts.append_null();
        let texts: ArrayRef = Arc::new(texts.finish());
        for (name, column) in [("at", at), ("codes", texts)] {
            assert_ne!(*column.data_type(), promised(name));
            let found = retyped(&column, &promised(name)).unwrap();
            assert_eq!(*found.data_type(), promised(name));
            assert_eq!((found.len(), found.null_count()), (2, 1), "{name}");
        }
        let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert!(retyped(&number, &promised("patient")).is_some());
        assert!(retyped(&number, &promised("bpm")).is_none());
        assert!(retyped(&number, &promised("at")).is_none());
    }
}
