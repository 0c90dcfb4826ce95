//! A reader at every published cut: whatever happened, the tables of one cut belong together (P18).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{batches, data_files_at};

const MINUTE: i64 = 60_000_000;

/// Looks at the cuts of one data folder as they come.
#[derive(Debug, Default)]
pub(crate) struct CutReader {
    seen: HashSet<(String, i64)>,
    /// Rows per minute of event time, by file: files never change.
    minutes: HashMap<PathBuf, BTreeMap<i64, i64>>,
}

impl CutReader {
    /// Judges every cut that is new; returns how many have been judged.
    pub(crate) fn judge(&mut self, data: &Path) -> usize {
        for batch in batches(&data.join("meta/checkpoints")) {
            let column = |name: &str| batch.column_by_name(name).unwrap();
            let numbers = column("checkpoint").as_primitive::<Int64Type>();
            let (tables, versions) = (column("tables").as_list::<i32>(), column("versions"));
            let (chains, versions) =
                (column("chain").as_string::<i32>(), versions.as_list::<i32>());
            for row in 0..batch.num_rows() {
                if !self.seen.insert((chains.value(row).to_owned(), numbers.value(row))) {
                    continue;
                }
                let (tables, versions) = (tables.value(row), versions.value(row));
                let names = tables.as_string::<i32>().iter().flatten().map(str::to_owned);
                let versions = versions.as_primitive::<Int64Type>().values().iter();
                self.judge_one(data, &names.zip(versions.copied()).collect());
            }
        }
        self.seen.len()
    }

    fn judge_one(&mut self, data: &Path, cut: &BTreeMap<String, i64>) {
        let mut minutes = |table: &str, column: &str| {
            let mut sum: BTreeMap<i64, i64> = BTreeMap::new();
            for file in data_files_at(&data.join(table), cut[table]) {
                let counted = self.minutes.entry(file.clone());
                for (minute, rows) in counted.or_insert_with(|| per_minute(&file, column)) {
                    *sum.entry(*minute).or_default() += *rows;
                }
            }
            sum
        };
        let mut on_time = minutes("silver/events", "event_time");
        let silver: i64 = on_time.values().sum();
        let messages: i64 = minutes("bronze/events", "partition").values().sum();
        let rejected: i64 = minutes("quarantine/events", "partition").values().sum();
        assert_eq!(messages, silver + rejected, "bronze is silver and quarantine, at {cut:?}");
        for (minute, late) in minutes("late/events", "event_time") {
            *on_time.entry(minute).or_default() -= late;
        }
        on_time.retain(|_, rows| *rows > 0);
        let mut gold = BTreeMap::new();
        for file in data_files_at(&data.join("gold/kpis"), cut["gold/kpis"]) {
            for batch in read(&file, &["window_start", "events"]) {
                let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>();
                let events = batch.column(1).as_primitive::<Int64Type>();
                gold.extend(starts.values().iter().copied().zip(events.values().iter().copied()));
            }
        }
        // What gold does not have are the open windows, all behind those that it has.
        if let Some((newest, _)) = gold.last_key_value() {
            drop(on_time.split_off(&(newest + 1)));
        } else {
            on_time.clear();
        }
        assert_eq!(gold, on_time, "gold is what is on time in silver, at {cut:?}");
    }
}

/// Rows by the minute that `column` is in; all in one where it is no time.
fn per_minute(file: &Path, column: &str) -> BTreeMap<i64, i64> {
    let mut minutes = BTreeMap::new();
    for batch in read(file, &[column]) {
        match batch.column(0).as_primitive_opt::<TimestampMicrosecondType>() {
            Some(times) => times.values().iter().for_each(|time| {
                *minutes.entry(time.div_euclid(MINUTE) * MINUTE).or_default() += 1;
            }),
            None => *minutes.entry(0).or_default() += batch.num_rows() as i64,
        }
    }
    minutes
}

fn read(file: &Path, columns: &[&str]) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap();
    let mask = ProjectionMask::columns(reader.parquet_schema(), columns.iter().copied());
    reader.with_projection(mask).build().unwrap().map(Result::unwrap).collect()
}
