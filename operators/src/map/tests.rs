use std::sync::Arc;

use arrow_array::{Int64Array, StringArray};
use arrow_schema::{DataType, Field, Schema};
use thalweg_core::ErrorKind;
use thalweg_core::Sensitivity::{PhiName, PhiPhone};
use thalweg_core::sensitivity::{mark, sensitivities};

use super::*;
use crate::fixture::{Instance, apply, batch, refusal, texts};

fn people() -> RecordBatch {
    batch(&[
        ("name", texts(&[Some("John Doe"), None]), &[PhiName]),
        ("phone", texts(&[None, None]), &[PhiPhone]),
    ])
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("letters", DataType::Int64, true),
        mark(Field::new("name", DataType::Utf8, true), [PhiName]),
    ]))
}

fn letters() -> Map {
    Map::new("letters", schema(), |batch| {
        let names = batch.column(0).as_any().downcast_ref::<StringArray>().unwrap();
        let letters: Int64Array = names.iter().map(|n| n.map(|n| n.len() as i64)).collect();
        Ok(RecordBatch::try_new(schema(), vec![Arc::new(letters), Arc::clone(batch.column(0))])
            .unwrap())
    })
}

fn marks(map: &Map, column: &str) -> Vec<thalweg_core::Sensitivity> {
    let output = map.output_schema(&people().schema()).unwrap();
    sensitivities(output.field_with_name(column).unwrap()).into_iter().collect()
}

#[test]
fn every_column_of_an_opaque_map_carries_the_marks_of_all_inputs() {
    assert_eq!(marks(&letters(), "letters"), [PhiName, PhiPhone]);
    assert_eq!(marks(&letters(), "name"), [PhiName, PhiPhone]);
}

#[test]
fn a_declassified_column_keeps_what_its_own_schema_marks() {
    let map = letters().declassify("letters", "a length").declassify("name", "made up here");
    assert_eq!(marks(&map, "letters"), []);
    assert_eq!(marks(&map, "name"), [PhiName]);
    assert_eq!(
        map.describe(),
        "map letters, declassifies letters (a length), declassifies name (made up here)"
    );
}

#[test]
fn batches_come_out_with_the_marks_that_were_promised() {
    let output = apply(&letters(), &people());
    assert_eq!(output.column(0).as_ref(), &Int64Array::from(vec![Some(8), None]));
    assert_eq!(sensitivities(output.schema().field(0)).len(), 2);
}

#[test]
fn a_schema_can_follow_the_inputs() {
    let map = Map::with_schema("same", |input| Ok(Arc::clone(input)), Ok);
    assert_eq!(marks(&map, "phone"), [PhiName, PhiPhone]);
    assert_eq!(apply(&map, &people()).num_rows(), 2);
}

#[test]
fn a_declassification_needs_a_column_and_a_reason() {
    let unknown = letters().declassify("ssn", "none here");
    assert!(refusal(&unknown, &people()).contains("`ssn` is not in the output"));
    let silent = letters().declassify("letters", " ");
    assert!(refusal(&silent, &people()).contains("without a reason"));
}

#[test]
fn other_columns_than_promised_are_an_error_without_values() {
    let wrong = Map::new("wrong", schema(), Ok);
    let error = Instance::new(&wrong, &people().schema()).process(&people()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGraph);
    assert!(error.to_string().contains("`name` where `letters` belongs"), "{error}");
    let strict = Map::new(
        "strict",
        Arc::new(Schema::new(vec![
            Field::new("name", DataType::Utf8, false),
            Field::new("phone", DataType::Utf8, true),
        ])),
        Ok,
    );
    let error = Instance::new(&strict, &people().schema()).process(&people()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGraph);
    assert!(error.to_string().contains("nulls in column `name`"), "{error}");
    assert!(!format!("{error:?}").contains("John"), "{error}");
}
