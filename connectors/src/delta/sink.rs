//! The sink as data: which table, who may enter, how files are laid out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_schema::{DataType, Schema, SchemaRef};
use thalweg_core::connector::sink::{Committer, Sink, SinkWriter, Target, WriterContext};
use thalweg_core::sensitivity::{Clearance, all_sensitivities, sensitivities};
use thalweg_core::{Error, Result};

use super::KIND;
use super::committer::DeltaCommitter;
use super::encode::Recipe;
use super::entry::Definition;
use super::evolve::SchemaEvolution;
use super::{schema, storage, withheld};
use crate::epoch_writer::EpochWriter;

/// Table properties that an append-only table of the oldest protocol may have.
const PROPERTIES: [&str; 8] = [
    "delta.appendOnly",
    "delta.checkpointInterval",
    withheld::COUNT,
    withheld::COLUMNS,
    "delta.deletedFileRetentionDuration",
    "delta.enableExpiredLogCleanup",
    "delta.logRetentionDuration",
    "delta.targetFileSize",
];

/// Bytes of batches that a writer holds before `write` waits.
const BUFFER_BYTES: usize = 64 << 20;

/// Appends rows to a Delta table, each exactly once.
///
/// **Shape** The table has the columns of the sink's input, without marks: booleans, signed integers, floats, text,
/// binary, dates, decimals, timestamps in microseconds UTC, lists and structs of these.
/// **Time** Rows become visible once per checkpoint, after its manifest was written.
/// **Errors** [`Sink::target`] refuses columns that Delta cannot hold as they are. A row with a value that its table's log
/// cannot tell ends the job as [`thalweg_core::ErrorKind::InvalidRecord`]: a null where none may be, a day or a time outside of
/// the years 1 to 9999, and in a column that makes folders ([`DeltaSink::partition_by`]) an empty text,
/// `__HIVE_DEFAULT_PARTITION__`, or one whose folder, `column=text` with most signs as three bytes, has a name of more than 255.
///
/// ```
/// use std::sync::Arc;
/// use thalweg_connectors::delta::{DeltaCommitter, DeltaSink};
/// use thalweg_core::connector::sink::Sink;
/// let tables = Arc::new(DeltaCommitter::new("tables")?);
/// let silver = DeltaSink::append(&tables, "silver/events").partition_by(["day"]);
/// let gold = DeltaSink::append(&tables, "gold/per-minute").rank(1).single_writer();
/// assert_eq!(silver.describe(), "delta silver/events");
/// assert_eq!((Sink::rank(&gold), gold.parallelism()), (1, Some(1)));
/// # Ok::<(), thalweg_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct DeltaSink {
    committer: Arc<DeltaCommitter>,
    path: String,
    clearance: Clearance,
    rank: u8,
    single_writer: bool,
    partition_by: Vec<String>,
    configuration: BTreeMap<String, String>,
    uncompressed: BTreeSet<String>,
    schema_evolution: SchemaEvolution,
    buffer_bytes: usize,
}

impl DeltaSink {
    /// Appends to the table at `path`, relative to the committer's root. Sinks of one job share one committer.
    pub fn append(committer: &Arc<DeltaCommitter>, path: impl Into<String>) -> Self {
        Self {
            committer: Arc::clone(committer),
            path: path.into(),
            clearance: Clearance::none(),
            rank: 0,
            single_writer: false,
            partition_by: Vec::new(),
            configuration: BTreeMap::new(),
            uncompressed: BTreeSet::new(),
            schema_evolution: SchemaEvolution::default(),
            buffer_bytes: BUFFER_BYTES,
        }
    }

    /// Which marked columns may enter. Default: none.
    #[must_use]
    pub fn clearance(mut self, clearance: Clearance) -> Self {
        self.clearance = clearance;
        self
    }

    /// Tables of a lower rank are committed first. Default: 0.
    #[must_use]
    pub fn rank(mut self, rank: u8) -> Self {
        self.rank = rank;
        self
    }

    /// One writer, so one file per epoch and partition. Default: as many as the input has.
    #[must_use]
    pub fn single_writer(mut self) -> Self {
        self.single_writer = true;
        self
    }

    /// Folders by the values of these columns, in this order. Default: none. Each writer has one open file per value
    /// that occurs in an epoch: choose columns of few values. Their values stand in names of files and in the log, so
    /// [`Sink::target`] refuses a marked column, and a timestamp, which stands there without a zone: each reader would
    /// take it for a time of its own. Dates are fine.
    #[must_use]
    pub fn partition_by(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.partition_by = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a table property at creation. Defaults: log entries are kept for one day, a log checkpoint every 100
    /// entries. Properties that need a newer protocol are refused by [`Sink::target`].
    #[must_use]
    pub fn configuration(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configuration.insert(key.into(), value.into());
        self
    }

    /// Columns that do not compress, such as ciphertext. Default: none.
    #[must_use]
    pub fn uncompressed(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.uncompressed = columns.into_iter().map(Into::into).collect();
        self
    }

    /// What a start does about columns that the table lacks. Default: it is refused ([`SchemaEvolution::Refuse`]).
    #[must_use]
    pub fn schema_evolution(mut self, evolution: SchemaEvolution) -> Self {
        self.schema_evolution = evolution;
        self
    }

    /// Bytes of batches that each writer holds before `write` waits. Default: 64 MiB. A larger batch passes alone.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    fn definition(&self, input: &Schema) -> Result<serde_json::Value> {
        storage::check_path(&self.path)?;
        let columns = schema::file_schema(&self.path, input)?;
        self.check_partitions(input, &columns)?;
        self.check_columns_exist(&columns, self.uncompressed.iter())?;
        let delta = schema::delta_schema(&self.path, &columns)?;
        let unwritten =
            |_| Error::internal(format!("cannot write down the columns of `{}`", self.path));
        let definition = Definition {
            schema: serde_json::to_string(&delta).map_err(unwritten)?,
            partition_columns: self.partition_by.clone(),
            configuration: self.properties(input)?,
            schema_evolution: self.schema_evolution,
        };
        serde_json::to_value(definition).map_err(unwritten)
    }

    fn properties(&self, input: &Schema) -> Result<BTreeMap<String, String>> {
        let interval = self.committer.checkpoint_interval().to_string();
        let mut properties = BTreeMap::from([
            ("delta.checkpointInterval".to_owned(), interval),
            ("delta.logRetentionDuration".to_owned(), "interval 1 days".to_owned()),
        ]);
        if !all_sensitivities(input).is_empty() {
            // Others that rewrite the files must not copy marked values into the log either.
            let indexed = schema::indexed_columns(input, &self.partition_by);
            let (key, value) = if indexed.is_empty() {
                (withheld::COUNT, "0".to_owned())
            } else {
                let names: Vec<String> = indexed.iter().map(|name| format!("`{name}`")).collect();
                (withheld::COLUMNS, names.join(","))
            };
            properties.insert(key.to_owned(), value);
        }
        for (key, value) in &self.configuration {
            if key.starts_with("delta.") && !PROPERTIES.contains(&key.as_str()) {
                return Err(Error::graph(format!(
                    "table `{}` cannot have the property `{key}`: it needs a newer protocol or breaks exactly-once",
                    self.path
                )));
            }
            properties.insert(key.clone(), value.clone());
        }
        Ok(properties)
    }

    fn check_partitions(&self, input: &Schema, columns: &Schema) -> Result<()> {
        self.check_columns_exist(columns, self.partition_by.iter())?;
        if !self.partition_by.is_empty() && self.partition_by.len() >= columns.fields().len() {
            return Err(Error::graph(format!(
                "table `{}` is partitioned by every column",
                self.path
            )));
        }
        for (i, name) in self.partition_by.iter().enumerate() {
            if self.partition_by.iter().take(i).any(|before| before == name) {
                return Err(self.refused(name, "is named twice"));
            }
            let field =
                columns.field_with_name(name).map_err(|_| self.refused(name, "is missing"))?;
            let data_type = field.data_type();
            if data_type.is_nested() || data_type.is_floating() || *data_type == DataType::Binary {
                return Err(self.refused(name, "has a type that makes no folders"));
            }
            if matches!(data_type, DataType::Timestamp(..)) {
                return Err(self.refused(
                    name,
                    "is a timestamp and makes no folders: readers of another time zone would find other times; \
                     partition by a date column",
                ));
            }
            if input.field_with_name(name).is_ok_and(|field| !sensitivities(field).is_empty()) {
                return Err(self.refused(
                    name,
                    "is marked and makes no folders: their names and the log would tell its values",
                ));
            }
        }
        Ok(())
    }

    fn check_columns_exist<'a>(
        &self,
        columns: &Schema,
        names: impl Iterator<Item = &'a String>,
    ) -> Result<()> {
        for name in names {
            columns.field_with_name(name).map_err(|_| self.refused(name, "is missing"))?;
        }
        Ok(())
    }

    fn refused(&self, column: &str, why: &str) -> Error {
        Error::graph(format!("column `{column}` of table `{}` {why}", self.path))
    }
}

impl Sink for DeltaSink {
    fn describe(&self) -> String {
        format!("delta {}", self.path)
    }

    fn clearance(&self) -> Clearance {
        self.clearance.clone()
    }

    fn target(&self, input: &SchemaRef) -> Result<Target> {
        let definition = self.definition(input)?;
        Ok(Target { kind: KIND.to_owned(), path: self.path.clone(), definition })
    }

    fn rank(&self) -> u8 {
        self.rank
    }

    fn parallelism(&self) -> Option<u32> {
        self.single_writer.then_some(1)
    }

    fn writer(&self, context: WriterContext) -> Result<Box<dyn SinkWriter>> {
        let storage = self.committer.storage();
        let recipe = Recipe::new(
            storage,
            &self.path,
            &context.schema,
            &self.partition_by,
            &self.uncompressed,
        )?;
        let first = context.staging.first_checkpoint();
        Ok(Box::new(EpochWriter::new(recipe, first, context.io, self.buffer_bytes)))
    }

    fn committer(&self) -> Arc<dyn Committer> {
        Arc::clone(&self.committer) as Arc<dyn Committer>
    }
}
