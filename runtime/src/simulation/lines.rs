//! The rows of the simulated log in a file, read by the source for files of lines. A line is there once its time has come.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use tempfile::NamedTempFile;
use thalweg_connectors::file::JsonLinesSource;
use thalweg_connectors::json::JsonFormat;
use thalweg_core::connector::source::{Polled, Source, SourceReader, Split};
use thalweg_core::record::Micros;
use thalweg_core::time::Clock;
use thalweg_core::{Error, Record, Result};

use super::input::{PACE, PARTITIONS, Row, key_of, time_of};
use super::world::World;

/// Bytes of every line, with its end.
pub(super) const LINE: i64 = 66;
/// Where a split's end is kept from the job.
const END: &str = "end";
const LINES_PER_SPLIT: i64 = 20;

#[derive(Record)]
#[expect(dead_code, reason = "only its columns are used")]
struct Line {
    from: Option<i64>,
    position: Option<i64>,
    key: Option<i64>,
    at: Option<Micros>,
}

/// All rows of `rows` positions, those of one position beside each other.
pub(super) fn write(rows: i64) -> NamedTempFile {
    let mut text = String::new();
    for (position, partition) in (0..rows).flat_map(|o| (0..PARTITIONS).map(move |p| (o, p))) {
        text.push_str(&line(partition, position));
        text.push('\n');
    }
    assert_eq!(text.len() as i64, rows * PARTITIONS * LINE, "a line has another length");
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// One row.
pub(super) fn line(partition: i64, position: i64) -> String {
    let (key, tenths) = (key_of(partition, position), time_of(partition, position) / 100_000);
    let (minutes, seconds, tenths) = (tenths / 600, tenths / 10 % 60, tenths % 10);
    format!(
        r#"{{"from":{partition},"position":{position:>5},"key":{key},"at":"1970-01-01T00:{minutes:02}:{seconds:02}.{tenths}Z"}}"#
    )
}

/// How rows are read.
pub(super) fn format() -> Arc<JsonFormat> {
    Arc::new(JsonFormat::of::<Line>().unwrap())
}

#[derive(Debug)]
pub(super) struct Lines {
    world: Arc<World>,
    file: JsonLinesSource,
}

impl Lines {
    pub(super) fn new(world: &Arc<World>) -> Self {
        let file = JsonLinesSource::new(world.input(), format());
        Self { world: Arc::clone(world), file: file.split_bytes((LINE * LINES_PER_SPLIT) as u64) }
    }
}

impl Source for Lines {
    fn describe(&self) -> String {
        self.file.describe()
    }
    fn schema(&self) -> SchemaRef {
        Row::schema()
    }
    fn is_bounded(&self) -> bool {
        self.file.is_bounded()
    }
    fn identity(&self) -> Result<BTreeMap<String, String>> {
        self.file.identity()
    }
    fn start_splits(&self) -> Result<Vec<Split>> {
        Ok(self.file.start_splits()?.into_iter().map(without_end).collect())
    }
    fn verify(&self, identity: &BTreeMap<String, String>, restored: &[Split]) -> Result<()> {
        let restored: Vec<Split> = restored.iter().cloned().map(with_end).collect();
        self.file.verify(identity, &restored)
    }
    fn seal_position(&self, split: &mut Split) -> Result<()> {
        self.file.seal_position(split)
    }
    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        let (world, inner) = (Arc::clone(&self.world), self.file.reader()?);
        Ok(Box::new(Reader { world, inner, waiting: VecDeque::new() }))
    }
}

/// A split as the job knows it. What has an end holds event time back until it is read, as a file's may: here time passes with
/// the splits, which are read one after the other.
fn without_end(mut split: Split) -> Split {
    let end = split.end.take().map(|end| (END.to_owned(), end.to_string()));
    split.properties.extend(end);
    split
}

/// A split as the file knows it.
fn with_end(mut split: Split) -> Split {
    split.end = split.properties.get(END).and_then(|end| end.parse().ok());
    split
}

struct Reader {
    world: Arc<World>,
    inner: Box<dyn SourceReader>,
    /// In the order in which they are read.
    waiting: VecDeque<Split>,
}

impl SourceReader for Reader {
    fn assign(&mut self, splits: Vec<Split>) -> Result<()> {
        let splits: Vec<Split> = splits.into_iter().map(with_end).collect();
        self.waiting.extend(splits.iter().filter(|s| !s.is_finished()).cloned());
        self.inner.assign(splits)
    }

    fn poll(&mut self, max_wait: Duration) -> Result<Polled> {
        if let Some(next) = self.waiting.front() {
            let steps = next.position / LINE / PARTITIONS;
            if self.world.monotonic() < PACE * steps as u32 {
                return Ok(Polled::Nothing);
            }
        }
        let mut polled = self.inner.poll(max_wait)?;
        match &mut polled {
            Polled::Rows(rows) => rows.batch = row(&rows.batch)?,
            Polled::Advanced { .. } => drop(self.waiting.pop_front()),
            Polled::Properties { .. } | Polled::Nothing | Polled::Exhausted => {}
        }
        Ok(polled)
    }
}

/// Without what the source knows of each line.
pub(super) fn row(lines: &RecordBatch) -> Result<RecordBatch> {
    let column = |name: &str| {
        let column = lines.column_by_name(name).cloned();
        column.ok_or_else(|| Error::internal("a line without a column"))
    };
    let columns = vec![column("from")?, column("position")?, column("key")?, column("at")?];
    RecordBatch::try_new(Row::schema(), columns)
        .map_err(|e| Error::internal("a line of another shape").with_source(e))
}
