//! Patients who get worse while their alert waits, or is open.

use super::*;
use crate::healthcare::alerts::command::{Action, joint_schema};

/// A score of 6 out of three parameters: a warning.
fn sick(at: i64) -> Row {
    let (respiratory_rate, spo2, oxygen) = (Some(22.0), Some(93.0), Some(true));
    Row { patient: 1, at, respiratory_rate, spo2, oxygen, ..Row::default() }
}

/// 3 more: critical.
fn confused(at: i64) -> Row {
    Row { patient: 1, at, consciousness: Some("C"), ..Row::default() }
}

/// Severity, state, score and seconds of what was told.
fn scored(harness: &mut OperatorHarness) -> Vec<(String, String, Option<i32>, i64)> {
    taken(harness).into_iter().map(|row| (row.3, row.2, row.5, row.6)).collect()
}

fn row(severity: &str, state: &str, score: i32, at: i64) -> (String, String, Option<i32>, i64) {
    (severity.to_owned(), state.to_owned(), Some(score), at)
}

#[test]
fn a_score_that_gets_critical_while_it_waits_fires_as_critical() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    harness.push(&batch(&[sick(0), confused(10)])).unwrap();
    harness.watermark(seconds(30)).unwrap();
    assert_eq!(scored(&mut harness), [row("critical", "firing", 9, 30)]);
}

#[test]
fn a_score_that_gets_critical_fires_again_though_nobody_coming_made_it_critical_before() {
    let factory = Arc::new(PatientAlerts::new(&HealthcareConfig::default()).unwrap());
    let schema = joint_schema(&Observation::schema());
    let mut harness = OperatorHarness::new(factory, schema.clone(), ["patient_id"], 2).unwrap();
    let push = |harness: &mut OperatorHarness, row: Row, command: Option<String>| {
        let commands: ArrayRef = Arc::new(StringArray::from(vec![command]));
        let columns = batch(&[row]).columns().iter().cloned().chain([commands]).collect();
        harness.push(&RecordBatch::try_new(schema.clone(), columns).unwrap()).unwrap();
    };
    push(&mut harness, sick(0), None);
    push(&mut harness, sick(30), None);
    harness.watermark(seconds(930)).unwrap();
    let told = scored(&mut harness);
    assert_eq!(told, [row("warning", "firing", 6, 30), row("critical", "firing", 6, 930)]);
    let acknowledge = Command {
        alert_id: "1/news2/0".to_owned(),
        action: Action::Acknowledge,
        by: "nurse".to_owned(),
        minutes: None,
    };
    push(&mut harness, sick(0), Some(acknowledge.to_json().unwrap()));
    assert_eq!(scored(&mut harness), [row("critical", "acknowledged", 6, 930)]);
    harness.snapshot_and_restore(3).unwrap();
    push(&mut harness, sick(935), None);
    assert!(scored(&mut harness).is_empty(), "as bad as it was");
    push(&mut harness, confused(940), None);
    assert_eq!(scored(&mut harness), [row("critical", "firing", 9, 940)]);
}
