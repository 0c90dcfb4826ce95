//! Rows per second through the healthcare rules, by share of bad rows.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot run has nothing better to do than stop"
)]

use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{Field, Schema, SchemaRef};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use thalweg_core::key::KeyGroupRange;
use thalweg_core::operator::{Collector, Context, OpenContext, Operator, OperatorFactory};
use thalweg_core::record::{Column, Int32, column_of};
use thalweg_core::{OperatorUid, Result, SubtaskIndex, Watermark};
use thalweg_operators::Validate;

const ROWS: usize = 8_192;
const SYSTOLIC: Column<Int32> = Column::nullable("systolic");
const DIASTOLIC: Column<Int32> = Column::nullable("diastolic");

fn main() {
    divan::main();
}

fn rules() -> Validate {
    Validate::new()
        .required("patient_id", "patient_id.missing")
        .required("event_type", "event_type.missing")
        .one_of("event_type", ["vitals", "lab_result", "medication"], "event_type.unknown")
        .in_range("heart_rate", 20..=300, "heart_rate.range")
        .in_range("temperature", 80..=115, "temperature.range")
        .in_range("spo2", 50..=100, "spo2.range")
        .in_range("respiratory_rate", 4..=80, "respiratory_rate.range")
        .in_range("systolic", 40..=300, "systolic.range")
        .in_range("diastolic", 20..=200, "diastolic.range")
        .check("blood_pressure.order", |batch| {
            let pairs = column_of(batch, SYSTOLIC)?.iter().zip(column_of(batch, DIASTOLIC)?);
            Ok(pairs.map(|(systolic, diastolic)| Some(diastolic? >= systolic?)).collect())
        })
        .decode_errors("decode_errors")
        .unreadable(["json.malformed"])
}

/// Events of which every `bad`-th has an impossible heart rate and every other of those a decode error (0: none).
fn events(bad: usize) -> RecordBatch {
    let is_bad = |row: &usize| bad > 0 && row.is_multiple_of(bad);
    let floats = |value: f64| -> ArrayRef {
        let values = (0..ROWS).map(|row| (row % 9 > 0).then_some(value));
        Arc::new(values.collect::<Float64Array>())
    };
    let ints = |value: i32| -> ArrayRef { Arc::new(Int32Array::from(vec![value; ROWS])) };
    let rate = |row| if is_bad(&row) { 900.0 } else { 80.0 };
    let rates = Float64Array::from_iter_values((0..ROWS).map(rate));
    let mut errors = ListBuilder::new(StringBuilder::new());
    for row in 0..ROWS {
        if is_bad(&row) && row % 2 == 0 {
            errors.append_value([Some("timestamp.unparsable")]);
        } else {
            errors.append(false);
        }
    }
    let types = ["vitals", "lab_result", "medication"].into_iter().cycle().take(ROWS);
    let text = "1 Main St, Boston, MA 02101";
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("patient_id", Arc::new(Int64Array::from_iter_values(0..ROWS as i64))),
        ("event_type", Arc::new(StringArray::from_iter_values(types))),
        ("heart_rate", Arc::new(rates)),
        ("temperature", floats(98.6)),
        ("spo2", floats(97.0)),
        ("respiratory_rate", floats(16.0)),
        ("systolic", ints(127)),
        ("diastolic", ints(80)),
        ("address", Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, ROWS)))),
        ("decode_errors", Arc::new(errors.finish())),
    ];
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let columns = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(schema), columns).expect("columns of one length")
}

fn open(input: SchemaRef) -> Result<OpenContext> {
    Ok(OpenContext {
        uid: OperatorUid::new("bench")?,
        subtask: SubtaskIndex(0),
        parallelism: 1,
        max_parallelism: 128,
        key_groups: KeyGroupRange::of_subtask(0, 1, 128),
        input_schema: input,
    })
}

/// One row in `bad` is bad; 0 for none.
#[divan::bench(args = [0, 100, 10, 1])]
fn healthcare(bencher: Bencher, bad: usize) {
    let batch = events(bad);
    let open = open(batch.schema()).expect("a legal uid");
    let mut operator: Box<dyn Operator> = rules().create(open.clone()).expect("a legal graph");
    let context = Context { watermark: Watermark::MIN, open: &open };
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let mut out = Collector::default();
        operator.process(black_box(batch.clone()), &context, &mut out).expect("no error");
        out.take()
    });
}
