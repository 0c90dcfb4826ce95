//! A generator makes every row once, whatever the cuts, and keeps to its rate.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests count as tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use thalweg_connectors::generator::{GeneratorSource, RowGenerator, from_fn};
use thalweg_core::ErrorKind;
use thalweg_core::connector::source::{Polled, Source, Split};
use thalweg_core::testing::ManualClock;

fn numbers() -> impl RowGenerator {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    from_fn(Arc::clone(&schema), move |from, to| {
        let n = Int64Array::from_iter_values(from as i64..to as i64);
        Ok(RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(n)]).unwrap())
    })
}

fn source(clock: &Arc<ManualClock>) -> GeneratorSource<impl RowGenerator + use<>> {
    GeneratorSource::new("numbers", numbers(), Arc::clone(clock) as Arc<_>)
}

/// Reads with one reader until exhausted or `stop_after` rows.
fn read(
    source: &dyn Source,
    splits: &mut BTreeMap<String, Split>,
    mut stop_after: usize,
) -> Vec<i64> {
    let mut reader = source.reader().unwrap();
    reader.assign(splits.values().cloned().collect()).unwrap();
    let mut found = Vec::new();
    while stop_after > 0 {
        match reader.poll(Duration::ZERO).unwrap() {
            Polled::Rows(rows) => {
                let taken = rows.batch.num_rows().min(stop_after);
                stop_after -= taken;
                let n = rows.batch["n"].as_primitive::<Int64Type>().values();
                found.extend(n.iter().take(taken));
                splits.get_mut(&rows.split).unwrap().position = rows.next_positions[taken - 1];
            }
            Polled::Exhausted => break,
            other => panic!("{other:?}"),
        }
    }
    found
}

#[test]
fn every_index_comes_once_however_it_is_split_stopped_and_dealt() {
    let clock = Arc::new(ManualClock::at(0));
    for (splits, total, stop_after) in [
        (1, 5000, 700),
        (2, 5000, 1),
        (3, 10_000, 1500),
        (4, 1024, 33),
        (5, 3, 2),
        (7, 20_001, 999),
    ] {
        let stop_after = if stop_after == 1 { 1024 } else { stop_after };
        let source = source(&clock).splits(splits).total(Some(total));
        let mut all: BTreeMap<String, Split> =
            source.start_splits().unwrap().into_iter().map(|s| (s.id.clone(), s)).collect();
        let mut found = Vec::new();
        while all.values().any(|s| !s.is_finished()) {
            let left = source.lag(&all.values().cloned().collect::<Vec<_>>());
            assert_eq!(left, Some(total - found.len() as u64));
            let mut hands = [BTreeMap::new(), BTreeMap::new()];
            for (i, (id, split)) in std::mem::take(&mut all).into_iter().enumerate() {
                hands[i % 2].insert(id, split);
            }
            for mut hand in hands {
                found.extend(read(&source, &mut hand, stop_after));
                all.extend(hand);
            }
        }
        found.sort_unstable();
        assert_eq!(found, (0..total as i64).collect::<Vec<_>>(), "{splits} splits");
    }
}

#[test]
fn rows_come_no_faster_than_the_rate_and_a_long_delay_is_made_up_for_one_second() {
    let clock = Arc::new(ManualClock::at(0));
    let source = source(&clock).splits(2).rows_per_second(Some(1000.0));
    let mut reader = source.reader().unwrap();
    reader.assign(source.start_splits().unwrap()).unwrap();
    let mut poll_all = || {
        let mut rows = 0;
        while let Polled::Rows(batch) = reader.poll(Duration::ZERO).unwrap() {
            rows += batch.batch.num_rows();
        }
        rows
    };
    assert_eq!(poll_all(), 0);
    for _ in 0..50 {
        clock.advance(Duration::from_millis(100));
        assert_eq!(poll_all(), 100);
    }
    clock.advance(Duration::from_hours(1));
    assert_eq!(poll_all(), 1000);
}

#[test]
fn a_reader_with_half_of_the_splits_makes_half_of_the_rate() {
    let clock = Arc::new(ManualClock::at(0));
    let source = source(&clock).splits(2).rows_per_second(Some(1000.0));
    let mut reader = source.reader().unwrap();
    reader.assign(source.start_splits().unwrap().split_off(1)).unwrap();
    assert!(matches!(reader.poll(Duration::ZERO).unwrap(), Polled::Nothing));
    clock.advance(Duration::from_secs(1));
    let Polled::Rows(rows) = reader.poll(Duration::ZERO).unwrap() else { panic!("no rows") };
    assert_eq!(rows.batch.num_rows(), 500);
}

#[test]
fn an_endless_source_is_never_exhausted_and_has_no_lag() {
    let clock = Arc::new(ManualClock::at(0));
    let source = source(&clock);
    assert!(!source.is_bounded());
    let splits = source.start_splits().unwrap();
    assert_eq!(source.lag(&splits), None);
    let mut reader = source.reader().unwrap();
    reader.assign(splits).unwrap();
    for _ in 0..10 {
        assert!(matches!(reader.poll(Duration::ZERO).unwrap(), Polled::Rows(_)));
    }
}

#[test]
fn a_checkpoint_is_continued_only_with_the_same_rows() {
    let clock = Arc::new(ManualClock::at(0));
    let identity = source(&clock).splits(2).total(Some(10)).identity().unwrap();
    let same = source(&clock).splits(2).total(Some(10)).rows_per_second(Some(5.0));
    same.verify(&identity, &[]).unwrap();
    for other in [source(&clock).splits(3).total(Some(10)), source(&clock).splits(2)] {
        let error = other.verify(&identity, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IncompatibleState);
        assert!(error.to_string().contains("set it back or start a new chain"), "{error}");
    }
}

#[test]
fn a_setting_that_makes_no_sense_is_refused() {
    let clock = Arc::new(ManualClock::at(0));
    for refused in [
        source(&clock).splits(0),
        source(&clock).rows_per_second(Some(0.0)),
        source(&clock).rows_per_second(Some(-1.0)),
        source(&clock).rows_per_second(Some(f64::NAN)),
        source(&clock).total(Some(u64::MAX)),
    ] {
        assert_eq!(refused.start_splits().unwrap_err().kind(), ErrorKind::InvalidConfig);
        assert!(refused.reader().is_err());
    }
}
