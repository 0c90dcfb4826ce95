//! Rows of a stretch of time take the place of those that are there: one log entry, or none.
//!
//! The files that hold such rows are written anew, without them, with the columns that the table has by now (`align`).
//! The rules are those of merging (`replace`): appends of others outside of the stretch are fine, and whoever adds rows that may
//! lie in it, or touches one of the same files, first wins; then all is read again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{Field, FieldRef, Fields, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use deltalake::kernel::{Add, Remove};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde::Deserialize;
use thalweg_core::time::EventTime;
use thalweg_core::{CheckpointId, Error, Result};

use super::encode::Recipe;
use super::entry::Replacement;
use super::plan::DataFile;
use super::replace::{Replaced, Replacer};
use super::scan::{Wanted, Within, broken};
use super::storage::Storage;
use super::table::Table;
use super::values::Rows;
use super::{active, align, compact, compatibility, paths, schema};
use crate::epoch_writer::Stager;

/// How often all is read again because others were first.
const TRIES: u32 = 3;

/// What was replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overwritten {
    /// Rows that were in the stretch before.
    pub removed: u64,
    /// Rows that are now.
    pub added: u64,
    /// Files that were written anew.
    pub files: u64,
}

pub(super) async fn overwrite(
    storage: &Storage,
    table: &str,
    column: &str,
    range: Range<EventTime>,
    rows: &[RecordBatch],
) -> Result<Overwritten> {
    let stretch = Stretch { storage, table, within: Within { column, range } };
    stretch.check_rows(rows)?;
    let mut why = "";
    for _ in 0..TRIES {
        match stretch.once(rows).await? {
            Ok(done) => return Ok(done),
            Err(reason) => why = reason,
        }
    }
    Err(Error::transient(format!("rows of table `{table}` could not be replaced: {why}")))
}

struct Stretch<'a> {
    storage: &'a Storage,
    table: &'a str,
    within: Within<'a>,
}

impl Stretch<'_> {
    /// The inner error says why others were first.
    async fn once(&self, rows: &[RecordBatch]) -> Result<Result<Overwritten, &'static str>> {
        let name = self.table;
        let missing = || Error::config(format!("there is no table {name} in {}", self.storage));
        let (table, files) = active::newest(self.storage, name).await?.ok_or_else(missing)?;
        self.check(&table)?;
        let columns = self.columns(&table, rows)?;
        let mut done = Overwritten::default();
        let (mut removes, mut kept): (Vec<Remove>, Vec<RecordBatch>) = (Vec::new(), Vec::new());
        for file in &files {
            if self.within.excludes(file.stats.as_deref()) {
                continue;
            }
            let (others, inside) = self.split(file).await?;
            if inside > 0 && !paths::can_be_removed(&file.path) {
                return Err(self.refused(
                    "some are in a file of others, and by its name nobody can tell how the log names it",
                ));
            }
            if inside > 0 {
                done.removed += inside;
                removes.push(file.remove.clone());
                kept.extend(others);
            }
        }
        let watched: HashSet<String> = removes.iter().map(|r| r.path.clone()).collect();
        done.files = removes.len() as u64;
        done.added = rows.iter().map(|b| b.num_rows() as u64).sum();
        if rows.is_empty() && kept.is_empty() {
            return Err(Error::config(format!(
                "nothing would be left of table `{name}`: it is left as it is"
            )));
        }
        let recipe = Recipe::new(self.storage, name, &columns, &[], &BTreeSet::new())?;
        let adds = write(&recipe, name, &columns, rows.iter().chain(&kept)).await?;
        let why = Replacement::Rows { predicate: self.predicate() };
        let read = files.into_iter().map(|file| file.path).collect();
        let mut replacer = Replacer::new(self.storage, table, watched).within(&self.within, read);
        match replacer.replace(removes, &adds, &why).await? {
            Replaced::Done => Ok(Ok(done)),
            Replaced::Refused(why) => {
                self.discard(&adds).await?;
                Ok(Err(why))
            }
            // Some entry may name the new files: they stay for the vacuum, and nobody guesses.
            Replaced::Lost(why) => Err(Error::transient(format!(
                "rows of table `{name}` may have been replaced: {why}"
            ))),
        }
    }

    /// Others would stay beside those that they stand for, and be there again after the next time.
    fn check_rows(&self, rows: &[RecordBatch]) -> Result<()> {
        for batch in rows {
            if self.within.inside(self.table, batch)?.true_count() < batch.num_rows() {
                return Err(self.refused("some of the new ones lie outside of the stretch of time"));
            }
        }
        Ok(())
    }

    fn refused(&self, why: &str) -> Error {
        Error::config(format!("rows of table `{}` are not replaced: {why}", self.table))
    }

    /// The table's columns as they are now, with the marks of `rows`: all that is written has them.
    fn columns(&self, table: &Table, rows: &[RecordBatch]) -> Result<SchemaRef> {
        let not_understood = |_| self.refused("it has a column of a type that is not understood");
        let columns = schema::of_table(self.table, &table.facts.schema).map_err(not_understood)?;
        for batch in rows {
            let ours = schema::file_schema(self.table, batch.schema_ref())?;
            let ours = schema::delta_schema(self.table, &ours)?;
            if let Some(why) = compatibility::obstacle(&ours, &BTreeSet::new(), &table.facts) {
                return Err(self.refused(&why));
            }
        }
        let marked = |field: &FieldRef| match marks_of(rows, field.name()) {
            Some(marks) => Arc::new(Field::clone(field).with_metadata(marks)),
            None => Arc::clone(field),
        };
        Ok(Arc::new(Schema::new(columns.fields().iter().map(marked).collect::<Fields>())))
    }

    fn check(&self, table: &Table) -> Result<()> {
        let refused = |why: &str| Err(self.refused(why));
        if let Some(why) = compact::not_understood(&table.facts) {
            return refused(&why);
        }
        if !table.facts.partition_columns.is_empty() {
            return refused("it is partitioned");
        }
        let configuration = &table.facts.configuration;
        if configuration.get("delta.appendOnly").is_some_and(|v| v == "true") {
            return refused("its property delta.appendOnly forbids it");
        }
        // Those of a table with marked columns: the new files' statistics would tell their values.
        if configuration.keys().any(|key| key.starts_with("delta.dataSkipping")) {
            return refused("its statistics must not tell of all columns");
        }
        Ok(())
    }

    fn predicate(&self) -> String {
        let Within { column, range: Range { start, end } } = &self.within;
        format!("unix_micros({column}) >= {start} AND unix_micros({column}) < {end}")
    }

    /// The rows of a file that lie outside of the stretch, and how many lie in it.
    async fn split(&self, file: &DataFile) -> Result<(Vec<RecordBatch>, u64)> {
        let failed = || broken(self.table);
        let path = Path::parse(&file.path).map_err(|_| failed())?;
        let wanted = Wanted { table: self.table, columns: None, within: None };
        let (mut others, mut inside) = (Vec::new(), 0);
        for batch in wanted.open(&self.storage.data(self.table)?, &path).await? {
            let batch = batch.map_err(|_| failed())?;
            let within = self.within.inside(self.table, &batch)?;
            inside += within.true_count() as u64;
            let outside = BooleanArray::new(!within.values(), None);
            let rest = filter_record_batch(&batch, &outside).map_err(|_| failed())?;
            if rest.num_rows() > 0 {
                others.push(rest);
            }
        }
        Ok((others, inside))
    }

    /// Removes files that no log entry will ever name.
    async fn discard(&self, adds: &[Add]) -> Result<()> {
        let data = self.storage.data(self.table)?;
        for path in adds.iter().filter_map(|add| Path::parse(&add.path).ok()) {
            // The next vacuum finds what is left.
            drop(data.delete(&path).await);
        }
        Ok(())
    }
}

/// What is said of a column of `rows` beside its type.
fn marks_of(rows: &[RecordBatch], column: &str) -> Option<HashMap<String, String>> {
    let fields = rows.iter().filter_map(|b| b.schema_ref().field_with_name(column).ok());
    fields.map(|field| field.metadata().clone()).find(|marks| !marks.is_empty())
}

/// Writes and syncs the rows, and describes their files.
async fn write(
    recipe: &Recipe,
    table: &str,
    columns: &SchemaRef,
    rows: impl Iterator<Item = &RecordBatch>,
) -> Result<Vec<Add>> {
    let mut files = recipe.begin(CheckpointId(0));
    for batch in rows {
        let batch = align::align(table, batch, columns)?;
        files.write(&recipe.fit(&batch, Rows::Kept)?).await?;
    }
    let staged = files.close().await?;
    let add = |item| {
        Add::deserialize(item).map_err(|_| {
            Error::internal(format!("a new file of table `{table}` cannot be described"))
        })
    };
    staged.items.iter().map(add).collect()
}
