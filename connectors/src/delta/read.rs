//! Reads tables file by file, at their newest version or an older one: for tools. Blocking.
//!
//! A scan names columns, and may name a stretch of a time column: files whose statistics in the log and row groups
//! whose statistics in the footer say that no row lies in it are not read, the other rows are filtered.

use std::fmt;
use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use deltalake::kernel::StructType;
use futures::FutureExt;
use object_store::path::Path;
use thalweg_core::connector::sink::Cut;
use thalweg_core::record::{Column, Timestamp};
use thalweg_core::time::EventTime;
use thalweg_core::{Error, Result, error};
use thalweg_objects::{Access, Place};

use super::scan::{Wanted, Within, broken};
use super::statistics::FileStatistics;
use super::storage::Storage;
use super::{active, count, cuts, failure, plan, readable, schema};

/// Hands each batch of the columns called `columns` (in the table's own order) to `visit`.
///
/// # Errors
/// There is no such table below `root`, or one of its files cannot be read.
pub fn read_table(
    root: &Place,
    access: &Access,
    table: &str,
    columns: &[&str],
    visit: impl FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let reader = DeltaReader::at(root, access)?;
    let missing = || Error::config(format!("there is no table {table} in {}", reader.storage));
    reader.open(table)?.ok_or_else(missing)?.scan(columns, None, visit)
}

/// Opens the tables below one folder or prefix.
pub struct DeltaReader {
    storage: Storage,
    runtime: tokio::runtime::Runtime,
}

impl fmt::Debug for DeltaReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaReader").field("storage", &self.storage).finish_non_exhaustive()
    }
}

/// The version of a table that was asked for.
#[derive(Debug)]
pub struct OpenTable<'a> {
    reader: &'a DeltaReader,
    name: String,
    version: u64,
    columns: Vec<TableColumn>,
    files: Vec<File>,
    /// Why its rows cannot be read, if they cannot.
    obstacle: Option<String>,
}

/// A column as Delta writes it down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableColumn {
    /// Its name.
    pub name: String,
    /// Its type in Delta's words, as JSON.
    pub data_type: String,
}

#[derive(Debug)]
struct File {
    path: Path,
    rows: Option<u64>,
    stats: Option<String>,
}

impl TableColumn {
    /// The columns that a table made for rows of `schema` has.
    ///
    /// # Errors
    /// Delta has no such columns.
    pub fn of(schema: &Schema) -> Result<Vec<Self>> {
        let file = schema::file_schema("expected", schema)?;
        schema::delta_schema("expected", &file).and_then(|delta| columns("expected", &delta))
    }
}

impl DeltaReader {
    /// Reads the tables below `root`.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] when this build lacks the place's feature, or a variable is wrong.
    pub fn at(root: &Place, access: &Access) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| error::io("start the I/O threads", e))?;
        Ok(Self { storage: Storage::at(root, access)?, runtime })
    }

    /// The newest version of `table`; `None` when there is no such table.
    ///
    /// # Errors
    /// Its log cannot be read.
    pub fn open(&self, table: &str) -> Result<Option<OpenTable<'_>>> {
        self.open_version(table, None)
    }

    /// `table` as it was at `version`.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] when the log has no such version, or none any more.
    pub fn open_at(&self, table: &str, version: u64) -> Result<Option<OpenTable<'_>>> {
        self.open_version(table, Some(version))
    }

    /// The newest published cut of `job`; `None` when it has published none yet. A chain that begins while the clock is
    /// set back counts as older than the one before it until the clock gets there: who knows the chain takes its cut
    /// from [`DeltaReader::newest_cuts`].
    ///
    /// # Errors
    /// `meta/checkpoints` cannot be read.
    pub fn newest_cut(&self, job: &str) -> Result<Option<Cut>> {
        Ok(self.newest_cuts(job)?.pop())
    }

    /// The newest published cut of each chain of `job`, as [`super::newest_cuts`] orders them.
    ///
    /// # Errors
    /// `meta/checkpoints` cannot be read.
    pub fn newest_cuts(&self, job: &str) -> Result<Vec<Cut>> {
        let Some(table) = self.open(cuts::TABLE)? else { return Ok(Vec::new()) };
        let mut newest: Vec<Cut> = Vec::new();
        table.scan(&cuts::COLUMNS, None, |batch| {
            let found = cuts::of_rows(&batch)?;
            let of_job = found.iter().filter(|cut| cut.job == job);
            newest = cuts::newest_cuts(newest.iter().chain(of_job)).into_iter().cloned().collect();
            Ok(())
        })?;
        Ok(newest)
    }

    fn open_version(&self, table: &str, version: Option<u64>) -> Result<Option<OpenTable<'_>>> {
        self.runtime.block_on(active::steadily(|| self.load(table, version).boxed()))
    }

    async fn load(&self, table: &str, version: Option<u64>) -> Result<Option<OpenTable<'_>>> {
        let Some(loaded) = self.storage.load(table, version).await? else { return Ok(None) };
        let state = loaded.snapshot().map_err(|e| failure::log("read the log", table, &e))?;
        let files = state.log_data();
        let files = files.iter().map(|file| File {
            path: file.object_store_path(),
            rows: count::rows_of(&file),
            stats: file.stats(),
        });
        Ok(Some(OpenTable {
            reader: self,
            name: table.to_owned(),
            version: state.version(),
            columns: columns(table, &state.schema())?,
            files: files.collect(),
            obstacle: readable::obstacle(table, state)?,
        }))
    }
}

impl OpenTable<'_> {
    /// The version that is open.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Its columns, in order.
    pub fn columns(&self) -> &[TableColumn] {
        &self.columns
    }

    /// How many files it has.
    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Its rows; `None` when a file of others came without statistics.
    pub fn rows(&self) -> Option<u64> {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// The greatest time in `column`, to the millisecond, as far as statistics tell; nothing is read for it.
    pub fn latest(&self, column: Column<Timestamp>) -> Option<EventTime> {
        let told = |file: &File| plan::times_told(file.stats.as_deref(), column.name());
        self.files.iter().filter_map(told).map(|(_, greatest)| greatest).max()
    }

    /// The least time in `column`, to the millisecond, as far as statistics tell; nothing is read for it.
    pub fn earliest(&self, column: Column<Timestamp>) -> Option<EventTime> {
        let told = |file: &File| plan::times_told(file.stats.as_deref(), column.name());
        self.files.iter().filter_map(told).map(|(least, _)| least).min()
    }

    /// As [`OpenTable::latest`], but as if no row were later than `until`: one clock that is ahead says nothing of the others. Statistics
    /// tell the ends of a file only, so one with rows on both sides counts by its least time.
    pub fn latest_until(&self, column: Column<Timestamp>, until: EventTime) -> Option<EventTime> {
        let told = |file: &File| plan::times_told(file.stats.as_deref(), column.name());
        plan::newest_until(self.files.iter().filter_map(told), until)
    }

    /// Hands each batch of the columns called `columns` (in the table's own order) to `visit`: all rows, or those whose
    /// time lies in a half-open stretch, µs. That column comes along. A column that a file lacks is missing from its
    /// batches.
    ///
    /// # Errors
    /// A file cannot be read. [`thalweg_core::ErrorKind::IncompatibleState`] when the table uses what is not understood
    /// here, deletion vectors say: no row that was deleted is ever handed out.
    pub fn scan(
        &self,
        columns: &[&str],
        within: Option<(Column<Timestamp>, Range<EventTime>)>,
        mut visit: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        self.check()?;
        let within = within.map(|(column, range)| Within { column: column.name(), range });
        for file in &self.files {
            if within.as_ref().is_some_and(|w| w.excludes(file.stats.as_deref())) {
                continue;
            }
            self.scan_one(file, columns, within.as_ref(), &mut visit)?;
        }
        Ok(())
    }

    /// The numbers of the files that may hold what is looked for, by what the log tells of them.
    pub fn files_where(&self, may_hold: impl Fn(&FileStatistics) -> bool) -> Vec<usize> {
        let files = self.files.iter().enumerate();
        let found = files.filter(|(_, f)| may_hold(&FileStatistics::parse(f.stats.as_deref())));
        found.map(|(number, _)| number).collect()
    }

    /// As [`OpenTable::scan`], of the file with this number alone.
    ///
    /// # Errors
    /// As there, and there is no such file.
    pub fn scan_file(
        &self,
        number: usize,
        columns: &[&str],
        mut visit: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        self.check()?;
        let file = self.files.get(number);
        let file = file.ok_or_else(|| Error::internal("a table's file that it does not have"))?;
        self.scan_one(file, columns, None, &mut visit)
    }

    /// Whether its rows can be read.
    fn check(&self) -> Result<()> {
        let obstacle = self.obstacle.clone();
        obstacle.map_or(Ok(()), |obstacle| Err(Error::incompatible(obstacle)))
    }

    fn scan_one(
        &self,
        file: &File,
        columns: &[&str],
        within: Option<&Within<'_>>,
        visit: &mut impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let data = self.reader.storage.data(&self.name)?;
        let wanted = Wanted { table: &self.name, columns: Some(columns), within };
        for batch in self.reader.runtime.block_on(wanted.open(&data, &file.path))? {
            let batch = batch.map_err(|_| broken(&self.name))?;
            let batch = match within {
                Some(within) => within.filter(&self.name, &batch)?,
                None => batch,
            };
            if batch.num_rows() > 0 {
                visit(batch)?;
            }
        }
        Ok(())
    }
}

fn columns(table: &str, schema: &StructType) -> Result<Vec<TableColumn>> {
    #[derive(serde::Deserialize)]
    struct Field {
        name: String,
        #[serde(rename = "type")]
        data_type: serde_json::Value,
    }
    #[derive(serde::Deserialize)]
    struct Fields {
        fields: Vec<Field>,
    }
    let failed = |_| Error::corrupt(format!("the columns of table `{table}` cannot be read"));
    let json = serde_json::to_value(schema).map_err(failed)?;
    let Fields { fields } = serde_json::from_value(json).map_err(failed)?;
    let column = |f: Field| TableColumn { name: f.name, data_type: f.data_type.to_string() };
    Ok(fields.into_iter().map(column).collect())
}
