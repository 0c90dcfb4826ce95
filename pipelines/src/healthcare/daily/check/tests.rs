use super::*;
use crate::healthcare::daily::collect::count_earlier;
use crate::healthcare::daily::summary::{Drift, Filled};

const END: EventTime = 86_400 * MICROS_PER_SECOND;

const MINUTE: EventTime = 60 * MICROS_PER_SECOND;

/// The day that ends at [`END`].
fn first() -> Day {
    "1970-01-01".parse().unwrap()
}

/// A day like any other.
fn usual() -> DaySummary {
    let limits = QualitySection::default();
    let filled = Filled { expected: 100, found: 100 };
    DaySummary {
        date: "1970-01-01".to_owned(),
        events: 1_000,
        newest: Some(END - MICROS_PER_SECOND),
        late: 10,
        filled: limits.complete.iter().map(|c| (c.clone(), filled)).collect(),
        received: 1_010,
        rejected: 10,
        earlier: vec![900, 1_100, 0, 1_000, 950, 2_000, 10],
        drift: [("silver/events".to_owned(), Drift::default())].into(),
        ..DaySummary::default()
    }
}

fn judged(day: &DaySummary, now: EventTime, name: &str) -> Status {
    let checks = judge(day, first(), now, &QualitySection::default());
    checks.iter().find(|c| c.name == name).unwrap().status
}

/// Only this check differs from a usual day's.
fn only(change: impl FnOnce(&mut DaySummary), name: &str, status: Status) {
    let mut day = usual();
    change(&mut day);
    for check in judge(&day, first(), i64::MAX, &QualitySection::default()) {
        let expected = if check.name == name { status } else { Status::Pass };
        assert_eq!(check.status, expected, "{check:?}");
    }
}

#[test]
fn a_usual_day_passes() {
    let checks = judge(&usual(), first(), i64::MAX, &QualitySection::default());
    assert_eq!(worst(&checks), Status::Pass, "{checks:?}");
    let mut dimensions: Vec<&str> = checks.iter().map(|c| c.dimension).collect();
    dimensions.dedup();
    assert_eq!(
        dimensions,
        ["completeness", "validity", "uniqueness", "volume", "freshness", "schema", "privacy"]
    );
}

#[test]
fn each_defect_fails_its_own_check_and_no_other() {
    use Status::{Fail, Warn};
    let filled =
        |found| move |d: &mut DaySummary| d.filled.get_mut("heart_rate").unwrap().found = found;
    only(filled(94), "completeness.heart_rate", Warn);
    only(filled(79), "completeness.heart_rate", Fail);
    only(|d| d.rejected = 60, "validity.rejected", Warn);
    only(|d| d.rejected = 900, "validity.rejected", Fail);
    only(|d| d.impossible = [("spo2".to_owned(), 1)].into(), "validity.ranges", Fail);
    only(|d| d.late = 300, "validity.late", Fail);
    only(|d| d.repeated = 1, "uniqueness.events", Warn);
    only(|d| d.repeated = 11, "uniqueness.events", Fail);
    only(|d| d.earlier = vec![3_000; 7], "volume.events", Warn);
    only(|d| d.earlier = vec![30; 7], "volume.events", Fail);
    only(|d| d.newest = Some(END - 3_600 * MICROS_PER_SECOND), "freshness.events", Warn);
    only(|d| d.newest = Some(0), "freshness.events", Fail);
    let drift = |drift: Drift| {
        move |d: &mut DaySummary| d.drift = [("silver/events".to_owned(), drift)].into()
    };
    let columns = || vec!["x".to_owned()];
    only(drift(Drift { added: columns(), ..Drift::default() }), "schema.silver_events", Warn);
    only(drift(Drift { missing: columns(), ..Drift::default() }), "schema.silver_events", Fail);
    only(drift(Drift { retyped: columns(), ..Drift::default() }), "schema.silver_events", Fail);
    only(drift(Drift { no_table: true, ..Drift::default() }), "schema.silver_events", Fail);
    let leaks = [("silver/events.ssn".to_owned(), [("ssn".to_owned(), 1)].into())].into();
    only(|d| d.leaks = leaks, "privacy.leaks", Fail);
}

#[test]
fn a_day_without_events_is_neither_fresh_nor_full() {
    let day = DaySummary::default();
    assert_eq!(judged(&day, i64::MAX, "volume.events"), Status::Fail);
    assert_eq!(judged(&day, i64::MAX, "freshness.events"), Status::Fail);
    assert_eq!(
        judged(&day, i64::MAX, "completeness.heart_rate"),
        Status::Pass,
        "there is nothing to fill"
    );
}

#[test]
fn where_nothing_is_to_be_filled_nothing_is_judged_full() {
    let none =
        |d: &mut DaySummary| d.filled = [("heart_rate".to_owned(), Filled::default())].into();
    only(none, "completeness.heart_rate", Status::Pass);
    let mut day = usual();
    none(&mut day);
    let checks = judge(&day, first(), i64::MAX, &QualitySection::default());
    let check = checks.iter().find(|c| c.name == "completeness.heart_rate").unwrap();
    assert_eq!(check.observed, "not judged: no event of kind vitals");
}

/// A week of 1,000 events a day of which so many are of kind `vitals`, the day before first, and a day that has `found`.
fn week_of(vitals: [u64; 7], found: u64) -> impl FnOnce(&mut DaySummary) {
    move |day| {
        day.earlier = vec![1_000; 7];
        day.earlier_kinds = [("vitals".to_owned(), vitals.to_vec())].into();
        day.kinds = [("lab_result".to_owned(), 1_000 - found)].into();
        if found > 0 {
            day.kinds.insert("vitals".to_owned(), found);
        }
    }
}

#[test]
fn a_kind_that_is_missing_closes_the_gate_though_others_go_on() {
    use Status::{Fail, Pass, Warn};
    let usually = [800; 7];
    for (found, status) in [(0, Fail), (79, Fail), (300, Warn), (800, Pass), (1_000, Pass)] {
        only(week_of(usually, found), "volume.events", status);
    }
    let mut day = usual();
    week_of(usually, 0)(&mut day);
    let checks = judge(&day, first(), i64::MAX, &QualitySection::default());
    let check = checks.iter().find(|c| c.name == "volume.events").unwrap();
    assert_eq!(check.observed, "1000 events; 0 of kind vitals where about 800 are usual");
    // Who has none of a kind on most days lacks nothing.
    only(week_of([0, 0, 0, 0, 800, 800, 800], 0), "volume.events", Pass);
    // What comes a few times a day does so by chance, and what rests on Sundays rested a week ago.
    only(week_of([3; 7], 0), "volume.events", Warn);
    only(week_of([3; 7], 1), "volume.events", Pass);
    only(week_of([800, 800, 800, 800, 800, 0, 0], 0), "volume.events", Warn);
    only(week_of([0, 800, 800, 800, 800, 800, 800], 0), "volume.events", Fail);
}

#[test]
fn without_history_volume_passes() {
    only(|d| d.earlier = vec![0; 7], "volume.events", Status::Pass);
}

#[test]
fn the_median_of_an_even_number_of_days_lies_between_the_two_in_the_middle() {
    let expected = |earlier: Vec<u64>| {
        let day = DaySummary { earlier, ..usual() };
        let checks = judge(&day, first(), i64::MAX, &QualitySection::default());
        checks.into_iter().find(|check| check.name == "volume.events").unwrap().expected
    };
    for (earlier, told) in [
        (vec![700], "about 700, the median of 1 of"),
        (vec![2_000, 0, 500], "about 1250, the median of 2 of"),
        (vec![900, 100, 2_000], "about 900, the median of 3 of"),
        (vec![4_000, 900, 100, 1_100], "about 1000, the median of 4 of"),
    ] {
        let expected = expected(earlier);
        assert!(expected.starts_with(told), "{expected}");
    }
    // A day like the lower of the two is no twelfth of what is usual.
    only(|d| d.earlier = vec![1_000, 12_000], "volume.events", Status::Warn);
}

#[test]
fn today_is_judged_by_now() {
    let day = DaySummary { newest: Some(1_000), ..usual() };
    let checks = judge(&day, first(), 2_000, &QualitySection::default());
    assert_eq!(worst(&checks), Status::Pass);
}

#[test]
fn a_day_so_far_is_compared_with_as_much_of_the_days_before() {
    let day: Day = "2025-11-24".parse().unwrap();
    // One event a minute, all week; then something else today.
    let week: Vec<EventTime> = (1..=7 * 1_440).map(|ago| day.start() - ago * MINUTE).collect();
    let volume = |events: u64, now: EventTime| {
        let mut earlier = vec![0; 7];
        count_earlier(day, now, &week, &mut earlier);
        let summary = DaySummary { events, earlier, ..usual() };
        let checks = judge(&summary, day, now, &QualitySection::default());
        let check = checks.into_iter().find(|check| check.name == "volume.events").unwrap();
        assert_eq!(check.expected.contains("up to this time"), now < day.end(), "{check:?}");
        check.status
    };
    let at = |minutes: i64| day.start() + minutes * MINUTE;
    assert_eq!(volume(45, at(45)), Status::Pass);
    assert_eq!(volume(720, at(720)), Status::Pass);
    assert_eq!(volume(11, at(121)), Status::Fail);
    // So early it may be on its way.
    assert_eq!(volume(11, at(120)), Status::Warn);
    assert_eq!(volume(4, at(45)), Status::Warn);
    // What would be usual for a whole day is far too much by then.
    assert_eq!(volume(1_440, at(45)), Status::Fail);
    // A day that is over, whenever it is judged, is compared with whole days.
    for now in [at(1_440), at(10_000), i64::MAX] {
        assert_eq!(volume(1_440, now), Status::Pass);
        assert_eq!(volume(45, now), Status::Fail);
    }
}

/// Minutes from the start of the day; the last event before it, or on it, and when it is looked at.
#[test]
fn silence_about_midnight_is_as_old_as_the_last_event_of_whichever_day() {
    use Status::{Fail, Pass, Warn};
    for (last, now, fresh, volume) in [
        (-2_i64, 0_i64, Pass, Warn),
        (-2, 13, Pass, Warn),
        (-2, 45, Warn, Warn),
        (-2, 118, Warn, Warn),
        (-2, 119, Fail, Warn),
        (-2, 120, Fail, Warn),
        (-2, 121, Fail, Fail),
        // A feed that died before midnight is told of as soon as one that died by day.
        (-110, 10, Warn, Warn),
        (-110, 11, Fail, Warn),
        // What came on the day itself counts, whatever came before.
        (40, 45, Pass, Pass),
        (5, 45, Warn, Pass),
        (5, 126, Fail, Pass),
        // A day that is over and had none.
        (-2, 1_440, Fail, Fail),
        (-2, 10_000, Fail, Fail),
    ] {
        let newest = (last >= 0).then_some(last * MINUTE);
        let day = DaySummary {
            events: u64::from(newest.is_some()),
            newest,
            newest_before: Some(last.min(-1) * MINUTE),
            earlier: vec![1; 7],
            ..DaySummary::default()
        };
        let found =
            ["freshness.events", "volume.events"].map(|name| judged(&day, now * MINUTE, name));
        assert_eq!(found, [fresh, volume], "the last event at {last}, now {now}");
    }
    // Where no event is known there is none whose age could be young.
    assert_eq!(judged(&DaySummary::default(), 45 * MINUTE, "freshness.events"), Fail);
}

#[test]
fn where_silence_may_last_for_days_a_day_without_events_is_fresh_but_not_full() {
    let limits =
        QualitySection { fresh_fail: Duration::from_hours(36), ..QualitySection::default() };
    let day = DaySummary { newest_before: Some(-2 * MINUTE), ..DaySummary::default() };
    for (now, volume) in [(END - 1, Status::Warn), (END, Status::Fail), (i64::MAX, Status::Fail)] {
        let checks = judge(&day, first(), now, &limits);
        let status = |name: &str| checks.iter().find(|check| check.name == name).unwrap().status;
        assert_eq!(["freshness.events", "volume.events"].map(status), [Status::Warn, volume]);
    }
}

#[test]
fn a_kind_that_is_missing_is_waited_for_as_long_as_all_are() {
    let mut day = usual();
    week_of([800; 7], 0)(&mut day);
    for (now, status) in [(45, Status::Warn), (120, Status::Warn), (121, Status::Fail)] {
        assert_eq!(judged(&day, now * MINUTE, "volume.events"), status, "{now}");
    }
}
