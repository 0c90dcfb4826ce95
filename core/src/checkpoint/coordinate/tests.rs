use super::*;

fn inject(id: u64, kind: BarrierKind) -> Action {
    Action::Inject(Barrier { id: CheckpointId(id), kind })
}

#[test]
fn a_checkpoint_goes_from_barrier_to_manifest_to_commit() {
    let mut c = CheckpointCoordinator::new(2, CheckpointId(7));
    let n = CheckpointId(8);
    assert_eq!(c.on(Fact::IntervalPassed).unwrap(), [inject(8, BarrierKind::Periodic)]);
    assert_eq!(c.on(Fact::Acknowledged(1, n)).unwrap(), []);
    assert_eq!(c.on(Fact::Acknowledged(0, n)).unwrap(), [Action::Store(n)]);
    assert_eq!(c.on(Fact::Stored(n)).unwrap(), [Action::Finish(n)]);
    assert_eq!(c.on(Fact::Finished(n)).unwrap(), []);
}

#[test]
fn the_next_manifest_waits_until_the_one_before_is_finished() {
    let mut c = CheckpointCoordinator::new(1, CheckpointId(0));
    c.on(Fact::IntervalPassed).unwrap();
    c.on(Fact::Acknowledged(0, CheckpointId(1))).unwrap();
    c.on(Fact::Stored(CheckpointId(1))).unwrap();
    assert_eq!(c.on(Fact::IntervalPassed).unwrap(), [inject(2, BarrierKind::Periodic)]);
    assert_eq!(c.on(Fact::Acknowledged(0, CheckpointId(2))).unwrap(), []);
    assert_eq!(c.on(Fact::IntervalPassed).unwrap(), []);
    assert_eq!(c.on(Fact::Finished(CheckpointId(1))).unwrap(), [Action::Store(CheckpointId(2))]);
}

#[test]
fn an_unexpected_acknowledgement_is_an_error() {
    let mut c = CheckpointCoordinator::new(1, CheckpointId(0));
    assert!(c.on(Fact::Acknowledged(0, CheckpointId(1))).is_err());
    c.on(Fact::IntervalPassed).unwrap();
    c.on(Fact::Acknowledged(0, CheckpointId(1))).unwrap();
    assert!(c.on(Fact::Acknowledged(0, CheckpointId(1))).is_err());
    assert!(c.on(Fact::Stored(CheckpointId(2))).is_err());
}

#[test]
fn a_stop_during_a_checkpoint_gets_a_barrier_of_its_own() {
    let mut c = CheckpointCoordinator::new(1, CheckpointId(0));
    c.on(Fact::IntervalPassed).unwrap();
    assert_eq!(c.on(Fact::StopRequested).unwrap(), []);
    c.on(Fact::Acknowledged(0, CheckpointId(1))).unwrap();
    let after = c.on(Fact::Stored(CheckpointId(1))).unwrap();
    assert_eq!(after, [Action::Finish(CheckpointId(1)), inject(2, BarrierKind::Stop)]);
    c.on(Fact::Acknowledged(0, CheckpointId(2))).unwrap();
    c.on(Fact::Finished(CheckpointId(1))).unwrap();
    c.on(Fact::Stored(CheckpointId(2))).unwrap();
    assert_eq!(c.on(Fact::Finished(CheckpointId(2))).unwrap(), [Action::Complete(false)]);
}

#[test]
fn the_end_of_input_finishes_the_job() {
    let mut c = CheckpointCoordinator::new(1, CheckpointId(0));
    assert_eq!(c.on(Fact::InputExhausted).unwrap(), [inject(1, BarrierKind::Final)]);
    c.on(Fact::Acknowledged(0, CheckpointId(1))).unwrap();
    c.on(Fact::Stored(CheckpointId(1))).unwrap();
    assert_eq!(c.on(Fact::Finished(CheckpointId(1))).unwrap(), [Action::Complete(true)]);
}

proptest::proptest! {
    /// Whatever the order of events, numbers are dense, a manifest never precedes the finish of the one before, and
    /// at most one barrier is out.
    #[test]
    fn any_schedule_keeps_the_order(choices in proptest::collection::vec(0u8..6, 1..300)) {
        let subtasks = 3;
        let mut c = CheckpointCoordinator::new(subtasks, CheckpointId(0));
        let (mut injected, mut stored, mut finished) = (0, 0, 0);
        let mut acks: Vec<usize> = Vec::new();
        let (mut to_store, mut to_finish): (Option<CheckpointId>, Option<CheckpointId>) = (None, None);
        for choice in choices {
            let fact = match choice {
                0 => Fact::IntervalPassed,
                1..=3 => match acks.pop() {
                    Some(s) => Fact::Acknowledged(s, CheckpointId(injected)),
                    None => continue,
                },
                4 => match to_store.take() { Some(n) => Fact::Stored(n), None => continue },
                _ => match to_finish.take() { Some(n) => { finished = n.0; Fact::Finished(n) }, None => continue },
            };
            if let Fact::Stored(n) = fact { stored = n.0; }
            for action in c.on(fact).unwrap() {
                match action {
                    Action::Inject(b) => {
                        proptest::prop_assert_eq!(b.id.0, injected + 1);
                        proptest::prop_assert!(b.id.0 <= stored + 1);
                        injected = b.id.0;
                        acks = (0..subtasks).collect();
                    }
                    Action::Store(n) => {
                        proptest::prop_assert_eq!(finished, n.0 - 1);
                        proptest::prop_assert!(acks.is_empty());
                        to_store = Some(n);
                    }
                    Action::Finish(n) => to_finish = Some(n),
                    Action::Complete(_) => proptest::prop_assert!(false, "nobody asked to stop"),
                }
            }
        }
    }

    /// Whenever the wish to end comes, and however many intervals pass behind it: one more barrier, with the highest
    /// number, and the attempt is complete when that is finished and not before (A16).
    #[test]
    fn a_stop_at_any_moment_makes_one_last_checkpoint(
        before in proptest::collection::vec(0u8..6, 0..60),
        behind in proptest::collection::vec(0u8..6, 0..30),
        drains in proptest::bool::ANY,
    ) {
        let (wish, kind) = if drains {
            (Fact::DrainRequested, BarrierKind::Final)
        } else {
            (Fact::StopRequested, BarrierKind::Stop)
        };
        let mut c = CheckpointCoordinator::new(2, CheckpointId(0));
        let (mut injected, mut finished) = (0, 0);
        let (mut last, mut completed): (Option<u64>, Option<(u64, bool)>) = (None, None);
        let mut acks: Vec<usize> = Vec::new();
        let (mut to_store, mut to_finish): (Option<CheckpointId>, Option<CheckpointId>) = (None, None);
        // In the end everything is answered, so often that nothing can be left.
        let rest = [1, 1, 4, 5].into_iter().cycle().take(16);
        for choice in before.into_iter().chain([6]).chain(behind).chain(rest) {
            let fact = match choice {
                0 => Fact::IntervalPassed,
                1..=3 => match acks.pop() {
                    Some(s) => Fact::Acknowledged(s, CheckpointId(injected)),
                    None => continue,
                },
                4 => match to_store.take() { Some(n) => Fact::Stored(n), None => continue },
                5 => match to_finish.take() { Some(n) => { finished = n.0; Fact::Finished(n) }, None => continue },
                _ => wish,
            };
            for action in c.on(fact).unwrap() {
                match action {
                    Action::Inject(barrier) => {
                        proptest::prop_assert!(last.is_none(), "a barrier behind the last one");
                        proptest::prop_assert_eq!(barrier.id.0, injected + 1);
                        injected = barrier.id.0;
                        acks = vec![0, 1];
                        if barrier.kind == kind {
                            last = Some(injected);
                        }
                    }
                    Action::Store(n) => to_store = Some(n),
                    Action::Finish(n) => to_finish = Some(n),
                    Action::Complete(for_good) => {
                        proptest::prop_assert!(completed.is_none(), "completed twice");
                        completed = Some((finished, for_good));
                    }
                }
            }
        }
        proptest::prop_assert!(last.is_some(), "nobody was told to stop");
        proptest::prop_assert_eq!(completed, last.map(|number| (number, drains)));
    }
}
