//! Limits of single vitals beside the score.

use super::*;

fn saturated(patient: i64, at: i64, spo2: f64) -> Row {
    Row { patient, at, spo2: Some(spo2), ..Row::default() }
}

#[test]
fn a_limit_judges_what_the_score_scores() {
    let mut harness = harness(&HealthcareConfig::default(), 1);
    // 91.4 is 91 on the chart, 91.5 is 92; 92.5 is 93, and well again.
    let rows = [
        saturated(1, 0, 91.4),
        saturated(1, 15, 91.4),
        saturated(1, 20, 92.4),
        saturated(1, 30, 92.5),
        saturated(2, 0, 91.5),
        saturated(2, 30, 91.5),
    ];
    harness.push(&batch(&rows)).unwrap();
    expect(&mut harness, &[("spo2-low", "firing", 15), ("spo2-low", "resolved", 30)]);
}
