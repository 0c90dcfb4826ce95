use arrow_array::{ArrayRef, TimestampMicrosecondArray};

use super::*;
use crate::connector::source::Split;
use crate::sensitivity::Sensitivity;

const AT: Column<Timestamp> = Column::nullable("at");
const ARRIVED: Column<Timestamp> = Column::required("arrived");

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![AT.field(), ARRIVED.field()]))
}

fn batch(times: &[Option<i64>], arrived: i64) -> RecordBatch {
    let at: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from(times.to_vec()).with_timezone("UTC"));
    let arrivals = vec![arrived; times.len()];
    let arrived: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from(arrivals).with_timezone("UTC"));
    RecordBatch::try_new(schema(), vec![at, arrived]).unwrap()
}

fn strategy() -> WatermarkStrategy {
    WatermarkStrategy::bounded_out_of_orderness(AT, Duration::from_micros(10))
        .with_idleness(Duration::from_mins(1))
        .with_future_cap(ARRIVED, Duration::from_millis(1))
}

fn endless(id: &str) -> SplitSnapshot {
    let split = Split { id: id.to_owned(), position: 0, end: None, properties: BTreeMap::new() };
    SplitSnapshot { split, watermark: None }
}

fn ending(id: &str, end: i64) -> SplitSnapshot {
    let mut split = endless(id);
    split.split.end = Some(end);
    split
}

fn tracker(splits: &[&str]) -> SplitWatermarks {
    let mut tracker = SplitWatermarks::new(strategy(), &schema()).unwrap();
    for split in splits {
        tracker.add(&endless(split), Duration::ZERO);
    }
    tracker
}

fn row_watermarks(batch: &RecordBatch) -> Vec<Option<i64>> {
    batch
        .column_by_name(ROW_WATERMARK)
        .unwrap()
        .as_primitive::<arrow_array::types::Int64Type>()
        .iter()
        .collect()
}

#[test]
fn the_column_of_watermarks_is_marked_as_those_that_it_is_made_of() {
    let marked = Arc::new(Schema::new(vec![
        mark(AT.field(), [Sensitivity::PhiDate]),
        mark(ARRIVED.field(), [Sensitivity::PhiRaw]),
    ]));
    let marks = |strategy: WatermarkStrategy, input: &SchemaRef| {
        let schema = strategy.output_schema(input).unwrap();
        sensitivities(schema.field_with_name(ROW_WATERMARK).unwrap())
    };
    let uncapped = WatermarkStrategy { future_cap: None, ..strategy() };
    assert_eq!(marks(uncapped, &marked), [Sensitivity::PhiDate].into());
    assert_eq!(marks(strategy(), &marked), [Sensitivity::PhiDate, Sensitivity::PhiRaw].into());
    assert!(marks(strategy(), &schema()).is_empty());
}

#[test]
fn a_row_is_told_the_watermark_before_it() {
    let mut t = tracker(&["a"]);
    let out = t
        .observe("a", &batch(&[Some(100), Some(50), None, Some(120)], 200), Duration::ZERO)
        .unwrap();
    assert_eq!(row_watermarks(&out), [None, Some(90), Some(90), Some(90)]);
    assert_eq!(t.current(Duration::ZERO, true), SourceTime::At(Watermark(110)));
}

#[test]
fn a_row_far_ahead_of_its_arrival_does_not_move_the_clock() {
    let mut t = tracker(&["a"]);
    t.observe("a", &batch(&[Some(100), Some(i64::MAX)], 200), Duration::ZERO).unwrap();
    assert_eq!(t.of_split("a"), Some(90));
}

#[test]
fn a_split_of_rows_that_are_all_ahead_or_without_a_time_falls_idle() {
    let mut t = tracker(&["a", "b"]);
    let late = Duration::from_secs(61);
    t.observe("a", &batch(&[Some(100)], 200), late).unwrap();
    for times in [[Some(i64::MAX)], [None]] {
        t.observe("b", &batch(&times, 200), late).unwrap();
        assert_eq!(t.current(late, false), SourceTime::At(Watermark::MIN));
    }
    assert_eq!(t.current(late, true), SourceTime::At(Watermark(90)));
    t.observe("b", &batch(&[Some(i64::MAX), Some(40)], 200), late).unwrap();
    assert_eq!(t.current(late, true), SourceTime::At(Watermark(30)));
}

#[test]
fn an_unread_split_holds_the_others_back_and_a_finished_one_does_not() {
    let mut t = tracker(&["a", "b"]);
    t.observe("a", &batch(&[Some(100)], 200), Duration::ZERO).unwrap();
    assert_eq!(t.current(Duration::ZERO, false), SourceTime::At(Watermark::MIN));
    t.finish("b");
    assert_eq!(t.current(Duration::ZERO, false), SourceTime::At(Watermark(90)));
    t.finish("a");
    assert_eq!(t.current(Duration::ZERO, false), SourceTime::Ended(Watermark(90)));
}

#[test]
fn idleness_waits_until_back_pressure_is_gone_and_ends_with_a_row() {
    let mut t = tracker(&["a", "b"]);
    let late = Duration::from_secs(61);
    t.observe("a", &batch(&[Some(100)], 200), late).unwrap();
    assert_eq!(t.current(late, false), SourceTime::At(Watermark::MIN));
    assert_eq!(t.current(late, true), SourceTime::At(Watermark(90)));
    // Rows of another split do not wake it.
    assert_eq!(t.current(late, false), SourceTime::At(Watermark(90)));
    t.observe("b", &batch(&[Some(40)], 200), late).unwrap();
    assert_eq!(t.current(late, true), SourceTime::At(Watermark(30)));
    assert_eq!(t.current(late * 3, true), SourceTime::Idle(Watermark(90)));
}

#[test]
fn splits_with_ends_are_never_idle_and_hold_the_others_back_until_they_are_read() {
    let mut t = tracker(&[]);
    for split in [ending("a", 2), ending("b", 1), ending("empty", 0)] {
        t.add(&split, Duration::ZERO);
    }
    let late = Duration::from_secs(61);
    t.observe("a", &batch(&[Some(100)], 200), late).unwrap();
    // The reader is slow: nothing waits, and b has not been begun.
    assert_eq!(t.current(late, true), SourceTime::At(Watermark::MIN));
    t.finish("a");
    assert_eq!(t.current(late * 9, true), SourceTime::At(Watermark::MIN));
    let rows = t.observe("b", &batch(&[Some(20), Some(15)], 200), late * 9).unwrap();
    assert_eq!(row_watermarks(&rows), [None, Some(10)]);
    assert_eq!(t.current(late * 99, true), SourceTime::At(Watermark(10)));
    t.finish("b");
    assert_eq!(t.current(late * 99, true), SourceTime::Ended(Watermark(90)));
}

#[test]
fn no_silence_lasts_longer_for_a_time_in_which_no_row_could_come() {
    let seconds = Duration::from_secs;
    let mut t = tracker(&["a", "b"]);
    t.observe("a", &batch(&[Some(100)], 200), seconds(30)).unwrap();
    t.stood_still(seconds(30), seconds(100));
    // b has been silent for the 30 s before and for what comes behind.
    assert_eq!(t.current(seconds(129), true), SourceTime::At(Watermark::MIN));
    assert_eq!(t.current(seconds(130), true), SourceTime::At(Watermark(90)));
    // Two that overlap are no longer than the one.
    t.observe("b", &batch(&[Some(40)], 200), seconds(130)).unwrap();
    t.stood_still(seconds(130), seconds(200));
    t.stood_still(seconds(130), seconds(200));
    assert_eq!(t.current(seconds(259), true), SourceTime::At(Watermark(30)));
    assert_eq!(t.current(seconds(260), true), SourceTime::Idle(Watermark(90)));
}

#[test]
fn a_split_back_from_idleness_judges_its_rows_by_what_was_told_meanwhile() {
    let mut t = tracker(&["a", "b"]);
    let late = Duration::from_secs(61);
    t.observe("b", &batch(&[Some(40)], 200), Duration::ZERO).unwrap();
    t.observe("a", &batch(&[Some(100)], 200), late).unwrap();
    assert_eq!(t.current(late, true), SourceTime::At(Watermark(90)));
    t.emitted(Watermark(90));
    // A checkpoint remembers it too.
    assert_eq!(t.of_split("b"), Some(90));
    let back = t.observe("b", &batch(&[Some(50)], 200), late).unwrap();
    assert_eq!(row_watermarks(&back), [Some(90)]);
    assert_eq!(t.current(late, true), SourceTime::At(Watermark(90)));
}

#[test]
fn a_split_found_later_begins_where_its_subtask_stands() {
    let mut t = tracker(&["a"]);
    t.emitted(Watermark(90));
    t.add(&endless("b"), Duration::ZERO);
    let rows = t.observe("b", &batch(&[Some(50)], 200), Duration::ZERO).unwrap();
    assert_eq!(row_watermarks(&rows), [Some(90)]);
}

#[test]
fn an_idle_subtask_goes_along_with_the_others() {
    let all = SourceWatermarks::new(3);
    let (at, idle) = (|w| SourceTime::At(Watermark(w)), SourceTime::Idle(Watermark(6)));
    assert_eq!(all.post(0, idle), Watermark::MIN);
    assert_eq!(all.post(1, at(7)), Watermark(7));
    assert_eq!(all.post(2, at(5)), Watermark(5));
    assert_eq!(all.post(0, idle), Watermark(5));
    assert_eq!(all.post(2, idle), Watermark(7));
    // All are silent: the furthest counts.
    assert_eq!(all.post(1, SourceTime::Idle(Watermark(9))), Watermark(9));
    assert_eq!(all.post(0, idle), Watermark(9));
}

#[test]
fn a_source_that_has_ended_goes_along_with_the_slowest_that_has_not() {
    let sources: Vec<Arc<SourceWatermarks>> =
        [2, 1, 1].map(|subtasks| Arc::new(SourceWatermarks::new(subtasks))).into();
    let (file, others) = (&sources[0], &sources[1..]);
    let ended = |w| SourceTime::Ended(Watermark(w));
    file.post(0, ended(50));
    let own = file.post(1, SourceTime::Idle(Watermark(40)));
    assert_eq!(
        file.beside(own, others),
        Watermark(50),
        "a subtask of it is silent, not at its end"
    );
    let own = file.post(1, ended(40));
    assert_eq!(file.beside(own, others), Watermark(50), "the others have not said anything");
    others[0].post(0, SourceTime::At(Watermark(90)));
    others[1].post(0, SourceTime::At(Watermark(70)));
    assert_eq!(file.beside(own, others), Watermark(70));
    others[1].post(0, ended(70));
    assert_eq!(file.beside(own, others), Watermark(90));
    others[0].post(0, ended(95));
    assert_eq!(
        file.beside(own, others),
        Watermark(50),
        "the end of all is said by the last barrier"
    );
    assert_eq!(file.beside(own, &[]), Watermark(50));
}

#[test]
fn the_minimum_over_channels_never_falls() {
    let mut w = InputWatermarks::new(2);
    assert_eq!(w.advance(0, Watermark(5)), None);
    assert_eq!(w.advance(1, Watermark(3)), Some(Watermark(3)));
    assert_eq!(w.advance(1, Watermark(2)), None);
    assert_eq!(w.advance(1, Watermark(9)), Some(Watermark(5)));
}

proptest::proptest! {
    #[test]
    fn batch_cuts_do_not_show(times in proptest::collection::vec(proptest::option::of(0i64..500), 1..60), cut in 0usize..60) {
        let cut = cut.min(times.len());
        let mut whole = tracker(&["a"]);
        let expected = row_watermarks(&whole.observe("a", &batch(&times, 400), Duration::ZERO).unwrap());
        let mut parts = tracker(&["a"]);
        let mut found = Vec::new();
        for part in [&times[..cut], &times[cut..]] {
            found.extend(row_watermarks(&parts.observe("a", &batch(part, 400), Duration::ZERO).unwrap()));
        }
        proptest::prop_assert_eq!(found, expected);
        proptest::prop_assert_eq!(parts.of_split("a"), whole.of_split("a"));
    }
}

#[test]
fn at_the_ends_of_time_watermarks_saturate() {
    let times = [EventTime::MIN, EventTime::MIN + 5, -1, 0, EventTime::MAX - 1, EventTime::MAX];
    for bound in [0, 1, 7, EventTime::MAX - 1, EventTime::MAX] {
        for first in [None, Some(EventTime::MIN), Some(0), Some(EventTime::MAX)] {
            let (mut running, mut expected) = (first, first);
            let before = running_before(&mut running, times.iter().copied().map(Some), bound);
            for (at, time) in times.iter().enumerate() {
                assert_eq!(before.is_valid(at).then(|| before.value(at)), expected, "{bound}");
                expected = expected.max(Some(time.saturating_sub(bound)));
            }
            assert_eq!(running, expected);
        }
    }
}
