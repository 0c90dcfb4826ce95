use std::sync::Arc;

use arrow_array::{Array, Int32Array};
use thalweg_core::Sensitivity::PhiId;

use super::*;
use crate::fixture::{Instance, apply, batch, values};

fn above(limit: i32) -> Filter {
    Filter::new("above", move |batch| {
        let numbers = batch.column(0).as_any().downcast_ref::<Int32Array>().unwrap();
        Ok(numbers.iter().map(|n| n.map(|n| n > limit)).collect())
    })
}

fn numbers() -> RecordBatch {
    batch(&[("n", values::<Int32Array>(vec![Some(3), None, Some(1), Some(5)]), &[PhiId])])
}

#[test]
fn rows_stay_in_order_and_a_null_answer_drops_one() {
    let output = apply(&above(2), &numbers());
    assert_eq!(output.column(0).as_ref(), &Int32Array::from(vec![3, 5]));
}

#[test]
fn a_batch_of_which_every_row_stays_is_not_copied() {
    let everything = Filter::new("all", |batch| Ok(vec![true; batch.num_rows()].into()));
    let input = numbers();
    assert!(Arc::ptr_eq(input.column(0), apply(&everything, &input).column(0)));
}

#[test]
fn a_batch_without_a_row_left_is_not_emitted() {
    let emitted = Instance::new(&above(9), &numbers().schema()).process(&numbers()).unwrap();
    assert!(emitted.is_empty());
}

#[test]
fn an_answer_for_other_rows_is_an_error() {
    let wrong = Filter::new("wrong", |_| Ok(vec![true].into()));
    let error = Instance::new(&wrong, &numbers().schema()).process(&numbers()).unwrap_err();
    assert_eq!(error.kind(), thalweg_core::ErrorKind::InvalidGraph);
    assert!(error.to_string().contains("another number of rows"), "{error}");
}
