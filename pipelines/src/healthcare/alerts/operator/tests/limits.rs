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

#[test]
fn on_scale_2_what_is_low_lies_below_the_target() {
    let mut config = HealthcareConfig::default();
    config.news2.scale_2_patients = [1, 3].into();
    // A low limit that lies lower still is the same for all.
    let mut lowest =
        config.alerts.limits.iter().find(|rule| rule.name() == "spo2-low").cloned().unwrap();
    (lowest.name, lowest.at_most, lowest.clears_at) = (Some("lowest".into()), Some(70.0), None);
    config.alerts.limits.push(lowest);
    let mut harness = harness(&config, 1);
    let rows = [
        // Within the target of 88 to 92.
        saturated(1, 0, 90.0),
        saturated(1, 60, 89.0),
        saturated(2, 0, 90.0),
        saturated(2, 15, 90.0),
        saturated(3, 0, 83.0),
        saturated(3, 15, 83.0),
        saturated(3, 20, 85.0),
        saturated(3, 30, 86.0),
        saturated(3, 40, 70.0),
        saturated(3, 55, 70.0),
    ];
    harness.push(&batch(&rows)).unwrap();
    let found: Vec<_> = taken(&mut harness).into_iter().map(|row| (row.0, row.2, row.6)).collect();
    let row = |id: &str, state: &str, at| (id.to_owned(), state.to_owned(), at);
    assert_eq!(
        found,
        [
            row("2/spo2-low/0", "firing", 15),
            row("3/lowest/40000000", "firing", 55),
            row("3/spo2-low/0", "firing", 15),
            row("3/spo2-low/0", "resolved", 30),
            row("3/spo2-low/40000000", "firing", 55),
        ]
    );
}

#[test]
fn who_is_not_alert_is_told_of_and_the_alert_stays_until_that_is_over() {
    let level =
        |patient, at, level| Row { patient, at, consciousness: Some(level), ..Row::default() };
    let breath = |at, rate| Row { patient: 2, at, respiratory_rate: Some(rate), ..Row::default() };
    let mut harness = harness(&HealthcareConfig::default(), 1);
    let rows = [
        // All that is wrong.
        level(1, 0, "U"),
        level(1, 30, "U"),
        // The rest gets well before.
        level(2, 0, "C"),
        breath(0, 22.0),
        breath(30, 22.0),
        breath(40, 16.0),
    ];
    harness.push(&batch(&rows)).unwrap();
    expect(&mut harness, &[("news2", "firing", 30), ("news2", "firing", 30)]);
    harness.push(&batch(&[level(1, 60, "A"), level(2, 70, "A")])).unwrap();
    expect(&mut harness, &[("news2", "resolved", 60), ("news2", "resolved", 70)]);
}

/// Together with the oxygen itself it scores 5, which is a warning unless that begins higher.
#[test]
fn too_much_saturation_on_scale_2_is_a_warning_wherever_that_begins() {
    let mut config = HealthcareConfig::default();
    config.news2.scale_2_patients = [1, 2].into();
    config.news2.warning = 6;
    let mut harness = harness(&config, 1);
    let given = |oxygen, row| Row { oxygen: Some(oxygen), ..row };
    let rows = [
        given(true, saturated(1, 0, 97.0)),
        given(true, saturated(1, 30, 96.5)),
        given(true, saturated(1, 40, 92.0)),
        // On air, and on the other scale.
        given(false, saturated(2, 0, 97.0)),
        given(false, saturated(2, 60, 97.0)),
        given(true, saturated(3, 0, 97.0)),
        given(true, saturated(3, 60, 97.0)),
    ];
    harness.push(&batch(&rows)).unwrap();
    expect(&mut harness, &[("news2", "firing", 30), ("news2", "resolved", 40)]);
}

/// A hospital's own limit that is left only above the target would never end there.
#[test]
fn on_scale_2_a_low_limit_is_left_within_the_target() {
    let mut config = HealthcareConfig::default();
    config.news2.scale_2_patients = [1].into();
    config.alerts.limits.retain(|rule| rule.name() == "spo2-low");
    for at_most in [80.0, 83.0] {
        let rule = &mut config.alerts.limits[0];
        (rule.at_most, rule.clears_at) = (Some(at_most), Some(93.0));
        let mut harness = harness(&config, 1);
        let rows = [saturated(1, 0, 80.0), saturated(1, 15, 80.0), saturated(1, 30, 90.0)];
        harness.push(&batch(&rows)).unwrap();
        expect(&mut harness, &[("spo2-low", "firing", 15), ("spo2-low", "resolved", 30)]);
    }
}
