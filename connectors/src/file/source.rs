//! The source over one file of lines.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::SchemaRef;
use thalweg_core::connector::decode::Format;
use thalweg_core::connector::source::{Source, SourceReader, Split};
use thalweg_core::{Error, Result};

use super::identity::{Input, LENGTH};
use super::reader::FileReader;
use super::seals::Seals;
use crate::provenance::source_schema;

/// Bytes in a split.
pub const SPLIT_BYTES: u64 = 16 << 20;

/// Bytes in a line above which it is cut off.
pub const MAX_LINE: usize = 16 << 20;

/// The longest line that can be allowed: what one Arrow column can hold with room to spare.
const LONGEST_LINE: usize = 1 << 30;

/// Reads a file line by line, once, from its beginning to the end it has when the job begins.
///
/// **Shape**: the provenance columns, then those of the format. `topic` is the file's name, `partition` 0, `offset`
/// the byte at which the line starts, `kafka_timestamp` null, `payload` the line without its line end (LF or CRLF).
/// Lines of nothing but whitespace are skipped, and so is a byte order mark of UTF-8 before the first; the last line needs
/// no line end; bytes need not be UTF-8. Order is kept within a split.
///
/// **Units**: positions and lengths are bytes. A line longer than [`JsonLinesSource::max_line`] hands on only its
/// first `max_line` + 1 bytes, so that a decoder with the same limit marks it as too large while memory stays small;
/// this holds for an over-long line of blanks, too.
///
/// **Errors**: a file that is missing, no regular file, unreadable, or by its first bytes compressed, UTF-16 or Parquet is
/// `InvalidConfig`. On a restart, one that has
/// grown, shrunk or been replaced is `IncompatibleState`; one that shrinks while it is read is `DataLoss`. A file
/// that grows while the job runs is read to its first length.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::ArrayRef;
/// use arrow_schema::Fields;
/// use thalweg_connectors::file::JsonLinesSource;
/// use thalweg_core::connector::decode::{Decoder, Format, Messages};
/// use thalweg_core::connector::source::Source;
///
/// /// A format that leaves the payload as it is.
/// #[derive(Debug)]
/// struct Raw;
/// impl Format for Raw {
///     fn fields(&self) -> Fields { Fields::empty() }
///     fn decoder(&self) -> Box<dyn Decoder> { Box::new(Raw) }
/// }
/// impl Decoder for Raw {
///     fn decode(&mut self, _: Messages<'_>) -> thalweg_core::Result<Vec<ArrayRef>> { Ok(Vec::new()) }
/// }
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("events.jsonl");
/// std::fs::write(&path, "{\"n\":1}\n{\"n\":2}\n")?;
/// let source = JsonLinesSource::new(path, Arc::new(Raw));
/// assert_eq!(source.describe(), "file events.jsonl");
/// assert_eq!(source.start_splits()?[0].end, Some(16));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct JsonLinesSource {
    input: Input,
    format: Arc<dyn Format>,
    split_bytes: u64,
    max_line: usize,
    /// The length that [`Source::identity`] saw, so that the splits end where the identity says.
    length: Mutex<Option<u64>>,
    seals: Seals,
}

impl JsonLinesSource {
    /// The file at `path`, its lines decoded by `format`. Nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>, format: Arc<dyn Format>) -> Self {
        Self {
            input: Input::new(path.into()),
            format,
            split_bytes: SPLIT_BYTES,
            max_line: MAX_LINE,
            length: Mutex::new(None),
            seals: Seals::default(),
        }
    }

    /// Whether a job can begin to read the file at `path`, for whoever wants to know before there is a job.
    ///
    /// # Errors
    /// [`thalweg_core::ErrorKind::InvalidConfig`] as above, [`thalweg_core::ErrorKind::Transient`] when it cannot be told.
    pub fn check(path: impl Into<PathBuf>) -> Result<()> {
        Input::new(path.into()).open_first().map(drop)
    }

    /// Bytes in a line above which it is cut off. Default [`MAX_LINE`]; values are kept within 1 byte and 1 GiB.
    #[must_use]
    pub fn max_line(mut self, bytes: usize) -> Self {
        self.max_line = bytes.clamp(1, LONGEST_LINE);
        self
    }

    /// Bytes in a split, for tests. Default [`SPLIT_BYTES`], at least 1. Counts only when a chain begins.
    #[must_use]
    pub fn split_bytes(mut self, bytes: u64) -> Self {
        self.split_bytes = bytes.max(1);
        self
    }
}

impl Source for JsonLinesSource {
    fn describe(&self) -> String {
        format!("file {}", self.input.name())
    }

    fn schema(&self) -> SchemaRef {
        source_schema(self.format.as_ref())
    }

    fn is_bounded(&self) -> bool {
        true
    }

    /// The file's name, length, and the hash of its first 64 KiB. Its folder does not count: it may be moved.
    fn identity(&self) -> Result<BTreeMap<String, String>> {
        let (identity, length) = self.input.identity()?;
        *self.length.lock().unwrap_or_else(PoisonError::into_inner) = Some(length);
        Ok(identity)
    }

    /// Ranges of [`SPLIT_BYTES`]; none for an empty file.
    fn start_splits(&self) -> Result<Vec<Split>> {
        let seen = *self.length.lock().unwrap_or_else(PoisonError::into_inner);
        let length = match seen {
            Some(length) => length,
            None => self.input.open_first()?.1,
        };
        if i64::try_from(length).is_err() {
            return Err(Error::config(format!("{} is too long", self.describe())));
        }
        let step = usize::try_from(self.split_bytes).unwrap_or(usize::MAX);
        let split = |start: u64| Split {
            // As many digits as a position can have, so that names sort like positions.
            id: format!("{start:019}"),
            position: start as i64,
            end: Some(length.min(start.saturating_add(self.split_bytes)) as i64),
            properties: [(LENGTH.to_owned(), length.to_string())].into(),
        };
        Ok((0..length).step_by(step).map(split).collect())
    }

    fn verify(&self, identity: &BTreeMap<String, String>, restored: &[Split]) -> Result<()> {
        self.seals.forget();
        self.input.verify(identity, restored)
    }

    fn seal_position(&self, split: &mut Split) -> Result<()> {
        self.seals.seal(&self.input, split)
    }

    fn reader(&self) -> Result<Box<dyn SourceReader>> {
        let decoder = self.format.decoder();
        Ok(Box::new(FileReader::new(self.input.clone(), self.max_line, self.schema(), decoder)))
    }
}
