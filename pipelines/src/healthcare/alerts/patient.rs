//! What is remembered of a patient, and what an event or the passing of time means for its alerts. Pure.

use serde::{Deserialize, Serialize};
use thalweg_core::time::{EventTime, MICROS_PER_SECOND};
use thalweg_operators::alert::{Change, Fact, RuleSlot, Severity, State};
use thalweg_operators::detect::Ewma;

use super::command::{Action, AlertId, Command};
use super::config::News2Section;
use super::news2::{self, Observations, SpO2Scale};
use super::rules::{Baseline, RuleIndex, Rules, SignalLost};
use super::vital::Vital;

/// An event as rules see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// When it happened.
    pub at: EventTime,
    /// The vitals, in the order of [`Vital::ALL`].
    pub vitals: [Option<f64>; 6],
    /// Whether oxygen is given.
    pub oxygen: Option<bool>,
    /// Whether the patient is alert.
    pub alert: Option<bool>,
}

/// A change of an alert, with what belongs into its row.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The rule's name.
    pub rule: Box<str>,
    /// The vital that it watches.
    pub vital: Option<Vital>,
    /// The vital's newest value.
    pub value: Option<f64>,
    /// The score and how many parameters it lacks, for its rule.
    pub score: Option<(i32, i32)>,
    /// Who acknowledged or snoozed it.
    pub by: Option<Box<str>>,
    /// The change.
    pub change: Change,
}

/// The last value of something.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Known<T> {
    at: EventTime,
    value: T,
}

/// All that is remembered of a patient.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Patient {
    /// The rules that `slots` are in the order of.
    layout: u64,
    /// When the newest event happened.
    seen: Option<EventTime>,
    /// How many events came in a row without a gap.
    in_a_row: u32,
    vitals: [Option<Known<f64>>; 6],
    oxygen: Option<Known<bool>>,
    alert: Option<Known<bool>>,
    /// The score that was reckoned last: its total and how many parameters it lacked.
    score: (i32, i32),
    baselines: [Ewma; 6],
    slots: Vec<RuleSlot>,
}

impl Patient {
    /// Takes an event. What is told is appended to `told`; true when [`Patient::due`] may have come nearer.
    pub fn observe(
        &mut self,
        id: i64,
        rules: &Rules,
        reading: &Reading,
        told: &mut Vec<Told>,
    ) -> bool {
        let mut nearer = self.fit(rules, reading.at, told);
        nearer |= self.heard(rules, reading.at, told);
        let mut learnt = false;
        for (place, vital) in Vital::ALL.into_iter().enumerate() {
            let Some(value) = reading.vitals.get(place).copied().flatten() else { continue };
            learnt |= self.measured(id, rules, (place, vital), (reading.at, value), told);
        }
        learnt |= learn(&mut self.oxygen, reading.at, reading.oxygen);
        learnt |= learn(&mut self.alert, reading.at, reading.alert);
        if learnt && let Some((rule, max_age, section)) = &rules.news2 {
            let fact = self.assess(rules.scale(id), reading.at, *max_age, section);
            self.advance(rules, *rule, fact, told);
        }
        nearer || self.has_open_alerts()
    }

    /// Does what somebody said about an open alert, as of the patient's newest event, of `now` if event time is further,
    /// and of the alert's last change: of a patient who is silent there is no newer event, and `now` is not known yet
    /// behind a restart. An alert that is no longer open takes no commands, nor does another one of its rule.
    pub fn obey(
        &mut self,
        rules: &Rules,
        now: EventTime,
        id: &AlertId,
        command: &Command,
        told: &mut Vec<Told>,
    ) {
        let Some(seen) = self.seen else { return };
        let now = seen.max(now);
        self.fit(rules, now, told);
        let Some(rule) = rules.all.iter().position(|rule| rule.name == id.rule) else { return };
        let Some(slot) = self.slots.get(rule).map(RuleSlot::slot) else { return };
        if slot.opened_at() != Some(id.opened_at) {
            return;
        }
        let at = slot.changed_at().map_or(now, |changed_at| now.max(changed_at));
        let fact = match (command.action, command.minutes) {
            (Action::Acknowledge, _) => Fact::Acknowledged { at },
            (Action::Snooze, minutes) => {
                let wanted = minutes.unwrap_or_default().saturating_mul(60 * MICROS_PER_SECOND);
                let until = at.saturating_add(wanted.min(rules.max_snooze));
                Fact::Snoozed { at, until }
            }
        };
        let before = told.len();
        self.advance(rules, rule, fact, told);
        for told in told.iter_mut().skip(before) {
            told.by = Some(command.by.as_str().into());
        }
    }

    /// When something happens without another event. Where the rules are others than before there is something to do at
    /// once.
    pub fn due(&self, rules: &Rules) -> EventTime {
        if self.layout != rules.layout {
            return EventTime::MIN;
        }
        let slots = self.slots.iter().zip(&rules.all);
        let alerts = slots.filter_map(|(slot, rule)| slot.slot().due(&rule.policy)).min();
        let lost = self.loses_signal_at(rules).map(|(_, at)| at);
        alerts.into_iter().chain(lost).fold(self.forgotten_at(rules), EventTime::min)
    }

    /// Lets time pass until `until`; false when the patient is forgotten with that.
    pub fn pass(&mut self, rules: &Rules, until: EventTime, told: &mut Vec<Told>) -> bool {
        self.fit(rules, self.seen.unwrap_or(until), told);
        loop {
            let now = self.due(rules);
            if now > until {
                return true;
            }
            if now >= self.forgotten_at(rules) {
                for rule in 0..self.slots.len() {
                    self.advance(rules, rule, Fact::Forgotten { at: now }, told);
                }
                return false;
            }
            for rule in 0..self.slots.len() {
                self.advance(rules, rule, Fact::Passed { at: now }, told);
            }
            if let Some((SignalLost { rule, severity, .. }, at)) = self.loses_signal_at(rules)
                && at <= now
            {
                self.in_a_row = 0;
                self.advance(rules, rule, Fact::Crossed { at: now, severity }, told);
            }
        }
    }

    fn has_open_alerts(&self) -> bool {
        self.slots.iter().any(|slot| !slot.slot().is_quiet())
    }

    fn forgotten_at(&self, rules: &Rules) -> EventTime {
        self.seen.map_or(EventTime::MAX, |seen| seen.saturating_add(rules.forget_after))
    }

    fn loses_signal_at(&self, rules: &Rules) -> Option<(SignalLost, EventTime)> {
        let lost = rules.signal_lost.filter(|lost| self.in_a_row >= lost.monitored_after)?;
        Some((lost, self.seen?.saturating_add(lost.after)))
    }

    /// The patient's slots in the order of `rules`. Open alerts of rules that are no more end.
    fn fit(&mut self, rules: &Rules, at: EventTime, told: &mut Vec<Told>) -> bool {
        if self.layout == rules.layout {
            return false;
        }
        for (rule, change) in RuleSlot::fit(&mut self.slots, &rules.all, at) {
            told.push(Told { rule, vital: None, value: None, score: None, by: None, change });
        }
        self.layout = rules.layout;
        true
    }

    /// The patient is there.
    fn heard(&mut self, rules: &Rules, at: EventTime, told: &mut Vec<Told>) -> bool {
        let seen = self.seen.unwrap_or(at);
        if at < seen {
            return false;
        }
        let gap = at.saturating_sub(seen);
        self.seen = Some(at);
        let Some(lost) = rules.signal_lost else { return false };
        self.in_a_row = if gap < lost.after { self.in_a_row.saturating_add(1) } else { 1 };
        self.settle(rules, lost.rule, Fact::Cleared { at }, told);
        self.in_a_row == lost.monitored_after
    }

    /// A value of a vital; true when it is news.
    fn measured(
        &mut self,
        id: i64,
        rules: &Rules,
        (place, vital): (usize, Vital),
        (at, value): (EventTime, f64),
        told: &mut Vec<Told>,
    ) -> bool {
        let Some(known) = self.vitals.get_mut(place) else { return false };
        if !learn(known, at, Some(value)) {
            // Older than what is known: it opens nothing, and is not learnt from.
            return false;
        }
        debug_assert_eq!(vital as usize, place);
        for limit in rules.limits.get(place).into_iter().flatten() {
            let fact = limit.judge(value, rules.scale(id)).fact(at, limit.severity);
            self.settle(rules, limit.rule, fact, told);
        }
        if let Some(Baseline { rule, settings, clears_at, severity }) =
            rules.baselines.get(place).copied().flatten()
            && let Some(z) = self.baselines.get_mut(place).and_then(|b| b.score(&settings, value))
        {
            let fact = if z.abs() >= settings.limit {
                Fact::Crossed { at, severity }
            } else if z.abs() <= clears_at {
                Fact::Cleared { at }
            } else {
                Fact::Between { at }
            };
            self.settle(rules, rule, fact, told);
        }
        true
    }

    /// What the early warning score says.
    fn assess(
        &mut self,
        scale: SpO2Scale,
        at: EventTime,
        max_age: i64,
        section: &News2Section,
    ) -> Fact {
        let oldest = at.saturating_sub(max_age);
        let mut stale = false;
        let mut vital = |vital: Vital| {
            let known = self.vitals.get(vital as usize).copied().flatten();
            fresh(known, oldest, &mut stale)
        };
        let (heart_rate, systolic) = (vital(Vital::HeartRate), vital(Vital::Systolic));
        let (temperature, spo2) = (vital(Vital::Temperature), vital(Vital::Spo2));
        let respiratory_rate = vital(Vital::RespiratoryRate);
        let oxygen = fresh(self.oxygen, oldest, &mut stale);
        let alert = fresh(self.alert, oldest, &mut stale);
        let observations = Observations {
            respiratory_rate,
            spo2,
            oxygen,
            systolic,
            heart_rate,
            alert,
            temperature,
        };
        let score = news2::score(&observations, scale);
        self.score = (score.total, score.missing);
        // The limits watch the other threes by default. Whoever is not alert has no limit.
        let single = score.unwatched || section.single_parameter && score.highest >= 3;
        if score.total >= section.critical {
            Fact::Crossed { at, severity: Severity::Critical }
        } else if score.total >= section.warning || single {
            Fact::Crossed { at, severity: Severity::Warning }
        } else if score.total <= section.clears_at && !stale {
            Fact::Cleared { at }
        } else {
            // A parameter that was known and is no longer says nothing about recovery.
            Fact::Between { at }
        }
    }

    /// As [`Patient::advance`], quickly where all is well.
    #[inline]
    fn settle(&mut self, rules: &Rules, rule: RuleIndex, fact: Fact, told: &mut Vec<Told>) {
        if self.slots.get_mut(rule).is_some_and(|slot| slot.stays_quiet(fact)) {
            return;
        }
        self.advance(rules, rule, fact, told);
    }

    fn advance(&mut self, rules: &Rules, index: RuleIndex, fact: Fact, told: &mut Vec<Told>) {
        let (Some(rule), Some(slot)) = (rules.all.get(index), self.slots.get_mut(index)) else {
            return;
        };
        let Some(change) = slot.advance(rule, fact) else { return };
        let is_over = change.state == State::Resolved;
        let untold = change.state == State::Pending || is_over && change.fired_at.is_none();
        if untold && !rules.tell_pending {
            return;
        }
        let vital = rules.vitals.get(index).copied().flatten();
        let known = vital.and_then(|v| self.vitals.get(v as usize).copied().flatten());
        let is_score = rules.news2.as_ref().is_some_and(|(rule, ..)| *rule == index);
        told.push(Told {
            rule: rule.name.clone(),
            vital,
            value: known.map(|known| known.value),
            score: is_score.then_some(self.score),
            by: None,
            change,
        });
    }
}

/// Keeps a value, unless it is older than the one that is kept.
fn learn<T>(known: &mut Option<Known<T>>, at: EventTime, value: Option<T>) -> bool {
    let Some(value) = value else { return false };
    if known.as_ref().is_some_and(|known| at < known.at) {
        return false;
    }
    *known = Some(Known { at, value });
    true
}

/// The value, unless it is too old.
fn fresh<T>(known: Option<Known<T>>, oldest: EventTime, stale: &mut bool) -> Option<T> {
    let known = known?;
    if known.at < oldest {
        *stale = true;
        return None;
    }
    Some(known.value)
}
