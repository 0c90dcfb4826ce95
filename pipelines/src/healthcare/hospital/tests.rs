use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

fn settings() -> HospitalSettings {
    HospitalSettings { patients: 20, ..HospitalSettings::default() }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let events = |seed| {
        let all = HospitalSettings { seed, bad: 0.1, late: 0.1, dup: 0.1, ..settings() };
        Hospital::new(all).take(500).collect::<Vec<_>>()
    };
    assert_eq!(events(1), events(1));
    assert_ne!(events(1), events(2));
}

#[test]
fn event_time_advances_at_the_pace_asked_for() {
    let times: Vec<_> =
        Hospital::new(settings().pace(100.0, 60.0)).take(101).map(|e| e.event_time).collect();
    assert_eq!(times[0], settings().start);
    assert_eq!(times[100] - times[0], 60 * MICROS_PER_SECOND);
    let text = timestamp(settings().start + 1);
    assert_eq!(text, "2025-11-24T21:00:00.000001");
}

#[test]
fn good_events_are_objects_about_the_patient_in_the_key() {
    for event in Hospital::new(settings()).take(500) {
        let json: Value = serde_json::from_slice(&event.payload).unwrap();
        assert_eq!(json["patient_id"].to_string(), event.key);
        assert_eq!(json["timestamp"], Value::from(timestamp(event.event_time)));
        assert_eq!(event.event_time, event.sent_at);
    }
}

#[test]
fn late_events_are_as_late_as_asked_for() {
    let late = HospitalSettings { late: 0.5, late_by: Duration::from_secs(100), ..settings() };
    let events: Vec<_> = Hospital::new(late).take(1_000).collect();
    let (late, on_time): (Vec<_>, Vec<_>) = events.iter().partition(|e| e.event_time < e.sent_at);
    assert!(late.len() > 400 && on_time.len() > 400, "{}", late.len());
    for event in late {
        let by = event.sent_at - event.event_time;
        assert!((50 * MICROS_PER_SECOND..=100 * MICROS_PER_SECOND).contains(&by), "{by}");
    }
}

#[test]
fn duplicates_are_earlier_events_to_the_byte() {
    let dup = HospitalSettings { dup: 0.3, ..settings() };
    let events: Vec<_> = Hospital::new(dup).take(1_000).collect();
    let distinct: BTreeSet<&[u8]> = events.iter().map(|e| e.payload.as_slice()).collect();
    assert!((600..800).contains(&distinct.len()), "{}", distinct.len());
}
