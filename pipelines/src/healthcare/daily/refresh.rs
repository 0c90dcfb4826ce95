//! Gold compared with what silver says, and put right where it differs.
//!
//! Gold is a function of silver: what the windows of a day hold is the silver rows of that day, those that came too late
//! taken out. Both are read as they were at one published cut, computed anew ([`super::recompute`]) and compared with
//! the gold table; a table that differs gets the right rows by one log entry.
//!
//! It runs beside the job. Windows that the job has not closed yet are left alone: the job writes them later. Which are
//! closed is told by the cut's manifest and by gold at that cut: a window ends no later than any partition's watermark and
//! than some row of gold, or the job has finished. While a partition of events has no watermark, none is.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use arrow_array::{BooleanArray, RecordBatch};
use serde::Serialize;
use thalweg_connectors::delta::{DeltaMaintenance, DeltaReader, OpenTable};
use thalweg_core::checkpoint::manifest::{SourceSnapshot, SplitSnapshot};
use thalweg_core::checkpoint::{Manifest, ManifestKind};
use thalweg_core::connector::sink::Cut as PublishedCut;
use thalweg_core::record::column_of;
use thalweg_core::restart::{RestartDecision, RestartStrategy};
use thalweg_core::time::{EventTime, micros};
use thalweg_core::{Error, ErrorKind, Result, error};
use thalweg_objects::{Access, Place};
use thalweg_runtime::CheckpointStorage;

use super::day::Day;
use super::recompute::{self, GOLD, GoldTable};
use super::same;
use crate::healthcare::config::TimeSection;
use crate::healthcare::gold::Kpis;
use crate::healthcare::graph::{EVENTS, JOB, LATE_EVENTS, SILVER};
use crate::healthcare::manifests::Manifests;
use crate::healthcare::record::Silver;

/// Event time that is computed at once: so much of a day's silver is in memory.
const STEP_MICROS: i64 = 3_600_000_000;

/// How often, and how far apart, a cut is looked for that its job has not left behind meanwhile.
const LOOK_AGAIN: RestartStrategy = RestartStrategy::ExponentialDelay {
    attempts: 9,
    initial: Duration::from_millis(10),
    maximum: Duration::from_secs(1),
};

/// What was done. Its names are those of the command's last line.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Refreshed {
    /// Which day.
    pub date: String,
    /// The checkpoint that gold and silver were read at.
    pub checkpoint: u64,
    /// Rows of silver in the windows that were looked at, without those that came too late.
    pub silver_rows: u64,
    /// Rows of gold that they give.
    pub gold_rows: u64,
    /// Tables that differed, and how many rows were there before and are there now.
    pub replaced: Vec<ReplacedTable>,
    /// Whether windows of the day were left alone because the job has not closed them.
    pub open_windows: bool,
    /// Whether it was only looked, not written.
    pub dry_run: bool,
}

/// A gold table that differed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplacedTable {
    /// Which.
    pub table: &'static str,
    /// Rows of the day before.
    pub rows_before: u64,
    /// And after.
    pub rows_after: u64,
}

/// Compares the gold of a day with its silver, and mends it.
///
/// # Errors
/// There is no published cut, a table cannot be read, or others changed gold at the same time.
pub fn refresh(
    place: &Place,
    checkpoints: &dyn CheckpointStorage,
    time: &TimeSection,
    day: Day,
    dry_run: bool,
) -> Result<Refreshed> {
    let access = Access::from_environment();
    let reader = DeltaReader::at(place, &access)?;
    let cut = Cut::steadily(&reader, Manifests(checkpoints))?;
    let windows = windows(day, time, cut.closed_before(day)?);
    let mut done = Refreshed {
        date: day.to_string(),
        checkpoint: cut.published.checkpoint.0,
        open_windows: windows.closed.end < windows.day_end,
        dry_run,
        ..Refreshed::default()
    };
    let right = compute(&cut, &windows, time, &mut done)?;
    let service = DeltaMaintenance::at(place, &access)?;
    for (table, rows) in GOLD.iter().zip(right) {
        mend(&reader, &service, table, &windows.closed, rows, &mut done)?;
    }
    Ok(done)
}

/// Silver, late and gold as they were at one cut.
struct Cut<'a> {
    published: PublishedCut,
    manifest: Manifest,
    silver: OpenTable<'a>,
    late: OpenTable<'a>,
    gold: Vec<OpenTable<'a>>,
}

impl<'a> Cut<'a> {
    /// The newest one. A job that is faster than we read has the next one by then.
    fn steadily(reader: &'a DeltaReader, manifests: Manifests<'_>) -> Result<Self> {
        let mut tries = 0;
        loop {
            let error = match Self::newest(reader, manifests) {
                Err(error) if error.kind() == ErrorKind::Transient => error,
                done => return done,
            };
            tries += 1;
            match LOOK_AGAIN.decide(error.kind(), tries) {
                RestartDecision::After(pause) => std::thread::park_timeout(pause),
                RestartDecision::GiveUp => return Err(error),
            }
        }
    }

    fn newest(reader: &'a DeltaReader, manifests: Manifests<'_>) -> Result<Self> {
        let published = reader.newest_cuts(JOB)?;
        if published.is_empty() {
            return Err(Error::config("no checkpoint has been published yet: run the job first"));
        }
        let open = |table: &str| {
            let missing = || Error::data_loss(format!("table `{table}` is missing"));
            reader.open(table)?.ok_or_else(missing)
        };
        let (mut silver, mut late) = (open(SILVER)?, open(LATE_EVENTS)?);
        let gold = GOLD.iter().filter_map(|table| reader.open(table.path).transpose());
        let mut gold: Vec<OpenTable<'a>> = gold.collect::<Result<_>>()?;
        // Read after the tables: as long as nothing was decided since the cut, the newest versions hold its rows, and
        // their files are those that maintenance has left.
        let read = manifests.read()?;
        let gone = || {
            Error::transient(
                "the manifest of the newest cut is gone: try again after the next checkpoint",
            )
        };
        // Numbers ascend over all chains that manifests tell of: no clock is asked which cut is the newest.
        let is_told = |cut: &PublishedCut| read.iter().any(|m| m.chain == cut.chain);
        let newest = published.into_iter().filter(is_told).max_by_key(|cut| cut.checkpoint);
        let published = newest.ok_or_else(gone)?;
        let later = |m: &Manifest| m.number > published.checkpoint && !m.pending.is_empty();
        if read.iter().any(later) {
            let at = |table: &str| {
                let missing =
                    || Error::data_loss(format!("table `{table}` is not in the newest cut"));
                let version = *published.versions.get(table).ok_or_else(missing)?;
                reader.open_at(table, version)?.ok_or_else(missing)
            };
            (silver, late) = (at(SILVER)?, at(LATE_EVENTS)?);
            let is_in = |table: &&GoldTable| published.versions.contains_key(table.path);
            gold = GOLD.iter().filter(is_in).map(|table| at(table.path)).collect::<Result<_>>()?;
        }
        let is_it = |m: &Manifest| m.number == published.checkpoint && m.chain == published.chain;
        let manifest = read.iter().find(|m| is_it(m)).cloned().ok_or_else(gone)?;
        let is_new = |m: &Manifest| m.number > manifest.number && m.kind != ManifestKind::Sealed;
        if manifest.finished && read.iter().any(is_new) {
            return Err(Error::transient(
                "a new chain has begun: try again after its first checkpoint",
            ));
        }
        Ok(Self { published, manifest, silver, late, gold })
    }

    /// Every window of the day that ends no later is closed, µs.
    fn closed_before(&self, day: Day) -> Result<EventTime> {
        if self.manifest.finished {
            return Ok(EventTime::MAX);
        }
        // A watermark may not have reached the windows yet, but what they have emitted was behind it. In the cut: of a later
        // checkpoint one table may have its rows already and another not.
        let mut emitted = None;
        for table in &self.gold {
            let from_then_on = (Kpis::WINDOW_END, day.start()..EventTime::MAX);
            table.scan(&[Kpis::WINDOW_END.name()], Some(from_then_on), |batch| {
                let ends = column_of(&batch, Kpis::WINDOW_END)?;
                emitted = emitted.max(ends.values().iter().copied().max());
                Ok(())
            })?;
        }
        let read = watermark(&self.manifest.sources);
        Ok(read.min(emitted).unwrap_or(EventTime::MIN))
    }
}

/// How far all partitions of events are; `None` while one has not told and may hold any row. One that falls silent is given
/// what its job has emitted, so one without a watermark has kept every window open.
fn watermark(sources: &[SourceSnapshot]) -> Option<EventTime> {
    let is_read = |s: &SplitSnapshot| s.split.end.is_some_and(|end| s.split.position >= end);
    let events = sources.iter().filter(|source| source.uid.as_str() == EVENTS);
    let splits = events.flat_map(|source| &source.splits);
    let open = splits.filter(|split| split.watermark.is_some() || !is_read(split));
    open.map(|split| split.watermark).min().flatten()
}

/// The windows of a day, by their starts.
struct Windows {
    /// Those that are closed.
    closed: Range<EventTime>,
    /// Where the day's last window ends.
    day_end: EventTime,
    /// How long a window is.
    size: i64,
}

fn windows(day: Day, time: &TimeSection, closed_before: EventTime) -> Windows {
    let size = micros(time.window).max(1);
    let late = micros(time.allowed_lateness);
    let first_at = |instant: EventTime| {
        let into = instant.rem_euclid(size);
        if into == 0 { instant } else { instant - into + size }
    };
    let (start, day_end) = (first_at(day.start()), first_at(day.end()));
    let closed_before =
        closed_before.saturating_sub(if closed_before == i64::MAX { 0 } else { late });
    let closed = closed_before.saturating_sub(closed_before.rem_euclid(size));
    Windows { closed: start..day_end.min(closed).max(start), day_end, size }
}

/// The right gold of the closed windows, table by table.
fn compute(
    cut: &Cut<'_>,
    windows: &Windows,
    time: &TimeSection,
    done: &mut Refreshed,
) -> Result<Vec<Vec<RecordBatch>>> {
    let step = windows.size.saturating_mul((STEP_MICROS / windows.size).max(1));
    let mut right: Vec<Vec<RecordBatch>> = GOLD.iter().map(|_| Vec::new()).collect();
    let mut start = windows.closed.start;
    while start < windows.closed.end {
        let end = windows.closed.end.min(start.saturating_add(step));
        let rows = in_time(cut, start..end)?;
        if !rows.is_empty() {
            done.silver_rows += rows.iter().map(|b| b.num_rows() as u64).sum::<u64>();
            let tables = recompute::gold(rows, time)?;
            for (table, rows) in GOLD.iter().zip(&mut right) {
                rows.extend(tables.batches(table.path));
                done.gold_rows += tables.rows(table.path);
            }
        }
        start = end;
    }
    Ok(right)
}

/// What tells one row of silver from another: partition, offset, time, patient.
type Origin = (i32, i64, i64, i64);

fn origins(batch: &RecordBatch) -> Result<Vec<Origin>> {
    let (partitions, offsets) =
        (column_of(batch, Silver::PARTITION)?, column_of(batch, Silver::OFFSET)?);
    let (times, patients) =
        (column_of(batch, Silver::EVENT_TIME)?, column_of(batch, Silver::PATIENT_ID)?);
    let row =
        |row| (partitions.value(row), offsets.value(row), times.value(row), patients.value(row));
    Ok((0..batch.num_rows()).map(row).collect())
}

/// The rows of silver in a stretch of event time, those taken out that came too late for gold.
fn in_time(cut: &Cut<'_>, range: Range<EventTime>) -> Result<Vec<RecordBatch>> {
    let from = [Silver::PARTITION.name(), Silver::OFFSET.name(), Silver::PATIENT_ID.name()];
    let mut late: HashMap<Origin, u64> = HashMap::new();
    cut.late.scan(&from, Some((Silver::EVENT_TIME, range.clone())), |batch| {
        for origin in origins(&batch)? {
            *late.entry(origin).or_default() += 1;
        }
        Ok(())
    })?;
    let columns: Vec<&str> = recompute::columns().into_iter().chain(from).collect();
    let mut rows = Vec::new();
    cut.silver.scan(&columns, Some((Silver::EVENT_TIME, range)), |batch| {
        // An event that was read twice is late as often as late says, not more often.
        let mut keep = |origin: &Origin| match late.get_mut(origin) {
            Some(times) if *times > 0 => {
                *times -= 1;
                false
            }
            _ => true,
        };
        let kept: BooleanArray = origins(&batch)?.iter().map(|o| Some(keep(o))).collect();
        let batch = recompute::conform(&batch)?;
        let batch = if kept.true_count() == kept.len() {
            batch
        } else {
            arrow_select::filter::filter_record_batch(&batch, &kept)
                .map_err(|_| Error::internal("rows of silver cannot be filtered"))?
        };
        if batch.num_rows() > 0 {
            rows.push(batch);
        }
        Ok(())
    })?;
    Ok(rows)
}

/// Puts one table right.
fn mend(
    reader: &DeltaReader,
    service: &DeltaMaintenance,
    table: &GoldTable,
    closed: &Range<EventTime>,
    right: Vec<RecordBatch>,
    done: &mut Refreshed,
) -> Result<()> {
    let schema = (table.schema)();
    let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let mut found = Vec::new();
    let missing = || Error::data_loss(format!("table `{}` is missing", table.path));
    let open = reader.open(table.path)?.ok_or_else(missing)?;
    open.scan(&columns, Some((Kpis::WINDOW_START, closed.clone())), |batch| {
        found.push(batch);
        Ok(())
    })?;
    let found = same::found(&schema, found, table.keys)?;
    let right = same::ordered(&schema, right, table.keys)?;
    if same::same(&found, &right) {
        return Ok(());
    }
    if done.silver_rows == 0 {
        return Err(Error::data_loss(format!(
            "table `{}` has rows of {} and silver has none any more: gold is left as it is",
            table.path, done.date
        )));
    }
    if !done.dry_run {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| error::io("start the I/O threads", e))?;
        let rows = if right.num_rows() > 0 { vec![right.clone()] } else { Vec::new() };
        runtime.block_on(service.overwrite(
            table.path,
            Kpis::WINDOW_START,
            closed.clone(),
            &rows,
        ))?;
    }
    done.replaced.push(ReplacedTable {
        table: table.path,
        rows_before: found.num_rows() as u64,
        rows_after: right.num_rows() as u64,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use thalweg_core::OperatorUid;
    use thalweg_core::connector::source::Split;

    use super::*;
    use crate::healthcare::graph::COMMANDS;

    const MINUTE: i64 = 60_000_000;

    #[test]
    fn windows_that_are_still_open_are_left_alone() {
        let day: Day = "2025-11-24".parse().unwrap();
        let time = TimeSection::default();
        let start = day.start();
        let closed = |before| windows(day, &time, before).closed;
        assert_eq!(closed(EventTime::MAX), day.range());
        assert_eq!(closed(start + MINUTE), start..start + MINUTE);
        assert_eq!(closed(start + 2 * MINUTE - 1), start..start + MINUTE);
        assert!(closed(start).is_empty() && closed(EventTime::MIN).is_empty());
        let late = TimeSection { allowed_lateness: Duration::from_secs(90), ..time };
        assert_eq!(windows(day, &late, start + 3 * MINUTE).closed, start..start + MINUTE);
        assert_eq!(windows(day, &late, EventTime::MAX).closed, day.range());
    }

    #[test]
    fn a_window_belongs_to_the_day_that_it_starts_in() {
        let day: Day = "2025-11-24".parse().unwrap();
        let time = TimeSection { window: Duration::from_hours(7), ..TimeSection::default() };
        let found = windows(day, &time, EventTime::MAX);
        let size = 7 * 60 * MINUTE;
        assert!(found.closed.start >= day.start() && found.closed.start < day.start() + size);
        assert!(found.closed.end >= day.end() && found.closed.end < day.end() + size);
        assert_eq!(found.closed.start.rem_euclid(size), 0);
    }

    /// Where a split ends, and its watermark.
    type Told = (Option<i64>, Option<EventTime>);

    /// A source whose splits, read up to 5, end there and have these watermarks.
    fn source(uid: &str, splits: &[Told]) -> SourceSnapshot {
        let split = |(index, (end, watermark)): (usize, &Told)| {
            let split = Split {
                id: index.to_string(),
                position: 5,
                end: *end,
                properties: BTreeMap::new(),
            };
            SplitSnapshot { split, watermark: *watermark }
        };
        SourceSnapshot {
            uid: OperatorUid::new(uid).unwrap(),
            identity: BTreeMap::new(),
            splits: splits.iter().enumerate().map(split).collect(),
            rows: 0,
            watermark: None,
        }
    }

    #[test]
    fn a_partition_without_a_watermark_keeps_every_window_open() {
        let commands = source(COMMANDS, &[(None, None)]);
        let of = |splits: &[Told]| watermark(&[commands.clone(), source(EVENTS, splits)]);
        assert_eq!(of(&[(None, Some(70)), (Some(9), Some(60))]), Some(60));
        assert_eq!(of(&[(None, Some(70)), (None, None)]), None);
        assert_eq!(of(&[(Some(9), Some(70)), (Some(9), None)]), None);
        // A piece that was read to its end and had no time in it holds nothing back.
        assert_eq!(of(&[(Some(9), Some(70)), (Some(5), None)]), Some(70));
        assert_eq!(of(&[]), None);
    }
}
