//! The contract of a source: splits with numeric positions, an enumerator, and blocking readers.
//!
//! A reader blocks, and so the runtime gives each one a thread of its own; what it returns crosses a bounded queue
//! into the subtask. The position that a checkpoint stores is that of the last row that *left the subtask*, never
//! that of the last row read.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Part of a source that is read in order by one reader: a topic's partition, a range of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Stable name, unique in its source.
    pub id: String,
    /// The next position to read: an offset, a byte. Always a number (P2).
    pub position: i64,
    /// Reading ends before this position; `None` for a split without end.
    pub end: Option<i64>,
    /// What must still hold when reading goes on: lengths, hashes, epochs. Kept in the manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl Split {
    /// Whether a bounded split has been read to its end.
    pub fn is_finished(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }
}

/// Rows of one split, in its order.
#[derive(Clone)]
pub struct SplitBatch {
    /// The split's name.
    pub split: String,
    /// The rows, with the columns of the source's schema: others end the job.
    pub batch: RecordBatch,
    /// For each row, no fewer and no more, the position that follows it: where reading goes on once that row has left the
    /// subtask.
    pub next_positions: Vec<i64>,
}

impl Debug for SplitBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SplitBatch({}, {} rows)", self.split, self.batch.num_rows())
    }
}

/// What a reader has to say.
#[derive(Debug, Clone)]
pub enum Polled {
    /// Rows of one split.
    Rows(SplitBatch),
    /// A split's position moved without rows (control records, blank lines, the end of a bounded split).
    Advanced {
        /// The split's name.
        split: String,
        /// The next position to read.
        position: i64,
    },
    /// What is stored with a split's position from here on, in place of what was ([`Split::properties`]). A barrier may
    /// come between this and the next word about the split: what is said must hold for the position before it, too.
    Properties {
        /// The split's name.
        split: String,
        /// All of them.
        properties: BTreeMap<String, String>,
    },
    /// Nothing within the time allowed.
    Nothing,
    /// Every assigned split is bounded and read to its end. Said again at each further poll. The job ends when all readers
    /// have said so, unless the source has no end and looks for more splits ([`Source::discovery_interval`]).
    Exhausted,
}

/// A source as data: what it is called, what it emits, and how to make its readers. Cheap to clone behind an `Arc`.
pub trait Source: Send + Sync + Debug {
    /// One line for people: `kafka topic healthcare_events`.
    fn describe(&self) -> String;

    /// The columns of every batch.
    fn schema(&self) -> SchemaRef;

    /// Whether the input has an end.
    fn is_bounded(&self) -> bool;

    /// What the input is, for comparison with what a manifest remembers: cluster and topic ids, paths.
    /// Blocking.
    fn identity(&self) -> Result<BTreeMap<String, String>>;

    /// All splits with their start positions resolved to numbers; called once per chain, for the genesis
    /// manifest. Blocking.
    ///
    /// # Errors
    /// When anything is unknown yet: incomplete metadata means no genesis (P2).
    fn start_splits(&self) -> Result<Vec<Split>>;

    /// Splits that are not among `known`, each at its very beginning (P27). Blocking; called at start and then
    /// every [`Source::discovery_interval`].
    fn discover(&self, known: &[Split]) -> Result<Vec<Split>> {
        let _ = known;
        Ok(Vec::new())
    }

    /// How often to look for new splits while running; `None` for never.
    fn discovery_interval(&self) -> Option<Duration> {
        None
    }

    /// Checks that what `restored` remembers still holds: same file, same topic, positions still readable. Blocking.
    ///
    /// # Errors
    /// [`crate::ErrorKind::IncompatibleState`] or [`crate::ErrorKind::DataLoss`] naming the cause and the way out.
    fn verify(&self, identity: &BTreeMap<String, String>, restored: &[Split]) -> Result<()>;

    /// Completes the properties of a position that is about to be stored (P26: a hash of the bytes before it).
    /// Blocking; runs on the I/O runtime.
    fn seal_position(&self, split: &mut Split) -> Result<()> {
        let _ = split;
        Ok(())
    }

    /// A reader for one subtask.
    fn reader(&self) -> Result<Box<dyn SourceReader>>;

    /// Told which positions have been committed, for lag tools only; failures are logged, never fatal. Blocking.
    fn committed(&self, splits: &[Split]) -> Result<()> {
        let _ = splits;
        Ok(())
    }

    /// How often messages were lost and gone past, because the source was told to go on then; since the process started.
    fn losses(&self) -> u64 {
        0
    }

    /// Rows between `splits` and the input's end, when that is cheap to know. Blocking.
    fn lag(&self, splits: &[Split]) -> Option<u64> {
        let _ = splits;
        None
    }
}

/// Reads the splits of one subtask. Lives on a thread of its own and may block.
pub trait SourceReader: Send {
    /// Adds splits, to be read from their positions.
    fn assign(&mut self, splits: Vec<Split>) -> Result<()>;

    /// The next rows, waiting at most `max_wait`. Aim for 1,000 to 8,000 rows; never wait to fill a batch longer
    /// than that.
    ///
    /// # Errors
    /// A position that is gone is [`crate::ErrorKind::DataLoss`], never a silent jump (D5).
    fn poll(&mut self, max_wait: Duration) -> Result<Polled>;
}
