//! Follows tables as they grow: which files a version added, and their rows. For dashboards.
//!
//! A follower reads the log once, from its newest checkpoint; afterwards one small object a version. It writes
//! nothing and is in nobody's way. What it cannot follow it says, and whoever asked reads anew: a log that was cleaned
//! meanwhile, where the entry behind the one that is known is missing though others came; a table that was made anew,
//! where it is another's; one that has lost rows; one that is far ahead.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use deltalake::kernel::{Action, Add};
use deltalake::logstore::{LogStore, commit_uri_from_version, get_actions};
use futures::FutureExt;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt};
use serde_json::Value;
use thalweg_core::connector::sink::Cut;
use thalweg_core::{Error, Result};
use thalweg_objects::{Access, Place};

use super::active::steadily;
use super::plan::Told;
use super::scan::{Wanted, broken};
use super::storage::Storage;
use super::table::tag;
use super::{cuts, failure, readable};

/// How many versions are followed one by one. A log has a checkpoint every 100 entries, unless it is told otherwise:
/// from further behind reading anew is less work.
const FOLLOWED: u64 = 100;
/// As many may be new to whoever looks all the time.
const NEAR: u64 = 4;

/// Reads what tables below one root gain. Its futures want a multi-thread tokio runtime.
#[derive(Debug, Clone)]
pub struct DeltaFollower {
    storage: Storage,
}

/// A version of a table, as it was found. A table that is made anew has the same numbers again; its versions are others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableVersion {
    number: u64,
    /// Which object its log entry is; `None`: it had been cleaned.
    entry: Option<String>,
}

impl TableVersion {
    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// A file of a table, as the log tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableFile {
    path: Path,
    /// By column; times with an offset are in UTC.
    least: BTreeMap<String, Value>,
    greatest: BTreeMap<String, Value>,
    /// How many rows have no value.
    nulls: BTreeMap<String, Value>,
}

impl TableFile {
    fn new(path: Path, stats: Option<&str>) -> Self {
        let Told { min_values: mut least, max_values: mut greatest, null_count: nulls, .. } =
            Told::parse(stats);
        for value in least.values_mut().chain(greatest.values_mut()) {
            if let Some(utc) = value.as_str().and_then(in_utc) {
                *value = Value::String(utc);
            }
        }
        Self { path, least, greatest, nulls }
    }

    fn of(add: &Add) -> Option<Self> {
        Some(Self::new(Path::parse(&add.path).ok()?, add.stats.as_deref()))
    }

    /// Whether rows may be in it whose timestamp in `column` is at or behind `second` (`2025-11-24T21:00:00`, UTC).
    pub fn may_reach(&self, column: &str, second: &str) -> bool {
        self.greatest_second(column).is_none_or(|greatest| greatest >= second)
    }

    /// Whether rows may be in it whose timestamp in `column` is within `second` or before it.
    pub fn may_begin_by(&self, column: &str, second: &str) -> bool {
        self.least_second(column).is_none_or(|least| least <= second)
    }

    /// Whether rows may be in it that have no value in `column`.
    pub fn may_hold_nulls(&self, column: &str) -> bool {
        self.nulls.get(column).and_then(Value::as_u64).is_none_or(|nulls| nulls > 0)
    }

    /// The least timestamp in `column`, to the second, UTC, if the log tells.
    pub fn least_second(&self, column: &str) -> Option<&str> {
        second(&self.least, column)
    }

    /// The greatest timestamp in `column`, to the second, UTC, if the log tells.
    pub fn greatest_second(&self, column: &str) -> Option<&str> {
        second(&self.greatest, column)
    }

    /// Whether the log tells that every row has `text` in `column`.
    pub fn holds_only(&self, column: &str, text: &str) -> bool {
        let is = |told: &BTreeMap<String, Value>| told.get(column)?.as_str().map(|t| t == text);
        is(&self.least) == Some(true) && is(&self.greatest) == Some(true)
    }

    /// The greatest whole number in `column`, if the log tells.
    pub fn greatest_number(&self, column: &str) -> Option<i64> {
        self.greatest.get(column)?.as_i64()
    }
}

fn second<'a>(told: &'a BTreeMap<String, Value>, column: &str) -> Option<&'a str> {
    let text = told.get(column)?.as_str()?.strip_suffix('Z')?;
    text.get(.."2025-11-24T21:00:00".len())
}

/// A time that says its offset, in UTC. Spark writes statistics with that of its session.
fn in_utc(text: &str) -> Option<String> {
    let time = speedate::DateTime::parse_str(text).ok()?;
    let utc = time.in_timezone(0).ok()?;
    // Seconds behind the year 2600 would be taken for milliseconds.
    (utc.timestamp() == time.timestamp_tz()).then(|| utc.to_string())
}

/// Whether what was known of a table's files does not hold any more: its columns or settings are others, or rows were taken
/// away, with their file or from it, which is then told as if it were new. A file that was only merged with others has all
/// of its rows in the new one, and says that it changes no data.
fn changes_reading(action: &Action) -> bool {
    match action {
        Action::Metadata(_) | Action::Protocol(_) => true,
        Action::Add(add) => add.deletion_vector.is_some(),
        Action::Remove(remove) => remove.data_change,
        _ => false,
    }
}

impl DeltaFollower {
    /// A follower of the tables below `root`.
    ///
    /// # Errors
    /// The root is no place.
    pub fn at(root: &Place, access: &Access) -> Result<Self> {
        Ok(Self { storage: Storage::at(root, access)? })
    }

    /// The newest version of `table`; `None` when there is no such table.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn newest(&self, table: &str) -> Result<Option<TableVersion>> {
        let loaded = steadily(|| self.storage.load(table, None).boxed()).await?;
        let Some(number) = loaded.and_then(|loaded| loaded.version()) else { return Ok(None) };
        let log = self.storage.log(table)?;
        let entry = tag(&log, table, number).await?;
        Ok(Some(TableVersion { number, entry }))
    }

    /// The newest version of `table` and the files with new rows in the versions behind `known`. `None`: it cannot be
    /// followed from there and has to be read anew. Its log was cleaned meanwhile, or it has lost rows, or it is far ahead, or
    /// another table stands there, or none.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn since(
        &self,
        table: &str,
        known: &TableVersion,
    ) -> Result<Option<(TableVersion, Vec<TableFile>)>> {
        let log = self.storage.log(table)?;
        let mut newest = known.clone();
        while let Some(entry) = tag(&log, table, newest.number + 1).await? {
            newest = TableVersion { number: newest.number + 1, entry: Some(entry) };
            let ahead = newest.number - known.number;
            // Who is far behind finds out soon, and who is not is not asked to look.
            let is_far =
                ahead == NEAR && tag(&log, table, known.number + FOLLOWED + 1).await?.is_some();
            if is_far || ahead > FOLLOWED {
                return Ok(None);
            }
        }
        // That there is no next entry says nothing where the known one is gone, too. And it is looked for last: entries
        // that were found before it are of its table.
        if known.entry.is_none() || tag(&log, table, known.number).await? != known.entry {
            return Ok(None);
        }
        let files = self.added(table, known.number, newest.number).await?;
        Ok(files.map(|files| (newest, files)))
    }

    /// All files of `table` at `version`, the oldest first, as [`DeltaFollower::added`] tells them; none when there is no such
    /// table.
    ///
    /// # Errors
    /// The log cannot be read, or no longer reaches back to that version.
    pub async fn files(&self, table: &str, version: u64) -> Result<Vec<TableFile>> {
        let loaded = steadily(|| self.storage.load(table, Some(version)).boxed()).await?;
        let Some(loaded) = loaded else { return Ok(Vec::new()) };
        let state = loaded.snapshot().map_err(|e| failure::log("read the log", table, &e))?;
        if let Some(why) = readable::obstacle(table, state)? {
            return Err(Error::incompatible(why));
        }
        let files = state.log_data();
        let files = files.iter().map(|f| {
            let file = TableFile::new(f.object_store_path(), f.stats().as_deref());
            (f.modification_time(), file)
        });
        let mut files: Vec<(i64, TableFile)> = files.collect();
        files.sort_by(|(at, file), (other, behind)| (at, &file.path).cmp(&(other, &behind.path)));
        Ok(files.into_iter().map(|(_, file)| file).collect())
    }

    /// The files with new rows in the versions behind `after` up to `to`; `None` when the log does not tell: it was
    /// cleaned meanwhile, `to` lies before `after`, in a table that was made anew, or somebody took rows away or changed how it
    /// is read.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn added(&self, table: &str, after: u64, to: u64) -> Result<Option<Vec<TableFile>>> {
        if to < after {
            return Ok(None);
        }
        let log = self.storage.log(table)?;
        let store = log.object_store(None);
        let mut files = Vec::new();
        for version in after + 1..=to {
            let failed = |e| failure::storage(format!("read log entry {version}"), table, &e);
            let bytes = match store.get(&commit_uri_from_version(Some(version))).await {
                Err(StoreError::NotFound { .. }) => return Ok(None),
                found => found.map_err(failed)?.bytes().await.map_err(failed)?,
            };
            let actions = get_actions(version, &bytes)
                .map_err(|e| failure::log(format!("read log entry {version}"), table, &e))?;
            if actions.iter().any(changes_reading) {
                return Ok(None);
            }
            // A merge of files adds rows that were there.
            files.extend(actions.iter().filter_map(|action| match action {
                Action::Add(add) if add.data_change => TableFile::of(add),
                _ => None,
            }));
        }
        Ok(Some(files))
    }

    /// The rows of a file, of the columns called `columns` in the table's own order.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn rows(
        &self,
        table: &str,
        file: &TableFile,
        columns: &[&str],
    ) -> Result<Vec<RecordBatch>> {
        let collect = |batches: &mut Vec<RecordBatch>, batch| batches.push(batch);
        self.fold(table, file, columns, Vec::new(), collect).await
    }

    /// The same, but each batch is given to `take` and forgotten: `folded` is what is kept.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn fold<T: Send + 'static>(
        &self,
        table: &str,
        file: &TableFile,
        columns: &[&str],
        mut folded: T,
        take: impl Fn(&mut T, RecordBatch) + Send + 'static,
    ) -> Result<T> {
        let data = self.storage.data(table)?;
        let wanted = Wanted { table, columns: Some(columns), within: None };
        let reader = wanted.open(&data, &file.path).await?;
        let read = move || {
            for batch in reader {
                take(&mut folded, batch?);
            }
            Ok::<_, ArrowError>(folded)
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|_| Error::internal(format!("a reader of table `{table}` ended early")))?
            .map_err(|_| broken(table))
    }

    /// The published cuts among the rows of a file of `meta/checkpoints`.
    ///
    /// # Errors
    /// The file cannot be read or holds something else.
    pub async fn cuts(&self, file: &TableFile) -> Result<Vec<Cut>> {
        let mut found = Vec::new();
        for batch in self.rows(cuts::TABLE, file, &cuts::COLUMNS).await? {
            found.extend(cuts::of_rows(&batch)?);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(greatest: &str) -> TableFile {
        let stats = serde_json::json!({ "numRecords": 1, "maxValues": { "t": greatest } });
        TableFile::new(Path::from("f.parquet"), Some(&stats.to_string()))
    }

    #[test]
    fn the_greatest_time_is_that_of_utc_whatever_offset_it_is_written_with() {
        for same in [
            "2025-11-24T21:00:00Z",
            "2025-11-24T21:00:00.999Z",
            "2025-11-24T21:00:00.5+00:00",
            "2025-11-24T22:00:00.123+01:00",
            "2025-11-24 22:00:00+01:00",
            "2025-11-24T16:30:00-04:30",
        ] {
            let file = file(same);
            assert_eq!(file.greatest_second("t"), Some("2025-11-24T21:00:00"), "{same}");
            assert!(file.may_reach("t", "2025-11-24T21:00:00"));
            assert!(!file.may_reach("t", "2025-11-24T21:00:01"));
        }
    }

    #[test]
    fn a_file_begins_by_its_least_time_or_by_any_and_holds_nulls_unless_it_is_told_that_there_are_none()
     {
        let stats = serde_json::json!({
            "numRecords": 2,
            "minValues": { "t": "2025-11-24T21:00:00.999Z", "n": "2025-11-24T21:00:00Z" },
            "maxValues": { "t": "2025-11-24T22:00:00Z", "n": "2025-11-24T21:00:00Z" },
            "nullCount": { "t": 0, "n": 1, "void": 2, "nested": { "t": 0 } },
        });
        let told = TableFile::new(Path::from("f.parquet"), Some(&stats.to_string()));
        assert!(told.may_begin_by("t", "2025-11-24T21:00:00"));
        assert!(!told.may_begin_by("t", "2025-11-24T20:59:59"));
        assert!(told.may_begin_by("void", "1970-01-01T00:00:00"));
        assert!(!told.may_hold_nulls("t"));
        let untold = TableFile::new(Path::from("f.parquet"), None);
        assert!(untold.may_begin_by("t", "1970-01-01T00:00:00") && untold.may_hold_nulls("t"));
        for column in ["n", "void", "nested", "absent"] {
            assert!(told.may_hold_nulls(column), "{column}");
        }
    }

    #[test]
    fn what_all_rows_of_a_file_have_in_a_column_is_told_by_both_ends() {
        let told = |least: &str, greatest: &str| {
            let stats =
                serde_json::json!({ "minValues": { "c": least }, "maxValues": { "c": greatest } });
            TableFile::new(Path::from("f.parquet"), Some(&stats.to_string()))
        };
        assert!(told("a", "a").holds_only("c", "a"));
        for (least, greatest) in [("a", "b"), ("b", "b"), ("", "a")] {
            assert!(!told(least, greatest).holds_only("c", "a"), "{least} {greatest}");
        }
        assert!(!TableFile::new(Path::from("f.parquet"), None).holds_only("c", "a"));
    }

    #[test]
    fn a_file_whose_greatest_time_is_not_understood_may_reach_any() {
        for other in ["2025-11-24 21:00:00", "9999-12-31T23:00:00+01:00", "yesterday", "7", ""] {
            let file = file(other);
            assert_eq!(file.greatest_second("t"), None, "{other}");
            assert!(file.may_reach("t", "2026-01-01T00:00:00"), "{other}");
        }
    }
}
