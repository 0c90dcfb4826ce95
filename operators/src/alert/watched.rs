//! What is remembered of a key, and what a reading, a command or the passing of time means for its alerts. Pure.

use serde::{Deserialize, Serialize};
use thalweg_core::time::EventTime;

use super::rule::Rules;
use super::{Change, Fact, RuleSlot};

/// A change of an alert, with what belongs into its row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    pub(super) rule: Box<str>,
    /// The newest reading of the rule's column.
    pub(super) value: Option<f64>,
    /// Who acknowledged or snoozed it.
    pub(super) by: Option<Box<str>>,
    pub(super) change: Change,
}

/// What somebody says about an alert.
#[derive(Debug, Clone, Copy)]
pub(super) struct Command<'a> {
    pub(super) rule: &'a str,
    pub(super) opened_at: EventTime,
    /// `None`: it is acknowledged.
    pub(super) snooze_until: Option<EventTime>,
    pub(super) by: Option<&'a str>,
}

/// All that is remembered of a key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Watched {
    /// The rules that `slots` and `values` are in the order of.
    layout: u64,
    /// The time of the newest row.
    seen: Option<EventTime>,
    /// The newest reading of each rule's column.
    values: Vec<Option<f64>>,
    slots: Vec<RuleSlot>,
}

impl Watched {
    /// Takes a row of time `at`, of which `value_of` is the reading of each rule. What is told is appended to `told`; true
    /// when [`Watched::due`] may have come nearer.
    pub(super) fn observe(
        &mut self,
        rules: &Rules,
        at: EventTime,
        value_of: impl Fn(usize) -> Option<f64>,
        told: &mut Vec<Told>,
    ) -> bool {
        let fitted = self.fit(rules, at, told);
        self.seen = self.seen.max(Some(at));
        for (index, (limit, severity)) in rules.limits.iter().enumerate() {
            let Some(value) = value_of(index) else { continue };
            let (Some(slot), Some(known)) = (self.slots.get_mut(index), self.values.get_mut(index))
            else {
                continue;
            };
            if slot.slot().is_late(at) {
                continue;
            }
            *known = Some(value);
            let fact = limit.judge(value).fact(at, *severity);
            if !slot.stays_quiet(fact) {
                self.advance(rules, index, fact, None, told);
            }
        }
        fitted || self.slots.iter().any(|slot| !slot.slot().is_quiet())
    }

    /// Does what somebody said about an open alert, where time stands: at the key's newest row, at `now` if event time is
    /// further, and never before the alert's last change. Of another alert of its rule nothing is changed.
    pub(super) fn obey(
        &mut self,
        rules: &Rules,
        now: EventTime,
        command: Command<'_>,
        told: &mut Vec<Told>,
    ) {
        let Some(seen) = self.seen else { return };
        let now = seen.max(now);
        self.fit(rules, now, told);
        let Some(index) = rules.all.iter().position(|rule| &*rule.name == command.rule) else {
            return;
        };
        let Some(slot) = self.slots.get(index).map(RuleSlot::slot) else { return };
        if slot.opened_at() != Some(command.opened_at) {
            return;
        }
        let at = slot.changed_at().map_or(now, |changed_at| now.max(changed_at));
        let fact = match command.snooze_until {
            None => Fact::Acknowledged { at },
            Some(until) if until > at => Fact::Snoozed { at, until },
            Some(_) => return,
        };
        self.advance(rules, index, fact, command.by, told);
    }

    /// When something happens without another row. Where the rules are others than before there is something to do at
    /// once.
    pub(super) fn due(&self, rules: &Rules) -> EventTime {
        if self.layout != rules.layout {
            return EventTime::MIN;
        }
        let slots = self.slots.iter().zip(&rules.all);
        let alerts = slots.filter_map(|(slot, rule)| slot.slot().due(&rule.policy));
        alerts.fold(self.forgotten_at(rules), EventTime::min)
    }

    /// Lets time pass until `until`; false when the key is forgotten with that.
    pub(super) fn pass(&mut self, rules: &Rules, until: EventTime, told: &mut Vec<Told>) -> bool {
        self.fit(rules, self.seen.unwrap_or(until), told);
        loop {
            let now = self.due(rules);
            if now > until {
                return true;
            }
            let forgotten = now >= self.forgotten_at(rules);
            let fact =
                if forgotten { Fact::Forgotten { at: now } } else { Fact::Passed { at: now } };
            for index in 0..self.slots.len() {
                self.advance(rules, index, fact, None, told);
            }
            if forgotten {
                return false;
            }
        }
    }

    fn forgotten_at(&self, rules: &Rules) -> EventTime {
        self.seen.map_or(EventTime::MAX, |seen| seen.saturating_add(rules.forget_after))
    }

    /// The key's slots in the order of `rules`; what was read before other rules came is forgotten. Open alerts of rules
    /// that are no more end.
    fn fit(&mut self, rules: &Rules, at: EventTime, told: &mut Vec<Told>) -> bool {
        if self.layout == rules.layout {
            return false;
        }
        for (rule, change) in RuleSlot::fit(&mut self.slots, &rules.all, at) {
            told.push(Told { rule, value: None, by: None, change });
        }
        self.values = vec![None; rules.all.len()];
        self.layout = rules.layout;
        true
    }

    fn advance(
        &mut self,
        rules: &Rules,
        index: usize,
        fact: Fact,
        by: Option<&str>,
        told: &mut Vec<Told>,
    ) {
        let (Some(rule), Some(slot)) = (rules.all.get(index), self.slots.get_mut(index)) else {
            return;
        };
        let Some(change) = slot.advance(rule, fact) else { return };
        let value = self.values.get(index).copied().flatten();
        told.push(Told { rule: rule.name.clone(), value, by: by.map(Into::into), change });
    }
}
