//! Looks through a day's texts for identifiers that no mask has seen. Only counts leave here.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_schema::DataType;
use thalweg_operators::mask::text::{
    Leak, Parsed, find_leak_except, mask_address, mask_dob, mask_name, mask_phone, mask_ssn,
};

use crate::healthcare::alerts::AlertEvent;
use crate::healthcare::graph::ALERTS;
use crate::healthcare::identifiers;
use crate::healthcare::record::Silver;

type Mask = fn(&str, &mut String) -> Parsed;

/// How a column is judged.
#[derive(Clone, Copy)]
enum Judge {
    /// It holds masked identities: text that its mask would change was never masked.
    Masked(Mask, &'static str),
    /// It holds none: nothing in it may have the shape of one.
    Free,
    /// The same, but its values are names that machines give, dates and all.
    Name,
    /// It names people who work here, by their addresses if they like: nobody who is treated.
    Staff,
}

fn judge(table: &str, column: &str) -> Judge {
    if (table, column) == (ALERTS, AlertEvent::BY.name()) {
        return Judge::Staff;
    }
    let masks: [(&str, Mask, &'static str); 5] = [
        (Silver::NAME.name(), mask_name, "name"),
        (Silver::SSN.name(), mask_ssn, "ssn"),
        (Silver::PHONE.name(), mask_phone, "phone"),
        (Silver::DOB.name(), mask_dob, "date"),
        (Silver::ADDRESS.name(), mask_address, "address"),
    ];
    if let Some((_, mask, kind)) = masks.iter().find(|(name, ..)| *name == column) {
        return Judge::Masked(*mask, kind);
    }
    let named = [Silver::EVENT_ID.name(), Silver::DEVICE_ID.name()].contains(&column);
    if named { Judge::Name } else { Judge::Free }
}

/// Counts what looks like an identifier in each text column of `batch`, under `table.column` and its kind.
pub(super) fn count(
    table: &str,
    batch: &RecordBatch,
    leaks: &mut BTreeMap<String, BTreeMap<String, u64>>,
) {
    let mut buffer = String::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if *field.data_type() != DataType::Utf8 {
            continue;
        }
        let judge = judge(table, field.name());
        for text in column.as_string::<i32>().iter().flatten() {
            if let Some(kind) = found(judge, text, &mut buffer) {
                let kinds = leaks.entry(format!("{table}.{}", field.name())).or_default();
                *kinds.entry(kind.to_owned()).or_default() += 1;
            }
        }
    }
}

fn found(judge: Judge, text: &str, buffer: &mut String) -> Option<&'static str> {
    match judge {
        Judge::Masked(mask, kind) => {
            buffer.clear();
            let parsed = mask(text, buffer);
            (parsed == Parsed::No || buffer.as_str() != text).then_some(kind)
        }
        Judge::Free => identifiers::in_text(text).map(Leak::name),
        Judge::Name => identifiers::in_name(text).map(Leak::name),
        Judge::Staff => find_leak_except(text, Leak::Email).map(Leak::name),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringArray};

    use super::*;

    fn leaks(column: &str, text: &str) -> Vec<String> {
        leaks_of("silver/events", column, text)
    }

    fn leaks_of(table: &str, column: &str, text: &str) -> Vec<String> {
        let values: ArrayRef = Arc::new(StringArray::from(vec![Some(text), None]));
        let batch = RecordBatch::try_from_iter([(column, values)]).unwrap();
        let mut leaks = BTreeMap::new();
        count(table, &batch, &mut leaks);
        let told = |(place, kinds): (String, BTreeMap<String, u64>)| format!("{place} {kinds:?}");
        leaks.into_iter().map(told).collect()
    }

    #[test]
    fn an_identity_column_holds_what_its_mask_leaves_alone() {
        for (column, masked, open, kind) in [
            ("name", "J*** D***", "Jane Doe", "name"),
            ("ssn", "***-**-6789", "123456789", "ssn"),
            ("phone", "(555) ***-7890", "5551237890", "phone"),
            ("dob", "1985-**-**", "1985-03-15", "date"),
            ("address", "Boston, MA", "12 Main St, Boston, MA 02115", "address"),
        ] {
            assert_eq!(leaks(column, masked), Vec::<String>::new());
            let told = leaks(column, open);
            assert_eq!(told, [format!("silver/events.{column} {{\"{kind}\": 1}}")]);
        }
    }

    #[test]
    fn other_columns_are_searched_for_shapes_and_no_value_is_told() {
        assert_eq!(leaks("medication", "Heparin"), Vec::<String>::new());
        let told = leaks("medication", "Heparin, ask jane@example.org");
        assert_eq!(told, ["silver/events.medication {\"email\": 1}"]);
        assert_eq!(leaks("unit", "2025-11-24").len(), 1);
        assert_eq!(leaks("event_id", "evt-2025-11-24").len(), 0, "machines date what they count");
        assert_eq!(leaks("event_id", "123-45-6789").len(), 1);
        assert_eq!(leaks("event_id", "2025-11-24/123-45-6789").len(), 1, "whatever is in front");
    }

    #[test]
    fn who_answers_an_alert_is_no_patient_and_may_have_an_address() {
        let nurse = "joy@example.org";
        assert_eq!(leaks_of("alerts/events", "by", nurse), Vec::<String>::new());
        assert_eq!(leaks_of("alerts/events", "by", "123-45-6789").len(), 1);
        assert_eq!(
            leaks_of("alerts/events", "rule", nurse).len(),
            1,
            "its other texts are searched"
        );
        assert_eq!(leaks_of("silver/events", "by", nurse).len(), 1, "and others called so");
    }
}
