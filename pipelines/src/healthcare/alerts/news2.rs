//! The National Early Warning Score 2 of the Royal College of Physicians (London, 2017): physiological observations of
//! an adult as one number from 0 to 20. Not for those under 16 or pregnant.
//!
//! Observations are rounded as the chart has them: whole numbers, and degrees Celsius with one decimal.

use super::vital::Vital;

/// What is known of a patient. What is missing scores nothing, so that the total is a lower bound.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Observations {
    /// Breaths per minute.
    pub respiratory_rate: Option<f64>,
    /// Percent.
    pub spo2: Option<f64>,
    /// Whether oxygen is given.
    pub oxygen: Option<bool>,
    /// mmHg.
    pub systolic: Option<f64>,
    /// Beats per minute.
    pub heart_rate: Option<f64>,
    /// Whether the patient is alert; confused, responding to voice or pain, or unresponsive otherwise.
    pub alert: Option<bool>,
    /// Degrees Fahrenheit.
    pub temperature: Option<f64>,
}

/// How oxygen saturation is scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SpO2Scale {
    /// For everybody else.
    #[default]
    One,
    /// For hypercapnic respiratory failure, by a clinician's decision only.
    Two,
}

/// A score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Score {
    /// The sum over what is known.
    pub total: i32,
    /// The highest score of a single parameter.
    pub highest: i32,
    /// Whether 3 points are of what limits of single vitals do not watch: a patient who is not alert, or who is given so much
    /// oxygen that scale 2 calls it too much.
    pub unwatched: bool,
    /// How many of the seven parameters are missing; 0 means that the score is complete.
    pub missing: i32,
}

/// The score of `observations`.
///
/// ```
/// use thalweg_pipelines::healthcare::alerts::news2::{Observations, SpO2Scale, score};
/// let known = Observations { heart_rate: Some(131.0), spo2: Some(95.0), ..Observations::default() };
/// let partial = score(&known, SpO2Scale::One);
/// assert_eq!((partial.total, partial.highest, partial.missing), (4, 3, 5));
/// ```
pub fn score(observations: &Observations, scale: SpO2Scale) -> Score {
    let Observations { respiratory_rate, spo2, oxygen, systolic, heart_rate, alert, temperature } =
        *observations;
    let parameters = [
        respiratory_rate.map(respiration),
        spo2.map(|value| match scale {
            SpO2Scale::One => saturation(value),
            SpO2Scale::Two => saturation_hypercapnic(value, oxygen == Some(true)),
        }),
        oxygen.map(|given| if given { 2 } else { 0 }),
        systolic.map(pressure),
        heart_rate.map(pulse),
        alert.map(|alert| if alert { 0 } else { 3 }),
        temperature.map(warmth),
    ];
    let is_given_too_much = || scale == SpO2Scale::Two && spo2.is_some_and(is_hyperoxic);
    let unwatched = alert == Some(false) || oxygen == Some(true) && is_given_too_much();
    let none = Score { unwatched, ..Score::default() };
    parameters.into_iter().fold(none, |score, parameter| match parameter {
        None => Score { missing: score.missing + 1, ..score },
        Some(points) => {
            Score { total: score.total + points, highest: score.highest.max(points), ..score }
        }
    })
}

/// The last value of a cell of the chart, and the points.
type Rows = &'static [(f64, i32)];

const RESPIRATION: Rows = &[(8.0, 3), (11.0, 1), (20.0, 0), (24.0, 2)];
const SATURATION: Rows = &[(91.0, 3), (93.0, 2), (95.0, 1)];
const SATURATION_HYPERCAPNIC: Rows = &[(83.0, 3), (85.0, 2), (87.0, 1), (92.0, 0)];
/// Above the target, on oxygen.
const SATURATION_HYPEROXIC: Rows = &[(94.0, 1), (96.0, 2)];
const PRESSURE: Rows = &[(90.0, 3), (100.0, 2), (110.0, 1), (219.0, 0)];
const PULSE: Rows = &[(40.0, 3), (50.0, 1), (90.0, 0), (110.0, 1), (130.0, 2)];
const WARMTH: Rows = &[(350.0, 3), (360.0, 1), (380.0, 0), (390.0, 1)];

/// Where the chart's first cell of a vital ends, and behind what its last one begins, as [`Vital::charted`] has values;
/// `None` for the vital that is not scored.
pub fn outer_bounds(vital: Vital, scale: SpO2Scale) -> Option<(f64, f64)> {
    let (first, last) = match (vital, scale) {
        (Vital::Diastolic, _) => return None,
        (Vital::HeartRate, _) => (PULSE, PULSE),
        (Vital::Systolic, _) => (PRESSURE, PRESSURE),
        (Vital::Temperature, _) => (WARMTH, WARMTH),
        (Vital::Spo2, SpO2Scale::One) => (SATURATION, SATURATION),
        (Vital::Spo2, SpO2Scale::Two) => (SATURATION_HYPERCAPNIC, SATURATION_HYPEROXIC),
        (Vital::RespiratoryRate, _) => (RESPIRATION, RESPIRATION),
    };
    Some((first.first()?.0, last.last()?.0))
}

/// The first row whose bound the value does not exceed, else the points behind them.
fn chart(value: f64, rows: &[(f64, i32)], beyond: i32) -> i32 {
    rows.iter().find(|(most, _)| value <= *most).map_or(beyond, |(_, points)| *points)
}

fn respiration(per_minute: f64) -> i32 {
    chart(per_minute.round(), RESPIRATION, 3)
}

fn saturation(percent: f64) -> i32 {
    chart(percent.round(), SATURATION, 0)
}

fn saturation_hypercapnic(percent: f64, on_oxygen: bool) -> i32 {
    let points = chart(percent.round(), SATURATION_HYPERCAPNIC, -1);
    match points {
        -1 if on_oxygen => chart(percent.round(), SATURATION_HYPEROXIC, 3),
        -1 => 0,
        points => points,
    }
}

/// Scores 3 by scale 2 on oxygen, on the high side.
fn is_hyperoxic(percent: f64) -> bool {
    chart(percent.round(), SATURATION_HYPERCAPNIC, -1) < 0
        && chart(percent.round(), SATURATION_HYPEROXIC, 3) == 3
}

fn pressure(systolic: f64) -> i32 {
    chart(systolic.round(), PRESSURE, 3)
}

fn pulse(per_minute: f64) -> i32 {
    chart(per_minute.round(), PULSE, 3)
}

/// Degrees Fahrenheit in tenths of a degree Celsius, so that bounds are whole numbers.
#[inline]
pub fn tenths_of_celsius(fahrenheit: f64) -> f64 {
    ((fahrenheit - 32.0) * 50.0 / 9.0).round()
}

fn warmth(fahrenheit: f64) -> i32 {
    chart(tenths_of_celsius(fahrenheit), WARMTH, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fahrenheit(celsius: f64) -> f64 {
        celsius * 9.0 / 5.0 + 32.0
    }

    /// Both ends of every cell of the chart (RCP 2017, chart 1).
    #[test]
    fn every_cell_of_the_chart_scores_what_it_says() {
        type Parameter = fn(f64) -> i32;
        type Row = (&'static str, Parameter, &'static [(f64, f64, i32)]);
        let charts: [Row; 6] = [
            (
                "respiration",
                respiration,
                &[(0.0, 8.0, 3), (9.0, 11.0, 1), (12.0, 20.0, 0), (21.0, 24.0, 2), (25.0, 80.0, 3)],
            ),
            (
                "spo2 scale 1",
                saturation,
                &[(0.0, 91.0, 3), (92.0, 93.0, 2), (94.0, 95.0, 1), (96.0, 100.0, 0)],
            ),
            (
                "spo2 scale 2 on air",
                |p| saturation_hypercapnic(p, false),
                &[
                    (0.0, 83.0, 3),
                    (84.0, 85.0, 2),
                    (86.0, 87.0, 1),
                    (88.0, 92.0, 0),
                    (93.0, 100.0, 0),
                ],
            ),
            (
                "spo2 scale 2 on oxygen",
                |p| saturation_hypercapnic(p, true),
                &[(88.0, 92.0, 0), (93.0, 94.0, 1), (95.0, 96.0, 2), (97.0, 100.0, 3)],
            ),
            (
                "systolic",
                pressure,
                &[
                    (0.0, 90.0, 3),
                    (91.0, 100.0, 2),
                    (101.0, 110.0, 1),
                    (111.0, 219.0, 0),
                    (220.0, 300.0, 3),
                ],
            ),
            (
                "pulse",
                pulse,
                &[
                    (0.0, 40.0, 3),
                    (41.0, 50.0, 1),
                    (51.0, 90.0, 0),
                    (91.0, 110.0, 1),
                    (111.0, 130.0, 2),
                    (131.0, 300.0, 3),
                ],
            ),
        ];
        for (name, parameter, cells) in charts {
            for (least, most, points) in cells {
                assert_eq!(parameter(*least), *points, "{name} {least}");
                assert_eq!(parameter(*most), *points, "{name} {most}");
            }
        }
        for (celsius, points) in [
            (30.0, 3),
            (35.0, 3),
            (35.1, 1),
            (36.0, 1),
            (36.1, 0),
            (38.0, 0),
            (38.1, 1),
            (39.0, 1),
            (39.1, 2),
            (42.0, 2),
        ] {
            assert_eq!(warmth(fahrenheit(celsius)), points, "{celsius} degrees");
        }
    }

    #[test]
    fn fahrenheit_is_rounded_to_a_tenth_of_a_degree_celsius_first() {
        for (fahrenheit, points) in [(96.8, 1), (96.9, 0), (100.3, 0), (100.4, 0), (102.4, 2)] {
            assert_eq!(warmth(fahrenheit), points, "{fahrenheit}");
        }
    }

    fn all(
        (respiratory_rate, spo2, oxygen): (f64, f64, bool),
        (systolic, heart_rate, alert, celsius): (f64, f64, bool, f64),
    ) -> Observations {
        Observations {
            respiratory_rate: Some(respiratory_rate),
            spo2: Some(spo2),
            oxygen: Some(oxygen),
            systolic: Some(systolic),
            heart_rate: Some(heart_rate),
            alert: Some(alert),
            temperature: Some(fahrenheit(celsius)),
        }
    }

    #[test]
    fn whole_patients_add_up() {
        let well = all((16.0, 98.0, false), (120.0, 70.0, true, 37.0));
        assert_eq!(score(&well, SpO2Scale::One), Score::default());
        let dying = all((25.0, 91.0, true), (90.0, 131.0, false, 39.1));
        let found = score(&dying, SpO2Scale::One);
        assert_eq!(found, Score { total: 19, highest: 3, unwatched: true, missing: 0 });
        let cold = all((25.0, 91.0, true), (90.0, 131.0, false, 35.0));
        assert_eq!(score(&cold, SpO2Scale::One).total, 20);
        let hypercapnic = all((16.0, 95.0, true), (120.0, 70.0, true, 37.0));
        assert_eq!(score(&hypercapnic, SpO2Scale::One).total, 3);
        assert_eq!(score(&hypercapnic, SpO2Scale::Two).total, 4);
    }

    #[test]
    fn what_no_limit_watches_is_told_apart_from_the_other_threes() {
        let unwatched = |known: &Observations, scale| score(known, scale).unwatched;
        for (alert, expected) in [(None, false), (Some(true), false), (Some(false), true)] {
            let known = Observations { alert, ..Observations::default() };
            assert_eq!(unwatched(&known, SpO2Scale::One), expected, "{alert:?}");
        }
        for percent in (0..=1_000).map(|tenths| f64::from(tenths) / 10.0) {
            for oxygen in [None, Some(false), Some(true)] {
                let known = Observations { spo2: Some(percent), oxygen, ..Observations::default() };
                // 3 points that are not those of a low value.
                let high = saturation_hypercapnic(percent, oxygen == Some(true)) == 3;
                let high = high && saturation_hypercapnic(percent, false) == 0;
                assert_eq!(unwatched(&known, SpO2Scale::Two), high, "{percent} {oxygen:?}");
                assert!(!unwatched(&known, SpO2Scale::One), "{percent} {oxygen:?}");
            }
        }
    }

    #[test]
    fn what_is_missing_makes_a_lower_bound() {
        let complete = all((25.0, 91.0, true), (90.0, 131.0, false, 39.1));
        for missing in 0..7 {
            let mut known = complete;
            match missing {
                0 => known.respiratory_rate = None,
                1 => known.spo2 = None,
                2 => known.oxygen = None,
                3 => known.systolic = None,
                4 => known.heart_rate = None,
                5 => known.alert = None,
                _ => known.temperature = None,
            }
            let partial = score(&known, SpO2Scale::One);
            assert_eq!(partial.missing, 1);
            assert!(partial.total < 19);
        }
        assert_eq!(score(&Observations::default(), SpO2Scale::One).missing, 7);
    }
}
