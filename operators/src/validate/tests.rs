use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, StringArray};
use proptest::prelude::*;
use thalweg_core::Sensitivity::PhiName;
use thalweg_core::record::{Column, Float64};
use thalweg_core::sensitivity::sensitivities;

use super::*;
use crate::fixture::{Instance, batch, names, refusal, texts, values};

const PATIENT_ID: &str = "patient_id";
const HEART_RATE: Column<Float64> = Column::nullable("heart_rate");

fn vitals() -> Validate {
    Validate::new()
        .required(PATIENT_ID, "patient_id.missing")
        .one_of("event_type", ["vitals", "medication"], "event_type.unknown")
        .in_range(HEART_RATE, 20..=300, "heart_rate.range")
        .check("heart_rate.odd", |batch| {
            let rates = thalweg_core::record::column_of(batch, HEART_RATE)?;
            Ok(rates.iter().map(|rate| rate.map(|rate| rate > 298.5 && rate < 299.5)).collect())
        })
        .decode_errors("decode_errors")
        .unreadable(["json.malformed"])
}

#[derive(Debug, Clone)]
struct Row {
    patient: Option<i64>,
    event_type: Option<&'static str>,
    rate: Option<f64>,
    /// `None` is a null list.
    decoded: Option<Vec<&'static str>>,
}

const GOOD: Row =
    Row { patient: Some(1), event_type: Some("vitals"), rate: Some(80.0), decoded: None };

fn lists(rows: &[Option<Vec<&str>>]) -> ArrayRef {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for row in rows {
        if let Some(codes) = row {
            lists.append_value(codes.iter().copied().map(Some));
        } else {
            lists.append(false);
        }
    }
    Arc::new(lists.finish())
}

fn rows(rows: &[Row]) -> RecordBatch {
    let column = |name: &'static str, array: ArrayRef| (name, array, [].as_slice());
    let types: Vec<_> = rows.iter().map(|r| r.event_type).collect();
    let decoded: Vec<_> = rows.iter().map(|r| r.decoded.clone()).collect();
    batch(&[
        column("row", values::<Int64Array>((0..rows.len() as i64).collect::<Vec<_>>())),
        column(
            PATIENT_ID,
            values::<Int64Array>(rows.iter().map(|r| r.patient).collect::<Vec<_>>()),
        ),
        column("event_type", texts(&types)),
        column(
            "heart_rate",
            values::<Float64Array>(rows.iter().map(|r| r.rate).collect::<Vec<_>>()),
        ),
        column("decode_errors", lists(&decoded)),
        ("name", texts(&vec![Some("John Doe"); rows.len()]), &[PhiName]),
    ])
}

/// The codes of each row, none for a valid one.
fn judge(validate: &Validate, input: &RecordBatch) -> Vec<Vec<String>> {
    let mut codes = vec![None; input.num_rows()];
    for (tag, batch) in Instance::new(validate, &input.schema()).process(input).unwrap() {
        assert!(batch.num_rows() > 0);
        let places = batch["row"].as_primitive::<Int64Type>().values();
        assert!(places.is_sorted(), "rows stay in order");
        for (at, place) in places.iter().enumerate() {
            let found = tag.map_or_else(Vec::new, |_| {
                let list = batch[REASON_CODES].as_list::<i32>().value(at);
                list.as_string::<i32>().iter().map(|c| c.unwrap().to_owned()).collect()
            });
            assert_eq!(tag.is_some(), !found.is_empty(), "only rejected rows have codes");
            assert!(codes[*place as usize].replace(found).is_none(), "no row comes twice");
        }
    }
    codes.into_iter().map(|c| c.expect("no row is lost")).collect()
}

#[test]
fn every_code_that_applies_is_listed_in_order_and_once() {
    let cases: Vec<(Row, &[&str])> = vec![
        (GOOD, &[]),
        (Row { rate: None, ..GOOD }, &[]),
        (Row { event_type: None, ..GOOD }, &[]),
        (Row { decoded: Some(vec![]), ..GOOD }, &[]),
        (Row { patient: None, ..GOOD }, &["patient_id.missing"]),
        (Row { rate: Some(f64::NAN), ..GOOD }, &["heart_rate.range"]),
        (Row { rate: Some(299.0), ..GOOD }, &["heart_rate.odd"]),
        (
            Row { patient: None, event_type: Some("x"), rate: Some(9.0), decoded: None },
            &["patient_id.missing", "event_type.unknown", "heart_rate.range"],
        ),
        (
            Row { rate: Some(9.0), decoded: Some(vec!["timestamp.missing", "dob.type"]), ..GOOD },
            &["timestamp.missing", "dob.type", "heart_rate.range"],
        ),
        (
            Row { rate: Some(9.0), decoded: Some(vec!["heart_rate.range", "x", "x"]), ..GOOD },
            &["heart_rate.range", "x"],
        ),
    ];
    let input = rows(&cases.iter().map(|(row, _)| row.clone()).collect::<Vec<_>>());
    for (judged, (_, expected)) in judge(&vitals(), &input).iter().zip(cases) {
        assert_eq!(judged, expected);
    }
}

#[test]
fn a_null_that_the_decoder_explains_is_not_missing() {
    let wrong_type = Row { patient: None, decoded: Some(vec!["patient_id.type"]), ..GOOD };
    let other = Row { patient: None, decoded: Some(vec!["patient.type"]), ..GOOD };
    let codes = judge(&vitals(), &rows(&[wrong_type, other]));
    assert_eq!(codes, [vec!["patient_id.type"], vec!["patient.type", "patient_id.missing"]]);
}

#[test]
fn a_job_that_is_to_fail_does_so_at_the_first_rejected_row_and_shows_no_value() {
    let validate = vitals().on_rejected(OnRejected::Fail);
    let mut instance = Instance::new(&validate, &rows(&[GOOD]).schema());
    assert_eq!(instance.process(&rows(&[GOOD, GOOD])).unwrap().len(), 1);
    let error = instance.process(&rows(&[GOOD, Row { rate: Some(9.25), ..GOOD }])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord);
    let text = error.to_string();
    assert!(text.contains("heart_rate.range") && !text.contains("9.25"), "{text}");
}

#[test]
fn rows_that_are_to_be_dropped_are_counted_and_the_others_go_on() {
    let validate = vitals().on_rejected(OnRejected::Drop);
    let bad = Row { rate: Some(9.0), ..GOOD };
    let input = rows(&[GOOD, bad.clone(), bad, GOOD]);
    let mut instance = Instance::new(&validate, &input.schema());
    let emitted = instance.process(&input).unwrap();
    let [(None, valid)] = emitted.as_slice() else { panic!("{} batches", emitted.len()) };
    assert_eq!(valid["row"].as_primitive::<Int64Type>().values(), &[0, 3]);
    assert_eq!(instance.dropped(), 2);
    assert_eq!(instance.process(&rows(&[GOOD])).unwrap().len(), 1);
    assert_eq!(instance.dropped(), 2);
}

/// One row of each stage, and of both; among them good ones.
fn of_both_stages() -> RecordBatch {
    let broken = Row { decoded: Some(vec!["json.malformed"]), ..GOOD };
    let invalid = Row { rate: Some(9.0), ..GOOD };
    let both = Row { decoded: Some(vec!["dob.type"]), ..invalid.clone() };
    // A decoder may find what a rule says as well.
    let as_a_rule = Row { decoded: Some(vec!["event_type.unknown"]), event_type: None, ..GOOD };
    rows(&[GOOD, invalid, broken, GOOD, both, as_a_rule])
}

#[test]
fn each_stage_has_its_policy_and_whoever_is_of_both_could_not_be_decoded() {
    use OnRejected::{Drop, SideOutput};
    let input = of_both_stages();
    let rows_of = |batch: &RecordBatch| batch["row"].as_primitive::<Int64Type>().values().to_vec();
    for (invalid, undecodable, kept, dropped) in [
        (SideOutput, Drop, vec![1, 5], 2),
        (Drop, SideOutput, vec![2, 4], 2),
        (SideOutput, SideOutput, vec![1, 2, 4, 5], 0),
        (Drop, Drop, vec![], 4),
    ] {
        let validate = vitals().on_rejected(invalid).on_undecodable(undecodable);
        let mut instance = Instance::new(&validate, &input.schema());
        let emitted = instance.process(&input).unwrap();
        let (main, side): (Vec<_>, Vec<_>) = emitted.iter().partition(|(tag, _)| tag.is_none());
        assert_eq!(main.iter().flat_map(|(_, b)| rows_of(b)).collect::<Vec<_>>(), [0, 3]);
        let found: Vec<i64> = side.iter().flat_map(|(_, b)| rows_of(b)).collect();
        assert_eq!(found, kept, "{invalid:?} and {undecodable:?}");
        assert_eq!(instance.dropped(), dropped, "{invalid:?} and {undecodable:?}");
    }
    // The codes are those of the rows that are kept.
    let validate = vitals().on_rejected(Drop).on_undecodable(SideOutput);
    let emitted = Instance::new(&validate, &input.schema()).process(&input).unwrap();
    let [_, (Some("rejected"), kept)] = emitted.as_slice() else { panic!() };
    let codes = kept[REASON_CODES].as_list::<i32>();
    assert_eq!(codes.value(0).as_string::<i32>(), &StringArray::from(vec!["json.malformed"]));
    let both = StringArray::from(vec!["dob.type", "heart_rate.range"]);
    assert_eq!(codes.value(1).as_string::<i32>(), &both);
}

#[test]
fn only_the_stage_that_is_to_fail_ends_the_job_and_its_row_is_named() {
    use OnRejected::{Drop, Fail, SideOutput};
    let input = of_both_stages();
    for (invalid, undecodable, named) in [
        (Drop, Fail, "(json.malformed)"),
        (SideOutput, Fail, "(json.malformed)"),
        (Fail, Drop, "(heart_rate.range)"),
    ] {
        let validate = vitals().on_rejected(invalid).on_undecodable(undecodable);
        let mut instance = Instance::new(&validate, &input.schema());
        let error = instance.process(&input).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRecord);
        assert!(error.to_string().contains(named), "{error}");
    }
    let decodable = input.slice(0, 2);
    let validate = vitals().on_rejected(Drop).on_undecodable(Fail);
    let mut instance = Instance::new(&validate, &input.schema());
    assert_eq!(instance.process(&decodable).unwrap().len(), 1);
    assert_eq!(instance.dropped(), 1);
}

#[test]
fn the_flood_counts_rows_of_both_stages_whatever_their_policies() {
    let validate = vitals()
        .on_rejected(OnRejected::Drop)
        .on_undecodable(OnRejected::SideOutput)
        .stop_above(0.6, 6);
    let input = of_both_stages();
    let error = Instance::new(&validate, &input.schema()).process(&input).unwrap_err();
    assert!(error.to_string().contains("4 of the latest 6 rows"), "{error}");
}

#[test]
fn an_error_about_rows_of_a_source_of_messages_says_where_they_came_from() {
    let offsets: Vec<i64> = vec![6, 7, 8];
    let input = batch(&[
        ("partition", values::<Int32Array>(vec![3, 3, 3]), &[]),
        ("offset", values::<Int64Array>(offsets), &[]),
        (PATIENT_ID, values::<Int64Array>(vec![Some(1), None, None]), &[]),
    ]);
    let required = Validate::new().required(PATIENT_ID, "patient_id.missing");
    for validate in [required.clone().on_rejected(OnRejected::Fail), required.stop_above(0.1, 1)] {
        let error = Instance::new(&validate, &input.schema()).process(&input).unwrap_err();
        assert!(
            error.to_string().contains("; one of them: partition 3, offset 7)")
                || error.to_string().contains("(patient_id.missing; partition 3, offset 7)"),
            "{error}"
        );
    }
}

#[test]
fn the_place_is_that_of_the_row_that_ends_the_job() {
    let decoded = [None, None, Some(vec!["json.malformed"])];
    let input = batch(&[
        ("partition", values::<Int32Array>(vec![3, 3, 3]), &[]),
        ("offset", values::<Int64Array>(vec![6_i64, 7, 8]), &[]),
        (PATIENT_ID, values::<Int64Array>(vec![Some(1), None, None]), &[]),
        ("decode_errors", lists(&decoded), &[]),
    ]);
    let validate = Validate::new()
        .required(PATIENT_ID, "patient_id.missing")
        .decode_errors("decode_errors")
        .on_rejected(OnRejected::Drop)
        .on_undecodable(OnRejected::Fail);
    let error = Instance::new(&validate, &input.schema()).process(&input).unwrap_err();
    assert!(error.to_string().contains("(json.malformed; partition 3, offset 8)"), "{error}");
}

#[test]
fn a_flood_of_rejected_rows_ends_the_job() {
    let validate = vitals().stop_above(0.5, 10);
    let bad = Row { rate: Some(9.0), ..GOOD };
    let mut instance = Instance::new(&validate, &rows(&[GOOD]).schema());
    instance.process(&rows(&vec![bad.clone(); 9])).unwrap();
    instance.process(&rows(&vec![GOOD; 20])).unwrap();
    let error = instance.process(&rows(&vec![bad; 30])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord);
    let text = error.to_string();
    assert!(text.contains("50 %") && text.contains("heart_rate.range"), "{text}");
    assert!(!text.contains("9.0"), "{text}");
}

#[test]
fn of_an_unreadable_message_only_that_is_said() {
    let nothing =
        Row { patient: None, event_type: None, rate: None, decoded: Some(vec!["json.malformed"]) };
    assert_eq!(judge(&vitals(), &rows(&[nothing])), [["json.malformed"]]);
}

#[test]
fn a_batch_of_good_rows_is_not_copied() {
    let input = rows(&[GOOD, GOOD]);
    let emitted = Instance::new(&vitals(), &input.schema()).process(&input).unwrap();
    let [(None, output)] = emitted.as_slice() else { panic!("{} batches", emitted.len()) };
    assert_eq!(names(output.schema_ref()), ["row", PATIENT_ID, "event_type", "heart_rate", "name"]);
    for name in names(output.schema_ref()) {
        assert!(Arc::ptr_eq(&input[name], &output[name]), "{name}");
    }
}

#[test]
fn rejected_rows_keep_all_columns_and_marks_and_say_why() {
    let validate = vitals();
    let input = rows(&[GOOD]).schema();
    let [side] = &validate.side_outputs(&input).unwrap()[..] else { panic!() };
    assert_eq!(side.tag, "rejected");
    let expected = ["row", PATIENT_ID, "event_type", "heart_rate", "name", REASON_CODES];
    assert_eq!(names(&side.schema), expected);
    assert!(sensitivities(side.schema.field_with_name("name").unwrap()).contains(&PhiName));
    assert_eq!(*side.schema.field(5).data_type(), Utf8List::data_type());
}

#[test]
fn a_required_column_is_never_null_behind_it() {
    let input = rows(&[GOOD]).schema();
    let output = vitals().output_schema(&input).unwrap();
    assert!(!output.field_with_name(PATIENT_ID).unwrap().is_nullable());
    assert!(output.field_with_name("heart_rate").unwrap().is_nullable());
    let side = &vitals().side_outputs(&input).unwrap()[0].schema;
    assert!(side.field_with_name(PATIENT_ID).unwrap().is_nullable());
}

#[test]
fn without_a_decoders_column_the_rules_alone_decide() {
    let validate = Validate::new().required(PATIENT_ID, "patient_id.missing");
    let input = rows(&[Row { patient: None, ..GOOD }, GOOD]);
    assert_eq!(judge(&validate, &input), [vec!["patient_id.missing"], vec![]]);
    assert_eq!(validate.output_schema(&input.schema()).unwrap().fields().len(), 6);
    assert_eq!(validate.describe(), "validate patient_id.missing");
}

#[test]
fn rows_cut_out_of_a_batch_are_judged_like_in_the_whole() {
    let bad = Row { decoded: Some(vec!["a.b", "c.d"]), ..GOOD };
    let input = rows(&[bad.clone(), GOOD, Row { rate: Some(1.0), ..GOOD }, bad, GOOD]).slice(1, 3);
    let emitted = Instance::new(&vitals(), &input.schema()).process(&input).unwrap();
    let [(None, valid), (Some("rejected"), rejected)] = emitted.as_slice() else { panic!() };
    assert_eq!(valid["row"].as_primitive::<Int64Type>().values(), &[1]);
    assert_eq!(rejected["row"].as_primitive::<Int64Type>().values(), &[2, 3]);
    let codes = rejected[REASON_CODES].as_list::<i32>();
    assert_eq!(codes.value(0).as_string::<i32>(), &StringArray::from(vec!["heart_rate.range"]));
    assert_eq!(codes.value(1).as_string::<i32>(), &StringArray::from(vec!["a.b", "c.d"]));
}

#[test]
fn a_graph_with_a_wrong_rule_does_not_build() {
    let input = rows(&[]);
    for (validate, why) in [
        (Validate::new().required("ssn", "c"), "column `ssn` is not in the input"),
        (Validate::new().in_range("name", 0..=1, "c"), "column `name` is no number"),
        (Validate::new().decode_errors("problems"), "column `problems` is not in the input"),
        (Validate::new().decode_errors("name"), "column `name` must be a list of text"),
        (Validate::new().stop_above(5.0, 1_000), "must be between 0 and 1"),
        (Validate::new().stop_above(-0.1, 1_000), "must be between 0 and 1"),
        (Validate::new().stop_above(f64::NAN, 1_000), "must be between 0 and 1"),
    ] {
        let message = refusal(&validate, &input);
        assert!(message.contains(why), "{message}");
    }
    let twice = batch(&[(REASON_CODES, texts(&[]), &[])]);
    let error = Validate::new().side_outputs(&twice.schema()).unwrap_err();
    assert!(error.to_string().contains("`reason_codes` already"), "{error}");
}

fn any_row() -> impl Strategy<Value = Row> {
    let code = prop::sample::select(vec!["patient_id.type", "json.malformed", "heart_rate.range"]);
    (
        prop::option::weighted(0.8, Just(1)),
        prop::sample::select(vec![None, Some("vitals"), Some("x")]),
        prop::option::of(prop::sample::select(vec![19.0, 20.0, 299.0, f64::NAN])),
        prop::option::weighted(0.3, prop::collection::vec(code, 0..3)),
    )
        .prop_map(|(patient, event_type, rate, decoded)| Row {
            patient,
            event_type,
            rate,
            decoded,
        })
}

/// The same rules, a row at a time.
fn expected(row: &Row) -> Vec<&'static str> {
    let mut codes = Vec::new();
    let decoded = row.decoded.clone().unwrap_or_default();
    let mut add = |code, applies| {
        if applies && !codes.contains(&code) {
            codes.push(code);
        }
    };
    for code in &decoded {
        add(*code, true);
    }
    if !decoded.contains(&"json.malformed") {
        let explained = decoded.contains(&"patient_id.type");
        add("patient_id.missing", row.patient.is_none() && !explained);
        add("event_type.unknown", row.event_type == Some("x"));
        add("heart_rate.range", row.rate.is_some_and(|r| r.is_nan() || r < 20.0));
        add("heart_rate.odd", row.rate == Some(299.0));
    }
    codes
}

proptest! {
    #[test]
    fn a_batch_is_judged_like_its_rows(cases in prop::collection::vec(any_row(), 0..100)) {
        let judged = judge(&vitals(), &rows(&cases));
        for (judged, case) in judged.iter().zip(&cases) {
            prop_assert_eq!(judged, &expected(case));
        }
    }
}
