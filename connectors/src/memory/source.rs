//! A source over batches that a test provides, before it begins or while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use thalweg_core::connector::source::{Source, SourceReader, Split};
use thalweg_core::{Error, Result};

use super::handle::MemorySourceHandle;
use super::input::{Rows, Shared};
use super::lock;
use super::reader::MemoryReader;

/// Hands on batches as they were given, in order within each split.
///
/// **Shape**: the given schema; a position is a row's number in its split. Each batch given comes as one batch unless
/// a restart or [`MemorySource::hold_at`] falls into it. Empty batches are left out.
///
/// **Errors**: a batch of another schema is `InvalidGraph`; positions of rows that this process does not have are
/// `DataLoss`.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use arrow_array::{Int64Array, RecordBatch};
/// use thalweg_connectors::memory::MemorySource;
/// use thalweg_core::connector::source::{Polled, Source};
///
/// let batch = RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
/// let source = MemorySource::new(batch.schema()).split("a", [batch]);
/// let mut reader = source.reader()?;
/// reader.assign(source.start_splits()?)?;
/// let Polled::Rows(rows) = reader.poll(Duration::ZERO)? else { panic!("no rows") };
/// assert_eq!((rows.split.as_str(), rows.next_positions), ("a", vec![1, 2]));
/// assert!(matches!(reader.poll(Duration::ZERO)?, Polled::Exhausted));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct MemorySource {
    name: String,
    schema: SchemaRef,
    endless: bool,
    discovery_interval: Option<Duration>,
    shared: Arc<Shared>,
}

impl MemorySource {
    /// A bounded source without splits.
    pub fn new(schema: SchemaRef) -> Self {
        Self {
            name: "memory".to_owned(),
            schema,
            endless: false,
            discovery_interval: None,
            shared: Arc::default(),
        }
    }

    /// Adds batches behind those that split `name` has.
    #[must_use]
    pub fn split(self, name: &str, batches: impl IntoIterator<Item = RecordBatch>) -> Self {
        let mut input = lock(&self.shared.input);
        let rows = input.splits.entry(name.to_owned()).or_default();
        batches.into_iter().for_each(|batch| rows.push(batch));
        drop(input);
        self
    }

    /// Stops split `name` before row `position` until [`MemorySourceHandle::release`].
    #[must_use]
    pub fn hold_at(self, name: &str, position: i64) -> Self {
        lock(&self.shared.input).splits.entry(name.to_owned()).or_default().hold = Some(position);
        self
    }

    /// What it is called in messages and in its identity. Default `memory`.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Says of itself that its input has no end, so that a job is stopped rather than finished.
    #[must_use]
    pub fn endless(mut self) -> Self {
        self.endless = true;
        self
    }

    /// Looks for splits that were added while running, this often. Default never.
    #[must_use]
    pub fn discover_every(mut self, interval: Duration) -> Self {
        self.discovery_interval = Some(interval);
        self
    }

    /// Leaves the input open for a test to go on with: it ends only with [`MemorySourceHandle::finish`].
    pub fn handle(&self) -> MemorySourceHandle {
        lock(&self.shared.input).open = true;
        self.control()
    }

    /// As [`MemorySource::handle`], but the input ends with the rows it has: to hold, pause and fail only.
    pub fn control(&self) -> MemorySourceHandle {
        MemorySourceHandle { schema: Arc::clone(&self.schema), shared: Arc::clone(&self.shared) }
    }

    fn as_split(name: &str, rows: &Rows, open: bool) -> Split {
        let end = (!open).then_some(rows.count);
        Split { id: name.to_owned(), position: 0, end, properties: BTreeMap::new() }
    }
}

impl Source for MemorySource {
    fn describe(&self) -> String {
        format!("memory {}", self.name)
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn is_bounded(&self) -> bool {
        !self.endless
    }

    fn identity(&self) -> Result<BTreeMap<String, String>> {
        Ok([("memory".to_owned(), self.name.clone())].into())
    }

    fn start_splits(&self) -> Result<Vec<Split>> {
        let input = lock(&self.shared.input);
        let fits = |(_, batch): &(i64, RecordBatch)| batch.schema() == self.schema;
        if let Some((name, _)) =
            input.splits.iter().find(|(_, rows)| !rows.batches.iter().all(fits))
        {
            return Err(Error::graph(format!(
                "{}: split `{name}` has a batch of another schema",
                self.describe()
            )));
        }
        let split = |(name, rows): (&String, &Rows)| Self::as_split(name, rows, input.open);
        Ok(input.splits.iter().map(split).collect())
    }

    fn discover(&self, known: &[Split]) -> Result<Vec<Split>> {
        let input = lock(&self.shared.input);
        let new = input.splits.iter().filter(|(name, _)| known.iter().all(|k| k.id != **name));
        Ok(new.map(|(name, rows)| Self::as_split(name, rows, input.open)).collect())
    }

    fn discovery_interval(&self) -> Option<Duration> {
        self.discovery_interval
    }

    fn verify(&self, identity: &BTreeMap<String, String>, restored: &[Split]) -> Result<()> {
        if *identity != self.identity()? {
            return Err(Error::incompatible(format!(
                "{} is not the input the job began with; start a new chain with --fresh",
                self.describe()
            )));
        }
        let input = lock(&self.shared.input);
        for split in restored {
            let count = input.splits.get(&split.id).map(|rows| rows.count);
            if count.is_none_or(|count| split.position > count) {
                return Err(Error::data_loss(format!(
                    "{} lacks rows of split `{}` before row {}: memory does not outlive its process",
                    self.describe(),
                    split.id,
                    split.position
                )));
            }
            if split.end.is_some() && split.end != count {
                return Err(Error::incompatible(format!(
                    "{}: split `{}` has another number of rows than when the job began; start a new chain with --fresh",
                    self.describe(),
                    split.id
                )));
            }
        }
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        Ok(Box::new(MemoryReader::new(Arc::clone(&self.shared))))
    }

    fn lag(&self, splits: &[Split]) -> Option<u64> {
        let input = lock(&self.shared.input);
        let rest =
            |split: &Split| u64::try_from(input.splits.get(&split.id)?.count - split.position).ok();
        splits.iter().map(rest).sum()
    }
}
