//! Events whose clocks are ahead.

use super::*;

/// A heart rate that arrives at a time of its own.
fn arrived(patient: i64, at: i64, arrival: i64, heart_rate: f64) -> Row {
    Row { arrival: Some(arrival), ..beats(patient, at, heart_rate) }
}

#[test]
fn a_clock_that_is_ahead_mutes_nobody_and_is_counted() {
    let alerts = PatientAlerts::new(&HealthcareConfig::default()).unwrap();
    let counters = alerts.counters();
    let mut harness =
        OperatorHarness::new(Arc::new(alerts), Observation::schema(), ["patient_id"], 2).unwrap();
    let ahead = [arrived(1, 601, 0, 80.0), arrived(1, 86_000, 5, 80.0)];
    harness.push(&batch(&ahead)).unwrap();
    assert_eq!(counters.ahead(), 2);
    harness.push(&batch(&[arrived(1, 10, 10, 140.0), arrived(1, 20, 20, 140.0)])).unwrap();
    expect(&mut harness, &[("heart-rate-high", "firing", 20)]);
    assert_eq!(counters.ahead(), 2);
}

#[test]
fn what_is_no_further_ahead_than_may_be_or_has_no_arrival_is_judged() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    let rows = [
        arrived(1, 590, 0, 140.0),
        arrived(1, 600, 0, 140.0),
        beats(2, 86_000, 140.0),
        beats(2, 86_010, 140.0),
    ];
    harness.push(&batch(&rows)).unwrap();
    let fired = |at| ("heart-rate-high", "firing", at);
    expect(&mut harness, &[fired(600), fired(86_010)]);
}

#[test]
fn how_far_ahead_a_clock_may_be_is_a_setting() {
    let mut config = HealthcareConfig::default();
    config.alerts.ahead = std::time::Duration::from_secs(5);
    let mut harness = harness(&config, 1);
    let rows = [arrived(1, 106, 100, 80.0), arrived(1, 95, 95, 140.0), arrived(1, 105, 100, 140.0)];
    harness.push(&batch(&rows)).unwrap();
    expect(&mut harness, &[("heart-rate-high", "firing", 105)]);
}

#[test]
fn without_arrivals_a_clock_that_is_ahead_and_events_that_are_late_are_the_same_rows() {
    let events = [(0, 80.0), (3_600, 80.0), (10, 140.0), (20, 140.0)];
    let alerts = |arrivals: [Option<i64>; 4]| {
        let rows = events.iter().zip(arrivals);
        let rows: Vec<Row> =
            rows.map(|((at, rate), arrival)| Row { arrival, ..beats(1, *at, *rate) }).collect();
        let mut harness = harness(&HealthcareConfig::default(), 1);
        harness.push(&batch(&rows)).unwrap();
        told(&mut harness)
    };
    // A clock that was an hour ahead, once: what follows is news.
    let fired = ("heart-rate-high".to_owned(), "firing".to_owned(), 20);
    assert_eq!(alerts([0, 5, 10, 20].map(Some)), [fired]);
    // An hour later, and two events that took that long to arrive: they page nobody.
    assert!(alerts([0, 3_600, 3_610, 3_620].map(Some)).is_empty());
    // In a file there is no difference, and event time is believed.
    assert!(alerts([None; 4]).is_empty());
}
