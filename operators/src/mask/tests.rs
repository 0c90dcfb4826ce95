use arrow_array::Int64Array;
use proptest::prelude::*;
use thalweg_core::Sensitivity::{
    self, PhiAddress, PhiDate, PhiDob, PhiId, PhiName, PhiPhone, PhiRaw, PhiSsn,
};
use thalweg_core::sensitivity::{SENSITIVITY_KEY, all_sensitivities};

use super::*;
use crate::fixture::{Instance, apply, batch, names, refusal, texts, values};

fn people() -> RecordBatch {
    batch(&[
        ("patient_id", values::<Int64Array>(vec![3428, 7]), &[]),
        ("name", texts(&[Some("John Doe"), None]), &[PhiName]),
        ("ssn", texts(&[Some("123-45-6789"), Some("none")]), &[PhiSsn]),
        ("phone", texts(&[Some("(555) 123-7890"), Some("")]), &[PhiPhone]),
        ("dob", texts(&[Some("1985-03-12"), Some("x")]), &[PhiDob]),
        ("address", texts(&[Some("1 Main St, Boston, MA"), Some("y")]), &[PhiAddress]),
        ("event_type", texts(&[Some("vitals"), Some("John Doe")]), &[]),
    ])
}

fn column(name: &'static str, mark: Sensitivity) -> RecordBatch {
    batch(&[(name, texts(&[Some("John Doe")]), &[mark])])
}

#[test]
fn the_display_policy_masks_five_identifiers_and_nothing_else() {
    let input = people();
    let output = apply(&Mask::display(), &input);
    for (column, expected) in [
        ("name", [Some("J*** D***"), None]),
        ("ssn", [Some("***-**-6789"), Some("***-**-****")]),
        ("phone", [Some("(555) ***-7890"), Some("")]),
        ("dob", [Some("1985-**-**"), Some("****-**-**")]),
        ("address", [Some("Boston, MA"), Some("***")]),
    ] {
        assert_eq!(&output[column], &texts(&expected), "{column}");
    }
    for clear in ["patient_id", "event_type"] {
        assert!(Arc::ptr_eq(&input[clear], &output[clear]), "{clear} is not copied");
    }
    assert!(all_sensitivities(output.schema_ref()).is_empty());
}

#[test]
fn the_mark_decides_and_not_the_name() {
    let output = apply(&Mask::display(), &column("remark", PhiName));
    assert_eq!(&output["remark"], &texts(&[Some("J*** D***")]));
}

#[test]
fn masking_what_is_masked_changes_nothing() {
    let once = apply(&Mask::display(), &people());
    let marked = RecordBatch::try_new(people().schema(), once.columns().to_vec()).unwrap();
    assert_eq!(apply(&Mask::display(), &marked), once);
}

#[test]
fn what_was_not_understood_is_counted_per_column_for_all_instances() {
    let mask = Mask::display();
    let mut instances =
        [Instance::new(&mask, &people().schema()), Instance::new(&mask, &people().schema())];
    for instance in &mut instances {
        instance.process(&people()).unwrap();
    }
    instances[0].process(&people()).unwrap();
    let counts = [("address", 3), ("dob", 3), ("name", 0), ("phone", 0), ("ssn", 3)];
    assert_eq!(mask.counters().unparsed(), counts.map(|(name, n)| (name.to_owned(), n)));
    let counters: Arc<MaskCounters> = Arc::default();
    let counting = Mask::display().counting(&counters);
    Instance::new(&counting, &people().schema()).process(&people()).unwrap();
    assert_eq!(counters.unparsed().first(), Some(&("address".to_owned(), 1)));
}

#[test]
fn an_identifier_without_a_text_mask_keeps_its_mark_for_the_sink_to_judge() {
    for mark in [PhiId, PhiDate] {
        let output = apply(&Mask::display(), &column("mrn", mark));
        assert_eq!(&output["mrn"], &texts(&[Some("John Doe")]));
        assert!(all_sensitivities(output.schema_ref()).contains(&mark));
    }
}

fn unknown_mark() -> RecordBatch {
    let field = Field::new("genome", DataType::Utf8, true);
    let field = field.with_metadata([(SENSITIVITY_KEY.to_owned(), "phi.dna".to_owned())].into());
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![texts(&[None])]).unwrap()
}

fn refused() -> Vec<(RecordBatch, &'static str)> {
    vec![
        (column("payload", PhiRaw), "is marked phi.raw"),
        (unknown_mark(), "is marked phi.raw"),
        (batch(&[("id", values::<Int64Array>(vec![1]), &[PhiSsn])]), "identifier of type Int64"),
        (batch(&[("both", texts(&[None]), &[PhiName, PhiSsn])]), "has several marks"),
        (batch(&[("both", texts(&[None]), &[PhiName, PhiId])]), "has several marks"),
    ]
}

#[test]
fn what_the_policy_cannot_mask_is_refused_with_the_way_out() {
    for (input, why) in refused() {
        let message = refusal(&Mask::display(), &input);
        assert!(message.contains(why), "{message}");
        assert!(message.contains("drop_column(\""), "{message}");
    }
}

#[test]
fn a_dropped_column_is_gone() {
    let mask = Mask::display().drop_column("payload").drop_column("dob");
    let mut columns = people().columns().to_vec();
    columns.push(texts(&[None, None]));
    let mut fields: Vec<_> = people().schema().fields().iter().cloned().collect();
    fields.push(Arc::new(mark(Field::new("payload", DataType::Utf8, true), [PhiRaw])));
    let input = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let output = apply(&mask, &input);
    let left = ["patient_id", "name", "ssn", "phone", "address", "event_type"];
    assert_eq!(names(output.schema_ref()), left);
    assert_eq!(mask.describe(), "mask by policy display, without payload, dob");
    assert!(refusal(&mask, &people()).contains("`payload` is not in the input"));
}

#[test]
fn behind_a_strict_mask_no_column_is_marked() {
    let strict = Mask::display().strict();
    for (input, _) in refused() {
        assert_eq!(strict.output_schema(&input.schema()).unwrap().fields().len(), 0);
    }
    let id = column("mrn", PhiId);
    assert_eq!(strict.output_schema(&id.schema()).unwrap().fields().len(), 0);
    assert_eq!(apply(&strict, &people()), apply(&Mask::display(), &people()));
}

#[test]
fn a_policy_refuses_what_it_does_not_list() {
    let nothing = Policy { name: "nothing", rules: &[] };
    for mark in Sensitivity::ALL {
        assert!(matches!(nothing.rule(mark), Rule::Refuse), "{mark}");
        let message = refusal(&Mask::with_policy(nothing), &column("x", mark));
        assert!(message.contains("nothing policy"), "{message}");
    }
}

#[test]
fn the_display_policy_lists_every_sensitivity_once() {
    for mark in Sensitivity::ALL {
        let rules = Policy::DISPLAY.rules.iter().filter(|(listed, _)| *listed == mark);
        assert_eq!(rules.count(), 1, "{mark}");
    }
}

#[test]
fn rows_cut_out_of_a_batch_are_masked_like_the_whole() {
    let whole = people();
    let masked = apply(&Mask::display(), &whole);
    assert_eq!(apply(&Mask::display(), &whole.slice(1, 1)), masked.slice(1, 1));
}

proptest! {
    /// The columnar operator is the scalar function, row by row, whatever came before.
    #[test]
    fn a_column_is_masked_like_its_values(rows in prop::collection::vec(prop::option::of(".{0,12}"), 0..40)) {
        let rows: Vec<Option<&str>> = rows.iter().map(Option::as_deref).collect();
        let input = batch(&[("name", texts(&rows), &[PhiName])]);
        let mut instance = Instance::new(&Mask::display(), &input.schema());
        for _ in 0..2 {
            let emitted = instance.process(&input).unwrap();
            let masked: Vec<Option<String>> = rows.iter().map(|row| row.map(|text| {
                let mut out = String::new();
                let (Parsed::Yes | Parsed::No) = text::mask_name(text, &mut out);
                out
            })).collect();
            let masked: Vec<Option<&str>> = masked.iter().map(Option::as_deref).collect();
            prop_assert_eq!(emitted.len(), usize::from(!rows.is_empty()));
            for (_, output) in emitted {
                prop_assert_eq!(&output["name"], &texts(&masked));
            }
        }
    }
}
