//! The memory source hands on what a test gives it, when the test says so.
#![expect(clippy::unwrap_used, reason = "helpers of tests count as tests")]

use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch};
use thalweg_connectors::memory::MemorySource;
use thalweg_core::connector::source::{Polled, Source, SourceReader, Split};
use thalweg_core::{Error, ErrorKind};

fn batch(n: impl IntoIterator<Item = i64>) -> RecordBatch {
    let n = Int64Array::from_iter_values(n);
    RecordBatch::try_from_iter([("n", Arc::new(n) as _)]).unwrap()
}

fn source() -> MemorySource {
    MemorySource::new(batch([]).schema())
}

fn reader(source: &MemorySource, splits: Vec<Split>) -> Box<dyn SourceReader> {
    let mut reader = source.reader().unwrap();
    reader.assign(splits).unwrap();
    reader
}

fn poll(reader: &mut dyn SourceReader) -> String {
    match reader.poll(Duration::ZERO).unwrap() {
        Polled::Rows(rows) => {
            let n = rows.batch["n"].as_primitive::<Int64Type>().values().to_vec();
            format!("{} {n:?} {:?}", rows.split, rows.next_positions)
        }
        Polled::Nothing => "nothing".to_owned(),
        Polled::Exhausted => "exhausted".to_owned(),
        Polled::Advanced { .. } => "advanced".to_owned(),
        Polled::Properties { .. } => "properties".to_owned(),
    }
}

#[test]
fn splits_take_turns_and_empty_batches_are_left_out() {
    let source = source()
        .split("a", [batch([1, 2]), batch([]), batch([3])])
        .split("b", [batch([10])])
        .split("c", []);
    let splits = source.start_splits().unwrap();
    assert_eq!(splits.iter().map(|s| s.end).collect::<Vec<_>>(), [Some(3), Some(1), Some(0)]);
    let mut reader = reader(&source, splits);
    for want in ["a [1, 2] [1, 2]", "b [10] [1]", "a [3] [3]", "exhausted", "exhausted"] {
        assert_eq!(poll(reader.as_mut()), want);
    }
}

#[test]
fn reading_goes_on_in_the_middle_of_a_batch() {
    let source = source().split("a", [batch([1, 2]), batch([3, 4, 5])]);
    let mut splits = source.start_splits().unwrap();
    splits[0].position = 3;
    source.verify(&source.identity().unwrap(), &splits).unwrap();
    let mut reader = reader(&source, splits);
    assert_eq!(poll(reader.as_mut()), "a [4, 5] [4, 5]");
    assert_eq!(poll(reader.as_mut()), "exhausted");
}

#[test]
fn a_held_split_stops_before_the_row_until_it_is_released() {
    let source = source().split("a", [batch([1, 2, 3])]).hold_at("a", 2);
    let control = source.control();
    let mut reader = reader(&source, source.start_splits().unwrap());
    assert_eq!(poll(reader.as_mut()), "a [1, 2] [1, 2]");
    assert_eq!(poll(reader.as_mut()), "nothing");
    control.release("a");
    assert_eq!(poll(reader.as_mut()), "a [3] [3]");
    assert_eq!(poll(reader.as_mut()), "exhausted");
}

#[test]
fn an_open_input_ends_only_when_the_test_says_so() {
    let source = source().split("a", [batch([1])]);
    let handle = source.handle();
    let mut reader = reader(&source, source.start_splits().unwrap());
    assert_eq!(poll(reader.as_mut()), "a [1] [1]");
    assert_eq!(poll(reader.as_mut()), "nothing");
    handle.push("a", batch([2])).unwrap();
    handle.pause();
    assert_eq!(poll(reader.as_mut()), "nothing");
    handle.resume();
    assert_eq!(poll(reader.as_mut()), "a [2] [2]");
    handle.fail(Error::transient("cable pulled"));
    assert_eq!(reader.poll(Duration::ZERO).unwrap_err().kind(), ErrorKind::Transient);
    assert_eq!(poll(reader.as_mut()), "nothing");
    handle.finish();
    assert_eq!(poll(reader.as_mut()), "exhausted");
    assert!(handle.push("a", batch([3])).is_err());
}

#[test]
fn a_waiting_reader_sees_a_push_at_once() {
    let source = source().split("a", []);
    let handle = source.handle();
    let mut reader = reader(&source, source.start_splits().unwrap());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || reader.poll(Duration::from_mins(1)).unwrap());
        handle.push("a", batch([1])).unwrap();
        assert!(matches!(waiting.join().unwrap(), Polled::Rows(_)));
    });
}

#[test]
fn a_split_that_is_pushed_while_running_is_discovered() {
    let source = source().split("a", [batch([1])]);
    let handle = source.handle();
    let known = source.start_splits().unwrap();
    assert_eq!(source.discover(&known).unwrap(), []);
    handle.push("b", batch([2])).unwrap();
    let new = source.discover(&known).unwrap();
    assert_eq!((new[0].id.as_str(), new[0].position, new[0].end), ("b", 0, None));
}

#[test]
fn what_does_not_fit_is_refused() {
    let other = RecordBatch::try_from_iter([("m", batch([1])["n"].clone())]).unwrap();
    let wrong = source().split("a", [other.clone()]);
    assert_eq!(wrong.start_splits().unwrap_err().kind(), ErrorKind::InvalidGraph);
    assert!(source().handle().push("a", other).is_err());

    let source = source().split("a", [batch([1, 2])]);
    let identity = source.identity().unwrap();
    let remembered =
        |position, end| vec![Split { id: "a".to_owned(), position, end, properties: [].into() }];
    source.verify(&identity, &remembered(2, Some(2))).unwrap();
    let lost = source.verify(&identity, &remembered(3, None)).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::DataLoss);
    let changed = source.verify(&identity, &remembered(1, Some(5))).unwrap_err();
    assert_eq!(changed.kind(), ErrorKind::IncompatibleState);
}
