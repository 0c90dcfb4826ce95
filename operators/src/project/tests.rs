use std::sync::Arc;

use arrow_array::Int32Array;
use thalweg_core::Sensitivity::PhiName;
use thalweg_core::record::{Column, Int32};
use thalweg_core::sensitivity::sensitivities;

use super::*;
use crate::fixture::{apply, batch, names, refusal, texts, values};

fn people() -> RecordBatch {
    batch(&[
        ("name", texts(&[Some("John Doe")]), &[PhiName]),
        ("age", values::<Int32Array>(vec![40]), &[]),
        ("town", texts(&[None]), &[]),
    ])
}

#[test]
fn columns_come_in_the_order_they_were_asked_for_and_are_not_copied() {
    let input = people();
    let output = apply(&Project::columns(["town", "name"]), &input);
    assert_eq!(names(output.schema_ref()), ["town", "name"]);
    assert!(Arc::ptr_eq(output.column(1), input.column(0)));
}

#[test]
fn a_renamed_column_keeps_its_mark() {
    let project = Project::columns(["name", "age"]).rename("name", "patient");
    let output = apply(&project, &people());
    assert_eq!(names(output.schema_ref()), ["patient", "age"]);
    assert!(sensitivities(output.schema().field(0)).contains(&PhiName));
    assert_eq!(project.describe(), "project name as patient, age");
}

#[test]
fn typed_columns_name_columns_too() {
    const AGE: Column<Int32> = Column::nullable("age");
    let output = apply(&Project::columns([AGE]).rename(AGE, "years"), &people());
    assert_eq!(names(output.schema_ref()), ["years"]);
}

#[test]
fn rows_survive_without_any_column() {
    assert_eq!(apply(&Project::columns([""; 0]), &people()).num_rows(), 1);
}

#[test]
fn unknown_and_repeated_columns_are_refused() {
    for (project, why) in [
        (Project::columns(["ssn"]), "column `ssn` is not in the input (name, age, town)"),
        (Project::columns(["age", "age"]), "column `age` is chosen twice"),
        (Project::columns(["age", "name"]).rename("age", "name"), "column `name` is chosen twice"),
        (Project::columns(["age"]).rename("name", "n"), "column `name` is renamed but not chosen"),
    ] {
        assert_eq!(refusal(&project, &people()), why);
    }
}
