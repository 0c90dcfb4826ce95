//! The state machine of one rule of one key.

use serde::{Deserialize, Serialize};
use thalweg_core::time::EventTime;

use super::Severity;
use super::level::Level;

/// How patient a rule is. Times are µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long a limit must stay crossed before anybody is told; 0: at once.
    pub persist_for: i64,
    /// After how long an alert that nobody acknowledges becomes one step worse; `None`: never.
    pub escalate_after: Option<i64>,
}

/// Something that a slot learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// A reading beyond the limit.
    Crossed {
        /// When it was taken.
        at: EventTime,
        /// How bad it is.
        severity: Severity,
    },
    /// A reading between the limit and the bound at which it clears: what holds goes on to hold.
    Between {
        /// When it was taken.
        at: EventTime,
    },
    /// A reading beyond the bound at which the limit clears.
    Cleared {
        /// When it was taken.
        at: EventTime,
    },
    /// Event time has reached `at`, and no earlier reading is missing that anybody waits for.
    Passed {
        /// The time that was reached.
        at: EventTime,
    },
    /// Somebody looks after it.
    Acknowledged {
        /// When they said so.
        at: EventTime,
    },
    /// Somebody does not want to hear of it for a while.
    Snoozed {
        /// When they said so.
        at: EventTime,
        /// When they want to hear of it again.
        until: EventTime,
    },
    /// The key is forgotten: nothing has been heard of it for too long.
    Forgotten {
        /// When that was decided.
        at: EventTime,
    },
}

impl Fact {
    /// When it became true.
    pub fn at(self) -> EventTime {
        match self {
            Self::Crossed { at, .. }
            | Self::Between { at }
            | Self::Cleared { at }
            | Self::Passed { at }
            | Self::Acknowledged { at }
            | Self::Snoozed { at, .. }
            | Self::Forgotten { at } => at,
        }
    }

    fn is_reading(self) -> bool {
        matches!(self, Self::Crossed { .. } | Self::Between { .. } | Self::Cleared { .. })
    }
}

/// Where an open alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The limit is crossed, not yet for long enough.
    Pending,
    /// People were told.
    Firing,
    /// Somebody looks after it.
    Acknowledged,
    /// Silent for a while.
    Snoozed {
        /// When it fires again.
        until: EventTime,
    },
}

impl Phase {
    /// What a row about an alert that stands there says.
    pub const fn state(self) -> State {
        match self {
            Self::Pending => State::Pending,
            Self::Firing => State::Firing,
            Self::Acknowledged => State::Acknowledged,
            Self::Snoozed { .. } => State::Snoozed,
        }
    }
}

/// What a fact means for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Nothing.
    Stay,
    /// An alert opens and waits whether the limit stays crossed.
    Open(Severity),
    /// An alert fires, one that was pending or one that opens with it.
    Fire(Severity),
    /// A reading says worse than those before, or nobody looked after it for too long: it fires again, whoever has
    /// acknowledged or snoozed it. How bad it is by now.
    Escalate(Severity),
    /// Somebody looks after it.
    Acknowledge,
    /// It is silent until then.
    Snooze(EventTime),
    /// The silence is over and nothing got better.
    Awake,
    /// It is over.
    Resolve,
}

/// What a row about an alert says about its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Open, and nobody was told.
    Pending,
    /// People are told.
    Firing,
    /// Somebody looks after it.
    Acknowledged,
    /// Silent for a while.
    Snoozed,
    /// Over; if it never fired, nobody was told.
    Resolved,
}

impl State {
    /// Its name in tables and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Acknowledged => "acknowledged",
            Self::Snoozed => "snoozed",
            Self::Resolved => "resolved",
        }
    }
}

/// What to tell about an alert. A slot's opening time names the alert: no two of a slot share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The state before; `None`: there was no alert.
    pub from: Option<State>,
    /// The new state.
    pub state: State,
    /// How bad it is.
    pub severity: Severity,
    /// The first reading beyond the limit.
    pub opened_at: EventTime,
    /// When it fired first.
    pub fired_at: Option<EventTime>,
    /// When it got into this state; never earlier than the change before.
    pub at: EventTime,
    /// The how-manieth change of the alert this is, from 1.
    pub sequence: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    phase: Phase,
    level: Level,
    opened_at: EventTime,
    fired_at: Option<EventTime>,
    changed_at: EventTime,
    changes: i32,
}

/// One rule of one key: how far its readings got, and its open alert, of which there is at most one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Readings older than this change nothing.
    newest: EventTime,
    open: Option<Box<Open>>,
}

impl Default for Slot {
    fn default() -> Self {
        Self { newest: EventTime::MIN, open: None }
    }
}

impl Slot {
    /// Where the open alert stands.
    pub fn phase(&self) -> Option<Phase> {
        self.open.as_ref().map(|open| open.phase)
    }

    /// When the open alert was opened, which names it.
    pub fn opened_at(&self) -> Option<EventTime> {
        self.open.as_ref().map(|open| open.opened_at)
    }

    /// When the open alert changed last.
    pub fn changed_at(&self) -> Option<EventTime> {
        self.open.as_ref().map(|open| open.changed_at)
    }

    /// Whether there is neither an alert nor anything that this reading would change: the short way for the many
    /// readings that say that all is well.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.open.is_none()
    }

    /// Whether a reading at `at` would be older than the newest, and so change nothing.
    #[inline]
    pub fn is_late(&self, at: EventTime) -> bool {
        at < self.newest
    }

    /// Notes a reading at `at` that says that all is well, where [`Slot::is_quiet`].
    #[inline]
    pub fn note(&mut self, at: EventTime) {
        self.newest = self.newest.max(at);
    }

    /// What `fact` means. Nothing changes.
    pub fn decide(&self, policy: &Policy, fact: Fact) -> Transition {
        if fact.is_reading() && self.is_late(fact.at()) {
            return Transition::Stay;
        }
        let Some(open) = &self.open else {
            return match fact {
                Fact::Crossed { severity, .. } if policy.persist_for <= 0 => {
                    Transition::Fire(severity)
                }
                Fact::Crossed { severity, .. } => Transition::Open(severity),
                _ => Transition::Stay,
            };
        };
        match fact {
            Fact::Cleared { .. } | Fact::Forgotten { .. } => Transition::Resolve,
            Fact::Crossed { severity, .. } => open.on_crossed(policy, fact, severity),
            Fact::Between { .. } => open.on_crossed(policy, fact, open.level.read()),
            Fact::Passed { at } => open.on_passed(policy, at),
            Fact::Acknowledged { .. } => match open.phase {
                Phase::Firing | Phase::Snoozed { .. } => Transition::Acknowledge,
                Phase::Pending | Phase::Acknowledged => Transition::Stay,
            },
            Fact::Snoozed { until, .. } => match open.phase {
                Phase::Pending => Transition::Stay,
                _ if until <= open.changed_at => Transition::Stay,
                _ => Transition::Snooze(until),
            },
        }
    }

    /// Does what [`Slot::decide`] says, and returns what to tell.
    pub fn advance(&mut self, policy: &Policy, fact: Fact) -> Option<Change> {
        let transition = self.decide(policy, fact);
        if fact.is_reading() && !self.is_late(fact.at()) {
            self.newest = fact.at();
            if let (Fact::Crossed { severity, .. }, Some(open)) = (fact, &mut self.open) {
                open.level.learn(severity);
            }
        }
        self.apply(transition, fact.at())
    }

    /// When something would happen without another reading.
    pub fn due(&self, policy: &Policy) -> Option<EventTime> {
        self.open.as_ref().and_then(|open| open.due(policy))
    }

    fn apply(&mut self, transition: Transition, at: EventTime) -> Option<Change> {
        let from = self.phase().map(Phase::state);
        if let Transition::Open(severity) | Transition::Fire(severity) = transition {
            // What opens an alert is the newest reading: its time is the slot's alone.
            self.open.get_or_insert_with(|| Box::new(Open::new(severity, at)));
        }
        let open = self.open.as_mut()?;
        let state = match transition {
            Transition::Stay => return None,
            Transition::Open(_) => State::Pending,
            Transition::Fire(severity) => {
                open.fired_at = Some(at);
                open.level.raise(severity);
                open.phase = Phase::Firing;
                State::Firing
            }
            Transition::Escalate(severity) => {
                open.level.raise(severity);
                open.phase = Phase::Firing;
                State::Firing
            }
            Transition::Awake => {
                open.phase = Phase::Firing;
                State::Firing
            }
            Transition::Acknowledge => {
                open.phase = Phase::Acknowledged;
                State::Acknowledged
            }
            Transition::Snooze(until) => {
                open.phase = Phase::Snoozed { until };
                State::Snoozed
            }
            Transition::Resolve => State::Resolved,
        };
        open.changed_at = open.changed_at.max(at);
        open.changes = open.changes.saturating_add(1);
        let change = open.tell(from, state);
        if state == State::Resolved {
            self.open = None;
            // A reading of the very same instant would open an alert of the same name.
            self.newest = self.newest.max(change.opened_at.saturating_add(1));
        }
        Some(change)
    }
}

impl Open {
    fn new(severity: Severity, at: EventTime) -> Self {
        let (phase, level) = (Phase::Pending, Level::of(severity));
        Self { phase, level, opened_at: at, fired_at: None, changed_at: at, changes: 0 }
    }

    fn fires_at(&self, policy: &Policy) -> EventTime {
        self.opened_at.saturating_add(policy.persist_for)
    }

    fn on_crossed(&self, policy: &Policy, fact: Fact, severity: Severity) -> Transition {
        let worst = severity.max(self.level.told());
        match self.phase {
            Phase::Pending if fact.at() >= self.fires_at(policy) => Transition::Fire(worst),
            Phase::Pending => Transition::Stay,
            // Compared with readings: that nobody came for long says nothing about how bad they were.
            _ if severity > self.level.read() => Transition::Escalate(worst),
            _ => Transition::Stay,
        }
    }

    fn on_passed(&self, policy: &Policy, at: EventTime) -> Transition {
        if self.due(policy).is_none_or(|due| at < due) {
            return Transition::Stay;
        }
        match (self.phase, self.level.told().worse()) {
            (Phase::Pending, _) => Transition::Fire(self.level.told()),
            (Phase::Snoozed { .. }, _) => Transition::Awake,
            (Phase::Firing, Some(worse)) => Transition::Escalate(worse),
            (Phase::Firing, None) | (Phase::Acknowledged, _) => Transition::Stay,
        }
    }

    fn due(&self, policy: &Policy) -> Option<EventTime> {
        match self.phase {
            Phase::Pending => Some(self.fires_at(policy)),
            Phase::Snoozed { until } => Some(until),
            Phase::Firing if self.level.told().worse().is_some() => {
                policy.escalate_after.map(|after| self.changed_at.saturating_add(after))
            }
            Phase::Firing | Phase::Acknowledged => None,
        }
    }

    fn tell(&self, from: Option<State>, state: State) -> Change {
        Change {
            from,
            state,
            severity: self.level.told(),
            opened_at: self.opened_at,
            fired_at: self.fired_at,
            at: self.changed_at,
            sequence: self.changes,
        }
    }
}

#[cfg(test)]
mod tests;
