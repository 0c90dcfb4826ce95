//! What is told when a graph is built: records that do not fit the rows of their streams, watermarks that are made too
//! late or not at all, and the column that watermarks add where it may not go.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::{DataType, Field, Schema};
use thalweg_connectors::memory::{MemorySource, MemoryStore};
use thalweg_core::prelude::*;
use thalweg_operators::alert::AlertChange;
use thalweg_operators::detect::Limit;
use thalweg_operators::prelude::*;

#[derive(Debug, Clone, thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Reading {
    patient: i64,
    bpm: f64,
    #[record(sensitivity = "phi.date")]
    at: Micros,
}

#[derive(Debug, Clone, thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Mean {
    window_start: Micros,
    window_end: Micros,
    patient: i64,
    bpm: Option<f64>,
}

/// As if there were a mean of no values.
#[derive(Debug, Clone, thalweg_core::Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Always {
    window_start: Micros,
    patient: i64,
    bpm: f64,
}

/// Passes records on.
#[derive(Debug, Clone)]
struct Pass<R>(PhantomData<R>);

impl<R: Record + Debug + Clone + Send + Sync> KeyedOperator for Pass<R> {
    type In = R;
    type Out = R;

    fn process(&mut self, batch: Batch<R>, _: &KeyedContext, out: &mut Collector) -> Result<()> {
        out.emit(batch.into_record_batch());
        Ok(())
    }
}

fn source() -> MemorySource {
    MemorySource::new(Reading::schema())
}

fn strategy() -> WatermarkStrategy {
    WatermarkStrategy::bounded_out_of_orderness(Reading::AT, Duration::ZERO)
}

/// What is wrong with a graph.
fn problems(draw: impl FnOnce(&StreamEnvironment, &MemoryStore)) -> Vec<String> {
    let (env, store) = (StreamEnvironment::new("records"), MemoryStore::default());
    draw(&env, &store);
    let told = env.build().err();
    told.iter().flat_map(GraphErrors::problems).map(ToString::to_string).collect()
}

#[test]
fn a_source_of_other_columns_than_its_record_does_not_build() {
    let columns = Schema::new(vec![
        Field::new("patient", DataType::Utf8, false),
        Field::new("bpm", DataType::Float64, true),
        Field::new("ward", DataType::Utf8, true),
    ]);
    let told = problems(|env, store| {
        let source = MemorySource::new(Arc::new(columns));
        env.source::<Reading>("readings", source).sink("all", store.sink("all"));
    });
    assert_eq!(
        told,
        [
            "node `readings`: column `patient` is of type Utf8, and of type Int64 in its record",
            "node `readings`: column `bpm` may be null, which its record rules out",
            "node `readings`: its rows have no column `at`, which their record has",
        ]
    );
}

#[test]
fn a_keyed_operator_without_the_columns_of_its_record_does_not_build() {
    let told = problems(|env, store| {
        env.source::<Reading>("readings", source())
            .apply("narrow", Project::columns(["patient", "at"]))
            .key_by(Reading::PATIENT)
            .process("pass", Pass::<Reading>(PhantomData))
            .sink("all", store.sink("all"));
    });
    assert_eq!(told, ["node `pass`: its rows have no column `bpm`, which their record has"]);
}

/// Means per minute, behind which an operator reads them as records of `O`.
fn means<O: Record + Debug + Clone + Send + Sync>(env: &StreamEnvironment, store: &MemoryStore) {
    env.source::<Reading>("readings", source())
        .watermarks(strategy())
        .key_by(Reading::PATIENT)
        .window(TumblingEventTimeWindows::of(Duration::from_mins(1)))
        .aggregate::<O>("per-minute", &Aggregate::over(Reading::AT).mean(Reading::BPM, "bpm"))
        .key_by(Reading::PATIENT)
        .process("pass", Pass::<O>(PhantomData))
        .sink("all", store.sink("all"));
}

#[test]
fn results_that_may_be_null_are_no_records_of_values_that_may_not() {
    let told = problems(means::<Mean>);
    assert!(told.is_empty(), "{told:?}");
    let told = problems(means::<Always>);
    assert_eq!(
        told,
        [
            "node `per-minute`: column `bpm` may be null, which its record rules out",
            "node `pass`: column `bpm` may be null, which its record rules out",
        ]
    );
}

#[test]
fn watermarks_that_are_made_once_a_stream_is_used_do_not_build() {
    let told = problems(|env, store| {
        let readings = env.source::<Reading>("readings", source()).watermarks(strategy());
        readings.sink("all", store.sink("all"));
        let passed =
            readings.key_by(Reading::PATIENT).process("pass", Pass::<Reading>(PhantomData));
        passed.sink("passed", store.sink("passed"));
    });
    assert!(told.is_empty(), "{told:?}");
    let told = problems(|env, store| {
        let readings = env.source::<Reading>("readings", source());
        readings.sink("all", store.sink("all"));
        readings.watermarks(strategy()).sink("timed", store.sink("timed"));
    });
    assert_eq!(
        told,
        ["node `readings`: it is used already: call `watermarks` before anything reads the stream"]
    );
}

/// What is told of windows and alerts over readings.
fn waiting(source: MemorySource, timed: bool) -> Vec<String> {
    problems(|env, store| {
        let mut readings = env.source::<Reading>("readings", source);
        if timed {
            readings = readings.watermarks(strategy());
        }
        let means = Aggregate::over(Reading::AT).mean(Reading::BPM, "bpm");
        readings
            .key_by(Reading::PATIENT)
            .window(TumblingEventTimeWindows::of(Duration::from_mins(1)))
            .aggregate::<Mean>("per-minute", &means)
            .sink("means", store.sink("means"));
        let fast = AlertRule::new("fast", Reading::BPM, Limit::at_least(130.0));
        readings
            .key_by(Reading::PATIENT)
            .transform::<AlertChange>("alerts", Alerts::new(["patient"], Reading::AT, [fast]))
            .sink("changes", store.sink("changes"));
    })
}

#[test]
fn windows_and_alerts_that_would_wait_for_ever_do_not_build() {
    let says = "it waits for event time, which no source before it makes: call `watermarks` on source `readings`";
    assert_eq!(
        waiting(source().endless(), false),
        [format!("node `per-minute`: {says}"), format!("node `alerts`: {says}")]
    );
    for fine in [waiting(source().endless(), true), waiting(source(), false)] {
        assert!(fine.is_empty(), "{fine:?}");
    }
}

#[test]
fn a_mark_that_comes_from_another_column_is_told_with_that_column() {
    let marked = problems(|env, store| {
        env.source::<Reading>("readings", source())
            .transform::<Reading>(
                "map",
                Map::with_schema("same", |input| Ok(Arc::clone(input)), Ok),
            )
            .sink("all", store.sink("all").cleared_for(Clearance::none()));
    });
    let from = |column: &str| marked.iter().find(|told| told.contains(column)).unwrap();
    assert!(from("`bpm` (phi.date)").contains("by map -> all, inherited from `at`;"), "{marked:?}");
    assert!(!from("`at` (phi.date)").contains("inherited"), "{marked:?}");
}

#[test]
fn the_watermark_of_a_row_goes_only_where_its_time_may_go() {
    let into_the_open = |columns: [&'static str; 2]| {
        problems(|env, store| {
            env.source::<Reading>("readings", source())
                .watermarks(strategy())
                .apply("columns", Project::columns(columns))
                .sink("all", store.sink("all").cleared_for(Clearance::none()));
        })
    };
    let told = into_the_open(["patient", "row_watermark"]);
    let [told] = told.as_slice() else { panic!("{told:?}") };
    let says = "column `row_watermark` (phi.date) reaches this sink unmasked by readings -> columns -> all, \
                inherited from `at`;";
    assert!(told.contains(says), "{told}");
    assert!(into_the_open(["patient", "bpm"]).is_empty());
}
