//! Snapshots: what is stored, when it is shared, and what is refused.

use proptest::prelude::*;
use thalweg_core::ErrorKind;
use thalweg_core::key::KeyGroup;
use thalweg_core::window::state;

use super::*;

fn everything() -> Aggregate {
    tumbling(10)
        .by(KIND)
        .by(PATIENT)
        .count("n")
        .count_distinct(SMALL_TEXT, "kinds")
        .count_distinct(PATIENT, "patients")
        .sum(VALUE, "sum")
        .mean(VALUE, "mean")
        .count_values(VALUE, "readings")
        .min(SMALL, "min")
        .max(VALUE, "max")
        .stddev(VALUE, "stddev")
        .percentile(VALUE, 0.9, "p90")
}

const SMALL_TEXT: Column<Utf8> = KIND;

fn rows() -> Vec<Row> {
    (0..200)
        .map(|i| Row {
            time: i % 40,
            kind: Some(["a", "b", "c"][(i % 3) as usize]),
            patient: Some(i % 11),
            value: (i % 4 != 0).then_some(i as f64 / 7.0),
            small: Some(i as i32),
            ..Row::default()
        })
        .collect()
}

fn filled(aggregate: Aggregate) -> Job {
    let mut job = Job::new(aggregate, 2, 2);
    job.push(0, &rows()[..120]).unwrap();
    job.push(1, &rows()[120..]).unwrap();
    job
}

#[test]
fn a_restored_job_gives_what_an_undisturbed_one_gives() {
    let mut undisturbed = filled(everything());
    undisturbed.advance(20).unwrap();
    undisturbed.checkpoint().unwrap();
    undisturbed.advance(i64::MAX).unwrap();
    let mut expected = undisturbed.table();
    expected.sort();
    for (partials, merges) in [(1, 1), (3, 4), (2, 2)] {
        let mut job = filled(everything());
        job.advance(20).unwrap();
        let blobs = job.checkpoint().unwrap();
        job.restore(&blobs, partials, merges).unwrap();
        job.advance(i64::MAX).unwrap();
        let mut table = job.table();
        table.sort();
        assert_eq!(table, expected);
    }
}

#[test]
fn unchanged_state_hands_out_the_same_chunks() {
    let mut job = filled(everything());
    job.checkpoint().unwrap();
    let chunks = |job: &mut Job| -> Vec<_> {
        job.merges.iter_mut().flat_map(|m| m.operator.snapshot().unwrap()).collect()
    };
    let same = |a: &[thalweg_core::operator::StateChunk],
                b: &[thalweg_core::operator::StateChunk]| {
        a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(&a.payload, &b.payload))
    };
    let first = chunks(&mut job);
    assert!(same(&first, &chunks(&mut job)));
    job.advance(1).unwrap();
    let second = chunks(&mut job);
    assert!(!same(&first, &second));
    job.advance(1).unwrap();
    assert!(same(&second, &chunks(&mut job)));
    job.push(0, &rows()).unwrap();
    job.checkpoint().unwrap();
    assert!(!same(&second, &chunks(&mut job)));
}

#[test]
fn a_snapshot_does_not_change_with_what_comes_after_it() {
    let mut job = filled(everything());
    job.checkpoint().unwrap();
    let chunks: Vec<_> =
        job.merges.iter_mut().flat_map(|m| m.operator.snapshot().unwrap()).collect();
    let before: Vec<_> = chunks.iter().map(|c| c.payload.encode().unwrap()).collect();
    job.push(0, &rows()).unwrap();
    job.advance(20).unwrap();
    let after: Vec<_> = chunks.iter().map(|c| c.payload.encode().unwrap()).collect();
    assert_eq!(before, after);
}

#[test]
fn emitted_windows_leave_their_watermark_behind_and_nothing_else() {
    assert!(Job::new(everything(), 2, 2).checkpoint().unwrap().is_empty());
    let mut job = filled(everything());
    assert!(!job.checkpoint().unwrap().is_empty());
    job.advance(40).unwrap();
    let blobs = job.checkpoint().unwrap();
    assert_eq!(blobs.len(), usize::from(MAX_PARALLELISM));
    for blob in &blobs {
        assert_eq!(state::decode_text(4, &blob.bytes).unwrap(), "40 10 10");
    }
    // The end of time is nothing that anybody goes on from.
    job.advance(i64::MAX).unwrap();
    assert!(job.checkpoint().unwrap().is_empty());

    let mut keyless = Job::new(tumbling(10).count("n"), 1, 1);
    keyless.push(0, &rows()).unwrap();
    let open = keyless.checkpoint().unwrap();
    keyless.advance(40).unwrap();
    let emitted = keyless.checkpoint().unwrap();
    assert_eq!((open.len(), emitted.len()), (1, 1));
    assert_eq!(open[0].key_group, emitted[0].key_group);
}

#[test]
fn no_window_is_emitted_twice_when_instances_were_apart() {
    // Key groups of instance 0 had fired, those of instance 1 had not: after the restore each group knows.
    let mut job = Job::new(tumbling(10).by(PATIENT).count("n"), 1, 2);
    let all: Vec<Row> = (0..64)
        .flat_map(|i| [3, 13].map(|time| Row { time, patient: Some(i), ..Row::default() }))
        .collect();
    job.push(0, &all).unwrap();
    job.checkpoint().unwrap();
    let ahead = Watermark(10);
    let emitted = job.merges[0].call(ahead, |o, context, out| o.on_watermark(ahead, context, out));
    job.results.extend(emitted.unwrap());
    let fired = job.table().len();
    assert!(fired > 0 && fired < 64);
    let blobs = job.checkpoint().unwrap();
    job.restore(&blobs, 1, 1).unwrap();
    let blobs = job.checkpoint().unwrap();
    job.restore(&blobs, 1, 3).unwrap();
    let fired: Vec<i64> =
        job.table().iter().map(|row| row.split(' ').nth(2).unwrap().parse().unwrap()).collect();
    for patient in 0..64 {
        job.push(0, &[Row { time: 4, patient: Some(patient), ..Row::default() }]).unwrap();
        let before = job.late();
        job.checkpoint().unwrap();
        assert_eq!(job.late() > before, fired.contains(&patient), "{patient}");
    }
}

#[test]
fn no_window_is_emitted_twice_when_none_was_open_at_the_checkpoint() {
    // What instance 0 had fired, and instance 1 had not: after the restore nobody has told event time yet.
    let mut job = Job::new(tumbling(10).by(PATIENT).count("n"), 1, 2);
    let row = |patient, time| Row { time, patient: Some(patient), ..Row::default() };
    job.push(0, &(0..64).map(|patient| row(patient, 3)).collect::<Vec<_>>()).unwrap();
    job.checkpoint().unwrap();
    let fire = |job: &mut Job, index: usize| {
        let ahead = Watermark(10);
        let emitted =
            job.merges[index].call(ahead, |o, context, out| o.on_watermark(ahead, context, out));
        job.results.extend(emitted.unwrap());
    };
    fire(&mut job, 0);
    let fired = job.table().len();
    assert!(fired > 0 && fired < 64);
    // One that hears of no watermark before its own checkpoint passes on what it was told.
    for merges in [1, 3] {
        let blobs = job.checkpoint().unwrap();
        job.restore(&blobs, 1, merges).unwrap();
    }
    let emitted: Vec<i64> =
        job.table().iter().map(|row| row.split(' ').nth(2).unwrap().parse().unwrap()).collect();
    for patient in 0..64 {
        let before = job.late();
        job.push(0, &[row(patient, 4)]).unwrap();
        job.checkpoint().unwrap();
        assert_eq!(job.late() > before, emitted.contains(&patient), "{patient}");
    }
    (0..3).for_each(|index| fire(&mut job, index));
    let patient = |row: String| row.split(' ').nth(2).unwrap().parse::<i64>().unwrap();
    let mut all: Vec<i64> = job.table().into_iter().map(patient).collect();
    all.sort_unstable();
    assert_eq!(all, (0..64).collect::<Vec<i64>>());
}

/// Windows of 10 that stay open for `lateness` more, by patient.
fn allowing(lateness: u64) -> Aggregate {
    let aggregate = tumbling(10).by(PATIENT).count("n");
    aggregate.allowed_lateness(Duration::from_micros(lateness))
}

fn of_patient(time: i64) -> Row {
    Row { time, patient: Some(7), ..Row::default() }
}

#[test]
fn no_window_is_emitted_twice_when_more_lateness_is_allowed_than_before() {
    for also_open in [false, true] {
        let mut job = Job::new(allowing(0), 1, 1);
        job.push(0, &[of_patient(3)]).unwrap();
        if also_open {
            job.push(0, &[of_patient(25)]).unwrap();
        }
        job.advance(20).unwrap();
        assert_eq!(job.table(), ["0 10 7 1"]);
        job.aggregate = allowing(30);
        // The second one passes on what it was told.
        for merges in [1, 2] {
            let blobs = job.checkpoint().unwrap();
            job.restore(&blobs, 1, merges).unwrap();
        }
        for (time, late) in [(4, 1), (26, 1), (9, 2)] {
            job.push(0, &[of_patient(time)]).unwrap();
            job.checkpoint().unwrap();
            assert_eq!(job.late(), late, "{time}");
            // Here the window of the first ten would be open.
            job.advance(21).unwrap();
        }
        job.advance(59).unwrap();
        assert_eq!(job.table(), ["0 10 7 1"]);
        job.advance(60).unwrap();
        let rows = 1 + i32::from(also_open);
        assert_eq!(job.table(), ["0 10 7 1".to_owned(), format!("20 30 7 {rows}")]);
    }
}

#[test]
fn no_open_window_is_lost_when_less_lateness_is_allowed_than_before() {
    let mut job = Job::new(allowing(30), 1, 1);
    job.push(0, &[of_patient(3), of_patient(15)]).unwrap();
    job.advance(45).unwrap();
    assert_eq!(job.table(), ["0 10 7 1"]);
    job.aggregate = allowing(0);
    let blobs = job.checkpoint().unwrap();
    job.restore(&blobs, 1, 1).unwrap();
    // Nobody has told event time yet: a row for a window that is still open counts, one for an emitted window does not.
    job.watermark = Watermark::MIN;
    job.push(0, &[of_patient(4), of_patient(16)]).unwrap();
    job.checkpoint().unwrap();
    assert_eq!(job.late(), 1);
    job.advance(45).unwrap();
    assert_eq!(job.table(), ["0 10 7 1", "10 20 7 2"]);
}

#[test]
fn what_older_checkpoints_tell_of_emitted_windows_is_a_watermark() {
    let blobs: Vec<StateBlob> = (0..MAX_PARALLELISM)
        .map(|group| {
            let bytes = state::encode_text(2, "40");
            StateBlob { name: "windows".to_owned(), key_group: KeyGroup(group), bytes }
        })
        .collect();
    let mut job = Job::new(allowing(5), 1, 1);
    job.restore(&blobs, 1, 1).unwrap();
    job.push(0, &[of_patient(29), of_patient(30)]).unwrap();
    job.advance(i64::MAX).unwrap();
    assert_eq!((job.late(), job.table()), (1, vec!["30 40 7 1".to_owned()]));
}

#[test]
fn a_checkpoint_of_the_first_format_can_be_read() {
    // Patient 7, kind a: 3.0 and -2; 6.0; no value and 5. The bytes of a percentile's sketch are in it, too.
    let stored = include_bytes!("fixtures/windows-v1.bin").to_vec();
    let blob = |bytes| StateBlob { name: "windows".to_owned(), key_group: KeyGroup(4), bytes };
    let mut job = Job::new(everything(), 1, 1);
    job.restore(&[blob(stored)], 1, 1).unwrap();
    job.advance(i64::MAX).unwrap();
    assert_eq!(job.table(), ["0 10 a 7 3 1 1 9 4.5 2 -2 6 2.1213203435596424 3"]);
}

#[track_caller]
fn refused(aggregate: Aggregate, blobs: &[StateBlob], kind: ErrorKind) {
    let error = Job::new(aggregate, 1, 1).restore(blobs, 1, 1).unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
}

#[test]
fn state_of_another_aggregate_is_incompatible() {
    let aggregate = || tumbling(10).by(KIND).mean(VALUE, "m");
    let mut blobs = filled(aggregate()).checkpoint().unwrap();
    for other in [
        tumbling(20).by(KIND).mean(VALUE, "m"),
        tumbling(10).by(PATIENT).mean(VALUE, "m"),
        tumbling(10).by(KIND).mean(VALUE, "other"),
        tumbling(10).by(KIND).sum(VALUE, "m"),
        aggregate().count("n"),
        sliding(10, 5).by(KIND).mean(VALUE, "m"),
    ] {
        refused(other, &blobs, ErrorKind::IncompatibleState);
    }
    Job::new(aggregate(), 1, 1).restore(&blobs, 1, 1).unwrap();
    blobs[0].name = "keyed".to_owned();
    refused(aggregate(), &blobs, ErrorKind::IncompatibleState);

    let sliding = |slide| sliding(20, slide).by(KIND).mean(VALUE, "m");
    let blobs = filled(sliding(10)).checkpoint().unwrap();
    refused(sliding(5), &blobs, ErrorKind::IncompatibleState);
    Job::new(sliding(10), 1, 1).restore(&blobs, 1, 1).unwrap();
}

#[test]
fn windows_of_another_size_are_incompatible_though_none_is_open() {
    let mut job = filled(tumbling(10).by(KIND).count("n"));
    job.advance(40).unwrap();
    let blobs = job.checkpoint().unwrap();
    for other in [tumbling(20), tumbling(5), sliding(10, 5)] {
        refused(other.by(KIND).count("n"), &blobs, ErrorKind::IncompatibleState);
    }
    Job::new(tumbling(10).by(KIND).count("n"), 1, 1).restore(&blobs, 1, 1).unwrap();

    let mut changed = Job::new(tumbling(20).by(KIND).count("n"), 1, 1);
    let error = changed.restore(&blobs, 1, 1).unwrap_err();
    assert!(error.to_string().contains("as they were, or begin anew with --fresh"), "{error}");
}

#[test]
fn state_of_another_function_is_incompatible_though_its_columns_are_the_same() {
    let sum = || tumbling(10).by(KIND).sum(VALUE, "x");
    let blobs = filled(sum()).checkpoint().unwrap();
    for other in
        [tumbling(10).by(KIND).max(VALUE, "x"), tumbling(10).by(KIND).percentile(VALUE, 0.5, "x")]
    {
        refused(other, &blobs, ErrorKind::IncompatibleState);
    }
    Job::new(sum(), 1, 1).restore(&blobs, 1, 1).unwrap();
    let least = filled(tumbling(10).by(KIND).min(SMALL, "x")).checkpoint().unwrap();
    refused(tumbling(10).by(KIND).max(SMALL, "x"), &least, ErrorKind::IncompatibleState);

    let at = |quantile| tumbling(10).by(KIND).percentile(VALUE, quantile, "x");
    let blobs = filled(at(0.5)).checkpoint().unwrap();
    Job::new(at(0.9), 1, 1).restore(&blobs, 1, 1).unwrap();
}

#[test]
fn a_count_of_values_behind_a_mean_may_come_and_go() {
    let means = || tumbling(10).by(KIND).count("n").mean(VALUE, "mean").max(SMALL, "max");
    let counted = || means().count_values(VALUE, "readings");
    let finished = |first: Aggregate, then: Aggregate| {
        let mut job = filled(first);
        job.aggregate = then;
        let blobs = job.checkpoint().unwrap();
        job.restore(&blobs, 2, 2).unwrap();
        job.push(0, &rows()).unwrap();
        job.advance(i64::MAX).unwrap();
        let mut table = job.table();
        table.sort();
        table
    };
    // Values that came before there was a count of them are in it.
    assert_eq!(finished(means(), counted()), finished(counted(), counted()));
    assert_eq!(finished(counted(), means()), finished(means(), means()));
    // One that has state of its own, whose rows so far nobody has counted, may not.
    let blobs = filled(means()).checkpoint().unwrap();
    refused(means().count_values(SMALL, "smalls"), &blobs, ErrorKind::IncompatibleState);
}

#[test]
fn state_of_another_subtask_is_refused() {
    let mut job = filled(everything());
    let mut blobs = job.checkpoint().unwrap();
    blobs[0].key_group = KeyGroup(MAX_PARALLELISM);
    let error = job.merges[0].operator.restore(blobs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn damaged_state_is_corrupt_and_never_a_panic(
        which in 0usize..100,
        at in 0usize..100_000,
        flip in 1u8..,
        cut in proptest::option::of(0usize..100_000),
    ) {
        let mut blobs = filled(everything()).checkpoint().unwrap();
        let which = which % blobs.len();
        let bytes = &mut blobs[which].bytes;
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Some(cut) = cut {
            bytes.truncate(cut % bytes.len());
        }
        let error = Job::new(everything(), 1, 1).restore(&blobs, 1, 1).unwrap_err();
        // The version itself is the one thing that the checksum does not cover.
        let kind = if at < 2 && cut.is_none() { ErrorKind::IncompatibleState } else { ErrorKind::Corrupt };
        prop_assert!(error.kind() == kind || at < 2, "{:?}", error);
    }
}
