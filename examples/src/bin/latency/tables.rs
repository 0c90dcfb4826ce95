//! When events become visible in Delta tables: a reader that watches the logs, and opens the files afterwards.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use hdrhistogram::Histogram;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::schedule::Schedule;
use super::{Result, histogram};

const LOOK: Duration = Duration::from_millis(1);

/// A table whose log is watched.
struct Watched {
    folder: PathBuf,
    next: u64,
    /// The entries since, and when each was seen first.
    seen: Vec<(PathBuf, i64)>,
}

impl Watched {
    fn new(folder: PathBuf) -> Self {
        Self { folder, next: 0, seen: Vec::new() }
    }

    fn entry(&self, version: u64) -> PathBuf {
        self.folder.join(format!("_delta_log/{version:020}.json"))
    }

    /// Looks for new entries.
    fn look(&mut self, schedule: &Schedule) {
        while self.entry(self.next).exists() {
            self.seen.push((self.entry(self.next), schedule.now()));
            self.next += 1;
        }
    }

    /// The data files of the entries, and when each became visible.
    fn files(&self) -> Result<Vec<(PathBuf, i64)>> {
        let mut files = Vec::new();
        for (entry, seen) in &self.seen {
            for line in fs::read_to_string(entry)?.lines() {
                let action: serde_json::Value = serde_json::from_str(line)?;
                if let Some(path) = action["add"]["path"].as_str() {
                    files.push((self.folder.join(path), *seen));
                }
            }
        }
        Ok(files)
    }
}

/// Produces and watches; latencies of single events in silver, and of windows in gold, which are due when the event
/// `delay` µs behind their end is.
pub(crate) fn measure(
    servers: &str,
    topic: &str,
    folder: &Path,
    schedule: &Schedule,
    delay: i64,
) -> Result<(Histogram<u64>, Histogram<u64>)> {
    let mut silver = Watched::new(folder.join("silver/events"));
    let mut gold = Watched::new(folder.join("gold/kpis"));
    // What is there already is none of ours.
    silver.look(schedule);
    gold.look(schedule);
    silver.seen.clear();
    gold.seen.clear();
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| schedule.produce(servers, topic).map_err(|e| e.to_string()));
        while schedule.now() < schedule.end() || !producer.is_finished() {
            silver.look(schedule);
            gold.look(schedule);
            std::thread::park_timeout(LOOK);
        }
        producer.join().map_err(|_| "the producer panicked".to_owned())?
    })?;
    let mut events = histogram()?;
    let mut read = None;
    // The last events may still be on their way.
    while events.len() < schedule.events() * 4 / 5 && !schedule.is_over() {
        silver.look(schedule);
        gold.look(schedule);
        if read != Some(silver.next) {
            read = Some(silver.next);
            events = events_of(&silver, schedule)?;
        }
        std::thread::park_timeout(LOOK);
    }
    if events.len() != schedule.events() * 4 / 5 {
        return Err(
            format!("{} events are not visible", schedule.events() * 4 / 5 - events.len()).into()
        );
    }
    Ok((events, windows_of(&gold, schedule, delay)?))
}

fn events_of(silver: &Watched, schedule: &Schedule) -> Result<Histogram<u64>> {
    let mut latencies = histogram()?;
    for (file, seen) in silver.files()? {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?;
        let mask = ProjectionMask::columns(reader.parquet_schema(), ["event_id"]);
        for batch in reader.with_projection(mask).build()? {
            for id in batch?.column(0).as_string::<i32>().iter().flatten() {
                let due = schedule.due(id.parse()?);
                if due >= schedule.measured_from() {
                    latencies.record((seen - due).max(1).cast_unsigned())?;
                }
            }
        }
    }
    Ok(latencies)
}

fn windows_of(gold: &Watched, schedule: &Schedule, delay: i64) -> Result<Histogram<u64>> {
    let mut latencies = histogram()?;
    for (file, seen) in gold.files()? {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?;
        let mask = ProjectionMask::columns(reader.parquet_schema(), ["window_end"]);
        for batch in reader.with_projection(mask).build()? {
            let batch = batch?;
            let ends = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            for due in ends.values().iter().map(|end| end + delay) {
                // A window that only the job's end closes waits for no event.
                if due >= schedule.measured_from() && due < schedule.end() {
                    latencies.record((seen - due).max(1).cast_unsigned())?;
                }
            }
        }
    }
    Ok(latencies)
}
