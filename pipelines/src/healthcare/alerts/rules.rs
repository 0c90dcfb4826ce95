//! Rules as they are asked: by vital, with numbers for names.

use std::collections::BTreeSet;
use std::time::Duration;

use thalweg_core::time::micros;
use thalweg_core::{Error, Result};
use thalweg_operators::alert::{Policy, Rule, Severity};
use thalweg_operators::detect::{EwmaSettings, Limit, Verdict};

use super::config::{AlertsSection, AnomaliesSection, News2Section, SignalLostSection};
use super::news2::{self, SpO2Scale};
use super::readings;
use super::vital::Vital;
use crate::healthcare::config::HealthcareConfig;
use crate::healthcare::rules::Ranges;

/// The rule of the early warning score.
pub const NEWS2: &str = "news2";
/// The rule of lost signals.
pub const SIGNAL_LOST: &str = "signal-lost";
/// What the rules of unusual values begin with; the vital follows.
pub const ANOMALY: &str = "anomaly-";
/// Names that no limit can have.
pub const RESERVED: [&str; 2] = [NEWS2, SIGNAL_LOST];

/// A rule's place among the rules.
pub type RuleIndex = usize;

/// A limit of a vital.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VitalLimit {
    /// Which rule it is.
    pub rule: RuleIndex,
    /// How bad it is to cross it.
    pub severity: Severity,
    vital: Vital,
    /// Of values as [`Vital::charted`] has them.
    limit: Limit,
    /// The same for patients on scale 2.
    on_scale_2: Limit,
}

impl VitalLimit {
    /// What a value of a patient says, rounded as the score rounds it: the two do not contradict each other.
    #[inline]
    pub fn judge(&self, value: f64, scale: SpO2Scale) -> Verdict {
        let limit = match scale {
            SpO2Scale::One => &self.limit,
            SpO2Scale::Two => &self.on_scale_2,
        };
        limit.judge(self.vital.charted(value))
    }
}

/// How unusual values of a vital are found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Baseline {
    /// Which rule it is.
    pub rule: RuleIndex,
    /// How the baseline learns.
    pub settings: EwmaSettings,
    /// At how many deviations a value is usual again.
    pub clears_at: f64,
    /// How bad an unusual value is.
    pub severity: Severity,
}

/// When a signal is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignalLost {
    /// Which rule it is.
    pub rule: RuleIndex,
    /// After how long without an event, µs.
    pub after: i64,
    /// How many events in a row make a patient monitored.
    pub monitored_after: u32,
    /// How bad it is.
    pub severity: Severity,
}

/// All rules.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Every rule.
    pub all: Vec<Rule>,
    /// The vital that each rule watches, if it is a single one.
    pub vitals: Vec<Option<Vital>>,
    /// Stands for the rules and their order.
    pub layout: u64,
    /// The limits of each vital, in the order of [`Vital::ALL`].
    pub limits: [Vec<VitalLimit>; 6],
    /// The baseline of each vital.
    pub baselines: [Option<Baseline>; 6],
    /// Patients whose oxygen saturation is scored, and limited, by scale 2.
    pub scale_2: BTreeSet<i64>,
    /// The early warning score: its rule, how old values may be in µs, and the rest.
    pub news2: Option<(RuleIndex, i64, News2Section)>,
    /// Lost signals.
    pub signal_lost: Option<SignalLost>,
    /// After how long without an event a patient is forgotten, µs.
    pub forget_after: i64,
    /// How far ahead of its arrival an event may claim to have happened, µs.
    pub ahead: i64,
    /// The longest snooze, µs.
    pub max_snooze: i64,
    /// Whether pending alerts are told of.
    pub tell_pending: bool,
}

impl Rules {
    /// The rules that the settings ask for.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] for a rule that cannot be asked.
    pub fn new(config: &HealthcareConfig) -> Result<Self> {
        let AlertsSection {
            escalate_after, forget_after, ahead, max_snooze, pending, limits, ..
        } = &config.alerts;
        let mut rules = Self {
            all: Vec::new(),
            vitals: Vec::new(),
            layout: 0,
            limits: Default::default(),
            baselines: [None; 6],
            scale_2: config.news2.scale_2_patients.clone(),
            news2: None,
            signal_lost: None,
            forget_after: micros(*forget_after),
            ahead: micros(*ahead),
            max_snooze: micros(*max_snooze),
            tell_pending: *pending,
        };
        let escalate_after = (!escalate_after.is_zero()).then(|| micros(*escalate_after));
        let policy = |persist_for| Policy { persist_for: micros(persist_for), escalate_after };
        // News of no urgency stays that, however long nobody looks.
        let calm = |persist_for| Policy { escalate_after: None, ..policy(persist_for) };
        for limit in limits {
            let rule = rules.add(&limit.name(), Some(limit.vital), policy(limit.persist_for));
            let (severity, vital) = (limit.severity, limit.vital);
            let charted = |limit: Limit| limit.map(|bound| vital.charted(bound));
            let on_scale_2 = match limit.at_most.filter(|_| vital == Vital::Spo2) {
                Some(bound) => config.news2.on_scale_2(bound, limit.clears_at.unwrap_or(bound)),
                None => limit.limit()?,
            };
            let (limit, on_scale_2) = (charted(limit.limit()?), charted(on_scale_2));
            let limits = rules.limits.get_mut(vital as usize).ok_or_else(unknown_vital)?;
            limits.push(VitalLimit { rule, severity, vital, limit, on_scale_2 });
        }
        if config.news2.enabled {
            let rule = rules.add(NEWS2, None, policy(config.news2.persist_for));
            rules.news2 = Some((rule, micros(config.news2.max_age), config.news2.clone()));
        }
        let SignalLostSection { enabled, after, monitored_after, severity } = config.signal_lost;
        if enabled {
            let rule = rules.add(SIGNAL_LOST, None, calm(Duration::ZERO));
            let after = micros(after);
            rules.signal_lost = Some(SignalLost { rule, after, monitored_after, severity });
        }
        let AnomaliesSection { enabled, z_clears_at: clears_at, persist_for, severity, .. } =
            config.anomalies;
        for (vital, place) in Vital::ALL.into_iter().zip(0..) {
            let Some(settings) = config.anomalies.baseline(vital).filter(|_| enabled) else {
                continue;
            };
            let name = format!("{ANOMALY}{}", vital.as_str());
            let rule = rules.add(&name, Some(vital), calm(persist_for));
            let baseline = rules.baselines.get_mut(place).ok_or_else(unknown_vital)?;
            *baseline = Some(Baseline { rule, settings, clears_at, severity });
        }
        rules.layout = Rule::layout(&rules.all);
        Ok(rules)
    }

    /// Refuses rules that outlast the memory of a patient: what they wait for, or look at, is forgotten before.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] naming the rule.
    pub fn check(&self) -> Result<()> {
        let waits = self.all.iter().map(|rule| (&rule.name, rule.policy.persist_for));
        let silent = self.signal_lost.iter().filter_map(|lost| {
            let name = &self.all.get(lost.rule)?.name;
            Some((name, lost.after))
        });
        if let Some((name, _)) = waits.chain(silent).find(|(_, wait)| *wait >= self.forget_after) {
            return Err(Error::config(format!(
                "rule `{name}` waits until its patient is forgotten: make alerts.forget_after longer"
            )));
        }
        if self.news2.as_ref().is_some_and(|(_, max_age, _)| *max_age > self.forget_after) {
            return Err(Error::config("news2.max_age must not be longer than alerts.forget_after"));
        }
        Ok(())
    }

    /// Refuses a limit that no reading can cross, or that none can clear: `ranges` let no such reading through.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] naming the rule.
    pub fn check_ranges(&self, ranges: &Ranges) -> Result<()> {
        let possible = readings::possible(ranges);
        for ((vital, range), limits) in Vital::ALL.into_iter().zip(possible).zip(&self.limits) {
            for (limit, scale) in limits.iter().flat_map(|l| self.scales().map(move |s| (l, s))) {
                // What a limit says changes once from one end to the other.
                let said = [*range.start(), *range.end()].map(|value| limit.judge(value, scale));
                let what = match (said.contains(&Verdict::Crossed), said.contains(&Verdict::Clear))
                {
                    (true, true) => continue,
                    (false, _) => "crossed",
                    (true, false) => "cleared",
                };
                let name = self.all.get(limit.rule).map_or("", |rule| &*rule.name);
                return Err(Error::config(format!(
                    "alerts.limits: rule `{name}` can never be {what}, since ranges.{} has no such value",
                    vital.as_str()
                )));
            }
        }
        Ok(())
    }

    /// Vitals of which the score never gets to see an end of its chart, because `ranges` cut it off.
    pub fn cut_off(&self, ranges: &Ranges) -> Vec<&'static str> {
        let is_cut = |vital: Vital, least: f64, greatest: f64| {
            let mut bounds = self.scales().filter_map(|scale| news2::outer_bounds(vital, scale));
            bounds.any(|(first, last)| {
                vital.charted(least) > first || vital.charted(greatest) <= last
            })
        };
        let vitals = Vital::ALL.into_iter().zip(readings::possible(ranges));
        let cut = vitals.filter(|(vital, range)| is_cut(*vital, *range.start(), *range.end()));
        cut.filter(|_| self.news2.is_some()).map(|(vital, _)| vital.as_str()).collect()
    }

    /// The scales of oxygen saturation that are in use.
    fn scales(&self) -> impl Iterator<Item = SpO2Scale> {
        let second = (!self.scale_2.is_empty()).then_some(SpO2Scale::Two);
        std::iter::once(SpO2Scale::One).chain(second)
    }

    /// How a patient's oxygen saturation is judged.
    #[inline]
    pub fn scale(&self, patient: i64) -> SpO2Scale {
        if self.scale_2.contains(&patient) { SpO2Scale::Two } else { SpO2Scale::One }
    }

    fn add(&mut self, name: &str, vital: Option<Vital>, policy: Policy) -> RuleIndex {
        self.all.push(Rule::new(name, policy));
        self.vitals.push(vital);
        self.all.len() - 1
    }
}

fn unknown_vital() -> Error {
    Error::internal("a vital without a place")
}

#[cfg(test)]
mod tests {
    use super::super::news2::Observations;
    use super::*;

    /// A vital, and a patient of whom nothing else is known.
    type Known = (Vital, fn(f64) -> Observations);

    #[test]
    fn a_range_that_cuts_off_an_end_of_the_chart_is_told_by_its_vital() {
        let mut config = HealthcareConfig::default();
        config.news2.scale_2_patients = [7].into();
        let cut = |change: fn(&mut Ranges)| {
            let mut ranges = Ranges::default();
            change(&mut ranges);
            Rules::new(&config).unwrap().cut_off(&ranges)
        };
        assert!(cut(|_| {}).is_empty());
        assert!(cut(|ranges| ranges.heart_rate.max = 130.5).is_empty(), "it counts as 131");
        assert_eq!(cut(|ranges| ranges.heart_rate.max = 130.4), ["heart_rate"]);
        assert_eq!(cut(|ranges| ranges.temperature.min = 95.5), ["temperature"]);
        assert_eq!(cut(|ranges| ranges.spo2.max = 96.0), ["spo2"], "by the second scale");
        // Low values are readings however small the range is, and this one is not scored.
        assert!(cut(|ranges| ranges.respiratory_rate.min = 12.0).is_empty());
        assert!(cut(|ranges| ranges.diastolic.max = 100.0).is_empty());
    }

    #[test]
    fn limits_are_crossed_where_the_score_says_so() {
        let vitals: [Known; 5] = [
            (Vital::HeartRate, |v| Observations { heart_rate: Some(v), ..Observations::default() }),
            (Vital::Systolic, |v| Observations { systolic: Some(v), ..Observations::default() }),
            (Vital::Temperature, |v| Observations {
                temperature: Some(v),
                ..Observations::default()
            }),
            (Vital::Spo2, |v| Observations { spo2: Some(v), ..Observations::default() }),
            (Vital::RespiratoryRate, |v| Observations {
                respiratory_rate: Some(v),
                ..Observations::default()
            }),
        ];
        let rules = Rules::new(&HealthcareConfig::default()).unwrap();
        for (vital, known) in vitals {
            for value in (0..25_000).map(|hundredths| f64::from(hundredths) / 100.0) {
                let points = news2::score(&known(value), SpO2Scale::One).total;
                // No high temperature scores 3.
                let most = if vital == Vital::Temperature { 2 } else { 3 };
                let mut limits = rules.limits[vital as usize].iter();
                let crossed =
                    limits.any(|limit| limit.judge(value, SpO2Scale::One) == Verdict::Crossed);
                assert_eq!(crossed, points >= most, "{vital:?} {value}");
            }
        }
    }
}
