//! Reads what a day's summary needs: one pass over its rows of each table, the columns that are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use thalweg_connectors::delta::{DeltaReader, OpenTable, TableColumn};
use thalweg_core::Record;
use thalweg_core::Result;
use thalweg_core::record::{Column, Timestamp, column_of};
use thalweg_core::time::EventTime;

use super::day::Day;
use super::leaks;
use super::limits::QualitySection;
use super::recompute::GOLD;
use super::summary::{DaySummary, Drift};
use crate::healthcare::alerts::AlertEvent;
use crate::healthcare::gold::Kpis;
use crate::healthcare::graph::{ALERTS, BRONZE, LATE_EVENTS, QUARANTINE, SILVER};
use crate::healthcare::reason;
use crate::healthcare::record::{Bronze, Quarantine, Silver};
use crate::healthcare::rules::{Range, Ranges};

/// Delta's word for a text.
const TEXT: &str = "\"string\"";
/// The kind of events that vitals are expected of.
const VITALS: &str = "vitals";
/// What a reason code becomes that this release does not know.
const OTHER: &str = "other";

/// Reads the tables below one place and sums a day up. The days before are counted up to the time of day that it is `now`
/// (µs), if the day goes on then.
pub(super) fn collect(
    reader: &DeltaReader,
    day: Day,
    now: EventTime,
    limits: &QualitySection,
    ranges: &Ranges,
) -> Result<DaySummary> {
    let mut summary = DaySummary { date: day.to_string(), ..DaySummary::default() };
    let days = usize::try_from(limits.volume_days).unwrap_or_default();
    summary.earlier = vec![0; days];
    let tables = Tables { reader, day };
    if let Some(silver) = tables.open(SILVER, &Silver::schema(), &mut summary)? {
        tables.silver(&silver, now, limits, ranges, &mut summary)?;
        tables.earlier(&silver, limits, now, &mut summary)?;
    }
    if let Some(late) = tables.open(LATE_EVENTS, &Silver::schema(), &mut summary)? {
        summary.late = tables.texts(&late, LATE_EVENTS, Silver::EVENT_TIME, &mut summary)?;
    }
    if let Some(bronze) = tables.open(BRONZE, &Bronze::schema(), &mut summary)? {
        let arrived = Some((Bronze::INGESTED_AT, day.range()));
        bronze.scan(&[], arrived, |batch| {
            summary.received += batch.num_rows() as u64;
            Ok(())
        })?;
    }
    if let Some(quarantine) = tables.open(QUARANTINE, &Quarantine::schema(), &mut summary)? {
        tables.rejected(&quarantine, &mut summary)?;
    }
    // Not every input has alerts.
    if reader.open(ALERTS)?.is_some()
        && let Some(alerts) = tables.open(ALERTS, &AlertEvent::schema(), &mut summary)?
    {
        tables.texts(&alerts, ALERTS, AlertEvent::EVENT_TIME, &mut summary)?;
    }
    for table in GOLD {
        if let Some(gold) = tables.open(table.path, &(table.schema)(), &mut summary)? {
            let rows = tables.texts(&gold, table.path, Kpis::WINDOW_START, &mut summary)?;
            summary.gold.insert(table.path.to_owned(), rows);
        }
    }
    Ok(summary)
}

struct Tables<'a> {
    reader: &'a DeltaReader,
    day: Day,
}

impl<'a> Tables<'a> {
    /// The table, when its rows can be read as rows of `schema`; either way its columns are compared.
    fn open(
        &self,
        table: &str,
        schema: &SchemaRef,
        summary: &mut DaySummary,
    ) -> Result<Option<OpenTable<'a>>> {
        let found = self.reader.open(table)?;
        let drift = match &found {
            None => Drift { no_table: true, ..Drift::default() },
            Some(found) => drift(found.columns(), &TableColumn::of(schema)?),
        };
        let readable = !drift.breaks();
        summary.drift.insert(table.to_owned(), drift);
        Ok(found.filter(|_| readable))
    }

    fn silver(
        &self,
        table: &OpenTable<'_>,
        now: EventTime,
        limits: &QualitySection,
        ranges: &Ranges,
        summary: &mut DaySummary,
    ) -> Result<()> {
        let (ranged, until) = (ranges.named(), now.min(self.day.end()));
        let mut columns = texts_of(table);
        columns.extend(limits.complete.iter().map(String::as_str));
        columns.extend(ranged.iter().map(|(column, _)| *column));
        columns.extend([
            Silver::PATIENT_ID.name(),
            Silver::EVENT_ID.name(),
            Silver::PARTITION.name(),
            Silver::OFFSET.name(),
        ]);
        let (mut patients, mut seen) = (BTreeSet::<i64>::new(), Vec::new());
        table.scan(&columns, Some((Silver::EVENT_TIME, self.day.range())), |batch| {
            summary.events += batch.num_rows() as u64;
            patients.extend(column_of(&batch, Silver::PATIENT_ID)?.values());
            let times = column_of(&batch, Silver::EVENT_TIME)?.values();
            summary.newest = summary.newest.max(newest_until(times, until));
            for kind in column_of(&batch, Silver::EVENT_TYPE)?.iter().flatten() {
                match summary.kinds.get_mut(kind) {
                    Some(count) => *count += 1,
                    None => drop(summary.kinds.insert(kind.to_owned(), 1)),
                }
            }
            fill(&batch, limits, summary)?;
            for (column, range) in &ranged {
                let outside = outside(&batch, column, *range);
                if outside > 0 {
                    *summary.impossible.entry((*column).to_owned()).or_default() += outside;
                }
            }
            identify(&batch, &mut seen)?;
            leaks::count(SILVER, &batch, &mut summary.leaks);
            Ok(())
        })?;
        summary.patients = patients.len() as u64;
        seen.sort_unstable();
        let all = seen.len();
        seen.dedup();
        summary.repeated = (all - seen.len()) as u64;
        Ok(())
    }

    /// How many events the days before had, and when the last of them happened.
    fn earlier(
        &self,
        table: &OpenTable<'_>,
        limits: &QualitySection,
        now: EventTime,
        summary: &mut DaySummary,
    ) -> Result<()> {
        let before = Some((Silver::EVENT_TIME, self.day.before(limits.volume_days)));
        table.scan(&[Silver::EVENT_TYPE.name()], before, |batch| {
            let times = column_of(&batch, Silver::EVENT_TIME)?.values();
            summary.newest_before = summary.newest_before.max(times.iter().copied().max());
            count_earlier(self.day, now, times, &mut summary.earlier);
            let kinds = column_of(&batch, Silver::EVENT_TYPE)?;
            let events = times.iter().copied().zip(kinds.iter());
            let days = summary.earlier.len();
            count_earlier_kinds(self.day, now, events, days, &mut summary.earlier_kinds);
            Ok(())
        })
    }

    fn rejected(&self, table: &OpenTable<'_>, summary: &mut DaySummary) -> Result<()> {
        let arrived = Some((Quarantine::INGESTED_AT, self.day.range()));
        let column = Quarantine::REASON_CODES.name();
        table.scan(&[column], arrived, |batch| {
            summary.rejected += batch.num_rows() as u64;
            let lists = batch.column_by_name(column).and_then(|c| c.as_list_opt::<i32>());
            for codes in lists.into_iter().flat_map(|l| l.iter().flatten()) {
                let codes =
                    codes.as_string_opt::<i32>().into_iter().flat_map(|c| c.iter().flatten());
                for code in codes {
                    let known = reason::ALL.iter().find(|known| **known == code);
                    let code = known.copied().unwrap_or(OTHER);
                    *summary.reasons.entry(code.to_owned()).or_default() += 1;
                }
            }
            Ok(())
        })
    }

    /// Searches a table's texts and says how many rows it has for the day.
    fn texts(
        &self,
        table: &OpenTable<'_>,
        name: &str,
        time: Column<Timestamp>,
        summary: &mut DaySummary,
    ) -> Result<u64> {
        let mut rows = 0;
        table.scan(&texts_of(table), Some((time, self.day.range())), |batch| {
            rows += batch.num_rows() as u64;
            leaks::count(name, &batch, &mut summary.leaks);
            Ok(())
        })?;
        Ok(rows)
    }
}

/// Counts events into the days before, the day before first. What the day so far is compared with is as much of each.
pub(super) fn count_earlier(day: Day, now: EventTime, times: &[EventTime], earlier: &mut [u64]) {
    for days in times.iter().filter_map(|time| days_before(day, now, *time)) {
        if let Some(count) = earlier.get_mut(days) {
            *count += 1;
        }
    }
}

/// The same of each kind, for so many days.
fn count_earlier_kinds<'k>(
    day: Day,
    now: EventTime,
    events: impl Iterator<Item = (EventTime, Option<&'k str>)>,
    days: usize,
    earlier: &mut BTreeMap<String, Vec<u64>>,
) {
    for (time, kind) in events {
        let (Some(before), Some(kind)) = (days_before(day, now, time), kind) else { continue };
        if let Some(counts) = earlier.get_mut(kind) {
            if let Some(count) = counts.get_mut(before) {
                *count += 1;
            }
        } else {
            let counts = (0..days).map(|day| u64::from(day == before)).collect();
            earlier.insert(kind.to_owned(), counts);
        }
    }
}

/// How many days `time` lies before the day before, if it is compared at all.
fn days_before(day: Day, now: EventTime, time: EventTime) -> Option<usize> {
    let days = usize::try_from(day.days_since(time) - 1).unwrap_or(usize::MAX);
    day.has_had(time, now).then_some(days)
}

/// The newest of these times that has come by `until`: one clock that is ahead would make all look fresh.
fn newest_until(times: &[EventTime], until: EventTime) -> Option<EventTime> {
    times.iter().copied().filter(|time| *time <= until).max()
}

/// Every column of texts, also those that nobody here writes.
fn texts_of<'t>(table: &'t OpenTable<'_>) -> Vec<&'t str> {
    let texts = table.columns().iter().filter(|c| c.data_type == TEXT);
    texts.map(|c| c.name.as_str()).collect()
}

fn drift(found: &[TableColumn], expected: &[TableColumn]) -> Drift {
    let names = |columns: Vec<&TableColumn>| columns.iter().map(|c| c.name.clone()).collect();
    let by_name = |name: &str| found.iter().find(|c| c.name == name);
    Drift {
        no_table: false,
        missing: names(expected.iter().filter(|e| by_name(&e.name).is_none()).collect()),
        retyped: names(
            expected
                .iter()
                .filter(|e| by_name(&e.name).is_some_and(|f| f.data_type != e.data_type))
                .collect(),
        ),
        added: names(found.iter().filter(|f| !expected.iter().any(|e| e.name == f.name)).collect()),
    }
}

/// Counts the values that events of vitals have. A file that was written without the column has none of them.
fn fill(batch: &RecordBatch, limits: &QualitySection, summary: &mut DaySummary) -> Result<()> {
    let kinds = column_of(batch, Silver::EVENT_TYPE)?;
    let vitals: Vec<bool> = kinds.iter().map(|kind| kind == Some(VITALS)).collect();
    let expected = vitals.iter().filter(|is| **is).count() as u64;
    for name in &limits.complete {
        let found = batch.column_by_name(name).map_or(0, |column| {
            let rows = vitals.iter().enumerate();
            rows.filter(|(row, is)| **is && column.is_valid(*row)).count() as u64
        });
        let filled = summary.filled.entry(name.clone()).or_default();
        filled.expected += expected;
        filled.found += found;
    }
    Ok(())
}

fn outside(batch: &RecordBatch, name: &str, range: Range) -> u64 {
    let Some(column) = batch.column_by_name(name) else { return 0 };
    let count = |values: &mut dyn Iterator<Item = f64>| {
        values.filter(|value| !(range.min..=range.max).contains(value)).count() as u64
    };
    match column.data_type() {
        DataType::Float64 => count(&mut column.as_primitive::<Float64Type>().iter().flatten()),
        DataType::Int32 => {
            count(&mut column.as_primitive::<Int32Type>().iter().flatten().map(f64::from))
        }
        _ => 0,
    }
}

/// Adds a fingerprint of each event: the sender's own name for it and the patient; without one, where it came from. Two
/// events of a day share one by chance once in 10^19 pairs.
fn identify(batch: &RecordBatch, seen: &mut Vec<u64>) -> Result<()> {
    let ids = column_of(batch, Silver::EVENT_ID)?;
    let patients = column_of(batch, Silver::PATIENT_ID)?;
    let partitions = column_of(batch, Silver::PARTITION)?;
    let offsets = column_of(batch, Silver::OFFSET)?;
    seen.reserve(batch.num_rows());
    for row in 0..batch.num_rows() {
        let mut hasher = DefaultHasher::new();
        patients.value(row).hash(&mut hasher);
        if ids.is_valid(row) {
            ids.value(row).hash(&mut hasher);
        } else {
            (partitions.value(row), offsets.value(row)).hash(&mut hasher);
        }
        seen.push(hasher.finish());
    }
    Ok(())
}

/// Sums up the leaks of several columns: what the last line says.
pub(super) fn total(leaks: &BTreeMap<String, BTreeMap<String, u64>>) -> u64 {
    leaks.values().flat_map(BTreeMap::values).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, StringArray};

    use super::*;
    use crate::healthcare::daily::summary::Filled;

    const HOUR: EventTime = 3_600_000_000;

    #[test]
    fn a_file_without_the_column_has_none_of_the_values_that_are_expected() {
        let kinds: ArrayRef = Arc::new(StringArray::from(vec![VITALS, "medication", VITALS]));
        let rates: ArrayRef = Arc::new(Float64Array::from(vec![Some(70.0), None, None]));
        let with = [("event_type", Arc::clone(&kinds)), ("heart_rate", rates)];
        let (with, without) = (
            RecordBatch::try_from_iter_with_nullable(with.map(|(name, c)| (name, c, true))),
            RecordBatch::try_from_iter_with_nullable([("event_type", kinds, true)]),
        );
        let limits =
            QualitySection { complete: vec!["heart_rate".to_owned()], ..QualitySection::default() };
        let mut summary = DaySummary::default();
        for batch in [with.unwrap(), without.unwrap()] {
            fill(&batch, &limits, &mut summary).unwrap();
        }
        let expected = Filled { expected: 4, found: 1 };
        assert_eq!(summary.filled, BTreeMap::from([("heart_rate".to_owned(), expected)]));
    }

    #[test]
    fn a_sender_whose_clock_is_ahead_makes_nothing_fresh() {
        let times = [HOUR, 3 * HOUR, 2 * HOUR];
        assert_eq!(newest_until(&times, 2 * HOUR), Some(2 * HOUR));
        assert_eq!(newest_until(&times, 3 * HOUR - 1), Some(2 * HOUR));
        assert_eq!(newest_until(&times, HOUR - 1), None);
        assert_eq!(newest_until(&times, 24 * HOUR), Some(3 * HOUR));
    }

    #[test]
    fn events_of_the_days_before_are_counted_by_kind_too() {
        let day: Day = "2025-11-24".parse().unwrap();
        let at = |days: i64, hour: i64| day.start() - days * 24 * HOUR + hour * HOUR;
        let events = [
            (at(1, 3), Some("lab_result")),
            (at(1, 4), Some(VITALS)),
            (at(2, 5), Some(VITALS)),
            (at(2, 6), Some(VITALS)),
            // Later than it is, and longer ago than is compared.
            (at(1, 23), Some(VITALS)),
            (at(3, 1), Some(VITALS)),
            (at(1, 1), None),
        ];
        let mut earlier = BTreeMap::new();
        count_earlier_kinds(day, at(0, 12), events.into_iter(), 2, &mut earlier);
        let expected = [("lab_result", vec![1, 0]), (VITALS, vec![1, 2])];
        let expected = expected.map(|(kind, counts)| (kind.to_owned(), counts));
        assert_eq!(earlier, BTreeMap::from(expected));
    }
}
