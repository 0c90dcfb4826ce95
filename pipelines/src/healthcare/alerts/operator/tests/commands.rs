//! Commands about alerts of patients who are silent.

use super::*;
use crate::healthcare::alerts::command::{Action, joint_schema};

fn harness_of_commands() -> OperatorHarness {
    let factory = Arc::new(PatientAlerts::new(&HealthcareConfig::default()).unwrap());
    let input = joint_schema(&Observation::schema());
    OperatorHarness::new(factory, input, ["patient_id"], 1).unwrap()
}

/// Events, or as many times a command.
fn joint(rows: &[Row], command: Option<&Command>) -> RecordBatch {
    let text = command.map(|command| command.to_json().unwrap());
    let commands: StringArray = rows.iter().map(|_| text.as_deref()).collect();
    let commands: ArrayRef = Arc::new(commands);
    let columns = batch(rows).columns().iter().cloned().chain([commands]).collect();
    RecordBatch::try_new(joint_schema(&Observation::schema()), columns).unwrap()
}

/// A monitored patient whose signal was lost at 840 s.
fn silent() -> OperatorHarness {
    let mut harness = harness_of_commands();
    let rows: Vec<Row> = (0..5).map(|i| beats(1, i * 60, 80.0)).collect();
    harness.push(&joint(&rows, None)).unwrap();
    harness.watermark(seconds(1_000)).unwrap();
    expect(&mut harness, &[("signal-lost", "firing", 840)]);
    harness
}

fn say(harness: &mut OperatorHarness, action: Action, minutes: Option<i64>) {
    let alert_id = "1/signal-lost/840000000".to_owned();
    let command = Command { alert_id, action, by: "nurse".to_owned(), minutes };
    harness.push(&joint(&[beats(1, 0, 0.0)], Some(&command))).unwrap();
}

#[test]
fn a_silent_patients_alert_is_snoozed_from_where_event_time_is() {
    let mut harness = silent();
    say(&mut harness, Action::Snooze, Some(5));
    expect(&mut harness, &[("signal-lost", "snoozed", 1_000)]);
    harness.watermark(seconds(1_299)).unwrap();
    expect(&mut harness, &[]);
    harness.watermark(seconds(1_300)).unwrap();
    expect(&mut harness, &[("signal-lost", "firing", 1_300)]);
    say(&mut harness, Action::Acknowledge, None);
    expect(&mut harness, &[("signal-lost", "acknowledged", 1_300)]);
}

#[test]
fn where_no_event_time_is_known_a_command_is_of_the_alerts_last_change() {
    // Behind a restart, and behind the end of the input.
    for unknown in [Watermark::MIN, Watermark::MAX] {
        let mut harness = silent();
        harness.snapshot_and_restore(1).unwrap();
        harness.watermark(unknown).unwrap();
        say(&mut harness, Action::Snooze, Some(5));
        expect(&mut harness, &[("signal-lost", "snoozed", 840)]);
        harness.watermark(seconds(1_140)).unwrap();
        expect(&mut harness, &[("signal-lost", "firing", 1_140)]);
    }
}
