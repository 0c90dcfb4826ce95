use std::collections::BTreeMap;

use thalweg_core::checkpoint::ManifestKind;
use thalweg_core::checkpoint::manifest::{FORMAT, SourceSnapshot, SplitSnapshot};
use thalweg_core::{CheckpointId, OperatorUid};

use super::*;
use crate::healthcare::graph::{COMMANDS, JOB};

const MINUTE: i64 = 60_000_000;

fn failed(seen: &Seen, limits: &MonitorSection) -> Vec<String> {
    let failed = judge(seen, limits).into_iter().filter(|c| c.status == Status::Fail);
    failed.map(|c| c.name).collect()
}

/// Every table, with rows of this age.
fn tables(age: Option<i64>) -> Vec<TableAge> {
    WRITTEN.into_iter().map(|(check, _, _, reach)| TableAge { check, reach, age }).collect()
}

/// A source whose partitions were read so far.
fn source(uid: &str, positions: &[i64]) -> SourceSnapshot {
    let split = |(partition, position): (usize, &i64)| SplitSnapshot {
        split: Split {
            id: format!("partition-{partition:05}"),
            position: *position,
            end: None,
            properties: BTreeMap::new(),
        },
        watermark: None,
    };
    SourceSnapshot {
        uid: OperatorUid::new(uid).unwrap(),
        identity: BTreeMap::new(),
        splits: positions.iter().enumerate().map(split).collect(),
        rows: 0,
        watermark: None,
    }
}

fn manifest(sources: Vec<SourceSnapshot>) -> Manifest {
    Manifest {
        format: FORMAT,
        job: JOB.to_owned(),
        chain: "chain".to_owned(),
        shard: "0 of 1".to_owned(),
        number: CheckpointId(7),
        attempt: "token".to_owned(),
        parent: None,
        kind: ManifestKind::Checkpoint,
        finished: false,
        created_at: 0,
        max_parallelism: 128,
        fingerprint: Vec::new(),
        key_ids: Vec::new(),
        sources,
        state: Vec::new(),
        sinks: Vec::new(),
        pending: Vec::new(),
    }
}

#[test]
fn nothing_is_younger_than_now() {
    assert_eq!([since(3, 5), since(5, 5), since(9, 5)], [2, 0, 0]);
    assert_eq!(since(i64::MAX, i64::MIN), 0);
}

#[test]
fn a_drained_job_is_not_one_that_has_read_its_input_to_the_end() {
    // The end of each of two partitions, if they have one; they were read as far as 100 and 200.
    for (ends, finished) in [
        ([None, None], false),
        ([Some(100), None], false),
        ([Some(100), Some(201)], false),
        ([Some(100), Some(200)], true),
    ] {
        let mut events = source(EVENTS, &[100, 200]);
        for (snapshot, end) in events.splits.iter_mut().zip(ends) {
            snapshot.split.end = end;
        }
        let newest = Manifest { finished: true, ..manifest(vec![events]) };
        assert_eq!(is_finished(&newest), finished, "{ends:?}");
        assert!(!is_finished(&Manifest { finished: false, ..newest }), "{ends:?}");
    }
    // An empty file has no pieces.
    let empty = manifest(vec![source(EVENTS, &[])]);
    assert!(is_finished(&Manifest { finished: true, ..empty }));
}

#[test]
fn the_brokers_are_asked_for_events_and_not_for_commands_about_alerts() {
    let manifest = manifest(vec![source(COMMANDS, &[3]), source(EVENTS, &[100, 200])]);
    let asked: Vec<_> = splits(&manifest).into_iter().map(|s| (s.id, s.position)).collect();
    let expected = [("partition-00000", 100), ("partition-00001", 200)];
    assert_eq!(asked, expected.map(|(id, position)| (id.to_owned(), position)));
}

#[test]
fn the_topic_is_that_of_events_and_not_that_of_commands_about_alerts() {
    let of = |uid: &str, what: &str, name: &str| {
        let identity = BTreeMap::from([(what.to_owned(), name.to_owned())]);
        SourceSnapshot { identity, ..source(uid, &[]) }
    };
    let commands = of(COMMANDS, "topic", "answers");
    let vitals = manifest(vec![commands.clone(), of(EVENTS, "topic", "vitals")]);
    assert_eq!(topic(&vitals), Some("vitals"));
    let file = manifest(vec![commands, of(EVENTS, "file", "a.jsonl")]);
    assert_eq!(topic(&file), None);
}

#[test]
fn what_is_too_old_or_too_much_fails_alone() {
    let limits = MonitorSection::default();
    let well = Seen {
        finished: false,
        is_new: false,
        checkpoint_age: MINUTE,
        arrival_age: Some(MINUTE),
        tables: tables(Some(10 * MINUTE)),
        lag: Some(Some(5)),
    };
    assert_eq!(failed(&well, &limits), Vec::<String>::new());
    assert_eq!(judge(&well, &limits).len(), 9);
    for (seen, name) in [
        (Seen { checkpoint_age: 6 * MINUTE, ..well.clone() }, "checkpoint.age"),
        (Seen { arrival_age: Some(16 * MINUTE), ..well.clone() }, "arrivals.age"),
        (Seen { arrival_age: None, ..well.clone() }, "arrivals.age"),
        (Seen { lag: Some(Some(100_001)), ..well.clone() }, "source.lag"),
        (Seen { lag: Some(None), ..well.clone() }, "source.lag"),
    ] {
        assert_eq!(failed(&seen, &limits), [name], "{seen:?}");
    }
}

#[test]
fn each_table_is_judged_by_itself() {
    let limits = MonitorSection::default();
    let well = Seen {
        arrival_age: Some(MINUTE),
        tables: tables(Some(MINUTE)),
        lag: Some(Some(5)),
        ..Seen::default()
    };
    for (at, (check, _, _, reach)) in WRITTEN.into_iter().enumerate() {
        let with = |age| {
            let mut seen = well.clone();
            seen.tables[at].age = age;
            failed(&seen, &limits)
        };
        let most = if reach == Reach::SparseGold { 24 * 60 } else { 60 };
        assert_eq!(with(Some(most * MINUTE)), Vec::<String>::new(), "{check}");
        assert_eq!(with(Some((most + 1) * MINUTE)), [check]);
        // Where nobody sends a medication there is none to be told of.
        let missing = if reach == Reach::SparseGold { vec![] } else { vec![check] };
        assert_eq!(with(None), missing);
    }
}

#[test]
fn gold_of_a_new_job_waits_for_its_first_window() {
    let time = TimeSection::default();
    // A minute for the window, half of one for the watermark, one for partitions to fall idle, one for the rest.
    for (first_arrival, expected) in
        [(None, true), (Some(0), true), (Some(3 * MINUTE), true), (Some(4 * MINUTE), false)]
    {
        assert_eq!(is_new(first_arrival, &time), expected, "{first_arrival:?}");
    }
    let longer = TimeSection { window: Duration::from_mins(5), ..time };
    assert!(is_new(Some(4 * MINUTE), &longer));
    let longer = TimeSection { allowed_lateness: Duration::MAX, ..longer };
    assert!(is_new(Some(4 * MINUTE), &longer));

    let limits = MonitorSection::default();
    let mut seen =
        Seen { is_new: true, arrival_age: Some(MINUTE), tables: tables(None), ..Seen::default() };
    // Silver waits for nothing.
    assert_eq!(failed(&seen, &limits), ["silver.age"]);
    let checks = judge(&seen, &limits);
    let waits = checks.iter().filter(|check| check.observed.starts_with("waiting"));
    assert_eq!(waits.count(), 3);
    seen.is_new = false;
    let all =
        ["silver.age", "gold.kpis.age", "gold.patient_vitals.age", "gold.vitals_by_minute.age"];
    assert_eq!(failed(&seen, &limits), all);
    // Rows that are old are none that are waited for.
    let old = Seen { is_new: true, tables: tables(Some(61 * MINUTE)), ..seen };
    assert_eq!(failed(&old, &limits), all);
}

#[test]
fn a_job_that_has_read_all_there_is_takes_no_checkpoints_and_its_last_may_be_old() {
    let limits = MonitorSection::default();
    let quiet = Seen {
        finished: false,
        is_new: false,
        checkpoint_age: 900 * MINUTE,
        arrival_age: Some(MINUTE),
        tables: tables(Some(MINUTE)),
        lag: Some(Some(0)),
    };
    assert_eq!(failed(&quiet, &limits), Vec::<String>::new());
    assert!(judge(&quiet, &limits).iter().all(|check| check.name != "checkpoint.age"));
    // One message that waits, brokers that do not say, and no brokers to ask are reasons to judge it.
    for (lag, fails) in [
        (Some(Some(1)), &["checkpoint.age"][..]),
        (Some(None), &["checkpoint.age", "source.lag"][..]),
        (None, &["checkpoint.age"][..]),
    ] {
        assert_eq!(failed(&Seen { lag, ..quiet.clone() }, &limits), fails);
    }
}

#[test]
fn a_job_that_has_finished_owes_nothing_and_zero_judges_nothing() {
    let old = Seen {
        checkpoint_age: 900 * MINUTE,
        tables: tables(Some(9_000 * MINUTE)),
        lag: Some(Some(9)),
        ..Seen::default()
    };
    assert!(
        judge(&Seen { finished: true, lag: None, ..old.clone() }, &MonitorSection::default())
            .is_empty()
    );
    let none = MonitorSection {
        checkpoint_age: Duration::ZERO,
        arrival_age: Duration::ZERO,
        silver_age: Duration::ZERO,
        gold_age: Duration::ZERO,
        sparse_gold_age: Duration::ZERO,
        lag: 0,
        ..MonitorSection::default()
    };
    assert!(judge(&old, &none).is_empty());
}
