use arrow_array::{Float64Array, Int32Array};
use proptest::prelude::*;

use super::*;
use crate::fixture::{batch, texts, values};

fn floats(rows: &[Option<f64>]) -> RecordBatch {
    batch(&[("n", values::<Float64Array>(rows.to_vec()), &[])])
}

/// A digit per row: 1 where it violates `condition`.
fn violations(condition: Condition, batch: &RecordBatch) -> String {
    let rule = Rule { code: "n.code", condition }.bind(&batch.schema()).unwrap();
    let violations = evaluate(&[rule], batch).unwrap();
    let violated = |row| violations.iter().any(|v| v.code == "n.code" && v.rows.value(row));
    (0..batch.num_rows()).map(|row| if violated(row) { '1' } else { '0' }).collect()
}

fn refusal(condition: Condition, batch: &RecordBatch) -> String {
    let error = Rule { code: "n.code", condition }.bind(&batch.schema()).err().unwrap();
    assert_eq!(error.kind(), thalweg_core::ErrorKind::InvalidGraph);
    error.to_string()
}

#[test]
fn bounds_belong_to_the_range_and_what_is_no_number_to_none() {
    let rows = [19.9, 20.0, 150.0, 300.0, 300.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
    let batch = floats(&rows.map(Some));
    for (range, expected) in [
        (20.0..=300.0, "100011111"),
        (0.0..=0.0, "111111110"),
        (f64::NEG_INFINITY..=f64::INFINITY, "000001110"),
        (300.1..=f64::INFINITY, "111101111"),
    ] {
        assert_eq!(
            violations(Condition::InRange("n", range.clone()), &batch),
            expected,
            "{range:?}"
        );
    }
}

#[test]
fn every_width_of_number_has_ranges() {
    let ints =
        batch(&[("n", values::<Int32Array>(vec![Some(39), Some(40), None, Some(301)]), &[])]);
    assert_eq!(violations(Condition::InRange("n", 40.0..=300.0), &ints), "1001");
    let longs = vec![Some(i64::MIN), Some(40), None, Some(i64::MAX)];
    let longs = batch(&[("n", values::<arrow_array::Int64Array>(longs), &[])]);
    assert_eq!(violations(Condition::InRange("n", 40.0..=300.0), &longs), "1001");
}

#[test]
fn a_null_violates_nothing_but_required() {
    let batch = floats(&[None, Some(1.0), None]);
    assert_eq!(violations(Condition::Required("n"), &batch), "101");
    assert_eq!(violations(Condition::InRange("n", 5.0..=6.0), &batch), "010");
    let texts = crate::fixture::batch(&[("n", texts(&[None, Some("x"), Some("")]), &[])]);
    assert_eq!(violations(Condition::OneOf("n", vec!["y".into()]), &texts), "011");
    assert_eq!(violations(Condition::Required("n"), &floats(&[Some(1.0)])), "0");
}

#[test]
fn one_of_compares_letter_by_letter() {
    let batch = batch(&[("n", texts(&[Some("vitals"), Some("Vitals"), Some("vital")]), &[])]);
    let allowed = vec!["lab_result".into(), "vitals".into()];
    assert_eq!(violations(Condition::OneOf("n", allowed), &batch), "011");
    assert_eq!(violations(Condition::OneOf("n", vec![]), &batch), "111");
}

#[test]
fn a_check_that_answers_null_is_content() {
    let check = |_: &RecordBatch| Ok(BooleanArray::from(vec![Some(true), None, Some(false)]));
    let batch = floats(&[None, None, None]);
    assert_eq!(violations(Condition::Check(Arc::new(check)), &batch), "100");
    let short = Rule { code: "c", condition: Condition::Check(Arc::new(check)) };
    let short = short.bind(&batch.schema()).unwrap();
    assert!(evaluate(&[short], &floats(&[None])).is_err(), "an answer for other rows");
}

#[test]
fn rows_cut_out_of_a_batch_are_judged_at_their_place() {
    let batch = floats(&[Some(1.0), None, Some(9.0), Some(1.0), None]).slice(1, 3);
    assert_eq!(violations(Condition::Required("n"), &batch), "100");
    assert_eq!(violations(Condition::InRange("n", 0.0..=5.0), &batch), "010");
}

#[test]
fn rules_that_make_no_sense_do_not_bind() {
    let numbers = floats(&[]);
    let words = batch(&[("n", texts(&[]), &[])]);
    for (condition, batch, why) in [
        (Condition::Required("m"), &numbers, "column `m` is not in the input (n)"),
        (Condition::InRange("m", 0.0..=1.0), &numbers, "column `m` is not in the input (n)"),
        (Condition::InRange("n", 0.0..=1.0), &words, "column `n` is no number"),
        (Condition::OneOf("n", vec![]), &numbers, "column `n` is no text"),
        (
            Condition::InRange("n", 2.0..=1.0),
            &numbers,
            "the range n.code of column `n` is empty: 2.0..=1.0",
        ),
        (
            Condition::InRange("n", f64::NAN..=1.0),
            &numbers,
            "the range n.code of column `n` is empty: NaN..=1.0",
        ),
    ] {
        assert_eq!(refusal(condition, batch), why);
    }
}

proptest! {
    #[test]
    fn a_range_over_a_column_is_the_range_over_its_values(
        rows in prop::collection::vec(prop::option::of(any::<f64>()), 0..200),
        low in -1e3..1e3,
        width in 0.0..1e3,
    ) {
        let expected: String = rows.iter().map(|row| {
            let inside = row.is_none_or(|v| v.is_finite() && v >= low && v <= low + width);
            if inside { '0' } else { '1' }
        }).collect();
        let condition = Condition::InRange("n", low..=low + width);
        prop_assert_eq!(violations(condition, &floats(&rows)), expected);
    }
}
