use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::Schema;
use proptest::prelude::*;
use thalweg_core::record::{Column, Micros, Utf8, column_of};
use thalweg_core::sensitivity::{Sensitivity, mark, sensitivities};
use thalweg_core::testing::OperatorHarness;
use thalweg_core::{ErrorKind, Record};

use super::*;
use crate::alert::{AlertChange, AlertCommand, Severity};
use crate::detect::Limit;
use crate::fixture::Instance;

#[derive(Record)]
#[expect(dead_code, reason = "a record names columns; no value of it is ever made")]
struct Reading {
    ward: String,
    machine: Option<i64>,
    at: Micros,
    celsius: Option<f64>,
    rpm: Option<i64>,
    row_watermark: Option<i64>,
    arrival: Option<Micros>,
    alert_action: Option<String>,
    alert_rule: Option<String>,
    alert_opened_at: Option<Micros>,
    alert_snooze_until: Option<Micros>,
    alert_by: Option<String>,
}

const KEYS: [&str; 2] = ["ward", "machine"];

#[derive(Debug, Clone, Default)]
struct Row {
    machine: i64,
    at: i64,
    celsius: Option<f64>,
    rpm: Option<i64>,
    watermark: Option<i64>,
    arrival: Option<i64>,
    /// Action, rule, opening time, until when.
    command: Option<(&'static str, &'static str, i64, Option<i64>)>,
}

fn heat(machine: i64, at: i64, celsius: f64) -> Row {
    Row { machine, at, celsius: Some(celsius), ..Row::default() }
}

fn command(action: &'static str, opened_at: i64, until: Option<i64>) -> Row {
    Row { machine: 1, command: Some((action, "too-hot", opened_at, until)), ..Row::default() }
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times = |of: fn(&Row) -> Option<i64>| -> ArrayRef {
        let times: TimestampMicrosecondArray = rows.iter().map(of).collect();
        Arc::new(times.with_timezone("UTC"))
    };
    let texts = |of: fn(&Row) -> Option<&'static str>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        texts(|_| Some("north")),
        Arc::new(rows.iter().map(|row| Some(row.machine)).collect::<Int64Array>()),
        times(|row| Some(row.at)),
        Arc::new(rows.iter().map(|row| row.celsius).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.rpm).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.watermark).collect::<Int64Array>()),
        times(|row| row.arrival),
        texts(|row| row.command.map(|command| command.0)),
        texts(|row| row.command.map(|command| command.1)),
        times(|row| row.command.map(|command| command.2)),
        times(|row| row.command.and_then(|command| command.3)),
        texts(|row| row.command.map(|_| "an engineer")),
    ];
    RecordBatch::try_new(Reading::schema(), columns).unwrap()
}

fn rules() -> [AlertRule; 2] {
    let hot = Limit::at_least(90.0).clears_at(80.0);
    let slow = Limit::at_most(100.0);
    [
        AlertRule::new("too-hot", Reading::CELSIUS, hot).persist_for(Duration::from_micros(10)),
        AlertRule::new("too-slow", Reading::RPM, slow).severity(Severity::Critical),
    ]
}

fn alerts(rules: impl IntoIterator<Item = AlertRule>) -> Alerts {
    Alerts::new(KEYS, Reading::AT, rules).forget_after(Duration::from_millis(1))
}

fn harness(parallelism: u32) -> OperatorHarness {
    OperatorHarness::new(Arc::new(alerts(rules())), Reading::schema(), KEYS, parallelism).unwrap()
}

/// Machine, rule, state before, state, time, value, in the order of machines, rules and changes.
type Found = (i64, String, String, String, i64, Option<i64>);

fn taken(harness: &mut OperatorHarness) -> Vec<Found> {
    let mut found = Vec::new();
    for (_, batch) in harness.take() {
        let text = |column: Column<Utf8>| column_of(&batch, column).unwrap();
        let (rules, wards) = (text(AlertChange::RULE), text(Reading::WARD));
        let (froms, states) = (text(AlertChange::FROM_STATE), text(AlertChange::STATE));
        let machines = column_of(&batch, Reading::MACHINE).unwrap();
        let opened = column_of(&batch, AlertChange::OPENED_AT).unwrap();
        let sequences = column_of(&batch, AlertChange::SEQUENCE).unwrap();
        let times = column_of(&batch, AlertChange::CHANGED_AT).unwrap();
        let values = column_of(&batch, AlertChange::VALUE).unwrap();
        for row in 0..batch.num_rows() {
            assert_eq!(wards.value(row), "north");
            let order = (opened.value(row), sequences.value(row));
            let value = values.is_valid(row).then(|| values.value(row) as i64);
            let states = (froms.value(row).to_owned(), states.value(row).to_owned());
            let key = (machines.value(row), rules.value(row).to_owned());
            found.push((key, order, states, times.value(row), value));
        }
    }
    found.sort();
    let flat = |((machine, rule), _, (from, to), at, value)| (machine, rule, from, to, at, value);
    found.into_iter().map(flat).collect()
}

/// States and times of what was told, in words.
fn told(harness: &mut OperatorHarness) -> Vec<String> {
    let line =
        |(machine, rule, from, to, at, _): Found| format!("{machine} {rule} {from} {to} {at}");
    taken(harness).into_iter().map(line).collect()
}

#[test]
fn rules_of_several_columns_watch_each_key_by_itself() {
    let mut harness = harness(1);
    let slow = |machine, at, rpm| Row { machine, at, rpm: Some(rpm), ..Row::default() };
    harness
        .push(&batch(&[
            heat(1, 0, 95.0),
            slow(2, 3, 40),
            heat(1, 8, 85.0),
            heat(1, 10, 91.0),
            slow(2, 12, 140),
            heat(1, 20, 80.0),
        ]))
        .unwrap();
    let row = |machine, rule: &str, from: &str, to: &str, at, value| {
        (machine, rule.to_owned(), from.to_owned(), to.to_owned(), at, Some(value))
    };
    assert_eq!(
        taken(&mut harness),
        [
            row(1, "too-hot", "normal", "pending", 0, 95),
            row(1, "too-hot", "pending", "firing", 10, 91),
            row(1, "too-hot", "firing", "resolved", 20, 80),
            row(2, "too-slow", "normal", "firing", 3, 40),
            row(2, "too-slow", "firing", "resolved", 12, 140),
        ]
    );
}

#[test]
fn what_is_pending_fires_as_time_passes_by_the_watermark_or_the_one_beside_a_row() {
    let mut harness = harness(2);
    harness.push(&batch(&[heat(1, 0, 95.0), heat(2, 0, 95.0)])).unwrap();
    harness.watermark(Watermark(9)).unwrap();
    assert_eq!(told(&mut harness), ["1 too-hot normal pending 0", "2 too-hot normal pending 0"]);
    let calm = Row { watermark: Some(10), ..heat(2, 40, 70.0) };
    harness.push(&batch(&[calm])).unwrap();
    assert_eq!(told(&mut harness), ["2 too-hot pending firing 10", "2 too-hot firing resolved 40"]);
    harness.watermark(Watermark(10)).unwrap();
    assert_eq!(told(&mut harness), ["1 too-hot pending firing 10"]);
}

#[test]
fn late_rows_page_nobody_again() {
    let mut harness = harness(1);
    harness.push(&batch(&[heat(1, 0, 95.0), heat(1, 10, 95.0), heat(1, 20, 70.0)])).unwrap();
    assert_eq!(told(&mut harness).len(), 3);
    harness.push(&batch(&[heat(1, 5, 99.0), heat(1, 19, 99.0)])).unwrap();
    harness.watermark(Watermark(500)).unwrap();
    assert!(told(&mut harness).is_empty());
    // Nor does one from before the key was forgotten.
    harness.watermark(Watermark(2_000)).unwrap();
    let late = Row { watermark: Some(2_000), ..heat(1, 19, 99.0) };
    harness.push(&batch(&[late])).unwrap();
    harness.watermark(Watermark(2_500)).unwrap();
    assert!(told(&mut harness).is_empty());
}

#[test]
fn what_is_no_number_confirms_nothing() {
    let mut harness = harness(1);
    harness.push(&batch(&[heat(1, 0, 95.0), heat(1, 20, f64::NAN), heat(1, 15, 91.0)])).unwrap();
    assert_eq!(told(&mut harness), ["1 too-hot normal pending 0", "1 too-hot pending firing 15"]);
}

#[test]
fn a_clock_that_is_ahead_mutes_nobody_and_its_rows_are_counted() {
    let alerts = alerts(rules()).ahead(Reading::ARRIVAL, Duration::from_micros(100));
    let mut instance = Instance::new(&alerts, &Reading::schema());
    let arrived = |at, arrival, celsius| Row { arrival: Some(arrival), ..heat(1, at, celsius) };
    let rows = [
        arrived(500, 0, 70.0),
        arrived(101, 0, 70.0),
        arrived(0, 0, 95.0),
        arrived(10, 10, 95.0),
        // No further than may be.
        arrived(110, 10, 70.0),
        // Nothing is known of its arrival.
        heat(1, 800, 95.0),
    ];
    let emitted = instance.process(&batch(&rows)).unwrap();
    let [(None, changes)] = emitted.as_slice() else { panic!("{} batches", emitted.len()) };
    let states = column_of(changes, AlertChange::STATE).unwrap();
    let states: Vec<_> = states.iter().flatten().collect();
    assert_eq!(states, ["pending", "firing", "resolved", "pending"]);
    assert_eq!(instance.dropped(), 2);
}

#[test]
fn a_key_that_nothing_is_heard_of_is_forgotten_and_its_alerts_end() {
    let mut harness = harness(1);
    harness.push(&batch(&[heat(1, 0, 95.0)])).unwrap();
    harness.watermark(Watermark(5_000)).unwrap();
    assert_eq!(
        told(&mut harness),
        [
            "1 too-hot normal pending 0",
            "1 too-hot pending firing 10",
            "1 too-hot firing resolved 1000",
        ]
    );
}

#[test]
fn the_end_of_the_input_is_not_the_end_of_time() {
    let mut harness = harness(1);
    harness.push(&batch(&[heat(1, 0, 95.0)])).unwrap();
    harness.watermark(Watermark::MAX).unwrap();
    assert_eq!(told(&mut harness), ["1 too-hot normal pending 0"]);
}

#[test]
fn what_a_late_row_makes_due_is_told_at_the_end_of_the_input_too() {
    let mut harness = harness(1);
    harness.watermark(Watermark(100)).unwrap();
    harness.push(&batch(&[heat(1, 50, 95.0), heat(2, 95, 95.0)])).unwrap();
    harness.watermark(Watermark::MAX).unwrap();
    assert_eq!(
        told(&mut harness),
        [
            "1 too-hot normal pending 50",
            "1 too-hot pending firing 60",
            "2 too-hot normal pending 95",
        ]
    );
}

#[test]
fn a_command_is_for_the_alert_that_it_names() {
    let mut harness = harness(1);
    harness.push(&batch(&[heat(1, 0, 95.0), heat(1, 10, 95.0)])).unwrap();
    told(&mut harness);
    let (acknowledge, snooze) = (AlertCommand::ACKNOWLEDGE, AlertCommand::SNOOZE);
    harness
        .push(&batch(&[
            command(acknowledge, 7, None),
            command("shout", 0, None),
            command(snooze, 0, None),
            command(snooze, 0, Some(5)),
            command(acknowledge, 0, None),
            command(snooze, 0, Some(50)),
            Row { machine: 9, ..command(acknowledge, 0, None) },
        ]))
        .unwrap();
    assert_eq!(
        told(&mut harness),
        ["1 too-hot firing acknowledged 10", "1 too-hot acknowledged snoozed 10"]
    );
    harness.watermark(Watermark(49)).unwrap();
    assert!(told(&mut harness).is_empty());
    harness.snapshot_and_restore(3).unwrap();
    harness.watermark(Watermark(50)).unwrap();
    assert_eq!(told(&mut harness), ["1 too-hot snoozed firing 50"]);
}

#[test]
fn who_gives_a_command_stands_in_its_row() {
    let mut harness = harness(1);
    harness.push(&batch(&[heat(1, 0, 95.0), heat(1, 10, 95.0)])).unwrap();
    harness.take();
    harness.push(&batch(&[command(AlertCommand::ACKNOWLEDGE, 0, None)])).unwrap();
    let emitted = harness.take();
    let [(None, changes)] = emitted.as_slice() else { panic!("{} batches", emitted.len()) };
    assert_eq!(column_of(changes, AlertChange::BY).unwrap().value(0), "an engineer");
}

#[test]
fn alerts_of_a_rule_that_was_taken_away_end() {
    let [hot, slow] = rules();
    let before = Rules::new(&[hot, slow.clone()], Duration::from_secs(1)).unwrap();
    let after = Rules::new(&[slow], Duration::from_secs(1)).unwrap();
    let (mut watched, mut told) = (Watched::default(), Vec::new());
    watched.observe(&before, 0, |rule| (rule == 0).then_some(95.0), &mut told);
    watched.observe(&after, 5, |_| None, &mut told);
    let told: Vec<_> = told.iter().map(|t| (&*t.rule, t.change.state.as_str())).collect();
    assert_eq!(told, [("too-hot", "pending"), ("too-hot", "resolved")]);
}

#[test]
fn alerts_of_a_rule_that_was_taken_away_end_though_their_key_is_silent() {
    let [_, slow] = rules();
    let mut harness = harness(1);
    harness.push(&batch(&[heat(1, 0, 95.0)])).unwrap();
    harness.watermark(Watermark(5)).unwrap();
    assert_eq!(told(&mut harness), ["1 too-hot normal pending 0"]);
    harness.change_to(Arc::new(alerts([slow])));
    harness.snapshot_and_restore(2).unwrap();
    harness.watermark(Watermark(6)).unwrap();
    assert_eq!(told(&mut harness), ["1 too-hot pending resolved 0"]);
}

#[test]
fn a_wait_that_gets_shorter_between_two_runs_is_over_though_the_key_is_silent() {
    let [hot, slow] = rules();
    let mut harness = harness(1);
    harness.push(&batch(&[heat(1, 0, 95.0), heat(1, 10, 95.0)])).unwrap();
    harness.watermark(Watermark(10)).unwrap();
    assert_eq!(told(&mut harness).len(), 2);
    let hot = hot.escalate_after(Duration::from_micros(50));
    harness.change_to(Arc::new(alerts([hot, slow])));
    harness.snapshot_and_restore(2).unwrap();
    harness.watermark(Watermark(59)).unwrap();
    assert!(told(&mut harness).is_empty());
    harness.watermark(Watermark(60)).unwrap();
    assert_eq!(told(&mut harness), ["1 too-hot firing firing 60"]);
}

#[test]
fn what_is_read_marks_what_is_told_and_keys_keep_their_own_marks() {
    let schema = Reading::schema();
    let fields = schema.fields().iter().map(|field| match field.name().as_str() {
        "machine" => mark(field.as_ref().clone(), [Sensitivity::PhiId]),
        "celsius" => mark(field.as_ref().clone(), [Sensitivity::PhiDate]),
        "row_watermark" => mark(field.as_ref().clone(), [Sensitivity::PhiDob]),
        _ => field.as_ref().clone(),
    });
    let marked = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let output = alerts(rules()).output_schema(&marked).unwrap();
    let marks = |name: &str| sensitivities(output.field_with_name(name).unwrap()).len();
    assert_eq!(["ward", "machine", "value", "rule", "by"].map(marks), [0, 1, 3, 3, 3]);
}

#[test]
fn what_cannot_be_watched_does_not_build() {
    let limit = Limit::at_least(1.0);
    let rule = |column: &'static str, limit| AlertRule::new("a", ColumnName(column), limit);
    let fine = || rule("celsius", limit);
    for wrong in [
        alerts([rule("kelvin", limit)]),
        alerts([rule("at", limit)]),
        alerts([rule("celsius", limit.clears_at(2.0))]),
        alerts([fine(), fine()]),
        alerts([fine().persist_for(Duration::from_secs(1))]),
        Alerts::new(["celsius"], Reading::AT, [fine()]),
        Alerts::new(["unknown"], Reading::AT, [fine()]),
        Alerts::new(KEYS, ColumnName("celsius"), [fine()]),
        alerts([fine()]).ahead(Reading::CELSIUS, Duration::ZERO),
    ] {
        let error = wrong.output_schema(&Reading::schema()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGraph, "{wrong:?}");
    }
    // A key of the name of a column of alerts, and a command without all of its columns.
    let renamed = |from: &str, to: &str| {
        let schema = Reading::schema();
        let fields = schema.fields().iter().map(|field| {
            let name = if field.name() == from { to } else { field.name().as_str() };
            field.as_ref().clone().with_name(name)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    };
    let by_rule = Alerts::new(["rule"], Reading::AT, [fine()]);
    assert!(by_rule.output_schema(&renamed("ward", "rule")).is_err());
    assert!(alerts([fine()]).output_schema(&renamed("alert_by", "who")).is_err());
    assert!(alerts([fine()]).output_schema(&Reading::schema()).is_ok());
}

#[test]
fn a_stream_grouped_by_other_columns_is_refused() {
    let rows: Vec<Row> = (0..64).map(|machine| heat(machine, 0, 20.0)).collect();
    let harness = |parallelism| {
        let factory = Arc::new(alerts(rules()));
        OperatorHarness::new(factory, Reading::schema(), ["machine"], parallelism).unwrap()
    };
    let error = harness(2).push(&batch(&rows)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGraph);
    harness(1).push(&batch(&rows)).unwrap();
}

proptest! {
    #[test]
    fn batch_cuts_watermarks_between_them_and_restores_do_not_show(
        rows in proptest::collection::vec((0..4_i64, -30..30_i64, 70.0..100.0_f64), 1..80),
        cuts in proptest::collection::vec((1..20_usize, 0..4_u32), 1..8),
    ) {
        let mut running: Option<i64> = None;
        let rows: Vec<Row> = rows.into_iter().zip(0..).map(|((machine, off, celsius), i)| {
            let row = Row { watermark: running, ..heat(machine, i * 40 + off, celsius) };
            running = running.max(Some(row.at - 30));
            row
        }).collect();
        let end = Watermark(running.unwrap_or(i64::MIN));

        let mut whole = harness(1);
        whole.push(&batch(&rows)).unwrap();
        whole.watermark(end).unwrap();
        let expected = taken(&mut whole);

        let mut pieces = harness(2);
        let mut left = rows.as_slice();
        for (length, parallelism) in cuts.iter().cycle() {
            if left.is_empty() {
                break;
            }
            let (piece, rest) = left.split_at((*length).min(left.len()));
            pieces.push(&batch(piece)).unwrap();
            left = rest;
            // What the source would say between the two batches, or has not said yet.
            if let Some(next) = rest.first() && length % 3 != 0 {
                pieces.watermark(next.watermark.map_or(Watermark::MIN, Watermark)).unwrap();
            }
            if *parallelism > 0 {
                pieces.snapshot_and_restore(*parallelism).unwrap();
            }
        }
        pieces.watermark(end).unwrap();
        prop_assert_eq!(taken(&mut pieces), expected);
    }
}
