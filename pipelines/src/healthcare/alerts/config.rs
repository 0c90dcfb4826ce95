//! What can be set about alerts: rules are data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use thalweg_core::{Error, Result};
use thalweg_operators::alert::Severity;
use thalweg_operators::detect::{EwmaSettings, Limit};

use super::vital::Vital;

/// Whom and what alerts go to, and limits of single vitals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsSection {
    /// Whether there are any.
    pub enabled: bool,
    /// A topic for those who are paged, on the brokers of the mirror; none: the table only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// A topic of commands about alerts, on the brokers that events come from; none: there are no commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands_topic: Option<String>,
    /// Whether rows also tell of alerts that wait, and of those that ended without having fired.
    pub pending: bool,
    /// An alert that nobody acknowledges for this long becomes one step worse; zero: never.
    #[serde(with = "humantime_serde")]
    pub escalate_after: Duration,
    /// A patient without events for this long is forgotten, open alerts are resolved.
    #[serde(with = "humantime_serde")]
    pub forget_after: Duration,
    /// How far ahead of its arrival an event may claim to have happened; one that is further ahead is not judged.
    #[serde(with = "humantime_serde")]
    pub ahead: Duration,
    /// The longest that an alert can be snoozed.
    #[serde(with = "humantime_serde")]
    pub max_snooze: Duration,
    /// Limits of single vitals.
    pub limits: Vec<LimitRule>,
}

/// A limit of a single vital.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitRule {
    /// What alerts call it; `heart-rate-high`, say, by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it watches.
    pub vital: Vital,
    /// Crossed by this and more, once both are rounded as the chart of NEWS2 has them ([`Vital::charted`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// Crossed by this and less, rounded in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// Cleared only by this and what lies beyond it; the limit itself by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clears_at: Option<f64>,
    /// How long it must stay crossed.
    #[serde(default, with = "humantime_serde")]
    pub persist_for: Duration,
    /// How bad that is.
    pub severity: Severity,
}

/// The early warning score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct News2Section {
    /// Whether it is scored.
    pub enabled: bool,
    /// A total of this and more is a warning.
    pub warning: i32,
    /// A total of this and more is critical.
    pub critical: i32,
    /// A total of this and less clears it.
    pub clears_at: i32,
    /// Whether 3 points of any single parameter are a warning, too. Those of which no limit tells always are: of somebody who
    /// is not alert, and of too much saturation by scale 2.
    pub single_parameter: bool,
    /// How old a parameter's last value may be.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// How long it must last.
    #[serde(with = "humantime_serde")]
    pub persist_for: Duration,
    /// Patients whose oxygen saturation is scored by scale 2.
    pub scale_2_patients: BTreeSet<i64>,
    /// Their low limits of oxygen saturation are no higher than this: their target lies below what is low for others.
    pub scale_2_at_most: f64,
    /// What such a limit clears at.
    pub scale_2_clears_at: f64,
}

/// When nothing is heard of a monitored patient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignalLostSection {
    /// Whether it is watched.
    pub enabled: bool,
    /// After how long without an event.
    #[serde(with = "humantime_serde")]
    pub after: Duration,
    /// After how many events in a row, none `after` behind the one before, a patient counts as monitored.
    pub monitored_after: u32,
    /// How bad it is.
    pub severity: Severity,
}

/// Values that are unusual for their patient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnomaliesSection {
    /// Whether they are looked for.
    pub enabled: bool,
    /// The weight of the newest value in the patient's baseline.
    pub alpha: f64,
    /// How many values a baseline needs.
    pub warm_up: u32,
    /// How many deviations from the baseline are unusual.
    pub z_limit: f64,
    /// How many are usual again.
    pub z_clears_at: f64,
    /// The least deviation that is assumed, by vital; a file names those that differ.
    #[serde(deserialize_with = "over_defaults")]
    pub min_deviation: BTreeMap<Vital, f64>,
    /// Vitals that are not watched.
    pub except: BTreeSet<Vital>,
    /// How long it must last.
    #[serde(with = "humantime_serde")]
    pub persist_for: Duration,
    /// How bad it is.
    pub severity: Severity,
}

impl Default for AlertsSection {
    fn default() -> Self {
        Self {
            enabled: true,
            topic: None,
            commands_topic: None,
            pending: false,
            escalate_after: Duration::from_mins(15),
            forget_after: Duration::from_hours(24),
            ahead: Duration::from_mins(10),
            max_snooze: Duration::from_hours(1),
            limits: default_limits(),
        }
    }
}

/// The ranges that score 3 in NEWS2, a temperature of 39.1 °C and more, which scores 2, and their like for the vital that it
/// does not know.
fn default_limits() -> Vec<LimitRule> {
    use Vital::{Diastolic, HeartRate, RespiratoryRate, Spo2, Systolic, Temperature};
    let rule = |vital, clear, severity, persist_for| LimitRule {
        name: None,
        vital,
        at_least: None,
        at_most: None,
        clears_at: Some(clear),
        persist_for: Duration::from_secs(persist_for),
        severity,
    };
    let high = |vital, (bound, clear), severity, persist_for| LimitRule {
        at_least: Some(bound),
        ..rule(vital, clear, severity, persist_for)
    };
    let low = |vital, (bound, clear), severity, persist_for| LimitRule {
        at_most: Some(bound),
        ..rule(vital, clear, severity, persist_for)
    };
    let (warning, critical) = (Severity::Warning, Severity::Critical);
    vec![
        high(HeartRate, (131.0, 125.0), critical, 10),
        low(HeartRate, (40.0, 45.0), critical, 10),
        high(Systolic, (220.0, 210.0), critical, 30),
        low(Systolic, (90.0, 95.0), critical, 30),
        high(Diastolic, (121.0, 115.0), warning, 30),
        high(Temperature, (102.4, 101.5), warning, 60),
        low(Temperature, (95.0, 96.0), warning, 60),
        low(Spo2, (91.0, 93.0), critical, 15),
        high(RespiratoryRate, (25.0, 22.0), critical, 30),
        low(RespiratoryRate, (8.0, 10.0), critical, 30),
    ]
}

impl Default for News2Section {
    fn default() -> Self {
        Self {
            enabled: true,
            warning: 5,
            critical: 7,
            clears_at: 3,
            single_parameter: false,
            max_age: Duration::from_hours(1),
            persist_for: Duration::from_secs(30),
            scale_2_patients: BTreeSet::new(),
            // Scores 3 by scale 2, and 1. The target is 88 to 92.
            scale_2_at_most: 83.0,
            scale_2_clears_at: 86.0,
        }
    }
}

impl Default for SignalLostSection {
    fn default() -> Self {
        Self {
            enabled: true,
            after: Duration::from_mins(10),
            monitored_after: 5,
            severity: Severity::Warning,
        }
    }
}

impl Default for AnomaliesSection {
    fn default() -> Self {
        let least = [5.0, 6.0, 5.0, 0.5, 1.0, 1.5];
        Self {
            enabled: true,
            alpha: 0.05,
            warm_up: 30,
            z_limit: 5.0,
            z_clears_at: 3.0,
            min_deviation: Vital::ALL.into_iter().zip(least).collect(),
            except: BTreeSet::new(),
            persist_for: Duration::from_secs(30),
            severity: Severity::Info,
        }
    }
}

fn over_defaults<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<Vital, f64>, D::Error> {
    let mut all = AnomaliesSection::default().min_deviation;
    all.extend(BTreeMap::<Vital, f64>::deserialize(input)?);
    Ok(all)
}

impl LimitRule {
    /// What alerts call it.
    pub fn name(&self) -> String {
        let side = if self.at_least.is_some() { "high" } else { "low" };
        let vital = || format!("{}-{side}", self.vital.as_str().replace('_', "-"));
        self.name.clone().unwrap_or_else(vital)
    }

    /// The limit, if exactly one is given and it can be crossed and cleared.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] naming the rule.
    pub fn limit(&self) -> Result<Limit> {
        let wrong = |what| Error::config(format!("alerts.limits: rule `{}` {what}", self.name()));
        let limit = match (self.at_least, self.at_most) {
            (Some(bound), None) => Limit::at_least(bound),
            (None, Some(bound)) => Limit::at_most(bound),
            _ => return Err(wrong("needs either at_least or at_most")),
        };
        let limit = self.clears_at.map_or(limit, |clear| limit.clears_at(clear));
        if limit.is_possible() {
            return Ok(limit);
        }
        Err(wrong("must clear on the good side of its limit"))
    }
}

impl AlertsSection {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] naming the setting.
    pub fn check(&self) -> Result<()> {
        let mut names: BTreeSet<String> = super::rules::RESERVED.map(str::to_owned).into();
        for rule in &self.limits {
            rule.limit()?;
            let name = rule.name();
            let wrong = |what: &str| Error::config(format!("alerts.limits: `{name}` {what}"));
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if name.is_empty() || name.len() > 64 || !name.chars().all(legal) {
                return Err(wrong("must be 1 to 64 characters of a-z 0-9 -"));
            }
            if name.starts_with(super::rules::ANOMALY) || names.contains(&name) {
                return Err(wrong("is the name of another rule"));
            }
            names.insert(name);
        }
        if self.forget_after < Duration::from_mins(1) {
            return Err(Error::config("alerts.forget_after must be at least 1m"));
        }
        Ok(())
    }
}

impl News2Section {
    /// The limit of low oxygen saturation of patients on scale 2.
    pub fn scale_2_limit(&self) -> Limit {
        Limit::at_most(self.scale_2_at_most).clears_at(self.scale_2_clears_at)
    }

    /// A limit of low saturation for those on the second scale: no higher than [`Self::scale_2_limit`], and left where that
    /// is. One that lies lower yet is meant for everybody.
    pub fn on_scale_2(&self, at_most: f64, clears_at: f64) -> Limit {
        let bound = at_most.min(self.scale_2_at_most);
        Limit::at_most(bound).clears_at(clears_at.min(self.scale_2_clears_at).max(bound))
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] naming the setting.
    pub fn check(&self) -> Result<()> {
        if !self.scale_2_limit().is_possible() {
            return Err(Error::config(
                "news2: scale_2_clears_at must not be below scale_2_at_most, and both must be numbers",
            ));
        }
        if self.clears_at < self.warning && self.warning <= self.critical {
            return Ok(());
        }
        Err(Error::config("news2: clears_at must be below warning, and warning not above critical"))
    }
}

impl SignalLostSection {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] naming the setting.
    pub fn check(&self) -> Result<()> {
        if self.after.is_zero() || self.monitored_after == 0 {
            return Err(Error::config(
                "signal_lost: after must be more than 0s, and monitored_after at least 1",
            ));
        }
        Ok(())
    }
}

impl AnomaliesSection {
    /// How the baseline of a vital learns; `None` when it is not watched.
    pub fn baseline(&self, vital: Vital) -> Option<EwmaSettings> {
        let watched = self.min_deviation.get(&vital).filter(|_| !self.except.contains(&vital));
        let min_deviation = *watched?;
        let Self { alpha, warm_up, z_limit: limit, .. } = *self;
        Some(EwmaSettings { alpha, warm_up, min_deviation, limit })
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] naming the setting.
    pub fn check(&self) -> Result<()> {
        let problem = |vital| self.baseline(vital).and_then(|settings| settings.problem());
        if let Some(problem) = Vital::ALL.into_iter().find_map(problem) {
            return Err(Error::config(format!("anomalies: {problem}")));
        }
        if self.z_clears_at > 0.0 && self.z_clears_at <= self.z_limit {
            return Ok(());
        }
        Err(Error::config("anomalies: z_clears_at must be above 0 and not above z_limit"))
    }
}
