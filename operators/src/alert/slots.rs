//! The slots of one key, whichever rules there were when its state was written.

use serde::{Deserialize, Serialize};
use thalweg_core::key::hash_key;
use thalweg_core::time::EventTime;

use super::{Change, Fact, Policy, Slot, State};

/// A rule, as far as the state of its alerts is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What alerts call it.
    pub name: Box<str>,
    /// Stands for the name in the state: rules may be added, removed and put into another order between runs.
    pub id: u64,
    /// How patient it is.
    pub policy: Policy,
}

impl Rule {
    /// A rule by its name.
    pub fn new(name: &str, policy: Policy) -> Self {
        Self { name: name.into(), id: hash_key(name.as_bytes()), policy }
    }

    /// Stands for the rules and their order. Never 0, which is that of a key without rules.
    pub fn layout(rules: &[Self]) -> u64 {
        let ids: Vec<u8> = rules.iter().flat_map(|rule| rule.id.to_le_bytes()).collect();
        hash_key(&ids) | 1
    }
}

/// The alerts of a rule, which may be gone by the time that a checkpoint is restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSlot {
    id: u64,
    /// The rule's name while an alert is open.
    name: Option<Box<str>>,
    slot: Slot,
}

impl RuleSlot {
    /// Puts a key's slots into the order of `rules` and makes those that are missing. The open alerts of rules that are
    /// no more end at `at`: the rules' names, and what to tell.
    pub fn fit(slots: &mut Vec<Self>, rules: &[Rule], at: EventTime) -> Vec<(Box<str>, Change)> {
        let mut before = std::mem::take(slots);
        for rule in rules {
            let known = before.iter().position(|slot| slot.id == rule.id);
            slots.push(match known {
                Some(known) => before.swap_remove(known),
                None => Self { id: rule.id, name: None, slot: Slot::default() },
            });
        }
        let policy = Policy { persist_for: 0, escalate_after: None };
        let ended = before.into_iter().filter_map(|mut gone| {
            let change = gone.slot.advance(&policy, Fact::Forgotten { at })?;
            Some((gone.name?, change))
        });
        ended.collect()
    }

    /// The rule's state machine.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Takes a reading by which nothing changes because all was well and is; false if it must be
    /// [advanced](Self::advance) by. The short way for the many.
    #[inline]
    pub fn stays_quiet(&mut self, reading: Fact) -> bool {
        let quiet = self.slot.is_quiet() && !matches!(reading, Fact::Crossed { .. });
        if quiet {
            self.slot.note(reading.at());
        }
        quiet
    }

    /// As [`Slot::advance`], by the policy of `rule`, whose slot this is.
    pub fn advance(&mut self, rule: &Rule, fact: Fact) -> Option<Change> {
        let change = self.slot.advance(&rule.policy, fact)?;
        self.name = (change.state != State::Resolved).then(|| rule.name.clone());
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Severity;

    fn rule(name: &str) -> Rule {
        Rule::new(name, Policy { persist_for: 0, escalate_after: None })
    }

    #[test]
    fn slots_follow_their_rules_and_alerts_of_rules_that_are_gone_end() {
        let [a, b, c] = ["a", "b", "c"].map(rule);
        let mut slots = Vec::new();
        assert!(RuleSlot::fit(&mut slots, &[a.clone(), b.clone()], 0).is_empty());
        let crossed = Fact::Crossed { at: 5, severity: Severity::Info };
        for (slot, rule) in slots.iter_mut().zip([&a, &b]) {
            assert!(!slot.stays_quiet(crossed));
            assert_eq!(slot.advance(rule, crossed).map(|c| c.state), Some(State::Firing));
        }
        let ended = RuleSlot::fit(&mut slots, &[c, b], 9);
        let ended: Vec<_> = ended.iter().map(|(name, c)| (&**name, c.state, c.at)).collect();
        assert_eq!(ended, [("a", State::Resolved, 9)]);
        let open: Vec<_> = slots.iter().map(|slot| slot.slot().opened_at()).collect();
        assert_eq!(open, [None, Some(5)]);
    }

    #[test]
    fn rules_in_another_order_are_of_another_layout() {
        let layout =
            |names: &[&str]| Rule::layout(&names.iter().map(|name| rule(name)).collect::<Vec<_>>());
        assert_eq!(layout(&["a", "b"]), layout(&["a", "b"]));
        assert_ne!(layout(&["a", "b"]), layout(&["b", "a"]));
        assert_ne!(layout(&[]), 0);
    }
}
