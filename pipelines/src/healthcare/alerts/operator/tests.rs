mod clocks;
mod commands;
mod limits;
mod worse;

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use proptest::prelude::*;
use thalweg_core::ErrorKind;
use thalweg_core::record::column_of;
use thalweg_core::sensitivity::{Sensitivity, mark};
use thalweg_core::testing::OperatorHarness;

use super::*;

const SECOND: i64 = 1_000_000;

/// An event, in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    patient: i64,
    at: i64,
    arrival: Option<i64>,
    watermark: Option<i64>,
    heart_rate: Option<f64>,
    systolic: Option<i32>,
    temperature: Option<f64>,
    spo2: Option<f64>,
    respiratory_rate: Option<f64>,
    consciousness: Option<&'static str>,
    oxygen: Option<bool>,
}

/// An event with a heart rate.
fn beats(patient: i64, at: i64, heart_rate: f64) -> Row {
    Row { patient, at, heart_rate: Some(heart_rate), ..Row::default() }
}

fn batch(rows: &[Row]) -> RecordBatch {
    let floats = |of: fn(&Row) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<Float64Array>())
    };
    let times = |of: fn(&Row) -> Option<i64>| -> ArrayRef {
        let times: TimestampMicrosecondArray = rows.iter().map(of).collect();
        Arc::new(times.with_timezone("UTC"))
    };
    let watermarks: Int64Array = rows.iter().map(|r| r.watermark.map(|w| w * SECOND)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| Some(r.patient)).collect::<Int64Array>()),
        times(|r| Some(r.at * SECOND)),
        floats(|r| r.heart_rate),
        Arc::new(rows.iter().map(|r| r.systolic).collect::<Int32Array>()),
        Arc::new(Int32Array::new_null(rows.len())),
        floats(|r| r.temperature),
        floats(|r| r.spo2),
        floats(|r| r.respiratory_rate),
        Arc::new(rows.iter().map(|r| r.consciousness).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.oxygen).collect::<BooleanArray>()),
        times(|r| r.arrival.map(|at| at * SECOND)),
        Arc::new(watermarks),
    ];
    RecordBatch::try_new(Observation::schema(), columns).unwrap()
}

fn harness(config: &HealthcareConfig, parallelism: u32) -> OperatorHarness {
    let factory = Arc::new(PatientAlerts::new(config).unwrap());
    OperatorHarness::new(factory, Observation::schema(), ["patient_id"], parallelism).unwrap()
}

/// What was told: id, sequence, state, severity, value, score, seconds.
type Found = (String, i32, String, String, Option<i64>, Option<i32>, i64);

fn taken(harness: &mut OperatorHarness) -> Vec<Found> {
    let mut found = Vec::new();
    for (_, batch) in harness.take() {
        assert_eq!(batch.schema(), AlertEvent::schema());
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        let int =
            |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int32Type>().clone();
        let (ids, states, severities) = (text("alert_id"), text("state"), text("severity"));
        let (sequences, scores) = (int("sequence"), int("score"));
        let values = column_of(&batch, AlertEvent::VALUE).unwrap();
        let times = column_of(&batch, AlertEvent::EVENT_TIME).unwrap();
        for row in 0..batch.num_rows() {
            found.push((
                ids.value(row).to_owned(),
                sequences.value(row),
                states.value(row).to_owned(),
                severities.value(row).to_owned(),
                values.is_valid(row).then(|| values.value(row) as i64),
                scores.is_valid(row).then(|| scores.value(row)),
                times.value(row) / SECOND,
            ));
        }
    }
    // By rule and patient, then as it happened.
    let order = |found: &Found| {
        let (key, opened_at) = found.0.rsplit_once('/').unwrap();
        (key.to_owned(), opened_at.parse::<i64>().unwrap(), found.1)
    };
    found.sort_by_key(order);
    found
}

/// Rule, state and seconds of what was told, in the order of ids and changes.
fn told(harness: &mut OperatorHarness) -> Vec<(String, String, i64)> {
    let rule = |id: &str| id.split('/').nth(1).unwrap().to_owned();
    let found = taken(harness);
    found.into_iter().map(|(id, _, state, .., at)| (rule(&id), state, at)).collect()
}

fn expect(harness: &mut OperatorHarness, expected: &[(&str, &str, i64)]) {
    let expected: Vec<(String, String, i64)> =
        expected.iter().map(|(rule, state, at)| ((*rule).into(), (*state).into(), *at)).collect();
    assert_eq!(told(harness), expected);
}

fn seconds(at: i64) -> Watermark {
    Watermark(at * SECOND)
}

#[test]
fn a_limit_fires_when_it_stays_crossed_and_ends_beyond_the_clearing_bound() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    let rows = [
        beats(1, 0, 140.0),
        beats(1, 5, 128.0),
        beats(1, 10, 135.0),
        beats(1, 20, 126.0),
        beats(1, 30, 125.0),
        beats(2, 30, 140.0),
        beats(2, 39, 100.0),
    ];
    harness.push(&batch(&rows)).unwrap();
    let found = taken(&mut harness);
    let id = || "1/heart-rate-high/0".to_owned();
    let critical = || "critical".to_owned();
    assert_eq!(
        found,
        [
            (id(), 2, "firing".to_owned(), critical(), Some(135), None, 10),
            (id(), 3, "resolved".to_owned(), critical(), Some(125), None, 30),
        ]
    );
}

#[test]
fn pending_alerts_are_told_of_on_request() {
    let mut config = HealthcareConfig::default();
    config.alerts.pending = true;
    let mut harness = harness(&config, 1);
    harness.push(&batch(&[beats(1, 0, 140.0), beats(1, 5, 100.0)])).unwrap();
    expect(&mut harness, &[("heart-rate-high", "pending", 0), ("heart-rate-high", "resolved", 5)]);
}

#[test]
fn silence_confirms_a_crossed_limit_by_the_watermark() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    harness.push(&batch(&[beats(1, 0, 140.0)])).unwrap();
    harness.watermark(seconds(9)).unwrap();
    expect(&mut harness, &[]);
    harness.watermark(seconds(10)).unwrap();
    expect(&mut harness, &[("heart-rate-high", "firing", 10)]);
}

#[test]
fn the_watermark_beside_a_row_lets_time_pass_as_well() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    let calm = Row { watermark: Some(11), ..beats(1, 40, 100.0) };
    harness.push(&batch(&[beats(1, 0, 140.0), calm])).unwrap();
    expect(&mut harness, &[("heart-rate-high", "firing", 10), ("heart-rate-high", "resolved", 40)]);
}

#[test]
fn late_events_never_page_again() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    let rows = [beats(1, 100, 140.0), beats(1, 110, 140.0), beats(1, 120, 80.0)];
    harness.push(&batch(&rows)).unwrap();
    assert_eq!(told(&mut harness).len(), 2);
    let late =
        [beats(1, 105, 150.0), beats(1, 119, 150.0), beats(2, 50, 80.0), beats(2, 49, 150.0)];
    harness.push(&batch(&late)).unwrap();
    harness.watermark(seconds(500)).unwrap();
    expect(&mut harness, &[]);
}

#[test]
fn an_alert_that_nobody_acknowledges_becomes_worse() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    let hot = |at| Row { patient: 1, at, temperature: Some(103.0), ..Row::default() };
    harness.push(&batch(&[hot(0), hot(60)])).unwrap();
    harness.watermark(seconds(60 + 900)).unwrap();
    let severities: Vec<_> = taken(&mut harness).into_iter().map(|row| row.3).collect();
    assert_eq!(severities, ["warning", "critical"]);
}

#[test]
fn a_monitored_patient_who_falls_silent_is_missed_once() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    let mut rows: Vec<Row> = (0..5).map(|i| beats(1, i * 60, 80.0)).collect();
    // Seen four times, and five times with a gap: not monitored.
    rows.extend((0..4).map(|i| beats(2, i * 60, 80.0)));
    rows.extend((0..5).map(|i| beats(3, i * 600, 80.0)));
    harness.push(&batch(&rows)).unwrap();
    harness.watermark(seconds(240 + 599)).unwrap();
    expect(&mut harness, &[]);
    harness.watermark(seconds(5_000)).unwrap();
    expect(&mut harness, &[("signal-lost", "firing", 840)]);
    harness.push(&batch(&[beats(1, 5_010, 80.0)])).unwrap();
    expect(&mut harness, &[("signal-lost", "resolved", 5_010)]);
}

/// Goes on as another run with other settings does.
fn go_on(harness: &mut OperatorHarness, config: &HealthcareConfig) {
    harness.change_to(Arc::new(PatientAlerts::new(config).unwrap()));
    harness.snapshot_and_restore(2).unwrap();
}

#[test]
fn a_signal_is_lost_by_the_settings_of_now_whatever_they_were_at_its_last_event() {
    let mut config = HealthcareConfig::default();
    config.signal_lost.after = std::time::Duration::from_hours(1);
    let mut harness = harness(&config, 1);
    let rows: Vec<Row> = (0..5).map(|i| beats(1, i * 60, 80.0)).collect();
    harness.push(&batch(&rows)).unwrap();
    go_on(&mut harness, &HealthcareConfig::default());
    // Fifteen minutes later.
    let back = Row { watermark: Some(1_110), ..beats(1, 1_140, 80.0) };
    harness.push(&batch(&[back])).unwrap();
    expect(&mut harness, &[("signal-lost", "firing", 840), ("signal-lost", "resolved", 1_140)]);
}

#[test]
fn who_had_enough_events_in_a_row_is_monitored_when_fewer_are_enough() {
    let mut config = HealthcareConfig::default();
    let mut harness = harness(&config, 1);
    let rows: Vec<Row> = (0..4).map(|i| beats(1, i * 60, 80.0)).collect();
    harness.push(&batch(&rows)).unwrap();
    config.signal_lost.monitored_after = 3;
    go_on(&mut harness, &config);
    harness.push(&batch(&[beats(1, 240, 80.0)])).unwrap();
    harness.watermark(seconds(840)).unwrap();
    expect(&mut harness, &[("signal-lost", "firing", 840)]);
}

#[test]
fn the_end_of_the_input_is_not_the_end_of_time() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    let mut rows: Vec<Row> = (0..9).map(|i| beats(1, i * 60, 80.0)).collect();
    rows.push(beats(1, 500, 140.0));
    harness.push(&batch(&rows)).unwrap();
    harness.watermark(Watermark::MAX).unwrap();
    expect(&mut harness, &[]);
}

#[test]
fn what_a_late_event_makes_due_is_told_at_the_end_of_the_input_too() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    harness.watermark(seconds(1_000)).unwrap();
    // Both are late: at 1,000 the first has lasted long enough, the second has not.
    harness.push(&batch(&[beats(1, 500, 140.0), beats(2, 995, 140.0)])).unwrap();
    harness.watermark(Watermark::MAX).unwrap();
    expect(&mut harness, &[("heart-rate-high", "firing", 510)]);
}

#[test]
fn a_patient_nothing_is_heard_of_is_forgotten_and_its_alerts_end() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    harness.push(&batch(&[beats(1, 0, 140.0), beats(1, 10, 140.0)])).unwrap();
    let day = 86_400;
    harness.watermark(seconds(day + 10)).unwrap();
    expect(
        &mut harness,
        &[("heart-rate-high", "firing", 10), ("heart-rate-high", "resolved", day + 10)],
    );
    // From before: whether it was told of is no longer known.
    let late = Row { watermark: Some(day + 10), ..beats(1, 5, 150.0) };
    harness.push(&batch(&[late])).unwrap();
    harness.watermark(seconds(day + 1_000)).unwrap();
    expect(&mut harness, &[]);
}

#[test]
fn the_score_is_kept_from_event_to_event_until_values_are_too_old() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    let first = Row {
        patient: 1,
        respiratory_rate: Some(22.0),
        spo2: Some(93.0),
        oxygen: Some(true),
        ..Row::default()
    };
    let rest = Row {
        patient: 1,
        at: 60,
        systolic: Some(120),
        heart_rate: Some(70.0),
        consciousness: Some("V"),
        temperature: Some(98.6),
        ..Row::default()
    };
    harness.push(&batch(&[first, Row { at: 30, ..first }, rest])).unwrap();
    let found = taken(&mut harness);
    // 2 + 2 + 2, lasting for 30 s; then all seven, 3 for responding to voice only.
    let firing: Vec<_> = found.iter().map(|r| (r.3.as_str(), r.5, r.6)).collect();
    assert_eq!(firing, [("warning", Some(6), 30), ("critical", Some(9), 60)]);
    // Well in all that is measured, but what made it fire is too old to tell.
    let well = Row { at: 60 + 3_601, consciousness: Some("A"), ..rest };
    harness.push(&batch(&[well])).unwrap();
    expect(&mut harness, &[]);
    let all_well = Row {
        at: well.at + 1,
        respiratory_rate: Some(16.0),
        spo2: Some(97.0),
        oxygen: Some(false),
        ..well
    };
    harness.push(&batch(&[all_well])).unwrap();
    expect(&mut harness, &[("news2", "resolved", all_well.at)]);
}

#[test]
fn a_value_that_is_unusual_for_its_patient_is_told_of() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    let mut rows: Vec<Row> = (0..40).map(|i| beats(1, i, 60.0 + (i % 3) as f64)).collect();
    // Within all limits.
    rows.extend((40..71).map(|i| beats(1, i, 120.0)));
    harness.push(&batch(&rows)).unwrap();
    let found = told(&mut harness);
    assert_eq!(found, [("anomaly-heart_rate".to_owned(), "firing".to_owned(), 70)]);
}

#[test]
fn open_alerts_survive_a_restore_at_another_parallelism() {
    let first: Vec<Row> = (0..60).map(|patient| beats(patient, 0, 140.0)).collect();
    let second: Vec<Row> = (0..60).map(|patient| beats(patient, 11, 100.0)).collect();
    let mut undisturbed = harness(&HealthcareConfig::default(), 1);
    let mut restored = harness(&HealthcareConfig::default(), 2);
    for harness in [&mut undisturbed, &mut restored] {
        harness.push(&batch(&first)).unwrap();
    }
    restored.snapshot_and_restore(5).unwrap();
    for harness in [&mut undisturbed, &mut restored] {
        harness.watermark(seconds(10)).unwrap();
    }
    restored.snapshot_and_restore(3).unwrap();
    for harness in [&mut undisturbed, &mut restored] {
        harness.push(&batch(&second)).unwrap();
    }
    let expected = taken(&mut undisturbed);
    assert_eq!(expected.len(), 120);
    assert_eq!(taken(&mut restored), expected);
}

#[test]
fn the_alerts_of_a_rule_that_was_taken_away_end() {
    let config = HealthcareConfig::default();
    let mut fewer = config.clone();
    fewer.alerts.limits.retain(|rule| rule.name() != "heart-rate-high");
    fewer.alerts.limits.reverse();
    let (rules, fewer) = (Rules::new(&config).unwrap(), Rules::new(&fewer).unwrap());
    let (mut patient, mut told) = (Patient::default(), Vec::new());
    let columns = batch(&[beats(1, 0, 140.0), beats(1, 10, 140.0), beats(1, 20, 140.0)]);
    let columns = Columns::of(&columns).unwrap();
    for row in 0..2 {
        patient.observe(1, &rules, &columns.reading(row), &mut told);
    }
    patient.observe(1, &fewer, &columns.reading(2), &mut told);
    let told: Vec<_> = told.iter().map(|t| (&*t.rule, t.change.state.as_str())).collect();
    assert_eq!(told, [("heart-rate-high", "firing"), ("heart-rate-high", "resolved")]);
}

#[test]
fn columns_that_are_marked_stay_marked_and_missing_ones_do_not_build() {
    let alerts = PatientAlerts::new(&HealthcareConfig::default()).unwrap();
    let schema = Observation::schema();
    let fields = schema.fields().iter().map(|f| mark(f.as_ref().clone(), [Sensitivity::PhiId]));
    let marked = Arc::new(arrow_schema::Schema::new(fields.collect::<Vec<_>>()));
    let output = alerts.output_schema(&marked).unwrap();
    assert!(output.fields().iter().all(|field| !field.metadata().is_empty()));
    let without = Arc::new(schema.project(&[0, 1, 2]).unwrap());
    assert_eq!(alerts.output_schema(&without).unwrap_err().kind(), ErrorKind::InvalidGraph);
}

/// The watermark before each row of one split, 30 s behind the furthest.
fn with_watermarks(rows: &mut [Row]) -> i64 {
    let mut running: Option<i64> = None;
    for row in rows {
        row.watermark = running;
        running = running.max(Some(row.at - 30));
    }
    running.unwrap_or(i64::MIN / SECOND)
}

fn row() -> impl Strategy<Value = (i64, i64, f64, Option<f64>)> {
    let heart_rate = prop_oneof![Just(80.0), Just(128.0), Just(140.0), Just(150.0)];
    let spo2 = proptest::option::of(prop_oneof![Just(97.0), Just(92.0), Just(88.0)]);
    (0..4_i64, -60..60_i64, heart_rate, spo2)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn batch_cuts_watermarks_between_them_and_restores_do_not_show(
        rows in proptest::collection::vec(row(), 1..120),
        cuts in proptest::collection::vec((1..20_usize, 0..4_u32), 1..12),
        step in 1..200_i64,
    ) {
        let mut config = HealthcareConfig::default();
        config.alerts.pending = true;
        config.signal_lost.monitored_after = 2;
        config.alerts.forget_after = std::time::Duration::from_mins(50);
        let mut rows: Vec<Row> = rows.into_iter().zip(0..).map(|((patient, off, rate, spo2), i)| {
            Row { spo2, ..beats(patient, i * step + off, rate) }
        }).collect();
        let end = with_watermarks(&mut rows);

        let mut whole = harness(&config, 1);
        whole.push(&batch(&rows)).unwrap();
        whole.watermark(seconds(end)).unwrap();
        whole.watermark(Watermark::MAX).unwrap();
        let expected = taken(&mut whole);

        let mut pieces = harness(&config, 2);
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
                pieces.watermark(next.watermark.map_or(Watermark::MIN, seconds)).unwrap();
            }
            if *parallelism > 0 {
                pieces.snapshot_and_restore(*parallelism).unwrap();
            }
        }
        pieces.watermark(seconds(end)).unwrap();
        pieces.watermark(Watermark::MAX).unwrap();
        prop_assert_eq!(taken(&mut pieces), expected.clone());

        // An alert of a patient and rule begins after the one before has ended.
        let mut last: BTreeMap<String, (String, i32, String)> = BTreeMap::new();
        for (id, sequence, state, ..) in expected {
            let key = id.rsplit_once('/').unwrap().0.to_owned();
            let before = last.insert(key, (id.clone(), sequence, state));
            match before {
                Some((same, n, state)) if same == id => {
                    prop_assert!(sequence == n + 1 && state != "resolved");
                }
                Some((_, _, state)) => prop_assert!(sequence == 1 && state == "resolved"),
                None => prop_assert_eq!(sequence, 1),
            }
        }
    }
}
