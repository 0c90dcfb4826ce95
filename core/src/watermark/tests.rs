use arrow_array::{ArrayRef, TimestampMicrosecondArray};

use super::*;

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

fn tracker(splits: &[&str]) -> SplitWatermarks {
    let mut tracker = SplitWatermarks::new(strategy(), &schema()).unwrap();
    for split in splits {
        tracker.add(split, None, false, Duration::ZERO);
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
fn an_unread_split_holds_the_others_back_and_a_finished_one_does_not() {
    let mut t = tracker(&["a", "b"]);
    t.observe("a", &batch(&[Some(100)], 200), Duration::ZERO).unwrap();
    assert_eq!(t.current(Duration::ZERO, false), SourceTime::At(Watermark::MIN));
    t.finish("b");
    assert_eq!(t.current(Duration::ZERO, false), SourceTime::At(Watermark(90)));
    t.finish("a");
    assert_eq!(t.current(Duration::ZERO, false), SourceTime::At(Watermark::MAX));
}

#[test]
fn idleness_waits_until_back_pressure_is_gone_and_never_takes_time_back() {
    let mut t = tracker(&["a", "b"]);
    let late = Duration::from_secs(61);
    t.observe("a", &batch(&[Some(100)], 200), late).unwrap();
    assert_eq!(t.current(late, false), SourceTime::At(Watermark::MIN));
    assert_eq!(t.current(late, true), SourceTime::At(Watermark(90)));
    t.observe("b", &batch(&[Some(40)], 200), late).unwrap();
    assert_eq!(t.current(late, true), SourceTime::At(Watermark(90)));
    assert_eq!(t.current(late * 3, true), SourceTime::Idle);
}

#[test]
fn the_minimum_over_channels_ignores_idle_ones_and_never_falls() {
    let mut w = InputWatermarks::new(2, Watermark::MIN);
    assert_eq!(w.advance(0, Watermark(5)), None);
    assert_eq!(w.advance(1, Watermark(3)), Some(Watermark(3)));
    assert_eq!(w.set_idle(1, true), Some(Watermark(5)));
    assert_eq!(w.advance(1, Watermark(4)), None);
    assert_eq!(w.current(), Watermark(5));
    assert_eq!(w.advance(1, Watermark(9)), None);
    assert_eq!(w.advance(0, Watermark(7)), Some(Watermark(7)));
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
