//! Rows per second of the five gold aggregates: phase before the exchange, and phase behind it.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot run has nothing better to do than stop"
)]

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use thalweg_core::key::KeyGroupRange;
use thalweg_core::operator::{Collector, Context, OpenContext, Operator, OperatorFactory};
use thalweg_core::record::{Column, ColumnName, Float64, Int32, Int64, Timestamp, Utf8};
use thalweg_core::{OperatorUid, SubtaskIndex, Watermark};
use thalweg_operators::aggregate::Aggregate;

const ROWS: usize = 8192;
const BATCHES: usize = 16;
const PATIENTS: u64 = 5000;

const TIME: Column<Timestamp> = Column::required("event_time");
const EVENT_TYPE: Column<Utf8> = Column::required("event_type");
const PATIENT_ID: Column<Int64> = Column::required("patient_id");
const BP_CATEGORY: Column<Utf8> = Column::nullable("bp_category");
const MEDICATION: Column<Utf8> = Column::nullable("medication");
const FLOATS: [Column<Float64>; 4] = [
    Column::nullable("heart_rate"),
    Column::nullable("temperature"),
    Column::nullable("spo2"),
    Column::nullable("respiratory_rate"),
];
const INTEGERS: [Column<Int32>; 2] = [Column::nullable("systolic"), Column::nullable("diastolic")];

fn main() {
    divan::main();
}

/// Pseudo-random numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// Events of three types, two in three with vitals; event time moves on by a minute in four batches, and neighbours
/// are up to ten seconds out of order.
fn batches() -> Vec<RecordBatch> {
    let mut random = Random(7);
    (0..BATCHES)
        .map(|number| {
            let kinds: Vec<u64> = (0..ROWS).map(|_| random.below(3)).collect();
            let times = (0..ROWS).map(|row| {
                let seconds = ((number * ROWS + row) * 60 / (4 * ROWS)) as i64;
                1_700_000_000_000_000 + seconds * 1_000_000 - random.below(10_000_000) as i64
            });
            let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
            let mut columns: Vec<(&str, ArrayRef)> = vec![(TIME.name(), Arc::new(times))];
            let names = ["vitals", "lab_result", "medication"];
            let kind = StringArray::from_iter_values(kinds.iter().map(|k| names[*k as usize]));
            columns.push((EVENT_TYPE.name(), Arc::new(kind)));
            let patients = (0..ROWS).map(|_| 100_000 + random.below(PATIENTS) as i64);
            columns.push((PATIENT_ID.name(), Arc::new(Int64Array::from_iter_values(patients))));
            let categories = ["normal", "elevated", "stage_1", "stage_2", "severe"];
            let category =
                kinds.iter().map(|kind| (*kind < 2).then(|| categories[random.below(5) as usize]));
            columns.push((BP_CATEGORY.name(), Arc::new(category.collect::<StringArray>())));
            let drugs: Vec<String> = (0..40).map(|i| format!("medication number {i}")).collect();
            let drug =
                kinds.iter().map(|kind| (*kind == 2).then(|| &drugs[random.below(40) as usize]));
            columns.push((MEDICATION.name(), Arc::new(drug.collect::<StringArray>())));
            for column in FLOATS {
                let values = kinds
                    .iter()
                    .map(|kind| (*kind < 2).then(|| 40.0 + random.below(1000) as f64 / 10.0));
                columns.push((column.name(), Arc::new(values.collect::<Float64Array>())));
            }
            for column in INTEGERS {
                let values = kinds.iter().map(|kind| (*kind < 2).then(|| random.below(150) as i32));
                columns.push((column.name(), Arc::new(values.collect::<Int32Array>())));
            }
            RecordBatch::try_from_iter(columns).expect("columns of one length")
        })
        .collect()
}

const SHAPES: [&str; 5] =
    ["vitals_by_minute", "vitals_by_bp_category", "patient_vitals", "medications", "kpis"];

/// A gold table: events, patients, and mean, min, max and number of readings of six vitals.
fn gold(shape: &str) -> Aggregate {
    let aggregate = Aggregate::tumbling(TIME, Duration::from_mins(1));
    let aggregate = match shape {
        "vitals_by_minute" => aggregate.by(EVENT_TYPE),
        "vitals_by_bp_category" => aggregate.by(BP_CATEGORY),
        "patient_vitals" => aggregate.by(PATIENT_ID),
        "medications" => aggregate.by(MEDICATION),
        _ => aggregate,
    };
    let vitals = FLOATS.map(ColumnName::from).into_iter().chain(INTEGERS.map(ColumnName::from));
    vitals.fold(aggregate.count("events").count_distinct(PATIENT_ID, "patients"), |a, vital| {
        a.mean(vital, format!("{}_mean", vital.0))
            .min(vital, format!("{}_min", vital.0))
            .max(vital, format!("{}_max", vital.0))
            .count_values(vital, format!("{}_readings", vital.0))
    })
}

fn open(factory: &dyn OperatorFactory, input: &RecordBatch) -> (OpenContext, Box<dyn Operator>) {
    let open = OpenContext {
        uid: OperatorUid::new("bench").expect("a valid uid"),
        subtask: SubtaskIndex(0),
        parallelism: 1,
        max_parallelism: 128,
        key_groups: KeyGroupRange::of_subtask(0, 1, 128),
        input_schema: input.schema(),
    };
    let operator = factory.create(open.clone()).expect("an operator");
    (open, operator)
}

/// Runs all batches through a fresh operator, with a barrier at the end.
fn run(factory: &dyn OperatorFactory, batches: &[RecordBatch]) -> Vec<RecordBatch> {
    let (open, mut operator) = open(factory, &batches[0]);
    let context = Context { watermark: Watermark::MIN, open: &open };
    let mut out = Collector::default();
    for batch in batches {
        operator.process(batch.clone(), &context, &mut out).expect("rows");
    }
    operator.before_barrier(&context, &mut out).expect("a barrier");
    out.take().into_iter().map(|(_, batch)| batch).collect()
}

#[divan::bench(args = SHAPES)]
fn partial(bencher: Bencher, shape: &str) {
    let (factory, batches) = (gold(shape).partial(), batches());
    bencher
        .counter(ItemsCount::new(ROWS * BATCHES))
        .bench_local(|| black_box(run(&factory, &batches)));
}

#[divan::bench(args = SHAPES)]
fn merge(bencher: Bencher, shape: &str) {
    let partials = run(&gold(shape).partial(), &batches());
    let rows: usize = partials.iter().map(RecordBatch::num_rows).sum();
    let factory = gold(shape).merge();
    bencher.counter(ItemsCount::new(rows)).bench_local(|| {
        let (open, mut operator) = open(&factory, &partials[0]);
        let context = Context { watermark: Watermark::MIN, open: &open };
        let mut out = Collector::default();
        for batch in &partials {
            operator.process(batch.clone(), &context, &mut out).expect("rows");
        }
        operator.on_watermark(Watermark::MAX, &context, &mut out).expect("a watermark");
        black_box(out.take())
    });
}

/// Three keys, mean, min and max of two columns: the yardstick of the design.
#[divan::bench]
fn three_keys_six_functions(bencher: Bencher) {
    let aggregate = Aggregate::tumbling(TIME, Duration::from_mins(1))
        .by(EVENT_TYPE)
        .by(BP_CATEGORY)
        .by(INTEGERS[0])
        .mean(FLOATS[0], "a")
        .min(FLOATS[0], "b")
        .max(FLOATS[0], "c")
        .mean(FLOATS[1], "d")
        .min(FLOATS[1], "e")
        .max(FLOATS[1], "f");
    let (factory, batches) = (aggregate.partial(), batches());
    bencher
        .counter(ItemsCount::new(ROWS * BATCHES))
        .bench_local(|| black_box(run(&factory, &batches)));
}

/// What a barrier costs the processing thread: 5,000 patients with all functions.
#[divan::bench]
fn snapshot(bencher: Bencher) {
    let partials = run(&gold("patient_vitals").partial(), &batches());
    let (open, mut operator) = open(&gold("patient_vitals").merge(), &partials[0]);
    let context = Context { watermark: Watermark::MIN, open: &open };
    let mut out = Collector::default();
    for batch in &partials {
        operator.process(batch.clone(), &context, &mut out).expect("rows");
    }
    bencher.bench_local(|| {
        // A row changes the state, so that the snapshot is not the last one again.
        operator.process(partials[0].slice(0, 1), &context, &mut out).expect("rows");
        black_box(operator.snapshot().expect("a snapshot"))
    });
}
