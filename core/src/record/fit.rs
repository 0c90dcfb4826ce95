//! Whether rows can be read as records: what a graph checks before anything runs.

use arrow_schema::{DataType, Field, Schema};

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
fn is_read_as(found: &DataType, wanted: &DataType) -> bool {
    match (found, wanted) {
        (DataType::Timestamp(found, _), DataType::Timestamp(wanted, _)) => found == wanted,
        (DataType::List(found), DataType::List(wanted)) => {
            is_read_as(found.data_type(), wanted.data_type())
        }
        (found, wanted) => found.equals_datatype(wanted),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::TimeUnit;

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
}
