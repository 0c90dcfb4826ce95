use proptest::prelude::*;

use super::*;

const POLICY: Policy = Policy { persist_for: 10, escalate_after: Some(100) };
const PATIENT: Policy = Policy { persist_for: 0, escalate_after: None };

fn crossed(at: EventTime) -> Fact {
    Fact::Crossed { at, severity: Severity::Warning }
}

fn worse(at: EventTime) -> Fact {
    Fact::Crossed { at, severity: Severity::Critical }
}

/// A slot that has seen these.
fn slot(policy: &Policy, facts: &[Fact]) -> Slot {
    let mut slot = Slot::default();
    for fact in facts {
        slot.advance(policy, *fact);
    }
    slot
}

/// In each phase, what each kind of fact means.
#[test]
fn every_fact_has_one_meaning_in_every_phase() {
    use Transition::{Acknowledge, Awake, Escalate, Fire, Open, Resolve, Snooze, Stay};
    let normal = slot(&POLICY, &[]);
    let pending = slot(&POLICY, &[crossed(0)]);
    let firing = slot(&POLICY, &[crossed(0), crossed(10)]);
    let acknowledged = slot(&POLICY, &[crossed(0), crossed(10), Fact::Acknowledged { at: 12 }]);
    let snoozed = slot(&POLICY, &[crossed(0), crossed(10), Fact::Snoozed { at: 12, until: 50 }]);
    let phases = [&normal, &pending, &firing, &acknowledged, &snoozed];
    let (warning, critical) = (Severity::Warning, Severity::Critical);
    for (fact, means) in [
        (crossed(-1), [Open(warning), Stay, Stay, Stay, Stay]),
        (crossed(9), [Open(warning), Stay, Stay, Stay, Stay]),
        (crossed(20), [Open(warning), Fire(warning), Stay, Stay, Stay]),
        (worse(9), [Open(critical), Stay, Stay, Stay, Stay]),
        (
            worse(20),
            [
                Open(critical),
                Fire(critical),
                Escalate(critical),
                Escalate(critical),
                Escalate(critical),
            ],
        ),
        (Fact::Between { at: 9 }, [Stay; 5]),
        (Fact::Between { at: 20 }, [Stay, Fire(warning), Stay, Stay, Stay]),
        (Fact::Cleared { at: -1 }, [Stay; 5]),
        (Fact::Cleared { at: 20 }, [Stay, Resolve, Resolve, Resolve, Resolve]),
        (Fact::Passed { at: 9 }, [Stay; 5]),
        (Fact::Passed { at: 10 }, [Stay, Fire(warning), Stay, Stay, Stay]),
        (Fact::Passed { at: 50 }, [Stay, Fire(warning), Stay, Stay, Awake]),
        (Fact::Passed { at: 110 }, [Stay, Fire(warning), Escalate(critical), Stay, Awake]),
        (Fact::Acknowledged { at: 20 }, [Stay, Stay, Acknowledge, Stay, Acknowledge]),
        (Fact::Snoozed { at: 20, until: 90 }, [Stay, Stay, Snooze(90), Snooze(90), Snooze(90)]),
        (Fact::Snoozed { at: 20, until: 5 }, [Stay; 5]),
        (Fact::Forgotten { at: -1 }, [Stay, Resolve, Resolve, Resolve, Resolve]),
    ] {
        let found = phases.map(|slot| slot.decide(&POLICY, fact));
        assert_eq!(found, means, "{fact:?}");
    }
}

#[test]
fn without_persistence_the_first_reading_fires() {
    let mut slot = Slot::default();
    let change = slot.advance(&PATIENT, crossed(5)).unwrap();
    assert_eq!((change.state, change.sequence), (State::Firing, 1));
    assert_eq!((change.opened_at, change.fired_at), (5, Some(5)));
    assert_eq!(slot.due(&PATIENT), None);
}

#[test]
fn a_limit_that_is_crossed_for_too_short_a_time_tells_nobody() {
    let mut slot = slot(&POLICY, &[crossed(0), crossed(8)]);
    let change = slot.advance(&POLICY, Fact::Cleared { at: 9 }).unwrap();
    assert_eq!((change.state, change.fired_at), (State::Resolved, None));
    assert_eq!(slot.phase(), None);
}

#[test]
fn silence_confirms_what_was_read_last() {
    let mut slot = slot(&POLICY, &[crossed(0)]);
    assert_eq!(slot.due(&POLICY), Some(10));
    let change = slot.advance(&POLICY, Fact::Passed { at: 10 }).unwrap();
    assert_eq!((change.state, change.at), (State::Firing, 10));
}

#[test]
fn what_gets_worse_while_it_waits_fires_as_bad_as_it_got() {
    let mut slot = Slot::default();
    assert!(slot.advance(&POLICY, crossed(0)).is_some());
    assert_eq!(slot.advance(&POLICY, worse(5)), None, "nobody is told before it fires");
    // Neither a better one nor a late one takes anything back.
    assert_eq!(slot.advance(&POLICY, crossed(7)), None);
    assert_eq!(slot.decide(&POLICY, Fact::Passed { at: 10 }), Transition::Fire(Severity::Critical));
    let change = slot.advance(&POLICY, Fact::Passed { at: 10 }).unwrap();
    assert_eq!((change.state, change.severity), (State::Firing, Severity::Critical));
}

#[test]
fn a_late_reading_makes_nothing_worse() {
    let mut slot = slot(&POLICY, &[crossed(5), worse(4)]);
    let change = slot.advance(&POLICY, Fact::Passed { at: 15 }).unwrap();
    assert_eq!((change.state, change.severity), (State::Firing, Severity::Warning));
}

#[test]
fn readings_that_get_worse_fire_again_whatever_time_has_made_of_the_alert() {
    let answers = [Fact::Acknowledged { at: 120 }, Fact::Snoozed { at: 120, until: 900 }];
    for answer in answers.map(Some).into_iter().chain([None]) {
        // Fires as a warning at 10, is critical at 110 because nobody came.
        let mut slot = slot(&POLICY, &[crossed(0), crossed(10), Fact::Passed { at: 110 }]);
        if let Some(answer) = answer {
            assert!(slot.advance(&POLICY, answer).is_some());
        }
        for as_before in [crossed(130), Fact::Between { at: 131 }, worse(129)] {
            assert_eq!(slot.advance(&POLICY, as_before), None, "{as_before:?}");
        }
        let change = slot.advance(&POLICY, worse(140)).unwrap();
        assert_eq!((change.state, change.severity), (State::Firing, Severity::Critical));
        assert_eq!(change.at, 140);
        assert_eq!(slot.advance(&POLICY, worse(150)), None, "once");
    }
}

#[test]
fn a_reading_that_gets_worse_does_not_take_back_what_time_has_made_of_the_alert() {
    let policy = Policy { persist_for: 0, escalate_after: Some(100) };
    let info = Fact::Crossed { at: 0, severity: Severity::Info };
    let mut slot = slot(&policy, &[info, Fact::Passed { at: 100 }, Fact::Passed { at: 200 }]);
    let change = slot.advance(&policy, crossed(210)).unwrap();
    assert_eq!((change.state, change.severity), (State::Firing, Severity::Critical));
}

#[test]
fn nobody_who_acknowledges_lets_it_escalate_step_by_step() {
    let policy = Policy { persist_for: 0, escalate_after: Some(100) };
    let mut slot = slot(&policy, &[Fact::Crossed { at: 0, severity: Severity::Info }]);
    for (due, severity) in [(100, Severity::Warning), (200, Severity::Critical)] {
        assert_eq!(slot.due(&policy), Some(due));
        let change = slot.advance(&policy, Fact::Passed { at: due }).unwrap();
        assert_eq!((change.state, change.severity), (State::Firing, severity));
    }
    assert_eq!(slot.due(&policy), None);
}

#[test]
fn a_late_reading_neither_opens_nor_reopens_nor_resolves() {
    let mut fresh = slot(&PATIENT, &[Fact::Cleared { at: 50 }]);
    assert_eq!(fresh.advance(&PATIENT, worse(49)), None);
    let mut over = slot(&PATIENT, &[crossed(10), Fact::Cleared { at: 20 }]);
    assert_eq!(over.advance(&PATIENT, worse(15)), None);
    let mut open = slot(&PATIENT, &[crossed(10)]);
    assert_eq!(open.advance(&PATIENT, Fact::Cleared { at: 9 }), None);
}

#[test]
fn an_alert_that_opened_and_ended_in_an_instant_is_not_followed_by_one_of_its_name() {
    let mut slot = slot(&PATIENT, &[crossed(10), Fact::Cleared { at: 10 }]);
    assert_eq!(slot.advance(&PATIENT, crossed(10)), None);
    assert_eq!(slot.advance(&PATIENT, crossed(11)).unwrap().opened_at, 11);
}

fn fact() -> impl Strategy<Value = Fact> {
    let at = 0..400_i64;
    let severity =
        prop_oneof![Just(Severity::Info), Just(Severity::Warning), Just(Severity::Critical)];
    prop_oneof![
        3 => (at.clone(), severity).prop_map(|(at, severity)| Fact::Crossed { at, severity }),
        1 => at.clone().prop_map(|at| Fact::Between { at }),
        3 => at.clone().prop_map(|at| Fact::Cleared { at }),
        2 => at.clone().prop_map(|at| Fact::Passed { at }),
        1 => at.clone().prop_map(|at| Fact::Acknowledged { at }),
        1 => (at.clone(), 1..200_i64).prop_map(|(at, by)| Fact::Snoozed { at, until: at + by }),
        1 => at.prop_map(|at| Fact::Forgotten { at }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_alerts_follow_one_another_and_never_overlap(
        facts in proptest::collection::vec(fact(), 1..200),
        persist_for in 0..30_i64,
        escalate_after in proptest::option::of(0..50_i64),
    ) {
        let policy = Policy { persist_for, escalate_after };
        let mut slot = Slot::default();
        let mut open: Option<Change> = None;
        let mut names = std::collections::BTreeSet::new();
        let mut newest = EventTime::MIN;
        for fact in facts {
            let late = fact.is_reading() && fact.at() < newest;
            if fact.is_reading() {
                newest = newest.max(fact.at());
            }
            let before = slot.clone();
            let decided = slot.decide(&policy, fact);
            prop_assert_eq!(&before, &slot);
            let Some(change) = slot.advance(&policy, fact) else {
                prop_assert_eq!(decided, Transition::Stay);
                continue;
            };
            prop_assert!(!late, "a late reading changed something");
            match &open {
                None => {
                    prop_assert_eq!((change.from, change.sequence), (None, 1));
                    prop_assert!(matches!(change.state, State::Pending | State::Firing));
                    prop_assert!(names.insert(change.opened_at), "two alerts of one name");
                }
                Some(last) => {
                    prop_assert_eq!(change.opened_at, last.opened_at);
                    prop_assert_eq!(change.from, Some(last.state));
                    prop_assert_eq!(change.sequence, last.sequence + 1);
                    prop_assert!(change.at >= last.at && change.severity >= last.severity);
                    prop_assert!(change.state != State::Pending);
                }
            }
            if change.state == State::Firing {
                prop_assert!(change.at - change.opened_at >= policy.persist_for);
            }
            open = (change.state != State::Resolved).then_some(change);
            prop_assert_eq!(open.is_some(), slot.phase().is_some());
        }
    }
}
