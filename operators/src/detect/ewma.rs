//! A baseline that moves along: mean and variance, older values weighing less and less.

use serde::{Deserialize, Serialize};

/// Nothing beyond it is learnt: no square of what is learnt leaves the range of numbers, and one absurd reading does not
/// blind a baseline for ever.
const LARGEST: f64 = 1e150;
/// No deviation is smaller: neither does a score leave it.
const SMALLEST: f64 = 1e-150;

/// How a baseline learns, and what is far from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EwmaSettings {
    /// The weight of the newest value, above 0 and at most 1.
    pub alpha: f64,
    /// How many values are needed before anything is judged.
    pub warm_up: u32,
    /// The deviation is never taken for smaller: sensors that repeat a value would make anything a surprise. Between
    /// 1e-150 and 1e150.
    pub min_deviation: f64,
    /// At how many deviations from the mean a value is an anomaly.
    pub limit: f64,
}

impl EwmaSettings {
    /// What is wrong with them, if anything.
    pub fn problem(&self) -> Option<&'static str> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if !(positive(self.alpha) && self.alpha <= 1.0) {
            Some("alpha must be above 0 and at most 1")
        } else if self.warm_up == 0 {
            Some("warm_up must be at least 1")
        } else if !(SMALLEST..=LARGEST).contains(&self.min_deviation) {
            Some("min_deviation must be between 1e-150 and 1e150")
        } else if !positive(self.limit) {
            Some("the limit of z must be more than 0")
        } else {
            None
        }
    }
}

/// The mean and variance of one key's values so far (Roberts 1959; West's update of the variance).
///
/// An anomaly is learnt from as if it were one deviation away: it neither moves the baseline to where it is nor widens
/// what counts as usual, and a patient whose normal has changed becomes normal in the end.
///
/// ```
/// use thalweg_operators::detect::{Ewma, EwmaSettings};
/// let settings = EwmaSettings { alpha: 0.1, warm_up: 10, min_deviation: 1.0, limit: 4.0 };
/// let mut baseline = Ewma::default();
/// for _ in 0..10 {
///     assert_eq!(baseline.score(&settings, 70.0), None);
/// }
/// assert_eq!(baseline.score(&settings, 71.0), Some(1.0));
/// assert!(baseline.score(&settings, 110.0).is_some_and(|z| z > 30.0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Ewma {
    mean: f64,
    variance: f64,
    seen: u32,
}

impl Ewma {
    /// How many deviations `value` is from what came before, then learns from it; `None` while warming up. What is no
    /// number, or is beyond ±1e150, is passed over. A score is always a number, with settings that have no
    /// [`EwmaSettings::problem`].
    pub fn score(&mut self, settings: &EwmaSettings, value: f64) -> Option<f64> {
        // Written so that NaN is passed over, too.
        if !(-LARGEST..=LARGEST).contains(&value) {
            return None;
        }
        if self.seen == 0 {
            *self = Self { mean: value, variance: 0.0, seen: 1 };
            return None;
        }
        let deviation = self.variance.sqrt().max(settings.min_deviation);
        let z = (value - self.mean) / deviation;
        let warm = self.seen >= settings.warm_up;
        // While warming up nothing is known of what is far, and everything is learnt.
        let is_anomaly = warm && z.abs() >= settings.limit;
        let step = if is_anomaly { deviation.copysign(z) } else { value - self.mean };
        self.mean += settings.alpha * step;
        self.variance = (1.0 - settings.alpha) * (self.variance + settings.alpha * step * step);
        self.seen = self.seen.saturating_add(1);
        warm.then_some(z)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: EwmaSettings =
        EwmaSettings { alpha: 0.1, warm_up: 20, min_deviation: 0.5, limit: 4.0 };

    fn scores(values: impl IntoIterator<Item = f64>) -> (Ewma, Vec<Option<f64>>) {
        let mut baseline = Ewma::default();
        let scores = values.into_iter().map(|v| baseline.score(&SETTINGS, v)).collect();
        (baseline, scores)
    }

    #[test]
    fn nothing_is_judged_while_warming_up() {
        let wild = (0..20).map(|i| if i % 2 == 0 { 0.0 } else { 1_000.0 });
        assert!(scores(wild.clone()).1.iter().all(Option::is_none));
        assert!(scores(wild.chain([3.0])).1.last().is_some_and(Option::is_some));
    }

    #[test]
    fn one_spike_is_found_and_hardly_learnt() {
        let (calm, _) = scores(std::iter::repeat_n(70.0, 50));
        let (after, scores) = scores(std::iter::repeat_n(70.0, 50).chain([250.0]));
        assert!(scores.last().unwrap().is_some_and(|z| z > 100.0));
        // 0.1 × a deviation of 0.5.
        assert!((after.mean - calm.mean - 0.05).abs() < 1e-9, "{after:?}");
    }

    #[test]
    fn a_new_normal_becomes_normal() {
        let (_, scores) =
            scores(std::iter::repeat_n(70.0, 50).chain(std::iter::repeat_n(90.0, 600)));
        assert!(scores[50].is_some_and(|z| z > SETTINGS.limit));
        assert!(scores[150].is_some_and(|z| z > SETTINGS.limit));
        assert!(scores[649].is_some_and(|z| z.abs() < 1.0), "{:?}", scores[649]);
    }

    #[test]
    fn what_is_no_number_is_passed_over() {
        let (baseline, scores) = scores([1.0, f64::NAN, f64::INFINITY, 1.0]);
        assert_eq!(scores, [None; 4]);
        assert_eq!((baseline.mean, baseline.seen), (1.0, 2));
    }

    #[test]
    fn an_absurd_reading_blinds_nobody() {
        for absurd in [f64::MAX, f64::MIN, 1e151] {
            let calm = std::iter::repeat_n(70.0, 50);
            // Before, while and after warming up.
            let values = [absurd].into_iter().chain(calm.clone()).chain([absurd]).chain(calm);
            let (_, scores) = scores(values.chain([110.0]));
            assert!(scores.last().unwrap().is_some_and(|z| z > SETTINGS.limit), "{absurd}");
        }
    }

    #[test]
    fn impossible_settings_are_named() {
        assert_eq!(SETTINGS.problem(), None);
        for wrong in [
            EwmaSettings { alpha: 0.0, ..SETTINGS },
            EwmaSettings { alpha: 1.1, ..SETTINGS },
            EwmaSettings { alpha: f64::NAN, ..SETTINGS },
            EwmaSettings { warm_up: 0, ..SETTINGS },
            EwmaSettings { min_deviation: 0.0, ..SETTINGS },
            EwmaSettings { min_deviation: 1e-200, ..SETTINGS },
            EwmaSettings { min_deviation: 1e200, ..SETTINGS },
            EwmaSettings { min_deviation: f64::NAN, ..SETTINGS },
            EwmaSettings { limit: -1.0, ..SETTINGS },
        ] {
            assert!(wrong.problem().is_some(), "{wrong:?}");
        }
    }

    proptest! {
        /// Against the definition, by weights, for values that are never capped.
        #[test]
        fn mean_is_the_weighted_mean(values in proptest::collection::vec(-50.0_f64..50.0, 2..19)) {
            let (baseline, _) = scores(values.iter().copied());
            let mut mean = values[0];
            for value in &values[1..] {
                mean = 0.9 * mean + 0.1 * value;
            }
            prop_assert!((baseline.mean - mean).abs() < 1e-9);
            prop_assert!(baseline.variance >= 0.0);
        }

        #[test]
        fn whatever_is_read_scores_and_baseline_are_numbers(
            values in proptest::collection::vec(
                prop_oneof![proptest::num::f64::ANY, -1e150..1e150_f64, 0.0..200.0_f64],
                1..80,
            ),
            min_deviation in prop_oneof![Just(1e-150), Just(0.5), Just(1e150)],
            alpha in prop_oneof![Just(f64::MIN_POSITIVE), Just(0.1), Just(1.0)],
            limit in prop_oneof![Just(f64::MIN_POSITIVE), Just(4.0)],
        ) {
            let settings = EwmaSettings { alpha, warm_up: 3, min_deviation, limit };
            prop_assert_eq!(settings.problem(), None);
            let mut baseline = Ewma::default();
            for value in values {
                let z = baseline.score(&settings, value);
                prop_assert!(z.is_none_or(f64::is_finite), "{z:?} for {value}");
                prop_assert!(baseline.mean.is_finite(), "{baseline:?}");
                prop_assert!(baseline.variance.is_finite() && baseline.variance >= 0.0);
            }
        }
    }
}
