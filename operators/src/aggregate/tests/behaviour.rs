//! What an aggregate gives for rows that a person can check.

use thalweg_core::watermark::ROW_WATERMARK;

use super::*;
use crate::aggregate::tests::Row;

fn at(time: i64, kind: &'static str, value: f64) -> Row {
    Row { time, kind: Some(kind), value: Some(value), ..Row::default() }
}

/// Pushes `rows` through one instance of each phase to the end of time.
#[track_caller]
fn check(aggregate: Aggregate, rows: &[Row], expected: &[&str]) {
    let mut job = Job::new(aggregate, 1, 1);
    job.push(0, rows).unwrap();
    job.advance(i64::MAX).unwrap();
    assert_eq!(job.table(), expected);
}

#[test]
fn every_function_gives_its_value() {
    let aggregate = tumbling(10)
        .by(KIND)
        .count("n")
        .count_distinct(PATIENT, "patients")
        .sum(VALUE, "sum")
        .mean(VALUE, "mean")
        .min(VALUE, "min")
        .max(VALUE, "max")
        .stddev(VALUE, "stddev")
        .percentile(VALUE, 0.0, "p0")
        .percentile(VALUE, 1.0, "p100")
        .count_values(VALUE, "values")
        .count_values(PATIENT, "named");
    let mut rows = vec![at(1, "a", 2.0), at(2, "a", 4.0), at(9, "a", 6.0), at(10, "a", 7.5)];
    rows[0].patient = Some(1);
    rows[1].patient = Some(1);
    rows[2].patient = Some(-5);
    rows.push(at(3, "b", -1.0));
    check(
        aggregate,
        &rows,
        &[
            "0 10 a 3 2 12 4 2 6 2 2 6 3 3",
            "0 10 b 1 0 -1 -1 -1 -1 - -1 -1 1 0",
            "10 20 a 1 0 7.5 7.5 7.5 7.5 - 7.5 7.5 1 0",
        ],
    );
}

#[test]
fn integers_keep_their_type_where_a_value_is_kept() {
    let aggregate = tumbling(10)
        .min(SMALL, "min")
        .max(SMALL, "max")
        .mean(SMALL, "mean")
        .sum(PATIENT, "sum")
        .min(PATIENT, "least")
        .stddev(PATIENT, "stddev")
        .percentile(SMALL, 0.0, "p0");
    let row = |small, patient| Row { patient, small, ..Row::default() };
    check(
        aggregate,
        &[row(Some(-3), Some(i64::MAX)), row(Some(i32::MAX), None), row(None, Some(i64::MAX))],
        &["0 10 -3 2147483647 1073741822 18446744073709552000 9223372036854775807 0 -3"],
    );
}

#[test]
fn null_and_nan_are_no_values_and_minus_zero_is_zero() {
    let aggregate = || {
        let all = tumbling(10).count("n").sum(VALUE, "sum").mean(VALUE, "mean").min(VALUE, "min");
        all.max(VALUE, "max").stddev(VALUE, "stddev").percentile(VALUE, 0.5, "p50")
    };
    let row = |value| Row { value, ..Row::default() };
    check(aggregate(), &[row(None), row(Some(f64::NAN))], &["0 10 2 - - - - - -"]);
    check(aggregate(), &[row(Some(f64::NAN)), row(Some(3.0)), row(None)], &["0 10 3 3 3 3 3 - 3"]);
    check(tumbling(10).max(VALUE, "max"), &[row(Some(-0.0))], &["0 10 0"]);
    check(tumbling(10).min(VALUE, "min"), &[row(Some(0.0)), row(Some(-0.0))], &["0 10 0"]);
}

#[test]
fn a_count_of_values_is_the_same_with_state_of_its_own_and_behind_a_mean() {
    let aggregate = || {
        let own = tumbling(10).count("n").count_values(VALUE, "own").mean(VALUE, "mean");
        let behind = own.count_values(VALUE, "behind");
        behind
            .count_values(SMALL, "small")
            .count_values(KIND, "kinds")
            .count_values(OXYGEN, "oxygen")
    };
    let row = |value, small, kind| Row { kind, value, small, ..Row::default() };
    let some = row(Some(3.0), Some(7), Some("a"));
    let none = row(None, None, None);
    let nan = Row { oxygen: Some(false), ..row(Some(f64::NAN), Some(0), Some("")) };
    check(aggregate(), &[none.clone(), none.clone()], &["0 10 2 0 - 0 0 0 0"]);
    check(aggregate(), &[some.clone(), none, nan, some], &["0 10 4 2 3 2 3 3 1"]);
}

#[test]
fn infinities_are_extremes_and_do_not_count_for_a_percentile() {
    let rows = [f64::INFINITY, 1.0, f64::NEG_INFINITY].map(|v| at(0, "a", v));
    check(tumbling(10).percentile(VALUE, 0.5, "p50").max(VALUE, "max"), &rows, &["0 10 1 inf"]);
}

#[test]
fn rows_with_a_null_in_any_key_are_left_out() {
    let row = |kind, ward, oxygen| Row { kind, ward, oxygen, ..Row::default() };
    check(
        tumbling(10).by(KIND).by(WARD).by(OXYGEN).count("n"),
        &[
            row(Some("b"), Some(1), Some(true)),
            row(None, Some(1), Some(true)),
            row(Some("b"), None, Some(true)),
            row(Some("b"), Some(1), None),
            row(Some("b"), Some(1), Some(false)),
            row(Some(""), Some(7), Some(false)),
            row(Some("b"), Some(-1), Some(false)),
            row(Some("b"), Some(1), Some(true)),
        ],
        &["0 10  7 false 1", "0 10 b -1 false 1", "0 10 b 1 false 1", "0 10 b 1 true 2"],
    );
    check(tumbling(10).by(KIND).count("n"), &[row(None, None, None)], &[]);
}

#[test]
fn rows_with_a_null_in_any_key_are_counted() {
    let row = |kind, ward| Row { kind, ward, ..Row::default() };
    let rows = [row(Some("b"), Some(1)), row(None, Some(1)), row(Some("b"), None), row(None, None)];
    for (aggregate, null_key) in [
        (tumbling(10), 0),
        (tumbling(10).by(KIND), 2),
        (tumbling(10).by(KIND).by(WARD), 3),
        (tumbling(10).by(KIND).by(WARD).by(PATIENT), 4),
    ] {
        let mut job = Job::new(aggregate.count("n"), 1, 1);
        job.push(0, &rows).unwrap();
        job.push(0, &rows).unwrap();
        job.advance(i64::MAX).unwrap();
        assert_eq!((job.null_key(), job.late()), (2 * null_key, 0));
    }
}

#[test]
fn times_at_both_ends_of_the_world_have_windows() {
    let row = |time| Row { time, ..Row::default() };
    check(
        tumbling(10).count("n"),
        &[row(i64::MAX), row(i64::MIN), row(-1), row(0), row(i64::MAX - 1), row(i64::MIN + 1)],
        &[
            "-9223372036854775808 -9223372036854775800 2",
            "-10 0 1",
            "0 10 1",
            "9223372036854775800 9223372036854775807 2",
        ],
    );
}

#[test]
fn a_window_is_emitted_once_the_watermark_reaches_its_end_and_lateness() {
    for (lateness, watermark, fires) in
        [(0, 9, false), (0, 10, true), (5, 14, false), (5, 15, true), (5, i64::MAX, true)]
    {
        let aggregate = tumbling(10).count("n").allowed_lateness(Duration::from_micros(lateness));
        let mut job = Job::new(aggregate, 2, 1);
        job.push(0, &[at(9, "a", 1.0)]).unwrap();
        job.push(1, &[at(3, "a", 1.0)]).unwrap();
        job.advance(watermark).unwrap();
        assert_eq!(job.table(), if fires { vec!["0 10 2"] } else { vec![] });
        job.advance(i64::MAX).unwrap();
        assert_eq!(job.table(), ["0 10 2"]);
    }
}

#[test]
fn the_partial_phase_sends_few_rows_and_never_holds_many_groups() {
    let rows: Vec<Row> =
        (0..1000).map(|i| Row { patient: Some(i % 100), ..Row::default() }).collect();
    for (limit, exchanged) in [(1000, 100), (99, 1000)] {
        let mut job = Job::new(tumbling(10).by(PATIENT).count("n").partial_groups(limit), 1, 3);
        for rows in rows.chunks(100) {
            job.push(0, rows).unwrap();
        }
        job.advance(10).unwrap();
        assert_eq!(job.exchanged, exchanged);
        assert_eq!(job.table().len(), 100);
        assert!(job.table().iter().all(|row| row.ends_with(" 10")));
    }
    let aggregate = tumbling(10).count_distinct(PATIENT, "patients").partial_bytes(0);
    let mut job = Job::new(aggregate, 1, 1);
    job.push(0, &rows).unwrap();
    assert_eq!(job.exchanged, 1);
}

#[test]
fn a_row_is_in_every_window_that_slides_over_it() {
    let mut job = Job::new(sliding(20, 10).by(KIND).count("n"), 2, 2);
    job.push(0, &[at(3, "a", 1.0), at(12, "a", 1.0)]).unwrap();
    job.push(1, &[at(25, "a", 1.0)]).unwrap();
    job.advance(10).unwrap();
    assert_eq!(job.table(), ["-10 10 a 1"]);
    // The pane 0..10 is closed with its first window: a row for it would be in some windows only.
    job.advance(30).unwrap();
    assert_eq!(job.table(), ["-10 10 a 1", "0 20 a 2", "10 30 a 2"]);
    job.push(0, &[at(29, "a", 1.0), at(30, "a", 1.0)]).unwrap();
    job.advance(40).unwrap();
    assert_eq!((job.late(), job.table().last().unwrap().as_str()), (1, "20 40 a 2"));
}

#[test]
fn windows_that_would_begin_before_all_time_are_none() {
    let mut job = Job::new(sliding(30, 10).by(KIND).count("n"), 1, 1);
    job.push(0, &[at(i64::MIN, "a", 1.0), at(i64::MIN + 9, "a", 1.0), at(0, "a", 1.0)]).unwrap();
    job.advance(i64::MAX).unwrap();
    let rows: Vec<i64> =
        job.table().iter().map(|r| r.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(rows.iter().sum::<i64>(), 1 + 1 + 3, "{:?}", job.table());
}

#[test]
fn rows_pass_where_summing_up_brings_nothing_and_it_is_tried_again() {
    let all = tumbling(10).by(PATIENT).count("n").sum(VALUE, "sum").min(VALUE, "min");
    let mut job = Job::new(all.stddev(VALUE, "spread").partial_groups(100), 1, 2);
    let of = |patient: i64| {
        let value = Some(patient as f64);
        Row { patient: Some(patient), value, ..Row::default() }
    };
    let unlike: Vec<Row> = (0..101).map(of).collect();
    job.push(0, &unlike).unwrap();
    assert_eq!(job.exchanged, 101, "summed up, to no use");
    let alike: Vec<Row> = (0..101 * 32).map(|_| of(7)).collect();
    job.push(0, &alike).unwrap();
    assert_eq!(job.exchanged, 101 * 33, "passed");
    job.push(0, &alike).unwrap();
    job.advance(10).unwrap();
    assert_eq!(job.exchanged, 101 * 33 + 1, "summed up again");
    assert_eq!(job.table().len(), 101);
    let (alike, unlike) = (1 + 2 * 101 * 32, "0 10 8 1 8 8 -");
    assert!(job.table().contains(&format!("0 10 7 {alike} {} 7 0", 7 * alike)));
    assert!(job.table().iter().any(|row| row == unlike));
}

#[test]
fn rows_of_keys_of_another_instance_are_refused_before_a_checkpoint_lacks_them() {
    let min = Watermark::MIN;
    for (merges, fits) in [(1, true), (2, false)] {
        let mut job = Job::new(sliding(20, 10).by(KIND).by(PATIENT).count("n"), 1, merges);
        let of = |patient| Row { kind: Some("a"), patient: Some(patient), ..Row::default() };
        let rows = batch(&(0..64).map(of).collect::<Vec<_>>());
        let partial = &mut job.partials[0];
        partial.call(min, |o, context, out| o.process(rows, context, out)).unwrap();
        let partials = partial.call(min, |o, context, out| o.before_barrier(context, out));
        // As if they were grouped by the kind alone.
        let rows = partials.unwrap().remove(0);
        let merged = job.merges[0].call(min, |o, context, out| o.process(rows, context, out));
        match merged {
            Ok(_) => assert!(fits),
            Err(error) => {
                assert!(!fits && error.kind() == thalweg_core::ErrorKind::InvalidGraph, "{error}");
                assert!(error.to_string().contains("key_by"), "{error}");
            }
        }
    }
}

#[test]
fn a_row_for_an_emitted_window_is_an_error_without_values() {
    let mut job = Job::new(tumbling(10).by(KIND).count("n"), 1, 1);
    let rows = batch(&[at(2, "secret", 1.0)]);
    let partial = &mut job.partials[0];
    partial.call(Watermark::MIN, |o, context, out| o.process(rows, context, out)).unwrap();
    let partials = partial.call(Watermark::MIN, |o, context, out| o.before_barrier(context, out));
    let rows = partials.unwrap().remove(0);
    let merge = &mut job.merges[0];
    let ten = Watermark(10);
    merge.call(ten, |o, context, out| o.on_watermark(ten, context, out)).unwrap();
    let error = merge.call(ten, |o, context, out| o.process(rows, context, out)).unwrap_err();
    assert_eq!(error.kind(), thalweg_core::ErrorKind::Internal);
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn a_row_without_an_event_time_is_an_error() {
    let aggregate = tumbling(10).count("n");
    let mut partial = instances(&aggregate.partial(), &schema(), 1).remove(0);
    let rows = batch(&[Row::default()]);
    let mut columns = rows.columns().to_vec();
    columns[0] = Arc::new(TimestampMicrosecondArray::from(vec![None]).with_timezone("UTC"));
    let fields: Vec<_> =
        schema().fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    assert!(partial.call(Watermark::MIN, |o, context, out| o.process(rows, context, out)).is_err());
}

/// Rows of time and of their split's watermark before them, which is null where there is none.
fn undecided(rows: &[(i64, Option<i64>)]) -> RecordBatch {
    let times: Vec<Row> = rows.iter().map(|(time, _)| at(*time, "a", 1.0)).collect();
    let mut columns = batch(&times).columns().to_vec();
    columns.push(Arc::new(rows.iter().map(|(_, before)| *before).collect::<Int64Array>()));
    let mut fields = schema().fields().to_vec();
    fields.push(Arc::new(arrow_schema::Field::new(ROW_WATERMARK, DataType::Int64, true)));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[test]
fn late_rows_that_nobody_upstream_took_out_are_left_out_and_counted() {
    let input = undecided(&[]).schema();
    let mut partial = instances(&tumbling(10).count("n").partial(), &input, 1).remove(0);
    let context = Context { watermark: Watermark::MIN, open: &partial.open };
    let mut out = Collector::default();
    let mut push = |rows: &[(i64, Option<i64>)]| {
        partial.operator.process(undecided(rows), &context, &mut out).unwrap();
        out.take_left_out().late
    };
    // The window of the first ten has closed once the row's split had come to 10.
    assert_eq!(push(&[(1, None), (12, Some(1)), (9, Some(9)), (2, Some(12)), (3, Some(12))]), 2);
    assert_eq!(push(&[(13, Some(12))]), 0);
    assert_eq!(push(&[(4, Some(13))]), 1);
}

#[test]
fn rows_without_event_time_beside_others_are_left_out_once_their_window_has_closed() {
    let aggregate = tumbling(10).by(KIND).count("n");
    let mut job = Job::new(aggregate.clone(), 1, 1);
    job.partials = instances(&aggregate.partial(), &undecided(&[]).schema(), 1);
    let push = |job: &mut Job, rows: &[(i64, Option<i64>)]| {
        let rows = undecided(rows);
        let emitted = job.partials[0]
            .call(job.watermark, |o, context, out| o.process(rows, context, out))
            .unwrap();
        job.exchange(emitted).unwrap();
    };
    push(&mut job, &[(1, None), (25, Some(1)), (2, None)]);
    job.advance(20).unwrap();
    push(&mut job, &[(3, None), (19, None), (21, None), (26, Some(20))]);
    job.advance(i64::MAX).unwrap();
    assert_eq!(job.table(), ["0 10 a 2", "20 30 a 3"]);
    assert_eq!(job.late(), 2);
}

#[test]
fn many_windows_leave_in_batches_of_bounded_size() {
    let rows: Vec<Row> = (0..20_000).rev().map(|time| Row { time, ..Row::default() }).collect();
    let mut job = Job::new(tumbling(1).count("n"), 1, 1);
    job.push(0, &rows).unwrap();
    job.advance(i64::MAX).unwrap();
    assert_eq!(job.table().len(), 20_000);
    assert_eq!(job.table()[19_999], "19999 20000 1");
    assert!(job.results.iter().all(|b| b.num_rows() <= 8192));
}

#[test]
fn rows_that_nobody_judged_are_left_out_and_counted_once_their_window_has_closed() {
    let mut job = Job::new(tumbling(10).by(KIND).count("n"), 1, 1);
    job.push(0, &[at(1, "a", 0.0), at(25, "a", 0.0)]).unwrap();
    job.advance(20).unwrap();
    job.push(0, &[at(3, "a", 0.0), at(19, "b", 0.0)]).unwrap();
    job.push(0, &[at(19, "a", 0.0), at(20, "b", 0.0), at(9, "b", 0.0), at(26, "a", 0.0)]).unwrap();
    job.advance(i64::MAX).unwrap();
    assert_eq!(job.table(), ["0 10 a 1", "20 30 a 2", "20 30 b 1"]);
    assert_eq!(job.late(), 4);
}
