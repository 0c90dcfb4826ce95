//! What the graph is told: columns, marks, and why an aggregate cannot be built.

use arrow_schema::Field;
use thalweg_core::ErrorKind;
use thalweg_core::graph::WindowFunction;
use thalweg_core::sensitivity::{Sensitivity, all_sensitivities, mark, sensitivities};
use thalweg_core::window::TumblingEventTimeWindows;

use super::*;

#[track_caller]
fn refused(aggregate: &Aggregate, expected: &str) {
    let error = aggregate.partial().output_schema(&schema()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGraph);
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn an_aggregate_that_cannot_be_is_refused_with_the_column_named() {
    const NOWHERE: Column<Float64> = Column::nullable("nowhere");
    const OPENED: Column<Timestamp> = Column::nullable("opened");
    let second = Duration::from_secs(1);
    refused(&Aggregate::tumbling(NOWHERE, second).count("n"), "`nowhere`");
    refused(&Aggregate::tumbling(VALUE, second).count("n"), "`value` must be a timestamp");
    let input = Arc::new(Schema::new(vec![OPENED.field()]));
    let opened = Aggregate::tumbling(OPENED, second).count("n");
    let error = opened.partial().output_schema(&input).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGraph);
    assert!(error.to_string().contains("`opened` may be null"), "{error}");
    refused(&Aggregate::tumbling(TIME, Duration::ZERO).count("n"), "size of a tumbling window");
    refused(&tumbling(10).by(NOWHERE), "`nowhere`");
    refused(&tumbling(10).by(VALUE), "`value` of type Float64 cannot be a key");
    refused(&tumbling(10).mean(KIND, "m"), "mean cannot be computed over column `kind`");
    refused(&tumbling(10).count_distinct(VALUE, "m"), "count distinct cannot");
    refused(&tumbling(10).percentile(VALUE, 1.5, "p"), "from 0 to 1");
    refused(&tumbling(10).percentile(VALUE, f64::NAN, "p"), "from 0 to 1");
    refused(&tumbling(10).mean(VALUE, "m").max(VALUE, "m"), "two columns called `m`");
    refused(&tumbling(10).by(KIND).count("kind"), "two columns called `kind`");
    refused(&tumbling(10).count("window_end"), "two columns called `window_end`");
}

#[test]
fn the_merge_takes_only_what_its_partial_phase_emits() {
    let aggregate = tumbling(10).by(KIND).mean(VALUE, "m");
    let other = tumbling(10).by(KIND).stddev(VALUE, "m");
    for input in [
        schema(),
        Arc::new(Schema::empty()),
        other.partial().output_schema(&schema()).unwrap(),
        tumbling(10).mean(VALUE, "m").partial().output_schema(&schema()).unwrap(),
        aggregate.clone().count("n").partial().output_schema(&schema()).unwrap(),
    ] {
        assert!(aggregate.merge().output_schema(&input).is_err());
    }
}

#[test]
fn what_discloses_values_keeps_their_marks_and_what_counts_them_does_not() {
    let marked = |field: Field| mark(field, [Sensitivity::PhiId]);
    let input = Arc::new(Schema::new(vec![
        TIME.field(),
        mark(KIND.field(), [Sensitivity::PhiName]),
        marked(PATIENT.field()),
        VALUE.field(),
    ]));
    let aggregate = tumbling(10)
        .by(KIND)
        .count("n")
        .count_distinct(PATIENT, "patients")
        .max(PATIENT, "greatest")
        .mean(VALUE, "mean")
        .count_values(VALUE, "readings")
        .count_values(PATIENT, "named");
    let between = aggregate.partial().output_schema(&input).unwrap();
    assert!(
        sensitivities(between.field_with_name("patients").unwrap()).contains(&Sensitivity::PhiId)
    );
    assert!(between.field_with_name("readings").is_err(), "the mean's state has it");
    assert!(sensitivities(between.field_with_name("named").unwrap()).is_empty());
    let results = aggregate.merge().output_schema(&between).unwrap();
    let marks = |name| sensitivities(results.field_with_name(name).unwrap());
    assert!(marks("kind").contains(&Sensitivity::PhiName));
    assert!(marks("greatest").contains(&Sensitivity::PhiId));
    let unmarked = ["n", "patients", "mean", "window_start", "readings", "named"];
    assert!(unmarked.iter().all(|name| marks(name).is_empty()));
    assert!(!results.field_with_name("readings").unwrap().is_nullable());
    assert_eq!(all_sensitivities(&results).len(), 2);
}

#[test]
fn behind_a_keyed_window_the_stream_says_keys_and_windows() {
    let windows = TumblingEventTimeWindows::of(Duration::from_mins(1)).into();
    let function = Aggregate::over(TIME).count("n");
    let between = WindowFunction::partial(&function, &["kind"], windows).output_schema(&schema());
    let merge = WindowFunction::merge(&function, &["kind"], windows);
    let results = merge.output_schema(&between.unwrap()).unwrap();
    let names: Vec<_> = results.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["window_start", "window_end", "kind", "n"]);
    assert_eq!(merge.describe(), "tumbling 60s aggregate by kind: count");
    refused(&function, "size of a tumbling window");
}
